"""MXFP4 as gpt-oss stores its experts: blocks of 32 codes with an exponent each, turned.

Format: ``convert_moe_packed_tensors`` of transformers' ``integrations/mxfp4.py``; OCP microscaling formats, version 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from torch2grid_builtin._decoders.codes import Along, Plain
from torch2grid_builtin._decoders.family import Family, NotDecoded, Recipe, Stored, is_exponent, multiply
from torch2grid_builtin._decoders.numbers import Grid, Turned, Weights
from torch2grid_builtin._decoders.unpacking import FP4

_END = "_blocks"


class Mxfp4(Family):
    """MXFP4 of gpt-oss (_blocks and _scales), turned to the model's shapes"""

    name: ClassVar[str] = "mxfp4"
    ends: ClassVar[tuple[str, ...]] = ("_blocks",)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for end in (end for end in here.ends if end.endswith(_END)):
            for module in here.modules(end):
                yield f"{module}{end}", partial(_recipe, here, f"{module}{end.removesuffix(_END)}")


def _recipe(here: Stored, name: str) -> Recipe | None:
    blocks = here.need(f"{name}{_END}")
    if blocks.dtype.name != "uint8" or blocks.ndim < 3 or blocks.shape[-1] != 16:
        return None
    scales = here.need(f"{name}_scales")
    if not is_exponent(scales) or scales.shape != blocks.shape[:-1]:
        raise NotDecoded(f"scales of shape {list(scales.shape)} for blocks of shape {list(blocks.shape)}")
    if not blocks.contiguous or not scales.contiguous:
        raise NotDecoded("the codes do not lie in order")
    *lead, out, groups, _ = blocks.shape
    rows = scales.size // groups if groups else 0
    codes = Along(replace(blocks, shape=(rows, groups * 16), strides=None), 4, FP4, groups * 32)
    grid = Grid(Plain(replace(scales, shape=(rows, groups), strides=None)), (1, 32), exponents=True)
    weights = Turned(Weights(codes, [multiply(grid)]), out)
    return Recipe(name, (f"{name}{_END}", f"{name}_scales"), "MXFP4, group 32, turned", (*lead, groups * 32, out), weights)
