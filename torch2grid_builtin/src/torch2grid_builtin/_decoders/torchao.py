"""What torchao writes: the tensors that its subclasses wrap, in safetensors with a description, or pickled.

Formats: ``torchao/prototype/safetensors``, ``torchao/quantization/quantize_/workflows`` and
``torchao/prototype/mx_formats`` of torchao 0.18; ``torchao/dtypes/affine_quantized_tensor.py`` of earlier versions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch2grid_builtin._decoders.codes import Along, Codes, Plain, Tiled, turned
from torch2grid_builtin._decoders.family import (
    Family,
    NotDecoded,
    Recipe,
    Stored,
    add,
    as_matrix,
    block_grid,
    block_text,
    is_exponent,
    is_number,
    multiply,
    replace_shape,
    subtract,
)
from torch2grid_builtin._decoders.numbers import Grid, Weights
from torch2grid_builtin._decoders.unpacking import FP4
from torch2grid_core import LazyTensor

_END = "_qdata"
_MOST = 1 << 16  # characters of a description
_AFFINE = ("int_data", "float8_data", "packed_weight")  # of AffineQuantizedTensor, by its layout
_INNER = re.compile(r"(?P<name>.+?)(?:\.original_weight_tensor)*\.(?:tensor_impl|layout_tensor)\.")
_BY_BLOCKS = {"Int8Tensor": "INT8", "Float8Tensor": "FP8", "IntxUnpackedToInt8Tensor": "intx in int8"}


class TorchAo(Family):
    """torchao's tensor subclasses: int8, float8, int4, intx, MX and NVFP4"""

    name: ClassVar[str] = "torchao"
    ends: ClassVar[tuple[str, ...]] = ("qdata", *_AFFINE)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for end in _AFFINE:
            for front in here.modules(end):
                match = _INNER.fullmatch(front)
                if match:
                    yield f"{front}{end}", partial(_affine, here, match["name"], front, end)
        for module in here.modules("qdata"):
            if module:
                yield module[:-1], partial(_recipe, _Wrapped(here, module[:-1], module, _class(here, module)))
        for end in (end for end in here.ends if end.startswith("_") and end.endswith(_END)):
            for module in here.modules(end):
                name, front = f"{module}{end[1:].removesuffix(_END)}", f"{module}{end.removesuffix('qdata')}"
                yield name, partial(_recipe, _Wrapped(here, name, front, _described(here, name)))


def _affine(here: Stored, name: str, front: str, end: str) -> Recipe:
    """``AffineQuantizedTensor`` of earlier versions, in its plain layout: (code − zero point) × scale."""
    if end == "packed_weight":
        raise NotDecoded("they are in the order of a GPU's kernel")
    codes, scale, zero = here.need(f"{front}{end}"), here.need(f"{front}scale"), here.get(f"{front}zero_point")
    if codes.ndim != 2 or codes.dtype.itemsize != 1 or not codes.size or not is_number(scale) or not scale.contiguous:
        raise NotDecoded(f"codes of {codes.dtype.name}, shape {list(codes.shape)}, scales of {scale.dtype.name}")
    if zero is not None and is_number(zero):
        raise NotDecoded("their zero points are not integers")
    down, across = {0: (1, 1), 1: (scale.size, 1), 2: scale.shape[-2:]}.get(scale.ndim, (0, 0))
    if not down or not across or codes.shape[0] % down or codes.shape[1] % across:
        raise NotDecoded(f"scales of shape {list(scale.shape)} for weights of shape {list(codes.shape)}")
    block = codes.shape[0] // down, codes.shape[1] // across
    steps = [multiply(Grid(Plain(replace_shape(scale, (down, across))), block))]
    if zero is not None:
        if zero.size != scale.size:
            raise NotDecoded(f"zero points of shape {list(zero.shape)} for scales of shape {list(scale.shape)}")
        steps.insert(0, subtract(Grid(Plain(replace_shape(zero, (down, across))), block)))
    stored = here.here(f"{front}{end}", f"{front}scale", f"{front}zero_point")
    scheme = f"torchao {'FP8' if end == 'float8_data' else 'affine, a byte each'}, {block_text(block, codes.shape)}"
    return Recipe(name, stored, scheme, codes.shape, Weights(Plain(codes), steps))


@dataclass(frozen=True)
class _Wrapped:
    """What stands for one weight: its name, what its tensors' names begin with, and the class that wraps them."""

    here: Stored
    name: str
    front: str
    described: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.described.get("_type") or "")

    def get(self, name: str) -> LazyTensor | None:
        return self.here.get(f"{self.front}{name}")

    def need(self, name: str) -> LazyTensor:
        return self.here.need(f"{self.front}{name}")

    @property
    def stored(self) -> tuple[str, ...]:
        ends = ("qdata", "scale", "zero_point", "per_tensor_scale", "act_per_tensor_scale", "act_quant_scale")
        return self.here.here(*(f"{self.front}{end}" for end in ends))


def _class(here: Stored, module: str) -> Mapping[str, Any]:
    name = here.need(f"{module}qdata").module_class
    return {"_type": name.rpartition(".")[2]} if name.startswith("torchao.") else {}


def _described(here: Stored, name: str) -> Mapping[str, Any]:
    text = here.checkpoint.metadata.get(name, "")
    try:
        found = json.loads(text) if isinstance(text, str) and 0 < len(text) <= _MOST else {}
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def _recipe(it: _Wrapped) -> Recipe:
    codes, scale = it.need("qdata"), it.need("scale")
    if it.get("act_pre_scale") is not None:
        raise NotDecoded("they belong to activations that are scaled first")
    if codes.ndim < 2:
        raise NotDecoded("the codes are not a matrix")
    kind = it.kind or _guess(codes, scale)
    if kind in _BY_BLOCKS:
        return _by_blocks(it, kind, codes, scale)
    if kind == "Int4Tensor":
        return _int4(it, codes, scale)
    if kind in ("MXTensor", "NVFP4Tensor"):
        return _microscaling(it, kind, codes, scale)
    raise NotDecoded(f"their class is {kind[:60]}")


def _guess(codes: LazyTensor, scale: LazyTensor) -> str:
    """The class, where the file does not name it."""
    if is_exponent(scale):
        return "MXTensor"
    if codes.dtype.name == "uint8" and scale.dtype.name == "float8_e4m3fn":
        return "NVFP4Tensor"
    if codes.dtype.name.startswith("float8"):
        return "Float8Tensor"
    if codes.dtype.name == "int8" and scale.ndim == codes.ndim and scale.shape[0] in (1, codes.shape[0]):
        return "IntxUnpackedToInt8Tensor"
    return "Int4Tensor"


def _by_blocks(it: _Wrapped, kind: str, codes: LazyTensor, scale: LazyTensor) -> Recipe:
    """A number for each code: (code − zero point) × scale, of blocks."""
    shape = codes.shape
    grid, block = block_grid(scale, shape, _block_size(it.described, len(shape)))
    steps = [multiply(grid)]
    zero = it.get("zero_point")
    if zero is not None:
        steps.insert(0, subtract(block_grid(zero, shape, block)[0]))
    scheme = f"torchao {_BY_BLOCKS[kind]}"
    attributes = it.described.get("_data")
    target = attributes.get("target_dtype") if isinstance(attributes, dict) else None
    if isinstance(target, dict) and isinstance(target.get("_data"), str):
        scheme = f"torchao {target['_data'][:8].upper()}, a byte each"
    weights = Weights(Plain(as_matrix(codes)), steps)
    return Recipe(it.name, it.stored, f"{scheme}, {block_text(block, shape)}", shape, weights)


def _block_size(described: Mapping[str, Any], dimensions: int) -> tuple[int, int] | None:
    attributes = described.get("_data")
    found = attributes.get("block_size") if isinstance(attributes, dict) else None
    if not isinstance(found, list) or len(found) != dimensions or not all(type(each) is int and each > 0 for each in found):
        return None
    return found[-2], found[-1]


def _int4(it: _Wrapped, codes: LazyTensor, scale: LazyTensor) -> Recipe:
    """Signed codes, two a byte, the even column in the low half; scales and zero points stand turned: q × scale + zero."""
    zero = it.need("zero_point")
    if codes.ndim != 2 or codes.dtype.itemsize != 1 or scale.ndim != 2 or zero.shape != scale.shape:
        raise NotDecoded(f"scales of shape {list(scale.shape)} for codes of shape {list(codes.shape)}")
    rows, columns = codes.shape[0], 2 * codes.shape[1]
    groups = scale.shape[0]
    if scale.shape[1] != rows or not groups or columns % groups:
        raise NotDecoded(f"scales of shape {list(scale.shape)} for weights of shape {[rows, columns]}")
    block = (1, columns // groups)
    signed = tuple(float(code - 16 if code > 7 else code) for code in range(16))
    steps = [multiply(Grid(Plain(turned(scale)), block)), add(Grid(Plain(turned(zero)), block))]
    weights = Weights(Along(as_matrix(codes), 4, signed, columns), steps)
    return Recipe(it.name, it.stored, f"torchao INT4, group {block[1]}", (rows, columns), weights)


def _microscaling(it: _Wrapped, kind: str, codes: LazyTensor, scale: LazyTensor) -> Recipe:
    packed = codes.dtype.name == "uint8"
    shape = (*codes.shape[:-1], codes.shape[-1] * (2 if packed else 1))
    total = it.get("per_tensor_scale")
    if total is not None and total.size != 1:
        raise NotDecoded("a scale for each expert")
    mx = is_exponent(scale)
    group = 32 if mx else 16
    columns = shape[-1] // group
    rows = math.prod(shape[:-1])
    if shape[-1] % group:
        raise NotDecoded(f"rows of {shape[-1]} weights are not whole groups of {group}")
    tiled = scale.shape[-2:] != (shape[-2], columns)
    if tiled and (scale.size != Tiled.size(rows, columns) or not scale.contiguous or scale.dtype.itemsize != 1):
        raise NotDecoded(f"scales of shape {list(scale.shape)} for weights of shape {list(shape)}")
    read: Codes = Tiled(scale, rows, columns) if tiled else Plain(as_matrix(scale))
    if (read.rows, read.columns) != (rows, columns):
        raise NotDecoded(f"scales of shape {list(scale.shape)} for weights of shape {list(shape)}")
    grid = Grid(read, (1, group), exponents=mx, by=total, divide=False)
    flat = as_matrix(codes)
    numbers = Along(flat, 4, FP4, shape[-1]) if packed else Plain(flat)
    name = "NVFP4" if not mx else f"MX{'FP4' if packed else 'FP8'}"
    return Recipe(it.name, it.stored, f"torchao {name}, group {group}", shape, Weights(numbers, [multiply(grid)]))
