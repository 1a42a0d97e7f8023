"""DeepSeek's FP8: a multiplier for each block, though its name ends in ``scale_inv``; Mistral's and ComfyUI's, one for all.

Formats: ``inference/fp8_cast_bf16.py`` of DeepSeek-V3, and ``convert.py`` there, which calls the multiplier ``scale``;
transformers' ``integrations/finegrained_fp8.py`` and ``fbgemm_fp8.py``, whose experts are parameters with a ``NAME_scale``;
``qscale_weight`` in ``vllm/model_executor/models/mistral.py``;
``scale_weight`` in ``comfy/ops.py``.
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
# Beside a weight in float8: DeepSeek's own programs, Mistral's own files, ComfyUI.
_OTHERS = ("scale", "qscale_weight", "scale_weight")
_ACTIVATIONS = ("input_scale", "qscale_act", "scale_input")


class BlockFp8(Family):
    """DeepSeek's FP8 with a scale for each block (weight_scale_inv), Mistral's and ComfyUI's"""

    name: ClassVar[str] = "block_fp8"
    ends: ClassVar[tuple[str, ...]] = ("_scale_inv", "_scale", *(f".{end}" for end in _OTHERS))

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for end in (end for end in here.ends if end.endswith(_END)):
            for module in here.modules(end):
                name = f"{module}{end.removesuffix(_END)}"
                yield f"{module}{end}", partial(_recipe, here, name, f"{name}{_END}")
        for end in (end for end in here.ends if end.endswith("_scale") and end != "weight_scale"):
            for module in here.modules(end):
                name = f"{module}{end.removesuffix('_scale')}"
                codes = here.get(name)
                if codes is not None and codes.dtype.name.startswith("float8"):
                    yield f"{module}{end}", partial(_recipe, here, name, f"{module}{end}")
        for end in _OTHERS:
            for module in here.modules(end):
                codes = here.get(f"{module}weight")
                if codes is not None and codes.dtype.name.startswith("float8"):
                    yield f"{module}{end}", partial(_recipe, here, f"{module}weight", f"{module}{end}")


def _recipe(here: Stored, name: str, factor: str) -> Recipe | None:
    """The weight *name*, of which *factor* has the multipliers."""
    scale, codes = here.need(factor), here.need(name)
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
    module = name.removesuffix("weight")
    activations = here.here(*(f"{module}{each}" for each in _ACTIVATIONS)) if name.endswith("weight") else ()
    scheme = f"FP8 ({codes.dtype.name.removeprefix('float8_').upper()}), {block_text(block, codes.shape)}"
    return Recipe(name, (name, factor, *activations), scheme, codes.shape, Weights(Plain(flat), [multiply(grid)]))
