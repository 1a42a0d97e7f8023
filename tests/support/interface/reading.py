"""Reading pictures of the installed command back, through the index beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.renderers.pixels import framed, inverted

from torch2grid_core.grids import ColorScale, colormap, default_map, signals

Array = np.ndarray[Any, Any]


def entry(path: Path, folder: Path) -> dict[str, Any]:
    """What the index of *folder* says of the picture at *path*."""
    document = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = document["files"][path.relative_to(folder).as_posix()]
    return found


def scale_of(told: dict[str, Any]) -> ColorScale:
    """The colour scale that an index entry of a heatmap describes."""
    low, high = told["limits"]
    return ColorScale(low, high, told["scale"])


def read_back(path: Path, folder: Path, colormap_name: str | None = None) -> tuple[Array, Array, ColorScale]:
    """The first heatmap of a PNG: values (±inf beyond the limits, NaN for none), which cells are empty, and the scale.

    The colour in the middle of each cell counts: a border may run along a cell's edge. A cell under a label, of a colour
    that no cell has, is masked in both arrays.
    """
    told = entry(path, folder)["heatmaps"][0]
    rows, columns = told["cells"]
    inside = framed(path.read_bytes())
    high, wide = inside.shape[0] // rows, inside.shape[1] // columns
    assert (rows * high, columns * wide) == inside.shape[:2], "cells are not whole pixels"
    colors = inside[high // 2 :: high, wide // 2 :: wide].copy()
    scale = scale_of(told)
    table = colormap(colormap_name or default_map(scale)).tolist()
    marks = signals(colormap_name or default_map(scale))
    known = {*map(tuple, table), marks.over, marks.under, marks.not_finite, marks.empty}
    hidden = np.array([[tuple(color) not in known for color in row] for row in colors.tolist()])
    colors[hidden] = marks.empty
    values = np.ma.array(inverted(colors, scale, colormap_name), mask=hidden)
    return values, np.ma.array((colors == marks.empty).all(axis=2), mask=hidden), scale


def assert_shows(path: Path, folder: Path, expected: Array, colormap_name: str | None = None, hidden: float = 0.0) -> None:
    """The picture holds *expected* (float64; NaN where no weight is), each cell within 1/256 of the colour range.

    hidden: the share of the cells that may lie under labels.
    """
    values, empty, scale = read_back(path, folder, colormap_name)
    assert values.shape == expected.shape
    seen = ~np.ma.getmaskarray(values)
    assert seen.mean() >= 1 - hidden
    np.testing.assert_array_equal(empty.data[seen], np.isnan(expected[seen]))
    there = seen & ~empty.data
    shown = values.data
    slack = 1e-6 * (scale.high - scale.low)  # values are float32: one at the limit itself may fall to either side
    over, under = expected > scale.high + slack, expected < scale.low - slack
    assert np.isposinf(shown[there & over]).all()
    assert np.isneginf(shown[there & under]).all()
    within = there & (expected < scale.high - slack) & (expected > scale.low + slack)
    assert np.isfinite(shown[within]).all()
    error = np.abs(scale.fraction(shown[within]) - scale.fraction(expected[within]))
    assert error.max(initial=0) <= 1 / 256
