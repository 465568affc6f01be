"""Inference on one machine: lanes, decode pool, batcher, detector, and the models by name."""
