"""MXFP4 as gpt-oss stores its experts: blocks of 32 codes with an exponent each; turned in the files of transformers.

Formats: ``gpt_oss/torch/weights.py`` of OpenAI, whose names end in ``.blocks``; ``convert_moe_packed_tensors`` of transformers'
``integrations/mxfp4.py``; OCP microscaling formats, version 1.0.
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

_ENDS = {"_blocks": "_scales", "blocks": "scales"}  # of transformers, and of OpenAI's own files


class Mxfp4(Family):
    """MXFP4 of gpt-oss (_blocks and _scales), turned to the model's shapes"""

    name: ClassVar[str] = "mxfp4"
    ends: ClassVar[tuple[str, ...]] = ("_blocks", ".blocks")

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for end in (end for end in here.ends if end.endswith("_blocks")):
            for module in here.modules(end):
                yield f"{module}{end}", partial(_recipe, here, f"{module}{end.removesuffix('_blocks')}", "_blocks")
        for module in here.modules("blocks"):
            if module:
                yield f"{module}blocks", partial(_recipe, here, module, "blocks")


def _recipe(here: Stored, front: str, end: str) -> Recipe | None:
    blocks = here.need(f"{front}{end}")
    if blocks.dtype.name != "uint8" or blocks.ndim < 3 or blocks.shape[-1] != 16:
        return None
    scales = here.need(f"{front}{_ENDS[end]}")
    if not is_exponent(scales) or scales.shape != blocks.shape[:-1]:
        raise NotDecoded(f"scales of shape {list(scales.shape)} for blocks of shape {list(blocks.shape)}")
    if not blocks.contiguous or not scales.contiguous:
        raise NotDecoded("the codes do not lie in order")
    *lead, out, groups, _ = blocks.shape
    rows = scales.size // groups if groups else 0
    codes = Along(replace(blocks, shape=(rows, groups * 16), strides=None), 4, FP4, groups * 32)
    grid = Grid(Plain(replace(scales, shape=(rows, groups), strides=None)), (1, 32), exponents=True)
    weights, stored = Weights(codes, [multiply(grid)]), (f"{front}{end}", f"{front}{_ENDS[end]}")
    if end == "blocks":
        return Recipe(front[:-1], stored, "MXFP4, group 32", (*lead, out, groups * 32), weights)
    return Recipe(front, stored, "MXFP4, group 32, turned", (*lead, groups * 32, out), Turned(weights, out))
