"""Singular values of a product of thin matrices, from the small core that is left of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._adapters.product import Product, Scaled
from torch2grid_builtin._decoders.codes import turned
from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import NotFiniteCount
from torch2grid_core.sources import as_float

Array = np.ndarray[Any, Any]
_PIECE = 1 << 20  # numbers of a factor that are taken at a time
_CORE = 1 << 24  # numbers of the core: ranks beyond have no singular values here


@dataclass(frozen=True)
class ChangeFigures:
    """What is known of the change of one weight.

    values: singular values of scale·B·A, largest first, as many as its rank; ``None`` where its factors hold NaN or Inf, or are
    too wide. norm: of the change, the Frobenius norm. base: that of the weight that it changes; ``None`` without the base.
    not_finite: NaN and Inf in its factors.
    """

    values: Array | None
    norm: float
    base: float | None = None
    not_finite: NotFiniteCount = NotFiniteCount()  # noqa: RUF009

    @property
    def relative(self) -> float | None:
        """The norm as a share of the base's; ``None`` where that is not known."""
        if self.base is None:
            return None
        return self.norm / self.base if self.base else math.nan if not self.norm else math.inf

    @property
    def top(self) -> float | None:
        """The share of ‖ΔW‖² that the first direction holds; ``None`` where there is no change."""
        if self.values is None or not self.values.size or not self.values[0]:
            return None
        ratios = self.values / self.values[0]
        return float(1 / (ratios**2).sum())

    def used(self, least: float) -> int | None:
        """How many singular values are above *least* times the largest."""
        if self.values is None:
            return None
        return int(np.count_nonzero(self.values > least * self.values.max(initial=0)))


@dataclass(frozen=True)
class Changes(Need[ChangeFigures]):
    """Name of each change of a weight → its figures. base: what stands before the names of the weights that are changed."""

    base: str = "base."

    def groups(self, checkpoint: Any) -> Mapping[Any, tuple[str, ...]]:
        found = {}
        for name, tensor in checkpoint.items():
            if isinstance(tensor.storage, (Product, Scaled)):
                beside = self.base + name
                found[name] = (name, beside) if beside in checkpoint else (name,)
        return found

    def compute(self, tensors: Mapping[str, LazyTensor]) -> ChangeFigures:
        change, *rest = tensors.values()
        storage = change.storage
        product = storage.product if isinstance(storage, Scaled) else storage
        assert isinstance(product, Product)
        values, lost = singular_values(product)
        if isinstance(storage, Scaled):
            norm = norm_of(change)
        else:
            norm = math.nan if values is None and lost.nan + lost.inf else _length(values, product)
        return ChangeFigures(values, norm, norm_of(rest[0]) if rest else None, lost)


def _length(values: Array | None, product: Product) -> float:
    if values is None:
        return norm_of(LazyTensor("", (product.rows, product.columns), Product.dtype, product))
    largest = float(values.max(initial=0))
    with np.errstate(all="ignore"):  # beyond the range of float64 is Inf, and NaN without a warning
        return largest * float(np.linalg.norm(values / largest)) if largest else 0.0


def norm_of(tensor: LazyTensor) -> float:
    """The Frobenius norm of a tensor; NaN where a number is NaN. It is read once, in chunks."""
    total = 0.0
    with np.errstate(all="ignore"):
        for chunk in tensor.chunks():
            values = as_float(chunk).astype(np.float64)
            total += float(np.dot(values, values))
    return math.sqrt(total) if total == total else math.nan


def singular_values(product: Product) -> tuple[Array | None, NotFiniteCount]:
    """The singular values of scale · left · right, largest first, float64, and NaN and Inf in both factors.

    left = Q₁R₁ and rightᵀ = Q₂R₂, so that the values are those of scale · R₁R₂ᵀ, which is no larger than rank by rank. Both
    triangles are made band by band: no more of a factor is held than that. ``None`` for a core of more than 2²⁴ numbers, and
    where a factor is not finite.
    """
    count, nan, inf = 0, 0, 0
    cores = []
    for factor in (product.left, turned(product.right)):
        rows, rank = factor.shape
        core = np.zeros((0, rank))
        wide = min(rows, rank) * rank > _CORE
        step = max(_PIECE // rank, min(rank, _CORE // rank), 1)
        for start in range(0, rows, step):
            part = factor.view((slice(start, min(start + step, rows)), slice(None)))
            with np.errstate(all="ignore"):  # NaN and Inf are counted
                band = as_float(part.numpy()).astype(np.float64)
            lost = ~np.isfinite(band)
            if lost.any():
                nan += int(np.isnan(band).sum())
                inf += int(np.isinf(band).sum())
            elif not wide and not nan + inf:
                core = np.asarray(np.linalg.qr(np.vstack([core, band]), mode="r"))
        count += rows * rank
        cores.append(None if wide else core)
    found = NotFiniteCount(nan, inf)
    one, two = cores
    if one is None or two is None or found:
        return None, found
    sizes = [float(np.abs(core).max(initial=0)) for core in (one, two)]
    if not all(sizes):
        return np.zeros(min(len(one), len(two))), found
    with np.errstate(all="ignore"):  # beyond the range of float64 is Inf
        values: Array = np.linalg.svd((one / sizes[0]) @ (two / sizes[1]).T, compute_uv=False)
        return values * (sizes[0] * sizes[1] * abs(product.scale)), found
