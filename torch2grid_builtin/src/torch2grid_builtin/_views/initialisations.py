"""What the usual initialisations leave in a tensor, and which of them it still looks like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch2grid_builtin._forms import fused_parts, stored_transposed
from torch2grid_builtin._rules.about import fan_in
from torch2grid_core import LazyTensor
from torch2grid_core.measures import Distribution
from torch2grid_core.sources import is_floating, whole_shape

SURE = 1024  # weights, from which chance does not imitate a distribution
_DEVIATIONS = 5.0  # standard errors of std, mean and kurtosis that a figure may be off
_ROUNDED = 2e-4  # of std, what storing in few digits moves


@dataclass(frozen=True)
class Scheme:
    """An initialisation: normal numbers of *std* about 0, or uniform ones of that std, within ±√3·std."""

    name: str
    std: float
    shape: Literal["normal", "uniform"]


def schemes(tensor: LazyTensor) -> Iterator[Scheme]:
    """The usual initialisations of a matrix or kernel.

    Kaiming (He et al. 2015): std √(2/fan-in), or /fan-out; torch.nn's, with a = √5: uniform within ±1/√fan-in. Xavier (Glorot
    and Bengio 2010): std √(2/(fan-in + fan-out)). LeCun (1998): 1/√fan-in. Transformers: 0.02; embeddings of torch.nn: 1.
    """
    inside = fan_in(tensor)
    shape = whole_shape(tensor.shape)
    outside = shape[0] * math.prod(shape[2:])
    if tensor.ndim == 2 and stored_transposed(tensor.name, tensor.shape):
        inside, outside = shape
    yield Scheme("Kaiming uniform of torch.nn", 1 / math.sqrt(3 * inside), "uniform")
    yield Scheme("Kaiming uniform", math.sqrt(2 / inside), "uniform")
    yield Scheme("Kaiming normal", math.sqrt(2 / inside), "normal")
    yield Scheme("Kaiming normal, fan-out", math.sqrt(2 / outside), "normal")
    for kind in ("uniform", "normal"):
        yield Scheme(f"Xavier {kind}", math.sqrt(2 / (inside + outside)), kind)
    yield Scheme("LeCun normal", 1 / math.sqrt(inside), "normal")
    yield Scheme("normal 0.02", 0.02, "normal")
    yield Scheme("normal 1", 1.0, "normal")


def as_initialised(tensor: LazyTensor, summary: Distribution) -> str:
    """The schemes that a tensor's std and shape fit, as ``LeCun normal or Xavier normal``; empty where none does.

    std, mean and kurtosis have to be within five standard errors, and uniform numbers inside their bounds. summary: of the
    tensor, with its kurtosis.
    """
    if tensor.ndim < 2 or not is_floating(tensor.dtype) or tensor.dtype.itemsize == 1:
        return ""
    if summary.finite < SURE or summary.finite < summary.count or fused_parts(tensor.name, tensor.shape)[1]:
        return ""
    return " or ".join(each.name for each in schemes(tensor) if _fits(each, summary))


def _fits(scheme: Scheme, summary: Distribution) -> bool:
    count, excess = summary.finite, 0.0 if scheme.shape == "normal" else -1.2
    off = abs(summary.std / scheme.std - 1)
    if off > _DEVIATIONS * math.sqrt((excess + 2) / (4 * count)) + _ROUNDED:
        return False
    if abs(summary.mean) > _DEVIATIONS * scheme.std / math.sqrt(count):
        return False
    if scheme.shape == "normal":
        return abs(summary.kurtosis) <= _DEVIATIONS * math.sqrt(24 / count) + _ROUNDED
    return abs(summary.kurtosis + 1.2) <= _DEVIATIONS * math.sqrt(2.5 / count) + _ROUNDED and (
        summary.absmax <= math.sqrt(3) * scheme.std * (1 + 0.005)  # bfloat16 rounds the bound by up to 0.4 %
    )
