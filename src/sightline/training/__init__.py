"""Training: the only part that may import PyTorch, and never imported by the service."""
