"""Loaders: each opens one family of checkpoint files, by content."""
