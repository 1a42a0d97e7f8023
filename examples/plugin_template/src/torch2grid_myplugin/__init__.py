"""A plugin for torch2grid."""

__version__ = "0.1.0"
