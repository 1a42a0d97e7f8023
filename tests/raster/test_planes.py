"""Planes of a pass are what a window reads of the same cells, whatever the layout, the dtype, and how the work is cut."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.raster.test_window import LAYOUTS, arrays, lazy

from torch2grid_core import Checkpoint, Layout, PluginManager, measure
from torch2grid_core.grids import REDUCTIONS, Block, Window, raster_window
from torch2grid_core.measures import Planes

Array = np.ndarray[Any, Any]


def measured(checkpoint: Checkpoint, layout: Layout, workers: int = 0) -> dict[Any, Window]:
    need = Planes(layout, REDUCTIONS)
    if not workers:
        return {key: found["planes"] for key, found in measure(checkpoint, {"planes": need})}
    with ThreadPoolExecutor(workers) as executor:
        return {key: found["planes"] for key, found in measure(checkpoint, {"planes": need}, executor=executor)}


def same(found: Window, expected: Window) -> None:
    some = found.counts > 0
    assert np.array_equal(found.counts[some], expected.counts[some])
    for name in REDUCTIONS:
        assert np.array_equal(found.planes[name][some], expected.planes[name][some], equal_nan=True), name
        assert not found.planes[name][~some].any()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", LAYOUTS)
def test_planes_are_the_windows_of_their_rectangles(name: str, workers: int) -> None:
    layout, shapes = LAYOUTS[name]
    tensors = {each: lazy(each, array) for each, array in arrays(shapes).items()}
    found = measured(Checkpoint(tensors), layout, workers)
    assert set(found) == set(layout.tensors)
    total = np.zeros(layout.shape, dtype=np.int64)
    for each, window in found.items():
        top, left, height, width = window.rectangle
        total[top : top + height, left : left + width] += window.counts
        same(window, raster_window(layout, {each: tensors[each]}, window.rectangle, REDUCTIONS))
    whole = raster_window(layout, tensors, (0, 0, *layout.shape))
    assert np.array_equal(total, whole.counts)


@given(
    st.sampled_from(["f2", "f4", "f8", "i1", "u1", "i4", "i8", "?"]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_any_dtype_and_any_cell(dtype: str, rows: int, columns: int, cell: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = (rng.standard_normal((rows, columns)) * 50).astype(dtype)
    if array.dtype.kind == "f":
        array.reshape(-1)[rng.integers(array.size)] = rng.choice([np.nan, np.inf, -np.inf])
    layout = Layout(rows + 5, columns + 3, (cell, cell), (Block("w", 0, 5, 3, ((rows, 1, 0), (columns, 0, 1))),))
    tensors = {"w": lazy("w", array)}
    (window,) = measured(Checkpoint(tensors), layout).values()
    same(window, raster_window(layout, tensors, window.rectangle, REDUCTIONS))
    assert window.counts.sum() == array.size


def test_large_tensors_are_cut_into_pieces_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch2grid_core._engine.reading as reading

    monkeypatch.setattr(reading, "PIECE", 1 << 12, raising=True)
    array = np.random.default_rng(1).standard_normal((300, 200)).astype(np.float32)
    layout = Layout(300, 200, (16, 16), (Block("w", 0, 0, 0, ((300, 1, 0), (200, 0, 1))),))
    tensors = {"w": lazy("w", array)}
    (window,) = measured(Checkpoint(tensors), layout, 2).values()
    expected = raster_window(layout, tensors, window.rectangle, REDUCTIONS)
    assert np.array_equal(window.counts, expected.counts)
    for name in REDUCTIONS:
        np.testing.assert_allclose(window.planes[name], expected.planes[name], rtol=1e-6)


def test_a_worker_gets_the_place_of_what_it_reads_alone(tmp_path: Path) -> None:
    shapes = {f"h.{number}.weight": (20, 30) for number in range(40)}
    np.savez(tmp_path / "model.npz", **{name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    blocks = [Block(name, 0, 20 * number, 0, ((20, 1, 0), (30, 0, 1))) for number, name in enumerate(shapes)]
    need, given = Planes(Layout(20 * len(shapes), 30, (5, 5), tuple(blocks)), REDUCTIONS), []

    class Watched(ThreadPoolExecutor):
        def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
            given.extend(arguments[0])
            return super().submit(function, *arguments, **named)

    with Watched(2) as executor:
        found = dict(measure(PluginManager.discover().open(tmp_path / "model.npz"), {"planes": need}, executor=executor))
    assert {key: each["planes"].rectangle for key, each in found.items()} == {
        name: (4 * number, 0, 4, 6) for number, name in enumerate(shapes)
    }
    assert [ask.need.layout.tensors for task in given for ask in task.asks] == [(name,) for name in shapes]


def test_what_is_no_layout_and_no_reduction_is_refused() -> None:
    with pytest.raises(TypeError, match="not a Layout"):
        Planes("atlas")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="median"):
        Planes(LAYOUTS["matrix"][0], ("median",))
