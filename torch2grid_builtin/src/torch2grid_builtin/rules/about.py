"""Which tensors the rules look at."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from torch2grid_builtin.views.units import has_units, is_figure
from torch2grid_core import Checkpoint, LazyTensor, is_complex, is_floating

_MASK = re.compile(r"mask|^bias$", re.IGNORECASE)
FEW = 16  # weights: fewer say nothing about a distribution


def own(checkpoint: Checkpoint, results: Mapping[str, Any]) -> Iterator[tuple[LazyTensor, Any]]:
    """Each tensor once, tied ones under their first name, with its result."""
    for name, tensor in checkpoint.items():
        if name not in checkpoint.aliases and name in results:
            yield tensor, results[name]


def weights(checkpoint: Checkpoint, results: Mapping[str, Any]) -> Iterator[tuple[LazyTensor, Any]]:
    """Of those, the weights: matrices, kernels and the weights of normalisations, but no biases and no figures about data."""
    for tensor, result in own(checkpoint, results):
        if has_units(tensor, checkpoint) and not is_figure(tensor.name):
            yield tensor, result


def is_number(tensor: LazyTensor) -> bool:
    """True for floating and complex tensors, which may hold NaN and Inf."""
    return is_floating(tensor.dtype) or is_complex(tensor.dtype)


def is_mask(tensor: LazyTensor) -> bool:
    """True for buffers such as a causal mask (older transformers call theirs ``bias``): −Inf is what they are for."""
    return tensor.ndim >= 2 and bool(_MASK.search(tensor.name.rpartition(".")[2]))


def is_matrix(tensor: LazyTensor) -> bool:
    """True for two or more units of two or more weights each, ``FEW`` weights in all."""
    return tensor.ndim >= 2 and tensor.size >= FEW and tensor.shape[0] > 1 and tensor.size > tensor.shape[0]


def fan_in(tensor: LazyTensor) -> int:
    """Weights of one output unit."""
    return math.prod(tensor.shape[1:])


def share_text(count: int, of: int, what: str = "weights") -> str:
    """``12 of 4,096 weights``."""
    return f"{count:,} of {of:,} {what}"


def within(low: float, high: float = math.inf) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """A test for ``first_index``: finite weights with low ≤ |weight| < high."""

    def test(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        sizes = np.abs(values)
        found: np.ndarray[Any, Any] = (sizes >= low) & (sizes < high)
        return found

    return test
