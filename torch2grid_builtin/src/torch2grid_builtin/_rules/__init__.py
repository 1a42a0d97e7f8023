"""The rules of ``torch2grid check``."""
