"""Training of the bundled demo model: from scratch, on a CPU, on generated scenes only."""
