"""Subcommands of ``torch2grid``."""
