"""Models: catalogue, download, model files, and the families that decode their outputs."""
