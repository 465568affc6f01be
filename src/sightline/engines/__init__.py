"""Inference engines: one module per engine, imported only when it is selected."""
