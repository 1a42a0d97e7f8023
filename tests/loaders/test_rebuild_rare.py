"""Quantised and sparse tensors as data: numbers by their formulas, and indices and scales that lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.loaders.rebuilt import STORAGE, built, made, of, values

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.values import Global, Pairs, StorageRef, Tensor
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage


def quantised(dtype: str, codes: np.ndarray, shape: Any, steps: Any, parameters: Any, offset: int = 0, **options: Any) -> Any:
    where = StorageRef(BytesStorage(codes.tobytes()), dtype, codes.size, **options)
    return built("_rebuild_qtensor", where, offset, shape, steps, parameters, False, Pairs())


def scheme(name: str, *rest: Any) -> tuple[Any, ...]:
    return (Global("torch", name), *rest)


CODES = np.arange(24, dtype=np.int8)


def test_one_scale_for_a_tensor() -> None:
    lazy = made(quantised("qint8", CODES, (2, 3), (3, 1), scheme("per_tensor_affine", 0.5, 4), 6))
    assert lazy.numpy().tolist() == [[1.0, 1.5, 2.0], [2.5, 3.0, 3.5]]
    assert (lazy.note, lazy.dtype, lazy.strides) == ("qint8, dequantised", np.dtype(np.float32), None)
    by_name, plain = ("torch.per_tensor_affine", 2, 0), scheme("per_tensor_affine", 1.0, 0)
    assert values(quantised("quint8", CODES.astype(np.uint8), (2,), (5,), by_name, 1, first=2)) == [6, 16]
    wide = np.array([2**30, -(2**30)], dtype=np.int32)
    assert values(quantised("qint32", wide.byteswap(), (2,), (1,), plain, swapped=True)) == wide.tolist()


def test_a_scale_for_each_channel() -> None:
    scales, zeros = of(np.array([1.0, 10.0, 100.0])), of(np.array([0, 1, 2]))
    for axis, steps in ((1, (12, 4, 1)), (0, (4, 12, 1)), (1, (12, 1, 3))):
        shape = (2, 3, 4) if axis else (3, 2, 4)
        plain = np.lib.stride_tricks.as_strided(CODES, shape, steps).astype(np.float32)
        turned = plain.swapaxes(axis, -1)
        expected = ((turned - np.float32([0, 1, 2])) * np.float32([1, 10, 100])).swapaxes(axis, -1)
        for name in ("per_channel_affine", "per_channel_affine_float_qparams"):
            lazy = made(quantised("qint8", CODES, shape, steps, scheme(name, scales, zeros, axis)))
            np.testing.assert_array_equal(lazy.numpy(), expected)
    shifted = made(quantised("qint8", CODES, (3, 2), (2, 1), scheme("per_channel_affine", scales, zeros, 0), 4, first=3))
    assert shifted.numpy().tolist() == [[7, 8], [80, 90], [900, 1000]]


def test_strides_that_hide_the_channel_are_not_read() -> None:
    two = (of(np.ones(2)), of(np.zeros(2, np.int64)))
    for shape, steps in (((2, 3), (0, 1)), ((2, 3), (2, 1)), ((2, 12), (12, 2)), ((2, 2), (3, 5))):
        found = quantised("qint8", CODES, shape, steps, scheme("per_channel_affine", *two, 0))
        fits = steps == (2, 1) and shape[1] <= 2
        assert fits or found.reason == "qint8 with these strides is not read", (shape, steps)
    assert made(quantised("qint8", CODES, (2, 3), (3, 1), scheme("per_channel_affine", *two, 0)))
    assert made(quantised("qint8", CODES, (2, 3), (4, 1), scheme("per_channel_affine", *two, 0)))
    assert made(quantised("qint8", CODES, (3, 2), (2, 1), scheme("per_channel_affine", *two, 1)))
    assert quantised("qint8", CODES, (3, 2), (3, 1), scheme("per_channel_affine", *two, 1)).lazy is None
    none = (of(np.ones(0)), of(np.zeros(0, np.int64)))
    assert quantised("qint8", CODES, (0, 3), (3, 1), scheme("per_channel_affine", *none, 0)).lazy is None


def made_apart() -> Tensor:
    """Two scales that are one number, as strides say."""
    lazy = of(np.ones(2)).lazy
    assert lazy is not None
    return Tensor(replace(lazy, strides=(0,)))


ONE = scheme("per_tensor_affine", 0.5, 4)
BAD_QUANTISED: list[tuple[tuple[Any, ...], str]] = [
    (("text", 0, (2,), (1,), ONE), "without storage or scale"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (2,), (1,), list(ONE)), "without storage or scale"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (2,), (1,), ONE[:2]), "without storage or scale"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (2, 1), (1,), ONE), "2 dimensions with 1 strides"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (2,), (1,), scheme("per_tensor_affine", "x", 4)), "scale is not a number"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (2,), (1,), scheme("per_tensor_affine", 1.0, 4.0)), "scale is not a number"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (2,), (1,), scheme("per_tensor_affine", 1.0, 2**62 + 1)), "scale is not a number"),
    ((StorageRef(STORAGE, "qint8", 96), 0, (97,), (1,), ONE), "97"),
    *(
        (
            (StorageRef(STORAGE, "qint8", 96), 0, (2, 3), (3, 1), scheme("per_channel_affine", scales, of(np.zeros(2)), axis)),
            reason,
        )
        for scales, axis, reason in (
            (of(np.ones(2)), 2, "along no dimension"),
            (of(np.ones(2)), -1, "along no dimension"),
            (of(np.ones(2)), 0.0, "along no dimension"),
            (of(np.ones(3)), 0, "3 scales for 2 channels"),
            (of(np.ones(2)), 1, "2 scales for 3 channels"),
            (of(np.ones((2, 1))), 0, "not a list of numbers"),
            (made_apart(), 0, "do not lie side by side"),
            ("text", 0, "not a list of numbers"),
            (Tensor(None, "why"), 0, "not a list of numbers"),
        )
    ),
]


@pytest.mark.parametrize(("args", "reason"), BAD_QUANTISED)
def test_a_quantized_tensor_that_cannot_be_is_refused(args: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        built("_rebuild_qtensor", *args)


def test_a_scheme_that_is_not_known_is_said() -> None:
    for dtype, parameters, reason in (
        ("float32", ONE, "quantized dtype float32 is not read"),
        ("", ONE, "quantized dtype unknown is not read"),
        ("qint8", scheme("per_row", 1.0, 0), "quantization scheme per_row is not read"),
        ("qint8", scheme("per_channel_affine", 1.0, 0), "quantization scheme per_channel_affine is not read"),
        ("qint8", ("odd", 1.0, 0), "quantization scheme odd is not read"),
    ):
        assert built("_rebuild_qtensor", StorageRef(STORAGE, dtype, 24), 0, (2,), (1,), parameters).reason == reason
    largest = scheme("per_tensor_affine", 1, 2**62)
    assert made(built("_rebuild_qtensor", StorageRef(STORAGE, "qint8", 96), 0, (96,), (1,), largest)).size == 96


def coo(indices: Any, stored: Any, size: Any, layout: Any = "torch.sparse_coo") -> Any:
    return built("_rebuild_sparse_tensor", layout, (indices, stored, size, True))


def rows(*lists: list[int]) -> Tensor:
    return of(np.array(lists, dtype=np.int64).reshape(len(lists), -1))


def test_sparse_coordinates() -> None:
    stored = of(np.array([5.0, 6.0]))
    found = made(coo(rows([0, 3], [5, 0]), stored, (4, 6)))
    assert (found.numpy().tolist(), found.note) == ([5, 6], "sparse_coo of size [4, 6]: its 2 stored values")
    assert values(coo(rows([0, 3], [5, 0]), stored, (4, 6), Global("torch", "sparse_coo"))) == [5, 6]
    hybrid = of(np.arange(6.0).reshape(2, 3))
    assert made(coo(rows([0, 3]), hybrid, (4, 3))).shape == (2, 3)
    noted = Tensor(LazyTensor("", (2,), np.dtype(np.float32), STORAGE, note="negative view"))
    assert made(coo(rows([0, 3]), noted, (4,))).note == "sparse_coo of size [4]: its 2 stored values, negative view"
    for indices, wrong in (
        (rows([0, 4], [5, 0]), "0–4 of 4"),
        (rows([0, 3], [6, 0]), "0–6 of 6"),
        (rows([0, 3], [-1, 0]), "-1–0 of 6"),
        (rows([0, 3]), "do not fit"),
        (rows([0, 3, 1], [0, 0, 0]), "do not fit"),
        (of(np.array([0, 3])), "do not fit"),
        (of(np.array([[0.0, 3.0], [0.0, 0.0]])), "not integers"),
    ):
        with pytest.raises(Malformed, match=wrong):
            coo(indices, stored, (4, 6))
    assert coo(rows([]), of(np.empty(0)), (4,)).lazy.size == 0
    for data in (None, (rows([0]), stored), [rows([0]), stored, (4,)]):
        with pytest.raises(Malformed, match="without indices, values and size"):
            built("_rebuild_sparse_tensor", "torch.sparse_coo", data)
    assert coo(rows([0]), Tensor(None, "why"), (4,)).reason == "why"
    assert coo(rows([0]), "text", (4,)).reason == "a sparse_coo tensor without values"
    assert made(coo("text", stored, (4,))).size == 2


def compressed(layout: str, ends: Any, indices: Any, stored: Any, size: Any) -> Any:
    return built("_rebuild_sparse_csr_tensor", f"torch.{layout}", (ends, indices, stored, size, True))


def line(*numbers: int, dtype: Any = np.int32) -> Tensor:
    return of(np.array(numbers, dtype=dtype))


@pytest.mark.parametrize(
    ("layout", "size", "stored"),
    [
        ("sparse_csr", (3, 5), np.arange(4.0)),
        ("sparse_csc", (5, 3), np.arange(4.0)),
        ("sparse_bsr", (6, 20), np.arange(32.0).reshape(4, 2, 4)),
        ("sparse_bsc", (10, 12), np.arange(32.0).reshape(4, 2, 4)),
    ],
)
def test_sparse_rows(layout: str, size: tuple[int, int], stored: np.ndarray) -> None:
    """Three rows (or columns) of five, with none, three and one value."""
    lazy = made(compressed(layout, line(0, 0, 3, 4), line(0, 2, 4, 4), of(stored), size))
    assert lazy.numpy().tolist() == stored.tolist()
    assert lazy.note == f"{layout} of size {list(size)}: its {stored.size} stored values"
    for ends, indices, reason in (
        (line(0, 0, 3), line(0, 2, 4, 4), "do not fit its 4 values"),
        (line(0, 0, 3, 4, 4), line(0, 2, 4, 4), "do not fit its 4 values"),
        (line(1, 1, 3, 4), line(0, 2, 4, 4), "do not fit its 4 values"),
        (line(0, 0, 3, 3), line(0, 2, 4, 4), "do not fit its 4 values"),
        (line(0, 5, 3, 4), line(0, 2, 4, 4), "do not fit its 4 values"),
        (line(0, 0, 3, 4), line(0, 2, 4), "do not fit its 4 values"),
        (line(0, 0, 3, 4), line(0, 2, 4, 5), "an index outside its size: 0–5 of 5"),
        (line(0, 0, 3, 4), line(0, -1, 4, 4), "an index outside its size: -1–4 of 5"),
        (line(0, 0, 3, 4, dtype=np.float32), line(0, 2, 4, 4), "not integers"),
    ):
        with pytest.raises(Malformed, match=reason):
            compressed(layout, ends, indices, of(stored), size)
    for ends, indices in (("text", line(0)), (line(0), Tensor(None, "why"))):
        assert made(compressed(layout, ends, indices, of(stored), size)).size == stored.size  # what cannot be checked is drawn
    with pytest.raises(Malformed, match="without indices, values and size"):
        built("_rebuild_sparse_csr_tensor", f"torch.{layout}", (line(0), line(0), of(stored)))


def test_indices_are_looked_at_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, far = of(np.array([5.0, 6.0])), rows([0, 9])
    for most, checked in ((2, True), (1, False)):
        monkeypatch.setattr(limits, "INDICES", most)
        if checked:
            with pytest.raises(Malformed, match="outside its size"):
                coo(far, stored, (4,))
            with pytest.raises(Malformed, match="outside its size"):
                compressed("sparse_csr", line(0, 2), line(0, 9), stored, (1, 4))
        else:
            assert made(coo(far, stored, (4,)))
            assert made(compressed("sparse_csr", line(0, 2), line(0, 9), stored, (1, 4)))


def test_batches_and_blocks_of_nothing_are_drawn_unchecked() -> None:
    stored = of(np.ones((2, 3)))
    ends, indices = of(np.zeros((2, 4), dtype=np.int64)), of(np.zeros((2, 3), dtype=np.int64))
    assert made(compressed("sparse_csr", ends, indices, stored, (2, 3, 5))).size == 6
    assert made(compressed("sparse_csr", line(0, 1), line(0), of(np.ones(1)), (3,))).size == 1
    assert made(compressed("sparse_bsr", line(0, 1), line(0), of(np.ones((1, 0, 2))), (3, 4))).size == 0
    assert made(compressed("sparse_bsr", line(0, 1), line(0), of(np.ones((1, 2))), (3, 4))).size == 2
    assert made(compressed("sparse_csr", line(0), line(), of(np.empty(0)), (0, 4))).size == 0
