"""The version of the core, apart from its exports: what checks it imports nothing else."""

__version__ = "0.2.0"
