"""What bitsandbytes writes: NF4 and FP4 by a table, with statistics that may be quantised once more, and INT8 by rows.

Format: ``QuantState.as_dict`` and ``dequantize_4bit`` of ``bitsandbytes/functional.py``; ``Linear8bitLt`` of ``nn/modules.py``.
Blocks run over the flat weight, across its rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._decoders.family import (
    Family,
    NotDecoded,
    Recipe,
    Stored,
    as_bytes,
    as_matrix,
    ceil,
    multiply,
)
from torch2grid_builtin._decoders.numbers import Along, Codes, Computed, Grid, Plain, Weights
from torch2grid_core import LazyTensor

_STATES = ("bitsandbytes__nf4", "bitsandbytes__fp4")
_STATISTICS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")


class BitsAndBytes(Family):
    """bitsandbytes: NF4 and FP4, nested or not, and INT8"""

    name: ClassVar[str] = "bitsandbytes"
    ends: ClassVar[frozenset[str]] = frozenset([*_STATES, "SCB"])

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for end in _STATES:
            for module in here.modules(end):
                name = module.removesuffix("quant_state.").removesuffix(".")
                yield name, lambda name=name, state=f"{module}{end}": _four(here, name, state)
        for module in here.modules("SCB"):
            yield f"{module}weight", lambda module=module: _eight(here, module)


def _four(here: Stored, name: str, state: str) -> Recipe:
    stated = here.text(state)
    shape, size = stated.get("shape"), stated.get("blocksize")
    if not isinstance(shape, list) or not 0 < len(shape) < 9 or not all(type(each) is int and each > 0 for each in shape):
        raise NotDecoded("the statistics tell no shape")
    block = _block_size(size)
    packed = as_bytes(here.need(name))
    count = math.prod(shape)
    if ceil(count, 2) > packed.size:
        raise NotDecoded(f"{packed.size} bytes of codes for a weight of shape {shape}")
    rows, values = ceil(count, block), _map(here, f"{name}.quant_map", 16)
    codes = Along(packed, 4, values, block, high_first=True, flat=(rows, block))
    absmax = _flat(here.need(f"{name}.absmax"))
    if absmax.size < rows:
        raise NotDecoded(f"{absmax.size} statistics for {rows} blocks")
    scales: Codes = Plain(replace(absmax, shape=(rows, 1)))
    plus, nested = 0.0, ""
    if f"{name}.nested_absmax" in here.checkpoint:
        outer = _block_size(stated.get("nested_blocksize", 256))
        offset = stated.get("nested_offset", 0.0)
        if type(offset) not in (int, float) or absmax.dtype.name != "uint8":
            raise NotDecoded("its nested statistics cannot be read")
        plus, nested = float(offset), ", nested statistics"
        scales = _nested(here, name, absmax, rows, outer)
    names = [f"{name}.{each}" for each in _STATISTICS]
    scheme = f"bitsandbytes {'NF4' if state.endswith('nf4') else 'FP4'}, group {block}{nested}"
    weights = Weights(codes, [multiply(Grid(scales, (1, block), plus=plus))], count)
    return Recipe(name, (name, *here.here(*names), state), scheme, tuple(shape), weights)


def _nested(here: Stored, name: str, absmax: LazyTensor, rows: int, block: int) -> Codes:
    outer = _flat(here.need(f"{name}.nested_absmax"))
    groups = ceil(rows, block)
    if outer.size < groups:
        raise NotDecoded(f"{outer.size} nested statistics for {groups} blocks")
    values = _map(here, f"{name}.nested_quant_map", 256)
    codes = Along(as_bytes(absmax), 8, values, block, flat=(groups, block))
    factor = Grid(Plain(replace(outer, shape=(groups, 1))), (1, block))
    return Computed(Weights(codes, [multiply(factor)], rows), rows, 1)


def _flat(tensor: LazyTensor) -> LazyTensor:
    if not tensor.contiguous:
        raise NotDecoded("the statistics do not lie in order")
    return replace(tensor, shape=(tensor.size,), strides=None)


def _map(here: Stored, name: str, count: int) -> tuple[float, ...]:
    found = here.values(name).astype(np.float32).reshape(-1)
    if len(found) != count:
        raise NotDecoded(f"a table of {len(found)} numbers")
    return tuple(found.tolist())


def _block_size(size: Any) -> int:
    if type(size) is not int or not 2 <= size <= 1 << 16 or size % 4:
        raise NotDecoded(f"blocks of {str(size)[:20]}")
    return size


def _eight(here: Stored, module: str) -> Recipe | None:
    codes, scale = here.need(f"{module}weight"), here.need(f"{module}SCB")
    if codes.dtype.name != "int8":
        return None
    form = here.get(f"{module}weight_format")
    if form is not None and here.values(f"{module}weight_format").reshape(-1).tolist() != [0]:
        raise NotDecoded("they are stored in the order of a GPU's kernel")
    if codes.ndim != 2 or scale.size != codes.shape[0]:
        raise NotDecoded(f"{scale.size} scales for weights of shape {list(codes.shape)}")
    grid = Grid(Plain(replace(_flat(scale), shape=(codes.shape[0], 1))), (1, codes.shape[1]), shrink=127.0)
    stored = here.here(f"{module}weight", f"{module}SCB", f"{module}weight_format")
    weights = Weights(Plain(as_matrix(codes)), [multiply(grid)])
    return Recipe(f"{module}weight", stored, "bitsandbytes INT8, a scale per row", codes.shape, weights)
