"""What runs a network: one file an engine, imported only when it is asked for."""
