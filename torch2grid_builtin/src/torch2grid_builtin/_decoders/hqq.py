"""What HQQ writes: codes of which the rows lie in parts, with scales and zero points by groups along either axis.

Format: ``hqq/core/bitpack.py`` and ``hqq/core/quantize.py`` of hqq 0.2.8: ``(code − zero) × scale``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._decoders.codes import Across, Codes, Plain
from torch2grid_builtin._decoders.family import (
    Family,
    NotDecoded,
    Recipe,
    Stored,
    as_matrix,
    ceil,
    is_number,
    multiply,
    replace_shape,
    subtract,
    viewed,
)
from torch2grid_builtin._decoders.numbers import Grid, Weights
from torch2grid_core import LazyTensor

# bits: fields of a word, the first part of the rows in the highest one, and bytes of a word
_PACKED = {
    8: ((0,), 1),
    4: ((4, 0), 1),
    3: (tuple(range(27, -1, -3)), 4),
    2: ((6, 4, 2, 0), 1),
    1: (tuple(range(7, -1, -1)), 1),
}
_SETTINGS = (
    *("nbits", "group_size", "shape", "scale", "zero", "axis", "packing", "unpack_view_dtype", "view_as_float"),
    *("quant_scale", "quant_zero", "compute_dtype", "offload_meta", "encoded_state_dict", "stores_quant_config"),
    *("channel_wise", "optimize", "round_zero", "zero_scale", "scale_scale"),
)


class Hqq(Family):
    """HQQ of 1, 2, 3, 4 and 8 bits"""

    name: ClassVar[str] = "hqq"
    ends: ClassVar[tuple[str, ...]] = ("W_q",)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for module in here.modules("W_q"):
            yield f"{module}W_q", partial(_recipe, here, module)


def _recipe(here: Stored, module: str) -> Recipe:
    meta = f"{module}meta." if f"{module}meta.scale" in here.checkpoint else module
    codes, scale, zero = here.need(f"{module}W_q"), here.need(f"{meta}scale"), here.need(f"{meta}zero")
    if codes.ndim != 2:
        raise NotDecoded("the codes are not a matrix")
    bits, shape = _number(here, meta, "nbits"), _shape(here, meta)
    if bits is None:
        bits = _bits(codes, scale)
    if bits in _PACKED and is_number(codes):  # view_as_float: the words of the codes are stored as if they were numbers
        codes = viewed(codes, np.dtype(f"u{_PACKED[bits][1]}"))
    if bits not in _PACKED or codes.dtype.itemsize != _PACKED[bits][1]:
        raise NotDecoded(f"codes of {codes.dtype.name} for {str(bits)[:9]} bits")
    shifts, _ = _PACKED[bits]
    if shape is None:
        raise NotDecoded("the file does not tell the shape")
    count, columns = math.prod(shape), codes.shape[1]
    if not columns or count % columns or ceil(count // columns, len(shifts)) != codes.shape[0]:
        raise NotDecoded(f"codes of shape {list(codes.shape)} for a weight of shape {list(shape)}")
    rows = count // columns
    grids = [_grid(each, rows, columns) for each in (zero, scale)]
    block = grids[1].block
    numbers: Codes = Plain(codes) if bits == 8 else Across(codes, bits, shifts, rows, parted=True)
    names = here.here(*dict.fromkeys([f"{module}W_q", *(f"{meta}{each}" for each in _SETTINGS)]))
    group = columns if block[0] == 1 else rows
    scheme = f"HQQ {bits} bits, group {group}, axis {1 if block[0] == 1 else 0}"
    return Recipe(f"{module}weight", names, scheme, shape, Weights(numbers, [subtract(grids[0]), multiply(grids[1])]))


def _grid(tensor: LazyTensor, rows: int, columns: int) -> Grid:
    if tensor.size == 1:
        return Grid(Plain(replace_shape(tensor, (1, 1))), (rows, columns))
    if tensor.shape == (rows, 1):
        return Grid(Plain(as_matrix(tensor)), (1, columns))
    if tensor.shape == (1, columns):
        return Grid(Plain(as_matrix(tensor)), (rows, 1))
    raise NotDecoded(f"scales or zero points of shape {list(tensor.shape)}: they may be quantised themselves")


def _value(here: Stored, meta: str, name: str) -> list[Any]:
    """The numbers of a setting, which is a small tensor, or a plain value of the pickle."""
    if f"{meta}{name}" in here.checkpoint:
        found: list[Any] = here.values(f"{meta}{name}").reshape(-1).tolist()
        return found
    value = here.checkpoint.described.get(meta.rstrip("."), {}).get(name)
    return list(value) if isinstance(value, tuple) else [] if value is None else [value]


def _number(here: Stored, meta: str, name: str) -> int | None:
    found = _value(here, meta, name)
    return found[0] if len(found) == 1 and type(found[0]) is int and abs(found[0]) < 64 else None


def _shape(here: Stored, meta: str) -> tuple[int, ...] | None:
    found = _value(here, meta, "shape")
    good = 0 < len(found) < 9 and all(type(each) is int and 0 < each < 1 << 40 for each in found)
    return tuple(found) if good else None


def _bits(codes: LazyTensor, scale: LazyTensor) -> int | None:
    """The bits, where they are not stored: as many rows of the codes as there are scales."""
    if scale.ndim == 2 and scale.shape[1] == 1:
        per = ceil(scale.shape[0], codes.shape[0])
        return {1: 8, 2: 4, 4: 2, 8: 1, 10: 3}.get(per)
    return None
