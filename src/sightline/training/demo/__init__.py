"""How the bundled demo model is made: from scratch, on a CPU, from scenes alone."""
