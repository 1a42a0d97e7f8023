"""Lines over the bars of a histogram: none of them is lost between others."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, strategies as st

from torch2grid_builtin._renderers.numbers import outline


@given(st.lists(st.one_of(st.none(), st.integers(1, 50)), max_size=12))
def test_an_outline_is_around_every_bar_and_parts_where_there_is_none(heights: list[int | None]) -> None:
    values = np.array([math.nan if each is None else each for each in heights])
    x, y = outline(np.arange(len(values) + 1), values, -1.0)
    points = itertools.pairwise(zip(x.tolist(), y.tolist(), strict=True))
    segments = [(start, end) for start, end in points if np.isfinite([*start, *end]).all()]
    level = {(start[0], end[0]): start[1] for start, end in segments if start[1] == end[1] and start[0] != end[0]}
    for place, height in enumerate(heights):
        if height is not None:
            assert level[place, place + 1] == height
            for at, other in ((place, place - 1), (place + 1, place + 1)):  # a line down to the axis, or to the next bar
                beside = heights[other] if 0 <= other < len(heights) else None
                low = -1.0 if beside is None else beside
                assert any({start[1], end[1]} == {height, low} for start, end in segments if start[0] == end[0] == at)
        else:
            assert level.get((place, place + 1), -1.0) == -1.0
