"""Image processing: decode, letterbox, boxes (IoU, NMS), draw. Pure functions on NumPy arrays."""
