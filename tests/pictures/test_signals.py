"""The colours beside a map: seen on any map, and told from one another."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import colormaps

from torch2grid_core import Grid
from torch2grid_core._pictures.pixels import DIVERGING, SEQUENTIAL
from torch2grid_core._pictures.signals import color_distance
from torch2grid_core.grids import EMPTY, NOT_FINITE, OVER, UNDER, ColorScale, Signals, colormap, paint, signals


def parts(marks: Signals) -> list[tuple[int, int, int]]:
    return [marks.over, marks.under, marks.not_finite, marks.empty]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", [DIVERGING, SEQUENTIAL, *colormaps])
def test_they_stand_out_from_any_map_and_each_other(name: str, dark: bool) -> None:
    marks = signals(name, dark)
    away = [color_distance(color, colormap(name)) for color in parts(marks)]
    assert min(away[:3]) >= 0.08  # four times the least difference that is seen
    assert away[3] >= 0.04
    pairs = [color_distance(a, np.array([b])) for a in parts(marks) for b in parts(marks) if a is not b]
    assert min(pairs) >= 0.1


def test_the_usual_ones_stay_where_they_are_seen() -> None:
    assert signals(DIVERGING) == Signals(OVER, UNDER, NOT_FINITE, EMPTY)
    assert signals("gray").empty != EMPTY, "no weight would be one of the greys"
    assert signals("hsv").not_finite != NOT_FINITE


@pytest.mark.parametrize("name", ["gray", "hsv", "viridis"])
def test_cells_take_them(name: str) -> None:
    grid = Grid(np.array([[9.0, -9.0, np.nan, 0.0, 0.0]]), np.array([[1, 1, 1, 0, 1]]))
    marks = signals(name)
    shown = [tuple(color) for color in paint(grid, ColorScale(-1, 1), name)[0].tolist()]
    assert shown[:4] == parts(marks)
    assert shown[4] not in parts(marks)
