"""A label, mark, index or number on a page of a part of a tensor is that of the whole tensor at the same place."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings, strategies as st
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._forms import stacked
from torch2grid_builtin._renderers.places import stretches
from torch2grid_builtin._transformers.atlas import Atlas
from torch2grid_builtin._views.convolutions import is_convolution
from torch2grid_builtin._views.layers import axis_names
from torch2grid_builtin._views.matrices import matrix_of
from torch2grid_core import LazyTensor
from torch2grid_core.grids import Region
from torch2grid_core.pages import Heatmap
from torch2grid_core.sources import BytesStorage, PartShape, whole_shape

SHAPES = {
    "h.0.attn.in_proj_weight": (96, 32),
    "h.0.attn.c_attn.weight": (20, 60),
    "h.0.attn.qkv_proj.weight": (64, 48),  # fewer keys than queries
    "h.0.mlp.experts.down_proj": (8, 12, 16),
    "h.0.stack": (3, 40, 40),  # nothing says experts, and it is no convolution
    "h.0.pairs": (2, 3, 40, 48),
    "embed.weight": (900, 7),
    "wide.weight": (6, 1200),
    "conv.weight": (12, 5, 3, 3),
    "conv1d.weight": (64, 6, 5),
    "experts.w1": (5, 6, 9),
}


def lazy(name: str, shape: tuple[int, ...]) -> LazyTensor:
    return LazyTensor(name, shape, np.dtype(np.float32), BytesStorage(b""))  # nothing is read


@st.composite
def parts(draw: st.DrawFn, integers: bool = True) -> LazyTensor:
    """A part of one of the tensors, or a part of a part."""
    name = draw(st.sampled_from(list(SHAPES)))
    tensor = lazy(name, SHAPES[name])
    for _ in range(draw(st.integers(1, 2))):
        index: list[Any] = []
        for length in tensor.shape:
            first = draw(st.integers(0, length - 1))
            stop = draw(st.integers(first + 1, length))
            way = draw(st.integers(0, 7))
            index.append(
                first if way == 0 and integers else slice(first, stop, draw(st.integers(1, 3))) if way < 5 else slice(None)
            )
        tensor = tensor.view(tuple(index))
    return tensor


def indices(tensor: LazyTensor) -> np.ndarray[Any, Any]:
    """The index in the whole of each weight of *tensor*: (dimensions, weights)."""
    places = [range(length) for length in tensor.shape] if tensor.taken is None else tensor.taken.kept
    return np.stack(np.meshgrid(*[np.array(each) for each in places], indexing="ij")).reshape(len(places), -1)


def cells(layout: Any, name: str) -> np.ndarray[Any, Any]:
    """(rows, columns) of the cell of each weight."""
    found = np.zeros((2, layout.weights_of(name)), dtype=np.int64)
    for block in layout.blocks_of(name):
        rows, columns = (np.broadcast_to(each, [dim[0] for dim in block.dims]).reshape(-1) for each in block.positions())
        found[:, block.start : block.stop] = rows // layout.cell[0], columns // layout.cell[1]
    return found


def inside(mark: Region, places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found = np.zeros(places.shape[1], dtype=bool)
    for row, column, height, width in mark.rects:
        found |= (places[0] >= row) & (places[0] < row + height) & (places[1] >= column) & (places[1] < column + width)
    return found


def letter(name: str, index: np.ndarray[Any, Any]) -> str:
    """Q, K or V: what the projection *name* holds at *index*, said here once more."""
    axis = 1 if "c_attn" in name else 0
    first, second = (48, 56) if "qkv_proj" in name else (SHAPES[name][axis] // 3, SHAPES[name][axis] // 3 * 2)
    return "Q" if index[axis] < first else "K" if index[axis] < second else "V"


def check(mark: Region, part: LazyTensor, index: np.ndarray[Any, Any]) -> None:
    """*mark* is around weights of *index* of the tensor that *part* is of, in its order."""
    name = part.name
    ranges = tuple(int(isinstance(each, range)) for each in part.taken.places) if part.taken else (1,) * part.ndim
    word, _, number = mark.name.partition(" ")
    if mark.name in ("Q", "K", "V"):
        assert {letter(name, each) for each in index.T} == {mark.name}
    elif word in ("expert", "matrix"):
        assert word == ("expert" if "expert" in name else "matrix")
        assert {", ".join(map(str, each[:-2])) for each in index.T} == {number}
    elif word in ("row", "column"):
        axis = ("row", "column").index(word) + (len(index) - 2 if stacked(name, SHAPES[name]) and ranges[-2:] == (1, 1) else 0)
        found = index[axis]
        if ranges[-2:] == (0, 1) and len(ranges) == 3 and SHAPES[name][2] > 32 and word == "row":
            found = index[0] * SHAPES[name][1] + index[1]  # one below the other
        assert int(number.replace(",", "")) == found.min()
    else:
        assert name.endswith(mark.name) or not mark.name


@settings(phases=[Phase.generate], derandomize=True)
@given(parts())
def test_marks_of_a_tensors_own_page(part: LazyTensor) -> None:
    layout = matrix_of(part.name, part.shape, None)
    places, where = cells(layout, part.name), indices(part)
    for mark in layout.marks:
        check(mark, part, where[:, inside(mark, places)])
    marked = sum(inside(mark, places) for mark in layout.marks)
    if "attn" in part.name and part.ndim == 2 and min(part.shape) > 1:
        assert np.all(marked == 1)  # each weight is of one of the three
    if part.name in ("h.0.stack", "h.0.mlp.experts.down_proj", "experts.w1") and part.ndim == 3:
        assert np.all(marked == 1)
    if "conv" in part.name:
        assert not layout.marks


@settings(max_examples=settings().max_examples // 5, phases=[Phase.generate], derandomize=True)
@given(st.lists(parts(), min_size=1, max_size=4, unique_by=lambda part: part.name), st.sampled_from([None, 64, 300]))
def test_marks_of_the_atlas(some: list[LazyTensor], room: int | None) -> None:
    shapes = {part.name: part.shape for part in some}
    layout = Atlas().layout(shapes, room).validate(shapes, room)
    if layout.cell != (1, 1):
        return  # a cell at an edge holds weights of both sides
    for part in some:
        places, where = cells(layout, part.name), indices(part)
        for mark in layout.marks:
            held = inside(mark, places)
            if held.any() and mark.name:
                check(mark, part, where[:, held])


@settings(phases=[Phase.generate], derandomize=True)
@given(parts())
def test_the_kind_is_that_of_the_whole(part: LazyTensor) -> None:
    whole = lazy(part.name, SHAPES[part.name])
    assert whole_shape(part.shape) == whole.shape
    assert is_convolution(part) == is_convolution(whole)
    if part.ndim == whole.ndim and min(part.shape) > 1:
        grid: Any = type("Grid", (), {"shape": (9, 9)})
        now, then = (
            [text.partition(" (")[0] for text in axis_names(tensor, grid)] if tensor.ndim > 2 else axis_names(tensor, grid)
            for tensor in (part, whole)
        )
        assert now == then


@pytest.mark.parametrize("part", ["2:5", "2:5, 1:4", "::2, 1:4, :, :", ":, 3:4, 1:, ::2", ":, ::2", "1:, :, 1:", "..., 1:"])
@pytest.mark.parametrize("name", ["conv.weight", "conv1d.weight"])
def test_columns_of_flattened_kernels_are_those_of_the_whole_or_said_to_be_of_the_part(name: str, part: str) -> None:
    whole = np.arange(np.prod(SHAPES[name]), dtype=np.float32).reshape(SHAPES[name])
    text = ", ".join(part.split(", ")[: whole.ndim])
    page = t2g.layers({name: torch.from_numpy(whole)}, slice=text)[name]
    (panel,) = [each for each in page.panels if isinstance(each, Heatmap)]
    (row, rows), (column, columns) = (stretches(panel, axis)[0] for axis in (0, 1))
    assert (row, column) == (0, 0)
    across = whole[0].size
    if "of the part" in panel.columns:
        assert columns == range(panel.grid.shape[1])
    else:
        assert panel.grid.values.tolist() == [[across * down + along for along in columns] for down in rows]


def test_a_shape_of_a_part_is_a_shape() -> None:
    part = lazy("t", (6, 8)).view(np.s_[2:, ::2])
    assert isinstance(part.shape, PartShape)
    assert (part.shape, repr(part.shape), hash(part.shape)) == ((4, 4), "(4, 4)", hash((4, 4)))
    assert type(part.view(np.s_[:]).shape) is PartShape
    assert type(lazy("t", (6, 8)).view(np.s_[:, :]).shape) is tuple


@pytest.mark.parametrize("part", ["1:, 2:9:2, 3:", "::2", "2:3", "1, ..., ::2"])
def test_each_cell_of_a_csv_says_which_weight_it_is(tmp_path: Path, part: str) -> None:
    torch.manual_seed(0)
    made = {name: torch.randn(shape) for name, shape in SHAPES.items() if name != "embed.weight"}
    torch.save(made, tmp_path / "m.pth")
    words = ("--layers", "--conv", "--slice", part, "--format", "csv", "--format", "json", "-q", "-o", "out")
    done = torch2grid("m.pth", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counted = 0
    for file in (tmp_path / "out").glob("*/*.csv"):
        name = file.stem.removesuffix("_grid")
        page = json.loads(file.with_suffix(".json").read_text())
        panel = page["panels"][-1]
        if file.stem.endswith("_grid") and name not in made:
            continue
        array = made[name].numpy()
        regions = {tuple(rect): region["name"] for region in panel["regions"] for rect in region["rects"]}
        with file.open(newline="") as stream:
            text = stream.read().split("\r\n\r\n")[-1]
        for row in csv.DictReader(text.splitlines()):
            index = tuple(int(row[f"dimension {each}"]) for each in range(array.ndim))
            if row["weights"] != "1":
                continue  # a mean of several
            assert float(row["value"]) == pytest.approx(float(array[index]), rel=1e-6)
            if file.stem.endswith("_grid") and panel["row_names" if "row_names" in panel else "shape"]:
                here = [
                    title
                    for (top, left, high, wide), title in regions.items()
                    if top <= int(row["row"]) < top + high and left <= int(row["column"]) < left + wide
                ]
                assert here == [str(index[0])] or here == [name]
            counted += 1
    assert counted > 500


def test_every_view_of_a_tensor_has_the_indices_of_its_own_page():
    rng = np.random.default_rng(0)
    a = {"layers.0.experts.down_proj": rng.normal(size=(4, 24, 18)), "w": rng.normal(size=(30, 20)), "b": rng.normal(size=3000)}
    b = {name: values + 0.01 for name, values in a.items()}
    for part in (None, {"layers.0.experts.down_proj": "1:3, 4:, 2::3", "w": "5:, ::2", "b": "100:"}):
        for name in a:
            chosen = {"only": name, "slice": part and part[name], "tensor_cells": 64}
            (own,) = next(page for page in t2g.layers(a, **chosen) if page.name == name).panels
            pair = t2g.compare(a, b, layers=True, **chosen)[f"{name}_delta"]
            others = [panel for panel in pair.panels if isinstance(panel, Heatmap)]
            assert len(others) == 4
            for other in others:
                for axis in (0, 1):
                    assert stretches(other, axis) == stretches(own, axis)
                assert (other.rows, other.columns, other.row_names) == (own.rows, own.columns, own.row_names)
            assert own.rows or own.columns
