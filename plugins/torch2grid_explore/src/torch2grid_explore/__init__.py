"""A web viewer for torch2grid: one map of a checkpoint, from the whole model to one weight."""

__version__ = "0.1.0"
