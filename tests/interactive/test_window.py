"""The window of numbers that the menu opens: places, indices, short texts, and how little of a tensor is read."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.views.drawing import checkpoint_of

from torch2grid_core import LazyTensor
from torch2grid_core._cli.window import Sheet, Stopped, brief, measured, next_not_finite, own_place, plain_lines

SHAPES = [(), (1,), (23,), (4, 7), (3, 1), (2, 3, 4), (2, 2, 3, 5), (1, 1, 1)]
SLICES = [(), (slice(1, None),), (slice(None, None, 2),), (..., slice(2, 5)), (1,), (..., 1), (1, slice(1, 3))]


def tensor_of(array: np.ndarray) -> LazyTensor:
    return checkpoint_of({"w": array})["w"]


def opened() -> list[tuple[np.ndarray, LazyTensor]]:
    """Tensors and parts of tensors, each beside the whole array that it is of, whose numbers are their own flat indices."""
    found = []
    for shape in SHAPES:
        whole = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
        for index in SLICES:
            try:
                part = tensor_of(whole).view(index)
            except IndexError:
                continue
            if part.size:
                found.append((whole, part))
    return found


@pytest.mark.parametrize("across", [1, 4, 10])
def test_every_number_stands_at_its_own_index(across: int) -> None:
    assert len(opened()) > 30
    for whole, tensor in opened():
        sheet = Sheet(tensor, across)
        texts = sheet.texts(0, sheet.rows, 0, sheet.columns)
        assert sum(map(len, texts)) == tensor.size
        for row in range(sheet.rows):
            for column in range(sheet.columns):
                flat = sheet.place(row, column)
                if flat is None:
                    assert column >= len(texts[row])
                    continue
                index = sheet.index(flat)
                assert texts[row][column] == str(whole[index]) == sheet.exact(flat)
                assert sheet.where(flat) == (row, column)
                assert sheet.flat(index) == flat
                assert len(sheet.label(row)) <= sheet.label_width
                labels = [int(each) for each in sheet.label(row).split(", ") if each]
                if sheet.wrapped:
                    assert sheet.head(column).startswith("+")
                elif tensor.ndim:  # the row's label and the column's head are the index
                    assert sorted([*labels, int(sheet.head(column))]) == sorted(index)


def test_a_window_is_that_part_of_the_whole() -> None:
    for _, tensor in opened():
        sheet = Sheet(tensor, 4)
        whole = sheet.texts(0, sheet.rows, 0, sheet.columns)
        for top, bottom, left, right in [(0, 1, 0, 1), (1, 4, 1, 3), (2, 99, 0, 99), (99, 120, 0, 4), (0, 3, 99, 120)]:
            shown = [row[left:right] for row in whole[top:bottom]] if left < sheet.columns else []
            assert sheet.texts(top, bottom, left, right) == shown


def test_indices_that_are_not_there_are_told() -> None:
    sheet = Sheet(tensor_of(np.zeros((4, 7))))
    assert sheet.flat([]) == 0
    assert sheet.flat([2]) == 14
    assert sheet.flat([-1, -1]) == 27
    for index in [(4,), (0, 7), (0, -8), (0, 0, 0)]:
        with pytest.raises(IndexError, match=r"no weight \[.*\]: the shape is \(4, 7\)"):
            sheet.flat(index)
    part = Sheet(tensor_of(np.zeros((4, 7))).view((2, slice(1, 7, 2))))
    assert part.flat([2, 5]) == 2
    assert part.flat([-2, -2]) == 2
    for index in [(1, 1), (2, 2), (2, 0)]:
        with pytest.raises(IndexError, match=r"the shape is \(4, 7\), of which \[2, 1:7:2\] is open"):
            part.flat(index)
    assert Sheet(tensor_of(np.zeros(()))).flat([]) == 0
    with pytest.raises(IndexError):
        Sheet(tensor_of(np.zeros((0, 3)))).flat([])


@given(st.lists(st.floats(-1.7e308, 1.7e308) | st.floats(-1, 1) | st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1))
def test_texts_fit_and_are_near(numbers: list[float]) -> None:
    texts = brief(np.array(numbers), 9)
    assert max(map(len, texts)) <= 9
    for text, number in zip(texts, numbers, strict=True):
        assert math.isnan(number) if text == "nan" else math.isclose(float(text), number, rel_tol=0.06)
        if 1e-3 <= abs(number) < 1e4:
            assert math.isclose(float(text), number, rel_tol=6e-4)


def test_texts_of_other_types() -> None:
    assert brief(np.array([True, False]), 9) == ["True", "False"]
    assert brief(np.array([123456789, -(2**62)]), 9) == ["123456789", "-4.61e+18"]
    assert brief(np.array([0.1, -3], ml_dtypes.bfloat16), 9) == ["0.1001", "-3"]
    assert brief(np.array([1e-9 - 2.5j], np.complex64), 19) == ["1e-09-2.5j"]
    widest = np.array([complex(-1.2345e-300, -1.2345e-300)])
    assert len(brief(widest, Sheet(tensor_of(widest)).width)[0]) <= Sheet(tensor_of(widest)).width


class Counting:
    """A storage of zeros that notes what is read of it."""

    shippable = False

    def __init__(self, size: int) -> None:
        self.size, self.bytes = size, 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        assert offset + len(buffer) <= self.size
        self.bytes += len(buffer)
        buffer[:] = bytes(len(buffer))


@pytest.mark.parametrize("shape", [(131072, 4096), (64, 2048, 4096), (2**29,)])
def test_of_two_gigabytes_a_window_is_read(shape: tuple[int, ...]) -> None:
    storage = Counting(4 * math.prod(shape))
    sheet = Sheet(LazyTensor("w", shape, np.dtype(np.float32), storage))
    for top in (0, sheet.rows // 2 - 3, sheet.rows - 20):
        storage.bytes = 0
        assert len(sheet.texts(top, top + 20, 3, 8)) == 20
        assert (sheet.exact(top * sheet.columns), sheet.head(5)[-1]) == ("0.0", "5")
        assert storage.bytes <= 4 * 20 * 10 + 4


def test_figures_are_numpys() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(50, 40)).astype(np.float32)
    array[3, 4], array[7, 7], array[9, 9], array[10] = np.nan, np.inf, -80, 1e-9
    found = measured(tensor_of(array), 1e-6)
    finite = array[np.isfinite(array)]
    assert found.distribution.mean == pytest.approx(finite.mean(dtype=float))
    assert found.distribution.near_zero(1e-6) == 40
    assert (found.distribution.nan, found.distribution.posinf) == (1, 1)
    assert found.largest.values[0] == -80
    assert own_place(found, tensor_of(array), int(found.largest.indices[0])) == 9 * 40 + 9


def test_a_tensor_that_repeats_is_measured_once() -> None:
    storage = tensor_of(np.array([[1.0], [-5.0], [2.0]], np.float32)).storage
    wide = LazyTensor("w", (3, 2**40), np.dtype(np.float32), storage, strides=(1, 0))
    found = measured(wide, 1e-6)
    assert found.distribution.count == 3
    assert own_place(found, wide, int(found.largest.indices[0])) == 2**40
    assert Sheet(wide).texts(0, 3, 2**39, 2**39 + 2) == [["1", "1"], ["-5", "-5"], ["2", "2"]]


def test_the_next_nan_is_the_next() -> None:
    array = np.zeros(1_000_000, np.float32)
    for place in (5, 600_000, 999_999):
        array[place] = np.nan if place != 5 else np.inf
    tensor = tensor_of(array)
    found, after = [], 0
    for _ in range(4):
        after = next_not_finite(tensor, after)
        found.append(after)
    assert found == [5, 600_000, 999_999, 5]
    assert next_not_finite(tensor_of(np.zeros(9)), 4) is None
    assert next_not_finite(tensor_of(np.zeros(9, np.int8)), 4) is None
    shares: list[float] = []
    with pytest.raises(Stopped):
        next_not_finite(tensor_of(np.zeros(1_000_000)), 0, lambda share: shares.append(share) or len(shares) < 2)
    assert len(shares) == 2
    with pytest.raises(Stopped):
        measured(tensor, 0.1, lambda share: False)


def test_plain_lines_say_what_is_shown() -> None:
    array = np.arange(300, dtype=np.float32).reshape(20, 15)
    lines = plain_lines(tensor_of(array), 3 * 15 + 2, columns=40, lines=4, threshold=1e-6)
    assert lines[0] == "(20, 15) float32, 300 weights"
    assert lines[1].startswith("mean 149.5, std ")
    assert lines[2].split() == ["2", "3", "4"]
    assert [line.split() for line in lines[3:7]] == [
        [str(row), *(str(15 * row + c) for c in (2, 3, 4))] for row in (3, 4, 5, 6)
    ]
    assert lines[7] == "… rows 3 to 6, columns 2 to 4 of 20×15"
    assert max(map(len, lines[2:])) <= 40
    vector = plain_lines(tensor_of(np.arange(300)), 250, columns=80, lines=2, threshold=1e-6)
    assert [line.split()[0] for line in vector[3:5]] == ["250", "255"]
    assert vector[5] == "… weights 250 to 259 of 300"
    assert plain_lines(tensor_of(np.float32(7)), 0, 80, 9, 0)[-1].split() == ["7"]
    assert plain_lines(tensor_of(np.zeros((0, 4))), 0, 80, 9, 0)[-1] == "no numbers"
    part = plain_lines(tensor_of(array).view((slice(4, 9), slice(10, 15, 2))), 0, 80, 2, 0)
    assert part[0] == "(5, 3) float32, 15 weights, part [4:9, 10:15:2]"
    assert part[-1] == "… rows 4 to 5, columns 10 to 14 of 20×15"
