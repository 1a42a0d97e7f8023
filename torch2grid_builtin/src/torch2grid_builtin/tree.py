"""What is in a file: the modules of a checkpoint with their totals, as text, plain data and rows."""

from __future__ import annotations

from torch2grid_builtin._tree.reports import COLUMNS, Asked, Contents, as_data, as_text, rows_of, size_text

__all__ = ["COLUMNS", "Asked", "Contents", "as_data", "as_text", "rows_of", "size_text"]
