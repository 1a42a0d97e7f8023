"""What llm-compressor and vLLM's compressed-tensors write, NVIDIA's ModelOpt, and AMD's Quark, whose MXFP4 has the same names.

Formats: ``compressed_tensors/compressors`` (pack_quantized, naive_quantized, nvfp4, mxfp4, mxfp6, mxfp8) of compressed-tensors
0.20; ``modelopt/torch/export/quant_utils.py``; ``vllm/model_executor/layers/quantization/quark``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from torch2grid_builtin._decoders.codes import Along, Down, Plain, turned
from torch2grid_builtin._decoders.family import (
    Family,
    NotDecoded,
    Recipe,
    Stored,
    as_matrix,
    block_grid,
    block_text,
    ceil,
    is_exponent,
    is_number,
    multiply,
    replace_shape,
    subtract,
)
from torch2grid_builtin._decoders.numbers import Grid, Weights
from torch2grid_builtin._decoders.unpacking import FP4, FP6, integers
from torch2grid_core import LazyTensor

_ACTIVATIONS = ("input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point", "comfy_quant")
_FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")


class CompressedTensors(Family):
    """compressed-tensors: INT4 and other packed integers, INT8, FP8, NVFP4, MXFP4, MXFP6 and MXFP8"""

    name: ClassVar[str] = "compressed_tensors"
    ends: ClassVar[tuple[str, ...]] = ("weight_packed", "weight_scale")

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        packed = set(here.modules("weight_packed"))
        for module in here.modules("weight_packed"):
            yield f"{module}weight_packed", partial(_packed, here, module)
        for module in here.modules("weight_scale"):
            if module not in packed:
                yield f"{module}weight", partial(_plain, here, module)


def _beside(here: Stored, module: str, *ends: str) -> tuple[str, ...]:
    return here.here(*(f"{module}{end}" for end in (*ends, *_ACTIVATIONS)))


def _packed(here: Stored, module: str) -> Recipe:
    packed, scale = here.need(f"{module}weight_packed"), here.need(f"{module}weight_scale")
    if packed.ndim < 2:
        raise NotDecoded("the codes are not a matrix")
    if packed.dtype.name == "uint8":
        return _floats(here, module, packed, scale)
    if packed.dtype.name != "int32":
        raise NotDecoded(f"codes of {packed.dtype.name}")
    columns = _columns(here, module, packed)
    bits = _bits(here, packed.shape[-1], columns, scale)
    shape = (*packed.shape[:-1], columns)
    order = here.get(f"{module}weight_g_idx")
    if order is not None and order.shape != (columns,):
        order = None
    grid, block = block_grid(scale, shape, (1, _group(here) or columns), columns=order)
    steps, kind = [multiply(grid)], "symmetric"
    zero = here.get(f"{module}weight_zero_point")
    if zero is not None:
        kind = "asymmetric"
        steps.insert(0, subtract(_zeros(zero, scale, shape, bits, block, order)))
    codes = Along(as_matrix(packed), bits, integers(bits, 1 << (bits - 1)), columns)
    ends = "weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx", "weight_shape"
    scheme = f"compressed-tensors INT{bits}, {kind}, {block_text(block, shape)}" + (", act-order" if order is not None else "")
    return Recipe(f"{module}weight", _beside(here, module, *ends), scheme, shape, Weights(codes, steps))


def _columns(here: Stored, module: str, packed: LazyTensor) -> int:
    stated = here.values(f"{module}weight_shape").reshape(-1).tolist()
    if len(stated) != packed.ndim or tuple(stated[:-1]) != packed.shape[:-1] or not 0 < stated[-1] <= 32 * packed.shape[-1]:
        raise NotDecoded(f"a weight_shape of {[int(each) for each in stated[:8]]} for codes of shape {list(packed.shape)}")
    return int(stated[-1])


def _bits(here: Stored, words: int, columns: int, scale: LazyTensor) -> int:
    possible = [bits for bits in range(1, 9) if ceil(columns * bits, 32) == words]
    stated = {bits for each in _schemes(here) if isinstance(bits := each.get("num_bits"), int)}
    agreed = [bits for bits in possible if bits in stated] if stated else possible
    if not agreed and len(possible) != 1:
        raise NotDecoded("the configuration states other bits")
    found = agreed or possible
    usual = [bits for bits in found if bits in (4, 8)] or found  # what the library writes, but for experiments
    if len(usual) != 1:
        raise NotDecoded(f"{usual[0]} or {usual[-1]} bits would fit, and config.json, which tells, is not beside the file")
    return usual[0]


def _schemes(here: Stored) -> list[dict[str, object]]:
    groups = here.quantization.get("config_groups")
    found = [each.get("weights") for each in groups.values() if isinstance(each, dict)] if isinstance(groups, dict) else []
    return [each for each in found if isinstance(each, dict)]


def _group(here: Stored) -> int:
    """The size of a group, where the configuration states one and no other."""
    sizes = {size for each in _schemes(here) if isinstance(size := each.get("group_size"), int)}
    return max(sizes.pop(), 0) if len(sizes) == 1 else 0


def _zeros(
    zero: LazyTensor, scale: LazyTensor, shape: tuple[int, ...], bits: int, block: tuple[int, int], order: LazyTensor | None
) -> Grid:
    """The grid of zero points: packed along the rows, or a number for each."""
    rows, groups = shape[-2], scale.shape[-1] if scale.ndim > 1 else 1
    if zero.dtype.name != "int32" or zero.shape != (ceil(rows * bits, 32), groups) or len(shape) != 2:
        return block_grid(zero, shape, block, columns=order)[0]
    if block[0] != 1:
        raise NotDecoded(f"packed zero points for blocks of {block[0]} rows")
    down = Along(turned(zero), bits, integers(bits, 1 << (bits - 1)), rows)
    return Grid(Down(down), block, columns=order)


def _floats(here: Stored, module: str, packed: LazyTensor, scale: LazyTensor) -> Recipe:
    """NVFP4, whose scales are float8 and divided by a global one, and MXFP4 and MXFP6, whose scales are exponents."""
    total = here.get(f"{module}weight_global_scale")
    if str(here.quantization.get("data_type")).startswith("mx_int"):
        raise NotDecoded("they are integers of AutoRound's MXINT")
    if is_exponent(scale):
        bits = 6 if scale.shape[-1:] and packed.shape[-1] == 24 * scale.shape[-1] else 4
        group, scheme = 32, f"MXFP{bits}"
    else:
        if total is not None and total.size != 1:
            raise NotDecoded(f"{total.size} global scales")
        bits, group, scheme = 4, 16, "NVFP4"
    codes, grid, shape = _in_groups(packed, scale, bits, group, by=None if is_exponent(scale) else total)
    stored = _beside(here, module, "weight_packed", "weight_scale", "weight_global_scale", "weight_zero_point")
    scheme = f"compressed-tensors {scheme}, group {group}"
    return Recipe(f"{module}weight", stored, scheme, shape, Weights(codes, [multiply(grid)]))


def _in_groups(packed: LazyTensor, scale: LazyTensor, bits: int, group: int, **how: Any) -> tuple[Along, Grid, tuple[int, ...]]:
    """Floating codes of *bits* bits, the first in the lowest ones, with a scale for each *group* of a row, and no other."""
    shape = (*packed.shape[:-1], packed.shape[-1] * 8 // bits)
    if scale.shape != (*shape[:-1], ceil(shape[-1], group)):
        raise NotDecoded(f"scales of shape {list(scale.shape)} for codes of shape {list(packed.shape)}")
    grid, _ = block_grid(scale, shape, (1, group), exponents=is_exponent(scale), **how)
    return Along(as_matrix(packed), bits, FP4 if bits == 4 else FP6, shape[-1]), grid, shape


def _plain(here: Stored, module: str) -> Recipe | None:
    """INT8 and FP8, whose weight has a number for each code, and ModelOpt's NVFP4."""
    codes, scale = here.get(f"{module}weight"), here.need(f"{module}weight_scale")
    if codes is None or is_number(codes):
        return None  # a parameter of that name, or of a module that is not quantised
    if here.quantization.get("quant_method") == "bitnet":
        return None
    second = here.get(f"{module}weight_scale_2")
    if codes.dtype.name == "uint8" and scale.dtype.itemsize == 1 and codes.ndim >= 2:
        if f"{module}comfy_quant" in here.checkpoint:
            raise NotDecoded("ComfyUI keeps their scales in the order of a GPU's kernel")
        if second is not None and second.size != 1:
            raise NotDecoded(f"{second.size} global scales")
        group = 32 if is_exponent(scale) else 16
        packed, grid, shape = _in_groups(codes, scale, 4, group, by=second, divide=False)
        stored = _beside(here, module, "weight", "weight_scale", "weight_scale_2")
        scheme = f"{'MXFP4' if is_exponent(scale) else 'ModelOpt NVFP4'}, group {group}"
        return Recipe(f"{module}weight", stored, scheme, shape, Weights(packed, [multiply(grid)]))
    if codes.dtype.name != "int8" and codes.dtype.name not in _FLOAT8:
        raise NotDecoded(f"codes of {codes.dtype.name}")
    if second is not None or codes.ndim < 1:
        raise NotDecoded("two scales of codes of eight bits")
    stated = _block_structure(here)
    grid, block = block_grid(scale, codes.shape, stated, exponents=is_exponent(scale))
    steps, kind = [multiply(grid)], ""
    zero = here.get(f"{module}weight_zero_point")
    if zero is not None:
        steps.insert(0, subtract(block_grid(zero, codes.shape, block)[0]))
        kind = "asymmetric, "
    flat = codes if codes.ndim == 2 else as_matrix(replace_shape(codes, (1, *codes.shape)) if codes.ndim == 1 else codes)
    scheme = f"FP8 ({codes.dtype.name.removeprefix('float8_').upper()})"
    if codes.dtype.name == "int8":  # of fewer bits, where activations are quantised, too: W4AFP8
        bits = {each.get("num_bits") for each in _schemes(here) if each.get("type", "int") == "int"}
        scheme = f"INT{bits.pop()}, a byte each" if len(bits) == 1 and bits <= {1, 2, 3, 4, 5, 6, 7} else "INT8"
    stored = _beside(here, module, "weight", "weight_scale", "weight_zero_point", "weight_g_idx")
    scheme = f"{scheme}, {kind}{block_text(block, codes.shape)}"
    return Recipe(f"{module}weight", stored, scheme, codes.shape, Weights(Plain(flat), steps))


def _block_structure(here: Stored) -> tuple[int, int] | None:
    for each in _schemes(here):
        found = each.get("block_structure")
        if isinstance(found, list) and len(found) == 2 and all(isinstance(size, int) and size > 0 for size in found):
            return found[0], found[1]
        group = each.get("group_size")
        if each.get("strategy") == "group" and isinstance(group, int) and group > 0:
            return 1, group
    return None
