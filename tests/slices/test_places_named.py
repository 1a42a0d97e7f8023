"""What a table or a sentence says of a row, a column or a token of a part of a tensor is said of the whole tensor's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies as st
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.two import Comparing, Tolerance
from torch2grid_core._data.indexing import index_text
from torch2grid_core.grids import matrix_shape
from torch2grid_core.selection import select

SHAPES = ((40, 30), (30,), (9, 7, 5), (6, 5, 3, 3), (4, 40, 36))  # the last is a stack of matrices


@st.composite
def changed_parts(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], tuple[Any, ...], set[tuple[int, ...]]]:
    """An array, the part that is compared, and the indices of the weights in it that changed: of a few rows, or columns."""
    shape = draw(st.sampled_from(SHAPES))
    index: list[Any] = []
    for length in shape:
        first = draw(st.integers(0, length - 2))
        stop = draw(st.integers(first + 2, length))
        way = draw(st.integers(0, 9))
        index.append(first if way == 0 else slice(first, stop, draw(st.integers(1, 2))) if way < 7 else slice(None))
    whole = np.arange(int(np.prod(shape))).reshape(shape)
    part = whole[tuple(index)]
    if part.ndim == 0:
        index[0], part = slice(None), whole[(slice(None), *index[1:])]
    form = part.reshape(matrix_shape(part.shape))
    axis = draw(st.integers(0, 1))
    units = draw(st.lists(st.integers(0, form.shape[axis] - 1), min_size=1, max_size=3))
    flat = np.take(form, units, axis).reshape(-1)
    return whole.astype(np.float32) + 1, tuple(index), {tuple(map(int, np.unravel_index(each, shape))) for each in flat}


def named(text: str) -> list[int]:
    """``3, 5–7`` as numbers."""
    ends = [list(map(int, piece.split("–"))) for piece in text.replace(" ", "").split(",")]
    return [each for first, *last in ends for each in range(first, (last or [first])[0] + 1)]


@settings(phases=[Phase.generate], derandomize=True)
@given(changed_parts())
def test_a_comparison_counts_rows_and_columns_as_the_whole_does(
    case: tuple[np.ndarray[Any, Any], tuple[Any, ...], set[tuple[int, ...]]],
) -> None:
    before, index, changed = case
    after = before.copy()
    for place in changed:
        after[place] *= -2
    a, b = (select(t2g.load({"w": each}), slice=index_text(index)).checkpoint for each in (before, after))
    found = Comparing(a, b).compare(Tolerance())
    (text,) = [each.text for each in found.differences]
    left = [axis for axis, each in enumerate(index) if isinstance(each, slice)]
    lengths = tuple(before.shape[axis] for axis in left)
    own = {tuple(place[axis] for axis in left) for place in changed}
    for word, units, count in re.findall(r"(rows?|columns?|matrix|matrices) ([\d–, ]+) of ([\d,]+)", text):
        rows, columns = matrix_shape(lengths)
        is_row = not word.startswith("column")
        said, axis = (named(units), int(count.replace(",", ""))), 0 if is_row else 1
        of_whole = sorted({place[axis] for place in changed if axis < before.ndim}), (*before.shape, 0)[axis]
        flat = {divmod(int(np.ravel_multi_index(place, lengths)), columns) for place in own}
        of_left = sorted({place[axis] for place in flat}), rows if is_row else columns
        assert said == of_whole if before.ndim == 2 else said in (of_whole, of_left), text
    for place in re.findall(r"one weight: \[([\d, ]+)\]", text):
        assert tuple(map(int, place.split(","))) in changed


ROWS = range(320, 420, 3)
COLUMNS = range(40, 96)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    random = np.random.default_rng(3)
    table = random.standard_normal((500, 96)).astype(np.float32) * 0.02
    table[350] *= 50
    table[:, 70] *= 12
    table[365] = table[341]
    table[380] = 0
    other = table.copy()
    other[353, 50] = 3
    save_file({"embed_tokens.weight": table}, folder / "a.safetensors")
    save_file({"embed_tokens.weight": np.concatenate([other, other[:8]])}, folder / "b.safetensors")
    words = {f"word{row}": row for row in range(500)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": words}}))
    return folder


PART = ("--slice", "320:420:3, 40:", "-q", "-o", "out")


def test_rows_of_a_vocabulary_have_their_own_tokens(planted: Path) -> None:
    done = torch2grid("a.safetensors", "--vocabulary", *PART, cwd=planted)
    rows = re.findall(r"embed_tokens\.weight +(\d+) +word(\d+) ", done.stdout)
    assert len(rows) == len(ROWS)
    assert all(row == token and int(row) in ROWS for row, token in rows)
    assert re.search(r" 365 +word365 .* equal to row 341$", done.stdout, re.MULTILINE)
    assert re.search(r" 380 +word380 .* zero$", done.stdout, re.MULTILINE)


def test_the_worst_rows_and_blocks_of_quantisation_are_those_of_the_whole(planted: Path) -> None:
    done = torch2grid("a.safetensors", "--quantization", *PART, cwd=planted)
    places = re.findall(r"embed_tokens\.weight \[(\d+)(?:, (\d+))?\]", done.stdout)
    assert len(places) > 5
    assert all(int(row) in ROWS and (not column or int(column) in COLUMNS) for row, column in places)


def test_what_sticks_out_and_what_repeats_is_named_by_the_whole(planted: Path) -> None:
    done = torch2grid("a.safetensors", "--outliers", *PART, cwd=planted)
    units = re.findall(r"(row|column) +(\d+)", done.stdout)
    assert ("row", "350") in units
    assert ("column", "70") in units
    assert all(int(unit) in (ROWS if word == "row" else COLUMNS) for word, unit in units)
    checked = torch2grid("check", "a.safetensors", *PART[:2], cwd=planted)
    assert "1 of 34 units repeats another: 365 = 341" in checked.stdout


def test_parts_of_tables_of_two_lengths_keep_their_indices(planted: Path) -> None:
    done = torch2grid("compare", "a.safetensors", "b.safetensors", *PART, "--layers", "--format", "svg", cwd=planted)
    (path,) = (planted / "out").rglob("*_delta.svg")
    assert done.returncode == 1
    assert path.read_text(encoding="utf-8").count(">320<") == 4  # a tick of A, B and both of Δ
