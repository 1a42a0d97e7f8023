"""What AutoGPTQ, GPTQModel and AutoAWQ write: codes in words of 32 bits, with zero points that are packed as well.

Formats: ``auto_gptq/nn_modules/qlinear`` and ``gptqmodel/nn_modules/qlinear`` (version 1 stores zero points less 1, which only
``checkpoint_format`` of the configuration tells); ``awq/utils/packing_utils.py`` and ``awq/modules/linear/gemv.py``;
``auto_round/inference/backend.py``, whose formats but ``auto_round:auto_gptq`` store zero points as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from torch2grid_builtin._decoders.codes import Across, Along, Down, Plain, turned
from torch2grid_builtin._decoders.family import Family, NotDecoded, Recipe, Stored, ceil, multiply, subtract, usual_block
from torch2grid_builtin._decoders.numbers import Grid, Weights
from torch2grid_builtin._decoders.unpacking import integers
from torch2grid_core import LazyTensor

_AWQ_COLUMNS = (0, 2, 4, 6, 1, 3, 5, 7)  # of the fields of a word, from the lowest
_AWQ_SHIFTS = tuple(4 * _AWQ_COLUMNS.index(column) for column in range(8))
_BITS = (2, 3, 4, 8, 5, 6, 7)


class Gptq(Family):
    """GPTQ of 2, 3, 4 and 8 bits, versions 1 and 2, with act-order"""

    name: ClassVar[str] = "gptq"
    ends: ClassVar[tuple[str, ...]] = ("qweight",)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for module in here.modules("qweight"):
            yield f"{module}qweight", partial(_gptq, here, module)


class Awq(Family):
    """AWQ of 4 bits, gemm and gemv"""

    name: ClassVar[str] = "awq"
    ends: ClassVar[tuple[str, ...]] = ("qweight",)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for module in here.modules("qweight"):
            yield f"{module}qweight", partial(_awq, here, module)


def _is_awq(here: Stored, module: str) -> bool:
    codes, zeros, scales = (here.get(f"{module}{end}") for end in ("qweight", "qzeros", "scales"))
    if here.quantization.get("quant_method") in ("awq", "gptq"):
        return bool(here.quantization["quant_method"] == "awq")
    if (
        codes is None
        or scales is None
        or zeros is None
        or scales.ndim != 2
        or codes.ndim != 2
        or f"{module}g_idx" in here.checkpoint
    ):
        return False
    return bool(codes.shape[1] * 8 == scales.shape[1]) or codes.shape[0] == zeros.shape[0] == scales.shape[0]


def _words(here: Stored, name: str) -> LazyTensor:
    found = here.need(name)
    if found.dtype.name != "int32" or found.ndim != 2 or not found.size:
        raise NotDecoded(f"codes of {found.dtype.name}, shape {list(found.shape)}")
    return found


def _scales(here: Stored, module: str) -> LazyTensor:
    found = here.need(f"{module}scales")
    if found.ndim != 2 or not found.size:
        raise NotDecoded(f"scales of shape {list(found.shape)}")
    return found


def _setting(here: Stored, name: str) -> Any:
    return here.quantization.get(name)


def _group(here: Stored, width: int, groups: int) -> int:
    """The size of a group of inputs: what the configuration says, where that fits."""
    size = _setting(here, "group_size")
    return size if isinstance(size, int) and size > 0 and ceil(width, size) == groups else usual_block(width, groups)


def _gptq(here: Stored, module: str) -> Recipe | None:
    if _is_awq(here, module):
        return None
    version = _setting(here, "checkpoint_format") or _setting(here, "format") or "gptq"
    packing = str(_setting(here, "packing_format") or "")  # of AutoRound
    if packing.startswith("auto_round") and not packing.endswith("gptq"):
        version = "gptq_v2"
    if version not in ("gptq", "gptq_v2"):
        raise NotDecoded(f"their layout is {str(version)[:40]}")
    words, scales = _words(here, f"{module}qweight"), _scales(here, module)
    rows, (groups, out) = words.shape[0], scales.shape
    if words.shape[1] != out:
        raise NotDecoded(f"scales of shape {list(scales.shape)} for codes of shape {list(words.shape)}")
    order, zeros = here.get(f"{module}g_idx"), here.get(f"{module}qzeros")
    stated = _setting(here, "bits")
    if zeros is not None and zeros.ndim == 2 and zeros.dtype.name == "int32":
        possible = [bits for bits in _BITS if ceil(out * bits, 32) == zeros.shape[1]]
    else:
        possible = [bits for bits in _BITS if order is not None and rows * 32 == order.size * bits]
    bits = stated if stated in possible else next(iter(possible), stated if zeros is None else None)
    if not isinstance(bits, int) or bits not in _BITS or rows * 32 % bits:
        raise NotDecoded("neither the shapes nor the configuration tell the bits")
    width = rows * 32 // bits
    if order is not None and order.shape != (width,):
        raise NotDecoded(f"a g_idx of shape {list(order.shape)} for {width} inputs")
    group = _group(here, width, groups)
    block = (1, group)
    steps = [multiply(Grid(Plain(turned(scales)), block, columns=order))]
    plus = 1.0 if version == "gptq" else 0.0
    if zeros is None:
        codes = Along(turned(words), bits, integers(bits, 1 << (bits - 1)), width)
    else:
        if zeros.dtype.name != "int32" or zeros.shape != (groups, ceil(out * bits, 32)):
            raise NotDecoded(f"zero points of shape {list(zeros.shape)} for scales of shape {list(scales.shape)}")
        codes = Along(turned(words), bits, integers(bits), width)
        points = Down(Along(zeros, bits, integers(bits), out))
        steps.insert(0, subtract(Grid(points, block, columns=order, plus=plus)))
    names = [f"{module}{end}" for end in ("qweight", "qzeros", "scales", "g_idx")]
    scheme = f"GPTQ {bits} bits, {'version 1' if plus else 'version 2'}, group {group}"
    if _setting(here, "desc_act"):
        scheme += ", act-order"
    return Recipe(f"{module}weight", here.here(*names), scheme, (out, width), Weights(codes, steps))


def _awq(here: Stored, module: str) -> Recipe | None:
    if not _is_awq(here, module):
        return None
    version = str(_setting(here, "version") or _setting(here, "format") or "gemm").lower()
    words, scales = _words(here, f"{module}qweight"), _scales(here, module)
    zeros = here.get(f"{module}qzeros")
    names = here.here(*(f"{module}{end}" for end in ("qweight", "qzeros", "scales")))
    if _setting(here, "bits") not in (None, 4):
        raise NotDecoded("AWQ has 4 bits")
    if words.shape[1] * 8 == scales.shape[1] and version not in ("gemv", "gemv_fast"):
        width, out = words.shape[0], scales.shape[1]
        groups = scales.shape[0]
        block = (1, _group(here, width, groups))
        # Turned words have a column for each input; each word holds eight rows of the turned matrix.
        codes = Across(turned(words), 4, _AWQ_SHIFTS, out, minus=0 if zeros is not None else 8)
        steps = [multiply(Grid(Plain(turned(scales)), block))]
        if zeros is not None:
            if zeros.dtype.name != "int32" or zeros.shape != (groups, words.shape[1]):
                raise NotDecoded(f"zero points of shape {list(zeros.shape)} for scales of shape {list(scales.shape)}")
            steps.insert(0, subtract(Grid(Across(turned(zeros), 4, _AWQ_SHIFTS, out), block)))
        scheme = f"AWQ 4 bits, gemm, group {block[1]}"
        return Recipe(f"{module}weight", names, scheme, (out, width), Weights(codes, steps))
    if version == "gemv" and words.shape[0] == scales.shape[0]:
        out, width = words.shape[0], words.shape[1] * 8
        size = _setting(here, "group_size")
        group = size if isinstance(size, int) and size > 0 else width if size == -1 else 0
        if not group or zeros is None or zeros.shape[0] != out or scales.shape[1] * group < width:
            raise NotDecoded("the configuration does not tell the group of a gemv layout")
        block = (1, group)
        points = Grid(Along(zeros, 4, integers(4), zeros.shape[1] * 8), block)
        steps = [subtract(points), multiply(Grid(Plain(scales), block))]
        codes_along = Along(words, 4, integers(4), width)
        return Recipe(f"{module}weight", names, f"AWQ 4 bits, gemv, group {group}", (out, width), Weights(codes_along, steps))
    raise NotDecoded(f"their layout is {version[:40]}")
