"""Tables as DataFrames, with columns that a table has as text alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch2grid_core.pages import Table


def frame_of(table: Table, **objects: Iterable[Any]) -> Any:
    """``table.to_pandas()`` with each of *objects* in place of the column of its name: tuples, which index a tensor."""
    frame = table.to_pandas()
    for name, values in objects.items():
        column = frame[name].astype(object)
        for place, value in enumerate(values):
            column.iat[place] = value
        frame[name] = column
    return frame


def index_text(index: tuple[int, ...] | None) -> str | None:
    """``[3, 17]``; ``None`` for no index."""
    return None if index is None else f"[{', '.join(map(str, index))}]"
