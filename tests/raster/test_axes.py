"""One axis of a block: positions fall into runs of one cell each, and runs are reduced, whatever their lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from torch2grid_core._pictures.axes import (
    Axis,
    axis,
    compact,
    index_within,
    reduce_columns,
    reduce_last,
    reduce_rows,
    region_of,
)

Dims = list[tuple[int, int]]
UFUNCS = (np.add, np.minimum, np.maximum)


def positions(origin: int, dims: Dims) -> list[int]:
    """Of each place of a nest of loops over *dims*, in order, a loop each."""
    found = [origin]
    for length, step in dims:
        found = [place + digit * step for place in found for digit in range(length)]
    return found


def runs_of(made: Axis) -> list[tuple[int, list[int]]]:
    """(cell, places in the order of the axis) of each run."""
    order = list(range(made.length)) if made.order is None else made.order.tolist()
    bounds = [0]
    for run in made.lengths().tolist():
        bounds.append(bounds[-1] + run)
    assert bounds[-1] == made.length
    return [(int(cell), order[low:high]) for cell, low, high in zip(made.cells, bounds[:-1], bounds[1:], strict=True)]


def by_cell(origin: int, dims: Dims, cell: int) -> list[tuple[int, list[int]]]:
    found: dict[int, list[int]] = {}
    for place, position in enumerate(positions(origin, dims)):
        found.setdefault(position // cell, []).append(place)
    return sorted(found.items())


def dims_of() -> Any:
    dim = st.tuples(st.integers(1, 40), st.integers(1, 60))
    return st.lists(dim, max_size=3).map(lambda dims: sorted(dims, key=lambda each: -each[1]))


@given(st.integers(0, 100), dims_of(), st.integers(1, 40))
@example(0, [(2, 285), (256, 1)], 19)  # two bands: a few stretches of equal runs
@example(5, [(40, 3), (2, 1)], 4)  # runs of 2, 3, 3, 2, 3, 3 …
@example(0, [(6, 4), (9, 1)], 4)  # bands that overlap
@example(7, [(30, 2)], 10)
@example(3, [(4, 25), (5, 5), (5, 1)], 7)  # one run of positions, written as three
def test_every_position_is_in_the_run_of_its_cell(origin: int, dims: Dims, cell: int) -> None:
    assert runs_of(axis(origin, dims, cell)) == by_cell(origin, dims, cell)


def test_evenly_spaced_cells_are_a_range_and_few_lengths_are_pieces() -> None:
    bands = axis(0, [(2, 285), (256, 1)], 19)  # cells 0…13, 15…28
    assert bands.starts is None
    assert bands.pieces == ((0, 247, 19), (247, 256, 9), (256, 503, 19), (503, 512, 9))
    assert axis(0, [(10, 4)], 2).cells == range(0, 20, 2)
    assert axis(9, [(10, 1)], 4).cells == range(2, 5)
    assert axis(9, [], 4).cells == range(2, 3)
    assert axis(0, [(40, 3)], 4).pieces is None
    assert axis(4, [(10, 12)], 4).cells == range(1, 31, 3)


@pytest.mark.parametrize("cells", [range(4, 5), range(3, 5), range(2, 16, 7), range(3, 9, 2)])
def test_evenly_spaced_indices_are_a_range(cells: range) -> None:
    assert compact(np.array(cells)) == cells
    assert isinstance(compact(np.array([*cells, 16])), range) == (len(cells) == 1 or cells[-1] + cells.step == 16)


@pytest.mark.parametrize(
    ("cells", "frame", "found"),
    [
        (range(4, 9, 2), range(2, 12, 2), slice(1, 4, 1)),
        (range(2, 12, 6), range(2, 12, 3), slice(0, 3, 2)),
        (range(6, 7), range(0, 12, 3), slice(2, 3, 1)),
        (range(5, 8), range(4, 9), slice(1, 4, 1)),
    ],
)
def test_ranges_are_found_as_slices(cells: range, frame: range, found: slice) -> None:
    assert index_within(cells, frame) == found
    rows, columns = np.arange(len(frame))[found], np.array([0, 2])
    assert region_of((len(frame), 3), found, found) == (found, found)
    assert np.array_equal(region_of((len(frame), 3), found, columns)[0].ravel(), rows)
    assert np.array_equal(region_of((3, len(frame)), columns, found)[1].ravel(), rows)


@given(st.integers(0, 60), dims_of(), st.integers(1, 40), st.integers(1, 40), st.sampled_from(UFUNCS))
@example(0, [(2, 285), (256, 1)], 19, 30, np.add)
@example(0, [(2, 285), (256, 1)], 19, 30, np.minimum)
@example(0, [(40, 3)], 4, 30, np.add)
@example(0, [(6, 4), (9, 1)], 4, 30, np.maximum)
def test_rows_and_columns_are_reduced_run_by_run(origin: int, dims: Dims, cell: int, other: int, ufunc: np.ufunc) -> None:
    made = axis(origin, dims, cell)
    values = np.random.default_rng(0).integers(-99, 99, (made.length, other)).astype(np.float64)
    wanted = np.array([ufunc.reduce(values[places], axis=0) for _, places in by_cell(origin, dims, cell)])
    assert np.array_equal(reduce_rows(ufunc, values, made), wanted)
    assert np.array_equal(reduce_columns(ufunc, np.ascontiguousarray(values.T), made), wanted.T)


@pytest.mark.parametrize("ufunc", UFUNCS)
@pytest.mark.parametrize("run", [1, 2, 3, 8, 9, 24, 25, 49, 127, 128, 129, 300])
def test_runs_of_any_length_are_reduced(ufunc: np.ufunc, run: int) -> None:
    values = np.random.default_rng(run).integers(-99, 99, (4, 3, run)).astype(np.float64)
    before = values.copy()
    assert np.array_equal(reduce_last(ufunc, values), ufunc.reduce(values, axis=-1))
    assert np.array_equal(values, before)


@given(st.lists(st.integers(0, 40), min_size=1, unique=True).map(sorted), st.data())
def test_cells_are_found_within_others(frame: list[int], data: st.DataObject) -> None:
    cells = sorted(data.draw(st.sets(st.sampled_from(frame), min_size=1)))
    found = index_within(compact(np.array(cells)), compact(np.array(frame)))
    assert np.array(frame)[found].tolist() == cells
    table = np.arange(len(frame) * 3).reshape(len(frame), 3)
    for columns, picked in ((slice(0, 3, 2), [0, 2]), (np.array([0, 1]), [0, 1])):
        wanted = [[table[frame.index(cell)][column] for column in picked] for cell in cells]
        assert table[region_of((len(frame), 3), found, columns)].tolist() == wanted
