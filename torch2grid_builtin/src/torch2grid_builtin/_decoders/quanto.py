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
from torch2grid_core import LazyTensor


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
    per = _codes_a_byte(here, rows, packed)
    bits = 8 // per
    shape, text = ((rows, *kernel), "") if kernel else _shape(here, name, rows, columns)
    codes = Across(packed, bits, [bits * part for part in range(per)], rows, parted=True)
    block = (1, columns)
    steps = [multiply(Grid(Plain(scale), block)), subtract(Grid(Plain(shift), block))]
    scheme = f"quanto qint{bits}, a scale per kernel" if kernel else f"quanto qint{bits}, group {columns}{text}"
    return Recipe(name, _names(here, name, "_data._data", "_scale", "_shift"), scheme, shape, Weights(codes, steps))


def _codes_a_byte(here: Stored, rows: int, packed: LazyTensor) -> int:
    """2 of qint4, 4 of qint2. Of one row or two both would fit: then it is what the others of the file have."""
    fits = _fitting(rows, packed)
    if not fits:
        raise NotDecoded(f"{rows} scales for codes of shape {list(packed.shape)}")
    if len(fits) > 1:
        fits = set()
        for front in here.modules("_data"):
            scale, other = here.get(f"{front.removesuffix('_data.')}_scale"), here.get(f"{front}_data")
            found = (
                _fitting(scale.size, other) if front.endswith("._data.") and scale is not None and other is not None else set()
            )
            fits |= found if len(found) == 1 else set()
        if len(fits) != 1:
            raise NotDecoded("the file does not tell whether they have 2 bits or 4")
    return fits.pop()


def _fitting(rows: int, packed: LazyTensor) -> set[int]:
    return {each for each in (2, 4) if packed.ndim and ceil(rows, each) == packed.shape[0]}


def _shape(here: Stored, name: str, rows: int, columns: int) -> tuple[tuple[int, int], str]:
    """The shape of the weight, which the file does not state: its bias has a number for each row."""
    module = name.rpartition(".")[0]
    bias = here.get(f"{module}.bias" if module else "bias")
    if bias is not None and bias.ndim == 1 and bias.size and rows % bias.size == 0:
        return (bias.size, rows // bias.size * columns), ""
    return (rows, columns), ", in rows of a group: the file does not tell the shape"
