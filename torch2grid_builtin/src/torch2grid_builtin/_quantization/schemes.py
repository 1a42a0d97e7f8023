"""Schemes of quantisation: how the scale of a block follows from its weights, and to which numbers these are rounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray[Any, Any]

ROW, TENSOR = 0, -1  # what shares a scale, in place of a number of weights
_TINY = 2.0**-126  # the least scale: below it float32 loses digits
# NormalFloat4 of QLoRA (Dettmers et al. 2023), as bitsandbytes has it.
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334),
    *(-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
_BINS = 512  # of the table for each unit; the least distance of two numbers is 40 of them


@dataclass(frozen=True)
class Minifloat:
    """Numbers of few bits: *mantissa* bits of it, exponents from *least* on, up to *largest*."""

    mantissa: int
    least: int
    largest: float

    @property
    def becomes_infinite(self) -> float:
        """The least size that rounds beyond the largest of these numbers."""
        return self.largest + math.ldexp(1.0, math.frexp(self.largest)[1] - 2 - self.mantissa)

    @property
    def becomes_zero(self) -> float:
        """The largest size that rounds to zero."""
        return math.ldexp(1.0, self.least - self.mantissa - 1)

    def round(self, x: Array, scratch: Array) -> Array:
        """The nearest of these numbers, ties to even, of float32 *x*; larger ones become the largest. In *scratch*.

        A number is added of which the last bit is worth the distance of two of these numbers where x is, and taken off again:
        float32 has such a number where |x| is below 2**(104 + mantissa).
        """
        bits = scratch.view(np.int32)
        np.bitwise_and(x.view(np.int32), np.int32(0x7F800000), out=bits)
        np.maximum(bits, np.int32((127 + self.least) << 23), out=bits)
        np.add(bits, np.int32(((23 - self.mantissa) << 23) | 0x400000), out=bits)
        found: Array = np.subtract(x + scratch, scratch, out=scratch)
        return found


E4M3, E5M2, E2M1 = Minifloat(3, -6, 448.0), Minifloat(2, -14, 57344.0), Minifloat(1, 0, 6.0)
FLOAT16, BFLOAT16 = Minifloat(10, -14, 65504.0), Minifloat(7, -126, (2 - 2.0**-7) * 2.0**127)


@dataclass(frozen=True)
class Scheme:
    """A way to store weights in few bits.

    block: how many neighbours along a row share a scale; ``ROW`` and ``TENSOR`` for all of a row and of a tensor. flat: blocks
    go on from row to row. code: bits of a weight; scale: bits of what a block has beside. how: formula and model, for people.
    """

    name: str
    label: str
    block: int
    code: int
    scale: int
    how: str
    flat: bool = False

    def bits(self, columns: int) -> float:
        """Bits of a weight with its share of the scale, where a row has *columns* weights."""
        each = {ROW: columns, TENSOR: 0}.get(self.block, self.block)
        return self.code + (self.scale / each if each else 0.0)


SCHEMES = {
    each.name: each
    for each in (
        Scheme("int8", "INT8", ROW, 8, 32, "a scale max|w|/127 for each row (bitsandbytes)"),
        *(
            Scheme(f"int4_{g}", f"INT4 {g}", g, 4, 16, f"symmetric, a scale max|w|/7.5 for each {g} (compressed-tensors)")
            for g in (32, 64, 128)
        ),
        *(
            Scheme(
                f"int4_{g}_asymmetric",
                f"INT4 {g} asym.",
                g,
                4,
                24,
                f"a scale (max−min)/15 and a zero point for each {g} (compressed-tensors)",
            )
            for g in (32, 64, 128)
        ),
        Scheme("nf4", "NF4", 64, 4, 32, "a scale max|w| for each 64 in the order of the file (bitsandbytes)", flat=True),
        Scheme("fp8_e4m3", "FP8 e4m3", TENSOR, 8, 32, "a scale max|w|/448 for the tensor (transformers)"),
        Scheme("fp8_e4m3_row", "FP8 e4m3 row", ROW, 8, 32, "a scale max|w|/448 for each row (compressed-tensors)"),
        Scheme("fp8_e5m2", "FP8 e5m2", TENSOR, 8, 32, "a scale max|w|/57,344 for the tensor (torchao)"),
        Scheme("fp8_e5m2_row", "FP8 e5m2 row", ROW, 8, 32, "a scale max|w|/57,344 for each row (torchao)"),
        Scheme("mxfp4", "MXFP4", 32, 4, 8, "a scale 2^(⌊log₂ max|w|⌋−2) for each 32 (OCP MX 1.0, torchao)"),
        Scheme("nvfp4", "NVFP4", 16, 4, 8, "a scale in e4m3 for each 16 and one for the tensor (NVIDIA, compressed-tensors)"),
    )
}
USUAL = tuple(name for name in SCHEMES if not name.endswith("_asymmetric"))


@dataclass(frozen=True)
class Extremes:
    """Of each block the least and the largest weight, and max|w|; of the tensor max|w|. float64."""

    low: Array
    high: Array
    absmax: Array
    of_tensor: float


@dataclass(frozen=True)
class Scales:
    """What the weights of each block are divided by, float64, and what is added then."""

    scale: Array
    zero: Array | None = None


def scales_of(scheme: Scheme, blocks: Extremes) -> Scales:
    """The scale of each block of *scheme*; of one of zeros any, which leaves zeros."""
    with np.errstate(all="ignore"):
        return _SCALES[scheme.name](blocks)


def _by(divisor: float) -> Callable[[Extremes], Scales]:
    def scales(blocks: Extremes) -> Scales:
        return Scales(np.maximum(blocks.absmax / divisor, _TINY))

    return scales


def _asymmetric(blocks: Extremes) -> Scales:
    """Zero is always in the range, as it is for compressed-tensors."""
    low, high = np.minimum(blocks.low, 0), np.maximum(blocks.high, 0)
    scale = np.maximum((high - low) / 15, _TINY)
    return Scales(scale, np.rint(np.clip(-8 - low / scale, -8, 7)))


def _microscaling(blocks: Extremes) -> Scales:
    """A power of two, of which the exponent is cut to the range of E8M0 that float32 has: ⌊log₂⌋ by the exponent itself."""
    _, exponent = np.frexp(blocks.absmax)
    scale = np.ldexp(1.0, np.clip(exponent - 1 - 2, -126, 127))
    return Scales(np.where(np.isfinite(blocks.absmax), scale, np.nan))


def _nvidia(blocks: Extremes) -> Scales:
    """Scales of blocks in e4m3, which one scale of the tensor spreads over the range of that; 1/8 where it rounds to zero.

    In float32, and times a reciprocal, as torch divides a number by a tensor: many of these scales lie in the middle between
    two numbers.
    """
    whole = np.float32(1) / np.float32(max(blocks.of_tensor, _TINY)) * np.float32(448 * 6)
    if np.isinf(whole):  # of weights that are next to nothing
        whole = np.float32(1)
    wanted = np.minimum(blocks.absmax.astype(np.float32) / np.float32(6.0) * whole, np.float32(448.0))
    stored = wanted.astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    return Scales(np.maximum(np.where(stored == 0, 0.125, stored) / np.float64(whole), _TINY))


_SCALES: dict[str, Callable[[Extremes], Scales]] = {
    "int8": _by(127.0),
    **dict.fromkeys(("int4_32", "int4_64", "int4_128"), _by(7.5)),
    **dict.fromkeys(("int4_32_asymmetric", "int4_64_asymmetric", "int4_128_asymmetric"), _asymmetric),
    "nf4": _by(1.0),
    **dict.fromkeys(("fp8_e4m3", "fp8_e4m3_row"), _by(448.0)),
    **dict.fromkeys(("fp8_e5m2", "fp8_e5m2_row"), _by(57344.0)),
    "mxfp4": _microscaling,
    "nvfp4": _nvidia,
}


def missed(scheme: Scheme, x: Array, scratch: Array) -> Array:
    """By how much, up or down, what float32 *x*, weights by their scale, are stored as misses them; in *scratch*."""
    return _MISSED[scheme.name](x, scratch)


def _integers(low: float, high: float) -> Callable[[Array, Array], Array]:
    def missed_by(x: Array, scratch: Array) -> Array:
        np.clip(np.rint(x, out=scratch), np.float32(low), np.float32(high), out=scratch)
        return np.subtract(scratch, x, out=scratch)

    return missed_by


def _floats(kind: Minifloat) -> Callable[[Array, Array], Array]:
    def missed_by(x: Array, scratch: Array) -> Array:
        return np.subtract(kind.round(x, scratch), x, out=scratch)

    return missed_by


def _saturated(x: Array, scratch: Array) -> Array:
    found = E2M1.round(x, scratch)
    np.clip(found, np.float32(-6), np.float32(6), out=found)
    return np.subtract(found, x, out=found)


def _missed_by_nf4(x: Array, scratch: Array) -> Array:
    """The distance to the nearer of two numbers, which a table of narrow bins has: no bin has a third that is nearest."""
    np.multiply(x, np.float32(_BINS), out=scratch)
    np.add(scratch, np.float32(_BINS), out=scratch)
    with np.errstate(invalid="ignore"):
        bins = scratch.astype(np.intp)
    other = np.take(_ABOVE, bins, mode="clip")
    np.take(_BELOW, bins, mode="clip", out=scratch)
    for each in (scratch, other):
        np.abs(np.subtract(each, x, out=each), out=each)
    found: Array = np.minimum(scratch, other, out=scratch)
    return found


def _nearest(ends: Array) -> Array:
    numbers = np.array(NF4)
    middles = (numbers[:-1] + numbers[1:]) / 2
    found: Array = numbers[np.searchsorted(middles, ends)].astype(np.float32)
    return found


_BELOW, _ABOVE = (_nearest(np.arange(first, 2 * _BINS + 1 + first) / _BINS - 1) for first in (0, 1))
_MISSED: dict[str, Callable[[Array, Array], Array]] = {
    "int8": _integers(-127, 127),
    **{name: _integers(-8, 7) for name in SCHEMES if name.startswith("int4")},
    "nf4": _missed_by_nf4,
    **dict.fromkeys(("fp8_e4m3", "fp8_e4m3_row"), _floats(E4M3)),
    **dict.fromkeys(("fp8_e5m2", "fp8_e5m2_row"), _floats(E5M2)),
    "mxfp4": _saturated,
    "nvfp4": _saturated,
}
