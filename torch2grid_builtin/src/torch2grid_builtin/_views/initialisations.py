"""What the usual initialisations leave in a tensor, and which of them it still looks like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._forms import fused_parts, stacked, stored_transposed
from torch2grid_builtin._rules.about import fan_in
from torch2grid_core import LazyTensor
from torch2grid_core.measures import Distribution
from torch2grid_core.sources import is_floating, whole_shape

Array = np.ndarray[Any, Any]
SURE = 1024  # weights, from which chance does not imitate a distribution
_DEVIATIONS = 5.0  # standard errors of std, mean and kurtosis that a figure may be off
_ROUNDED = 2e-4  # of std, what storing in few digits moves
_BOUND = 0.005  # of a bound, by how much a weight may be beyond: bfloat16 rounds it by up to 0.4 %
_LEFT = 0.8796256610342398  # std of normal numbers of which those beyond ±2 were drawn again


@dataclass(frozen=True)
class Shape:
    """Of numbers of std 1 about 0: their excess kurtosis, n times the variance of that of n numbers, and the largest."""

    excess: float
    spread: float
    largest: float = math.inf


NORMAL = Shape(0.0, 24.0)
UNIFORM = Shape(-1.2, 2.5, math.sqrt(3))
TRUNCATED = Shape(-0.63446, 3.85, 2 / _LEFT)  # normal, with what is beyond two of its std drawn again


@dataclass(frozen=True)
class Scheme:
    """An initialisation: independent numbers of *shape* about 0 with this *std*."""

    name: str
    std: float
    shape: Shape

    def below(self, values: Array) -> Array:
        """The share of its numbers below each of *values*."""
        places = np.asarray(values, np.float64) / self.std
        if self.shape is UNIFORM:
            return np.asarray(np.clip(0.5 + places / (2 * self.shape.largest), 0, 1))
        if self.shape is NORMAL:
            return _normal(places)
        low, high = _normal(np.array([-2.0, 2.0]))
        return np.asarray(np.clip((_normal(places * _LEFT) - low) / (high - low), 0, 1))


def _normal(places: Array) -> Array:
    return np.array([math.erfc(-each / math.sqrt(2)) / 2 for each in places.tolist()])


def schemes(tensor: LazyTensor) -> Iterator[Scheme]:
    """The usual initialisations of a matrix or kernel; of a stack of matrices, of each of them, whichever way it is stored.

    Kaiming (He et al. 2015): std √(2/fan-in), or /fan-out; torch.nn's, with a = √5: uniform within ±1/√fan-in. Xavier (Glorot
    and Bengio 2010): std √(2/(fan-in + fan-out)). LeCun (1998): 1/√fan-in. Truncated ones are Keras's and Flax's, whose std is
    that of what is left. Transformers: 0.02, truncated by TensorFlow's BERT without making up for it; 0.006 of OPT and
    DeepSeek. Embeddings of torch.nn: 1.
    """
    inside = fan_in(tensor)
    shape = whole_shape(tensor.shape)
    outside = shape[0] * math.prod(shape[2:])
    if tensor.ndim == 2 and stored_transposed(tensor.name, tensor.shape):
        inside, outside = shape
    fans = [(inside, outside)]
    if stacked(tensor.name, tensor.shape) is not None:
        fans = [(shape[-1], shape[-2]), (shape[-2], shape[-1])]
    for inside, outside in dict.fromkeys(fans):
        yield Scheme("Kaiming uniform of torch.nn", 1 / math.sqrt(3 * inside), UNIFORM)
        yield Scheme("Kaiming uniform", math.sqrt(2 / inside), UNIFORM)
        yield Scheme("Kaiming normal", math.sqrt(2 / inside), NORMAL)
        yield Scheme("Kaiming normal, fan-out", math.sqrt(2 / outside), NORMAL)
        yield Scheme("truncated Kaiming normal", math.sqrt(2 / inside), TRUNCATED)
        yield Scheme("Xavier uniform", math.sqrt(2 / (inside + outside)), UNIFORM)
        yield Scheme("Xavier normal", math.sqrt(2 / (inside + outside)), NORMAL)
        yield Scheme("truncated Xavier normal", math.sqrt(2 / (inside + outside)), TRUNCATED)
        yield Scheme("LeCun normal", 1 / math.sqrt(inside), NORMAL)
        yield Scheme("truncated LeCun normal", 1 / math.sqrt(inside), TRUNCATED)
    yield Scheme("normal 0.02", 0.02, NORMAL)
    yield Scheme("truncated normal 0.02", 0.02 * _LEFT, TRUNCATED)
    yield Scheme("normal 0.006", 0.006, NORMAL)
    yield Scheme("normal 1", 1.0, NORMAL)


def as_initialised(tensor: LazyTensor, summary: Distribution) -> str:
    """The schemes that a tensor's std and shape fit, as ``LeCun normal or Xavier normal``; empty where none does.

    std, mean and kurtosis have to be within five standard errors, and numbers inside the bounds of a scheme that has some.
    summary: of the tensor, with its kurtosis.
    """
    return _names(each for each in _judged(tensor, summary) if _fits(each, summary))


def beside(tensor: LazyTensor, summary: Distribution, edges: Array) -> dict[str, Array]:
    """How many weights between the *edges* the schemes that fit would give, by what they are called; else the nearest.

    Nearest is the scheme from which the distance of Kolmogorov and Smirnov is least, between the edges. Nothing of a tensor
    that is not judged. summary: of the tensor, with its kurtosis and buckets.
    """
    judged = list(_judged(tensor, summary))
    if not judged:
        return {}
    fitting = [each for each in judged if _fits(each, summary)]
    found, what = fitting, "as initialised"
    if not fitting:
        counts, below, _ = summary.histogram(edges)
        shares = (below + np.append(0, np.cumsum(counts))) / summary.finite
        distances = [float(np.abs(each.below(edges) - shares).max()) for each in judged]
        found, what = [each for each, off in zip(judged, distances, strict=True) if off == min(distances)], "nearest"
    alike: dict[tuple[float, Shape], list[Scheme]] = {}
    for each in found:
        alike.setdefault((float(f"{each.std:.9g}"), each.shape), []).append(each)
    return {
        f"{what}: {_names(some)}, std {some[0].std:.4g}": summary.finite * np.diff(some[0].below(edges))
        for some in alike.values()
    }


def _names(found: Iterable[Scheme]) -> str:
    return " or ".join(dict.fromkeys(each.name for each in found))


def _judged(tensor: LazyTensor, summary: Distribution) -> Iterator[Scheme]:
    """The schemes that a tensor is held against; none where it is a vector, fused, of few weights, or not all finite."""
    if tensor.ndim < 2 or not is_floating(tensor.dtype) or tensor.dtype.itemsize == 1:
        return
    if summary.finite < SURE or summary.finite < summary.count or fused_parts(tensor.name, tensor.shape)[1]:
        return
    yield from schemes(tensor)


def _fits(scheme: Scheme, summary: Distribution) -> bool:
    count, shape = summary.finite, scheme.shape
    off = abs(summary.std / scheme.std - 1)
    if off > _DEVIATIONS * math.sqrt((shape.excess + 2) / (4 * count)) + _ROUNDED:
        return False
    if abs(summary.mean) > _DEVIATIONS * scheme.std / math.sqrt(count):
        return False
    if summary.absmax > shape.largest * scheme.std * (1 + _BOUND):
        return False
    return abs(summary.kurtosis - shape.excess) <= _DEVIATIONS * math.sqrt(shape.spread / count) + _ROUNDED
