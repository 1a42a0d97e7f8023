"""Where weights go in the picture of a whole model."""
