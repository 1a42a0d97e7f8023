"""Singular values of several matrices in one picture, by rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torch2grid_builtin._compare.figures import in_colors
from torch2grid_core.pages import Heatmap, Line

Array = np.ndarray[Any, Any]
_LINES = 8  # matrices that are a line each
_ROWS, _RANKS = 256, 256  # of the table in colours of more
_LEAST = 1e-4  # of the largest singular value: less is one colour


def by_rank(
    named: Sequence[tuple[str, Array | None]], one: str, several: str, title: str = "Singular values, largest first"
) -> Line | Heatmap | None:
    """A line for each of a few matrices, a row of colours for each of more; ``None`` where no singular value is known.

    Args:
        named: name and singular values, largest first, of each matrix; ``None`` where they are not known.
        one: what a matrix is.
        several: the same of several.
        title: of the picture.
    """
    known = [(name, values) for name, values in named if values is not None and values[0]]
    if not known:
        return None
    ranks = max(len(values) for _, values in known)
    if len(named) <= _LINES:
        places = np.arange(1, ranks + 1, dtype=np.float64)
        lines = {}
        for name, values in known:
            lines[name] = np.full(ranks, np.nan)
            lines[name][: len(values)] = np.where(values > 0, values, np.nan)
        return Line(places, lines, title, xlabel="rank", ylabel="σ", log=True)
    shown = named[:_ROWS]
    picked = np.arange(0, ranks, -(-ranks // _RANKS))
    values, lost = np.full((len(shown), len(picked)), np.nan), np.zeros((len(shown), len(picked)), bool)
    for row, (_, found) in enumerate(shown):
        if found is None:
            lost[row] = True
        elif found[0]:
            inside = picked[picked < len(found)]
            values[row, : len(inside)] = np.maximum(found[inside] / found[0], _LEAST)
    more = f", the first {len(shown)} of {len(named)} {several}" if len(shown) < len(named) else ""
    return in_colors(
        values,
        lost,
        "σ/σ₁",
        title=f"{title}, beside the largest of each {one}{more}; 10⁻⁴ and less are one colour",
        rows=one,
        columns="rank",
        row_names=[name for name, _ in shown],
        column_names=[str(rank + 1) for rank in picked],
    )
