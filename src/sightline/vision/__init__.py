"""Pictures in and out: decode, letterbox, boxes, draw. Pure functions on NumPy arrays."""
