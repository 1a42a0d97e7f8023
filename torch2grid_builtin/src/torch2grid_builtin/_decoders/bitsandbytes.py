"""What bitsandbytes writes: NF4 and FP4 by a table, with statistics that may be quantised once more, and INT8 by rows.

Format: ``QuantState.as_dict`` and ``dequantize_4bit`` of ``bitsandbytes/functional.py``; ``Linear8bitLt`` of ``nn/modules.py``.
Blocks run over the flat weight, across its rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._decoders.codes import Along, Codes, Plain
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
from torch2grid_builtin._decoders.numbers import Computed, Grid, Weights
from torch2grid_builtin._inert.opened import same_view
from torch2grid_core import LazyTensor

_STATES = ("bitsandbytes__nf4", "bitsandbytes__fp4")
_STATISTICS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")  # of a state dict, in the order of the fields


@dataclass(frozen=True)
class _Statistics:
    """What is stored of one weight's statistics: names of tensors, and what describes them. Names are empty where none is."""

    kind: str
    names: Sequence[str]  # of the statistics, the table, and what these are quantised by
    shape: Any
    block: Any
    outer_block: Any
    offset: Any
    more: tuple[str, ...] = ()

    @property
    def absmax(self) -> str:
        return self.names[0]

    @property
    def table(self) -> str:
        return self.names[1]

    @property
    def outer(self) -> str:
        return self.names[2]

    @property
    def outer_table(self) -> str:
        return self.names[3]


class BitsAndBytes(Family):
    """bitsandbytes: NF4 and FP4, nested or not, and INT8"""

    name: ClassVar[str] = "bitsandbytes"
    ends: ClassVar[tuple[str, ...]] = (*_STATES, "SCB", "code")

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for end in _STATES:
            for module in here.modules(end):
                name = module.removesuffix("quant_state.").removesuffix(".")
                yield name, partial(_four, here, name, partial(_stated, here, name, f"{module}{end}"))
        for front in here.modules("code"):
            if front.endswith(".quant_state."):
                name = front.removesuffix(".quant_state.")
                yield name, partial(_four, here, name, partial(_pickled, here, front))
        for front in here.modules("SCB"):
            # Beside the codes in a state dict; in a pickled module, of its parameter, or of the state of its last run.
            module = front.removesuffix("weight." if front.endswith(".weight.") or front == "weight." else "state.")
            yield f"{module}weight", partial(_eight, here, module, front)


def _stated(here: Stored, name: str, state: str) -> _Statistics:
    """As a state dict has them: a description in JSON, and tensors beside the codes."""
    stated = here.text(state)
    names = [each if each in here.checkpoint else "" for each in (f"{name}.{end}" for end in _STATISTICS)]
    return _Statistics(
        state[-3:], names, stated.get("shape"), stated.get("blocksize"), stated.get("nested_blocksize", 256),
        stated.get("nested_offset", 0.0), (state,),
    )  # fmt: skip


def _pickled(here: Stored, front: str) -> _Statistics:
    """As an object of the pickle has them: ``QuantState``."""
    stated = here.checkpoint.described.get(front.rstrip("."), {})
    second = here.checkpoint.described.get(f"{front}state2", {})
    ends = ("absmax", "code", "state2.absmax", "state2.code", "offset")
    *names, offset = (f"{front}{end}" if f"{front}{end}" in here.checkpoint else "" for end in ends)
    plus = here.values(offset).astype(float).reshape(-1).tolist() if offset else [0.0]
    shape = stated.get("shape")
    return _Statistics(
        str(stated.get("quant_type")), names, list(shape) if isinstance(shape, tuple) else None, stated.get("blocksize"),
        second.get("blocksize", 256), plus[0] if len(plus) == 1 else None, (offset,),
    )  # fmt: skip


def _four(here: Stored, name: str, statistics: Callable[[], _Statistics]) -> Recipe:
    stated = statistics()
    shape = stated.shape
    if not isinstance(shape, list) or not 0 < len(shape) < 9 or not all(type(each) is int and each > 0 for each in shape):
        raise NotDecoded("the statistics tell no shape")
    block = _block_size(stated.block)
    packed = as_bytes(here.need(name))
    count = math.prod(shape)
    if ceil(count, 2) > packed.size:
        raise NotDecoded(f"{packed.size} bytes of codes for a weight of shape {shape}")
    rows, values = ceil(count, block), _map(here, stated.table or f"{name}.quant_map", 16)
    codes = Along(packed, 4, values, block, high_first=True, flat=(rows, block))
    absmax = _flat(here.need(stated.absmax or f"{name}.absmax"))
    if absmax.size < rows:
        raise NotDecoded(f"{absmax.size} statistics for {rows} blocks")
    scales: Codes = Plain(replace(absmax, shape=(rows, 1)))
    plus, nested = 0.0, ""
    if stated.outer:
        if type(stated.offset) not in (int, float) or absmax.dtype.name != "uint8":
            raise NotDecoded("its nested statistics cannot be read")
        plus, nested = float(stated.offset), ", nested statistics"
        scales = _nested(here, stated, absmax, rows)
    elif absmax.dtype.name == "uint8":
        raise NotDecoded("its nested statistics are not here")
    names = [each for each in (*stated.names, *stated.more) if each]
    scheme = f"bitsandbytes {stated.kind.upper()}, group {block}{nested}"
    weights = Weights(codes, [multiply(Grid(scales, (1, block), plus=plus))], count)
    return Recipe(name, (name, *here.here(*names)), scheme, tuple(shape), weights)


def _nested(here: Stored, stated: _Statistics, absmax: LazyTensor, rows: int) -> Codes:
    block, outer = _block_size(stated.outer_block), _flat(here.need(stated.outer))
    groups = ceil(rows, block)
    if outer.size < groups:
        raise NotDecoded(f"{outer.size} nested statistics for {groups} blocks")
    values = _map(here, stated.outer_table or "nested_quant_map", 256)
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


def _eight(here: Stored, module: str, front: str) -> Recipe | None:
    codes, scale = here.need(f"{module}weight"), here.need(f"{front}SCB")
    if codes.dtype.name != "int8":
        return None
    form = here.get(f"{module}weight_format")
    if form is not None and here.values(f"{module}weight_format").reshape(-1).tolist() != [0]:
        raise NotDecoded("they are stored in the order of a GPU's kernel")
    if codes.ndim != 2 or scale.size != codes.shape[0]:
        raise NotDecoded(f"{scale.size} scales for weights of shape {list(codes.shape)}")
    grid = Grid(Plain(replace(_flat(scale), shape=(codes.shape[0], 1))), (1, codes.shape[1]), shrink=127.0)
    again = here.get(f"{front}CB") if front != module else None  # pickled modules hold the codes twice
    copies = [again.name] if again is not None and same_view(again, codes) else []
    stored = here.here(f"{module}weight", f"{front}SCB", f"{module}weight_format", *copies)
    weights = Weights(Plain(as_matrix(codes)), [multiply(grid)])
    return Recipe(f"{module}weight", stored, "bitsandbytes INT8, a scale per row", codes.shape, weights)
