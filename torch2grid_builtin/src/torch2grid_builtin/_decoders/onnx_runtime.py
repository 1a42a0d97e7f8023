"""What ONNX Runtime's quantisers write: INT8 beside its scale and zero point, and blocks of 2, 4 and 8 bits of ``MatMulNBits``.

Formats: ``onnxruntime/python/tools/quantization`` (``onnx_quantizer.py``, ``matmul_nbits_quantizer.py``), whose names these
are; ``DequantizeLinear`` of ONNX: (code − zero point) × scale, of a tensor, or of one dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from torch2grid_builtin._codes import of_onnx_runtime
from torch2grid_builtin._decoders.codes import Along, Codes, Plain
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
)
from torch2grid_builtin._decoders.numbers import Grid, Weights
from torch2grid_builtin._decoders.unpacking import integers
from torch2grid_core import LazyTensor

_CODES = ("int8", "uint8", "int16", "uint16", "int32", "float8_e4m3fn", "float8_e5m2")


class OnnxRuntime(Family):
    """ONNX Runtime's INT8 (_quantized, _scale, _zero_point), and its blocks of 2, 4 and 8 bits (_Q4, _scales)"""

    name: ClassVar[str] = "onnx_runtime"
    ends: ClassVar[tuple[str, ...]] = ("_quantized", "_scales")

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for name, match, beside in of_onnx_runtime(here.checkpoint):
            bits = match.groupdict().get("bits")
            if bits:
                yield name, partial(_blocks, here, name, match["weight"], int(bits), beside)
            else:
                yield name, partial(_linear, here, name, match["weight"], beside)


def _linear(here: Stored, name: str, weight: str, beside: tuple[str, ...]) -> Recipe | None:
    """One scale, or one for each place along a dimension, which the lengths have to tell: the model's graph is not read."""
    codes, scale = here.need(name), here.need(beside[0])
    if len(beside) < 2:
        raise NotDecoded("its zero point is not here")
    zero = here.need(beside[1])
    if codes.dtype.name not in _CODES or not codes.ndim or not codes.size:
        return None
    if not is_number(scale) or zero.size != scale.size or not scale.contiguous or not zero.contiguous:
        raise NotDecoded(f"scales of shape {list(scale.shape)} and zero points of shape {list(zero.shape)}")
    flat = as_matrix(replace_shape(codes, (1, *codes.shape)) if codes.ndim == 1 else codes)
    grid, block, text = _along(scale.size, codes.shape)
    steps = [how(Grid(Plain(replace_shape(each, grid)), block)) for how, each in ((subtract, zero), (multiply, scale))]
    kind = codes.dtype.name.upper()
    return Recipe(weight, (name, *beside), f"ONNX Runtime {kind}, {text}", codes.shape, Weights(Plain(flat), steps))


def _along(count: int, shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int], str]:
    """The shape of the grid of *count* scales, the size of a block of the matrix, and words. Raises ``NotDecoded``."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    if count == 1:
        return (1, 1), (rows, columns), "a scale per tensor"
    places = [place for place, length in enumerate(shape) if length == count]
    if len(places) != 1 or 0 < places[0] < len(shape) - 1:
        raise NotDecoded(f"{count} scales for weights of shape {list(shape)}, which do not tell of which dimension they are")
    if places[0] == len(shape) - 1:
        return (1, count), (rows, 1), "a scale per column"
    return (count, 1), (rows // count, columns), "a scale per row" if len(shape) == 2 else "a scale per kernel"


def _blocks(here: Stored, name: str, weight: str, bits: int, beside: tuple[str, ...]) -> Recipe | None:
    """``MatMulNBits``: (outputs, blocks, bytes), the first code in the lowest bits; it multiplies with the weight turned."""
    codes, scales = here.need(name), here.need(beside[0])
    if codes.dtype.name != "uint8" or codes.ndim != 3 or not codes.size:
        return None
    out, blocks, width = codes.shape
    group = width * 8 // bits
    if not is_number(scales) or scales.size != out * blocks or not scales.contiguous:
        raise NotDecoded(f"scales of shape {list(scales.shape)} for codes of shape {list(codes.shape)}")
    flat = replace_shape(codes, (out, blocks * width))
    factor = Grid(Plain(replace(scales, shape=(out, blocks), strides=None, taken=None)), (1, group))
    minus, steps = 1 << (bits - 1), [multiply(factor)]
    if len(beside) > 1:
        minus = 0
        steps.insert(0, subtract(Grid(_points(here.need(beside[1]), out, blocks, bits), (1, group))))
    numbers = Along(flat, bits, integers(bits, minus), blocks * group)
    scheme = f"ONNX Runtime INT{bits}, group {group}, turned"
    return Recipe(weight, (name, *beside), scheme, (out, blocks * group), Weights(numbers, steps))


def _points(zero: LazyTensor, out: int, blocks: int, bits: int) -> Codes:
    """Zero points: packed as the codes are, each output's from a byte of its own, or a number for each."""
    if not zero.contiguous:
        raise NotDecoded("the zero points do not lie in order")
    if zero.dtype.name == "uint8" and zero.size == out * ceil(blocks * bits, 8):
        return Along(replace_shape(zero, (out, ceil(blocks * bits, 8))), bits, integers(bits), blocks)
    if is_number(zero) and zero.size == out * blocks:
        return Plain(replace_shape(zero, (out, blocks)))
    raise NotDecoded(f"zero points of shape {list(zero.shape)} for {blocks} blocks of {out} outputs")
