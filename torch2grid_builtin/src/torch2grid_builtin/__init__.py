"""The batteries of torch2grid: one plugin with the usual loaders, filters, transformers, views, renderers and commands."""

__version__ = "0.2.0"
