"""Sixteen million weights out of codes and scales, as a pass reads them, beside numpy's plain way of all at once.

Targets, of one core: 1.0 G weights/s of codes that lie along the rows, 0.3 of those that are stored turned (GPTQ, AWQ, MXFP4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from torch2grid_builtin._decoders.codes import Across, Along, Down, Plain, turned
from torch2grid_builtin._decoders.numbers import Grid, Step, Turned, Weights
from torch2grid_builtin._decoders.unpacking import FP4, integers
from torch2grid_core import LazyTensor
from torch2grid_core.sources import BytesStorage, Storage

Array = np.ndarray[Any, Any]
SIDE, GROUP = 4096, 128
RANDOM = np.random.default_rng(0)
_AWQ = tuple(4 * (0, 2, 4, 6, 1, 3, 5, 7).index(column) for column in range(8))


def stored(array: Array) -> LazyTensor:
    return LazyTensor("stored", array.shape, array.dtype, BytesStorage(np.ascontiguousarray(array).view(np.uint8)))


def words(rows: int, columns: int) -> LazyTensor:
    return stored(RANDOM.integers(-(2**31), 2**31, (rows, columns)).astype(np.int32))


def halves(rows: int, columns: int) -> LazyTensor:
    return stored(RANDOM.random((rows, columns)).astype(np.float16))


def int4() -> Storage:
    scale = Grid(Plain(halves(SIDE, SIDE // GROUP)), (1, GROUP))
    return Weights(Along(words(SIDE, SIDE // 8), 4, integers(4, 8), SIDE), [Step("multiply", scale)])


def mlx() -> Storage:
    scale, bias = (Grid(Plain(halves(SIDE, SIDE // 64)), (1, 64)) for _ in range(2))
    codes = Along(words(SIDE, SIDE // 8), 4, integers(4), SIDE)
    return Weights(codes, [Step("multiply", scale), Step("add", bias)])


def fp8() -> Storage:
    codes = RANDOM.integers(0, 120, (SIDE, SIDE)).astype(np.uint8).view(ml_dtypes.float8_e4m3fn)
    scale = Grid(Plain(stored(RANDOM.random((SIDE // 128, SIDE // 128)).astype(np.float32))), (128, 128))
    return Weights(Plain(stored(codes)), [Step("multiply", scale)])


def nf4() -> Storage:
    rows = SIDE * SIDE // 64
    codes = Along(
        stored(RANDOM.integers(0, 256, (1, SIDE * SIDE // 2)).astype(np.uint8)), 4, FP4, 64, high_first=True, flat=(rows, 64)
    )
    scale = Grid(Plain(stored(RANDOM.random((rows, 1)).astype(np.float32))), (1, 64))
    return Weights(codes, [Step("multiply", scale)], SIDE * SIDE)


def gptq() -> Storage:
    zero = Grid(Down(Along(words(SIDE // GROUP, SIDE // 8), 4, integers(4), SIDE)), (1, GROUP), plus=1)
    scale = Grid(Plain(turned(halves(SIDE // GROUP, SIDE))), (1, GROUP))
    codes = Along(turned(words(SIDE // 8, SIDE)), 4, integers(4), SIDE)
    return Weights(codes, [Step("subtract", zero), Step("multiply", scale)])


def awq() -> Storage:
    zero = Grid(Across(turned(words(SIDE // GROUP, SIDE // 8)), 4, _AWQ, SIDE), (1, GROUP))
    scale = Grid(Plain(turned(halves(SIDE // GROUP, SIDE))), (1, GROUP))
    codes = Across(turned(words(SIDE, SIDE // 8)), 4, _AWQ, SIDE)
    return Weights(codes, [Step("subtract", zero), Step("multiply", scale)])


def mxfp4() -> Storage:
    codes = Along(stored(RANDOM.integers(0, 256, (SIDE, SIDE // 2)).astype(np.uint8)), 4, FP4, SIDE)
    exponents = stored(RANDOM.integers(100, 130, (SIDE, SIDE // 32)).astype(np.uint8))
    return Turned(Weights(codes, [Step("multiply", Grid(Plain(exponents), (1, 32), exponents=True))]), SIDE)


WAYS: dict[str, Callable[[], Storage]] = {
    "INT4, group 128": int4,
    "MLX, 4 bits": mlx,
    "FP8, blocks": fp8,
    "NF4": nf4,
    "GPTQ, 4 bits": gptq,
    "AWQ": awq,
    "MXFP4, turned": mxfp4,
}


@pytest.mark.parametrize("scheme", WAYS)
@pytest.mark.benchmark(group="decoding 16 million weights")
def test_decoding(benchmark: Any, scheme: str) -> None:
    tensor = LazyTensor("weight", (SIDE, SIDE), np.dtype(np.float32), WAYS[scheme]())

    def run() -> int:
        return sum(len(chunk) for _, chunk in tensor.flat_chunks())

    assert benchmark(run) == SIDE * SIDE


@pytest.mark.benchmark(group="decoding 16 million weights")
def test_the_plain_way(benchmark: Any) -> None:
    codes, scale = words(SIDE, SIDE // 8).numpy(), halves(SIDE, SIDE // GROUP).numpy().astype(np.float32)

    def run() -> Array:
        each = (codes[..., None] >> np.arange(0, 32, 4, dtype=np.int32)) & 15
        values = (each.reshape(SIDE, -1, GROUP) - 8).astype(np.float32)
        return values * scale[..., None]

    assert benchmark(run).size == SIDE * SIDE
