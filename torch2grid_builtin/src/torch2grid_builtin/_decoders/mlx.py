"""What MLX writes: a stream of codes along each row of 32-bit words, with a scale and a bias for each group.

Format: ``mlx/backend/cpu/quantized.cpp``; layers of several bits as ``config.json`` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from torch2grid_builtin._decoders.codes import Along, Codes, Plain
from torch2grid_builtin._decoders.family import (
    Family,
    NotDecoded,
    Recipe,
    Stored,
    add,
    as_matrix,
    is_exponent,
    multiply,
    viewed,
)
from torch2grid_builtin._decoders.numbers import Grid, Weights
from torch2grid_builtin._decoders.unpacking import FP4, integers

_BITS, _GROUPS = (4, 8, 2, 3, 6, 5, 1), (64, 32, 128, 16)
# Modes without biases: bits, group. Words of a group tell them apart where the configuration is not there.
_FLOATS = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
_E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)


class Mlx(Family):
    """MLX of 1, 2, 3, 4, 5, 6 and 8 bits, embeddings and heads too, and its MXFP4, MXFP8 and NVFP4"""

    name: ClassVar[str] = "mlx"
    ends: ClassVar[tuple[str, ...]] = ("scales",)

    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        for module in here.modules("scales"):
            codes = here.get(f"{module}weight")
            if codes is not None and codes.dtype.name == "uint32":
                yield f"{module}weight", partial(_recipe, here, module)


def _setting(here: Stored, module: str, name: str) -> Any:
    whole = here.quantization
    own = whole.get(module.rstrip("."))
    return own.get(name, whole.get(name)) if isinstance(own, dict) else whole.get(name)


def _recipe(here: Stored, module: str) -> Recipe:
    codes, scales = here.need(f"{module}weight"), here.need(f"{module}scales")
    biases = here.get(f"{module}biases")
    if codes.ndim < 2 or scales.shape[:-1] != codes.shape[:-1] or not scales.size:
        raise NotDecoded(f"scales of shape {list(scales.shape)} for codes of shape {list(codes.shape)}")
    words, groups = codes.shape[-1], scales.shape[-1]
    bits, group = _setting(here, module, "bits"), _setting(here, module, "group_size")
    mode = _setting(here, module, "mode") or "affine"
    if (bits, group) == (None, None) and biases is None and scales.dtype.itemsize == 1:
        mode = next((name for name, (b, g) in _FLOATS.items() if groups * g * b == 32 * words), mode)
        bits, group = _FLOATS.get(mode, (None, None))
    fits = [(b, g) for b in _BITS for g in _GROUPS if groups * g * b == 32 * words]
    found = [each for each in fits if each == (bits, group)] or (fits if (bits, group) == (None, None) else [])
    if len(found) != 1 and (bits, group) == (None, None) and fits:
        could = ", ".join(f"{b} bits in groups of {g}" for b, g in fits)
        raise NotDecoded(f"{could} would fit, and config.json, which tells, is not beside the file")
    if len(found) != 1:
        raise NotDecoded(f"the configuration tells {str(bits)[:9]} bits in groups of {str(group)[:9]}, which do not fit")
    bits, group = found[0]  # which are integers: JSON may say 4.0
    columns = groups * group
    if mode == "affine":
        if biases is None or biases.shape != scales.shape:
            raise NotDecoded("its biases are not here" if biases is None else f"biases of shape {list(biases.shape)}")
        steps = [multiply(Grid(Plain(as_matrix(scales)), (1, group))), add(Grid(Plain(as_matrix(biases)), (1, group)))]
        numbers: Codes = Along(as_matrix(codes), bits, integers(bits), columns)
        scheme = f"MLX {bits} bits"
    elif _FLOATS.get(mode) == (bits, group):
        if scales.dtype.itemsize != 1 or (mode != "nvfp4" and not is_exponent(scales)):
            raise NotDecoded(f"{mode} with scales of {scales.dtype.name}")
        if mode == "nvfp4":  # its scales are stored as uint8
            grid = Grid(Plain(as_matrix(viewed(scales, _E4M3))), (1, group))
        else:
            grid = Grid(Plain(as_matrix(scales)), (1, group), exponents=True)
        steps = [multiply(grid)]
        numbers = Plain(as_matrix(viewed(codes, _E4M3))) if bits == 8 else Along(as_matrix(codes), bits, FP4, columns)
        scheme = f"MLX {mode.upper()}"
    else:
        raise NotDecoded(f"mode {str(mode)[:20]} of {bits} bits in groups of {group}")
    shape = (*codes.shape[:-1], columns)
    weights = Weights(numbers, steps)
    names = here.here(f"{module}weight", f"{module}scales", f"{module}biases")
    return Recipe(f"{module}weight", names, f"{scheme}, group {group}", shape, weights)
