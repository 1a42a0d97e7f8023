"""What BitNet's layers of transformers store: −1, 0 and 1, four a byte, with one scale. Other schemes are known by their names.

Format: ``transformers/integrations/bitnet.py``: the rows lie in four parts, the first in the low bits. ``AutoBitLinear``
multiplies with the scale, ``BitLinear`` divides by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar

from torch2grid_builtin._codes import others
from torch2grid_builtin._decoders.codes import Across, Plain
from torch2grid_builtin._decoders.family import Family, NotDecoded, Recipe, Stored, is_number, replace_shape
from torch2grid_builtin._decoders.numbers import Grid, Step, Weights
from torch2grid_builtin._undecoded import OTHER_ENDS, OTHER_PARTS, OTHERS
from torch2grid_core.text import visible


class BitNet(Family):
    """BitNet of 2 bits; it says of AQLM, VPTQ, SpQR, Marlin, EETQ, QuIP#, ExLlama and HIGGS that they are not decoded"""

    name: ClassVar[str] = "bitnet"
    ends: ClassVar[tuple[str, ...]] = ("weight_scale", *(f".{end}" for end in OTHER_ENDS))
    within: ClassVar[tuple[str, ...]] = OTHER_PARTS

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        scaled = here.modules("weight_scale")
        if scaled and here.quantization.get("quant_method") == "bitnet":
            for module in scaled:
                yield f"{module}weight", partial(_recipe, here, module)
        for scheme, module in others(here.checkpoint):
            yield f"{module}{OTHERS[scheme][0]}", partial(_known, scheme)

    def _note(self, reason: str, names: Sequence[str]) -> str:
        if reason not in OTHERS:
            return super()._note(reason, names)
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        return f"{visible(names[0], 80)}{more}: codes of {reason} that are not decoded; they are shown as stored"


def _known(scheme: str) -> Recipe | None:
    raise NotDecoded(scheme)


def _recipe(here: Stored, module: str) -> Recipe | None:
    codes, scale = here.need(f"{module}weight"), here.need(f"{module}weight_scale")
    if codes.dtype.name != "uint8":
        return None
    if codes.ndim != 2 or not codes.size or scale.size != 1 or not is_number(scale):
        raise NotDecoded(f"scales of shape {list(scale.shape)} for codes of shape {list(codes.shape)}")
    bias = here.get(f"{module}bias")
    parts, columns = codes.shape
    rows = 4 * parts if bias is None or not 0 <= 4 * parts - bias.size < 4 else bias.size
    grid = Grid(Plain(replace_shape(scale, (1, 1))), (rows, columns))
    how = "multiply" if here.quantization.get("linear_class") == "autobitlinear" else "divide"
    numbers = Across(codes, 2, (0, 2, 4, 6), rows, parted=True, minus=1)
    stored = f"{module}weight", f"{module}weight_scale"
    weights = Weights(numbers, [Step(how, grid)])
    return Recipe(f"{module}weight", stored, "BitNet 2 bits, a scale per tensor", (rows, columns), weights)
