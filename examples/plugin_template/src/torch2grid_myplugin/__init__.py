"""A plugin for torch2grid: each layer's output units, sorted by norm."""

__version__ = "0.1.0"
