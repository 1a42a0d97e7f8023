"""DeepSeek's FP8: a multiplier for each block of a matrix, though its name ends in ``scale_inv``.

Format: ``inference/fp8_cast_bf16.py`` of DeepSeek-V3, and transformers' ``integrations/finegrained_fp8.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar

from torch2grid_builtin._decoders.codes import Plain
from torch2grid_builtin._decoders.family import (
    Family,
    NotDecoded,
    Recipe,
    Stored,
    as_matrix,
    block_grid,
    block_text,
    is_exponent,
    is_number,
    multiply,
    replace_shape,
)
from torch2grid_builtin._decoders.numbers import Weights

_END = "_scale_inv"


class BlockFp8(Family):
    """DeepSeek's FP8 with a scale for each block (weight_scale_inv)"""

    name: ClassVar[str] = "block_fp8"
    ends: ClassVar[tuple[str, ...]] = ("_scale_inv",)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for end in (end for end in here.ends if end.endswith(_END)):
            for module in here.modules(end):
                yield f"{module}{end}", partial(_recipe, here, f"{module}{end.removesuffix(_END)}")


def _recipe(here: Stored, name: str) -> Recipe | None:
    scale, codes = here.need(f"{name}{_END}"), here.need(name)
    if is_number(codes):
        return None
    if not codes.dtype.name.startswith("float8") or codes.ndim < 1:
        raise NotDecoded(f"codes of {codes.dtype.name}")
    stated = here.quantization.get("weight_block_size")
    block = None
    if isinstance(stated, list) and len(stated) == 2 and all(isinstance(size, int) and size > 0 for size in stated):
        block = stated[0], stated[1]
    grid, block = block_grid(scale, codes.shape, block, exponents=is_exponent(scale))
    flat = as_matrix(replace_shape(codes, (1, *codes.shape)) if codes.ndim == 1 else codes)
    activations = here.here(f"{name.removesuffix('weight')}input_scale") if name.endswith("weight") else ()
    scheme = f"FP8 ({codes.dtype.name.removeprefix('float8_').upper()}), {block_text(block, codes.shape)}"
    return Recipe(name, (name, f"{name}{_END}", *activations), scheme, codes.shape, Weights(Plain(flat), [multiply(grid)]))
