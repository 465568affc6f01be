"""Models: what a file holds, what its outputs mean, where it comes from."""
