"""What optimum-quanto writes: codes with a scale for each row or group, packed along the first dimension in parts.

Format: ``optimum/quanto/tensor/packed.py``, ``grouped.py`` and ``qbits.py`` of optimum-quanto 0.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from torch2grid_builtin._decoders.codes import Across, Plain
from torch2grid_builtin._decoders.family import (
    Family,
    NotDecoded,
    Recipe,
    Stored,
    as_matrix,
    block_grid,
    block_text,
    ceil,
    multiply,
    replace_shape,
    subtract,
)
from torch2grid_builtin._decoders.numbers import Grid, Weights


class Quanto(Family):
    """optimum-quanto: qint2, qint4, qint8 and qfloat8"""

    name: ClassVar[str] = "quanto"
    ends: ClassVar[tuple[str, ...]] = ("_data",)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for front in here.modules("_data"):
            if front.endswith("._data."):
                name = front.removesuffix("._data.")
                yield name, partial(_bits, here, name)
            elif f"{front}_scale" in here.checkpoint:
                yield front[:-1], partial(_plain, here, front[:-1])


def _names(here: Stored, name: str, *own: str) -> tuple[str, ...]:
    module = name.rpartition(".")[0]
    others = [f"{module}.{each}" if module else each for each in ("input_scale", "output_scale")]
    return here.here(*(f"{name}.{each}" for each in own), *others)


def _plain(here: Stored, name: str) -> Recipe:
    codes, scale = here.need(f"{name}._data"), here.need(f"{name}._scale")
    if codes.ndim < 1 or codes.dtype.itemsize != 1:
        raise NotDecoded(f"codes of {codes.dtype.name}")
    shape = codes.shape
    if codes.ndim > 2:  # a kernel: a scale for each of the first dimension
        flat = as_matrix(codes)
        if scale.size not in (1, shape[0]) or not scale.contiguous:
            raise NotDecoded(f"scales of shape {list(scale.shape)} for weights of shape {list(shape)}")
        rows = flat.shape[0] if scale.size == 1 else flat.shape[0] // shape[0]
        grid = Grid(Plain(replace(scale, shape=(scale.size, 1), strides=None)), (rows, flat.shape[1]))
        text = "a scale per tensor" if scale.size == 1 else "a scale per kernel"
    else:
        flat = as_matrix(codes)
        grid, block = block_grid(scale, shape, None)
        text = block_text(block, shape)
    kind = "qint8" if codes.dtype.name == "int8" else codes.dtype.name.replace("float8", "qfloat8")
    stored = _names(here, name, "_data", "_scale")
    return Recipe(name, stored, f"quanto {kind}, {text}", shape, Weights(Plain(flat), [multiply(grid)]))


def _bits(here: Stored, name: str) -> Recipe:
    """``scale × code − shift``; groups are the rows of the packed matrix. Kernels are no groups: a row is one of them."""
    packed, scale, shift = here.need(f"{name}._data._data"), here.need(f"{name}._scale"), here.need(f"{name}._shift")
    kernel = packed.shape[1:] if packed.ndim > 2 else ()
    if kernel and scale.size == scale.shape[0] and shift.shape == scale.shape and packed.size:
        packed = as_matrix(replace_shape(packed, (packed.shape[0], math.prod(kernel))))
        scale, shift = (replace_shape(each, (each.size, 1)) for each in (scale, shift))
    if packed.dtype.name != "uint8" or packed.ndim != 2 or scale.ndim != 2 or shift.shape != scale.shape:
        raise NotDecoded(f"scales of shape {list(scale.shape)} for codes of shape {list(packed.shape)}")
    if scale.shape[1] != 1:
        raise NotDecoded("they are quantised along another dimension than the first")
    rows, columns = scale.shape[0], packed.shape[1]
    per = next((each for each in (2, 4) if ceil(rows, each) == packed.shape[0]), 0)
    if not per:
        raise NotDecoded(f"{rows} scales for codes of shape {list(packed.shape)}")
    bits = 8 // per
    shape, text = ((rows, *kernel), "") if kernel else _shape(here, name, rows, columns)
    codes = Across(packed, bits, [bits * part for part in range(per)], rows, parted=True)
    block = (1, columns)
    steps = [multiply(Grid(Plain(scale), block)), subtract(Grid(Plain(shift), block))]
    scheme = f"quanto qint{bits}, a scale per kernel" if kernel else f"quanto qint{bits}, group {columns}{text}"
    return Recipe(name, _names(here, name, "_data._data", "_scale", "_shift"), scheme, shape, Weights(codes, steps))


def _shape(here: Stored, name: str, rows: int, columns: int) -> tuple[tuple[int, int], str]:
    """The shape of the weight, which the file does not state: its bias has a number for each row."""
    module = name.rpartition(".")[0]
    bias = here.get(f"{module}.bias" if module else "bias")
    if bias is not None and bias.ndim == 1 and bias.size and rows % bias.size == 0:
        return (bias.size, rows // bias.size * columns), ""
    return (rows, columns), ", in rows of a group: the file does not tell the shape"
