"""How the experts of a layer differ: norms, the largest singular value, what is dead, and the cosine of each two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._experts.finding import Projection
from torch2grid_builtin._spectra.singular import squared_norm
from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import count_not_finite
from torch2grid_core.sources import as_float

Array = np.ndarray[Any, Any]
_BAND = 1 << 21  # weights of all experts that are taken at a time
_CLOSE, _LONGEST = 2e-5, 300  # of the iteration for the square of the largest singular value
_LEAST, _MOST = 1e-4, 1e4  # of the largest weight: its fourth power, and sums of those, are numbers of float32
_ROWS = 64  # that are squared at a time
_TINY = 1e-30  # a norm that float32 has no room for
_SEED = 20_210_101


@dataclass(frozen=True, eq=False)
class ExpertFigures:
    """What is known of one matrix of each expert, in the order of ``Projection.members``; NaN where it holds NaN or Inf.

    norms: of Frobenius. top: σ₁, within 10⁻⁵ of it. dead: the share of rows and columns together of which no weight reaches the
    threshold. cosine: (experts, experts), of the matrices as vectors; NaN also of zeros, and of another shape than the first.
    lost: what is NaN or Inf; empty for none. shape: of the first.
    """

    norms: Array
    top: Array
    dead: Array
    cosine: Array
    lost: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def stable_rank(self) -> Array:
        """‖W‖²_F/σ₁²; NaN of zeros."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = np.where(self.top > 0, (self.norms / self.top) ** 2, np.nan)
        return found


@dataclass(frozen=True)
class Experts(Need[ExpertFigures]):
    """Key of each projection → its ``ExpertFigures``. threshold: a weight below it is near zero."""

    projections: tuple[Projection, ...]
    threshold: float = 1e-6

    def groups(self, checkpoint: Any) -> Mapping[Any, tuple[str, ...]]:
        return {each.key: each.names for each in self.projections}

    def only(self, names: tuple[str, ...]) -> Experts:
        return Experts(tuple(each for each in self.projections if {*each.names} <= {*names}), self.threshold)

    def compute(self, tensors: Mapping[str, LazyTensor]) -> ExpertFigures:
        projection = next(each for each in self.projections if {*each.names} == {*tensors})
        matrices = [each.of(tensors[each.tensor]) for each in projection.members]
        shape = matrices[0].shape
        figures, lost = np.full((3, len(matrices)), np.nan), []
        for place, matrix in enumerate(matrices):
            values = as_float(matrix.numpy())
            told = count_not_finite(values.reshape(-1)).text
            lost.append(told)
            if not told:
                figures[:, place] = _figures_of(values, self.threshold)
        usable = [place for place, matrix in enumerate(matrices) if figures[0, place] > 0 and matrix.shape == shape]
        cosine = np.full((len(matrices), len(matrices)), np.nan)
        cosine[np.ix_(usable, usable)] = _cosines([matrices[place] for place in usable], figures[0, usable])
        norms, top, dead = figures
        return ExpertFigures(norms, top, dead, cosine, tuple(lost), tuple(shape))


def _figures_of(values: Array, threshold: float) -> tuple[float, float, float]:
    """Norm, σ₁ and dead share of a matrix of finite numbers."""
    rows, columns = (np.maximum(values.max(axis=axis), -values.min(axis=axis)) for axis in (1, 0))
    dead = (np.count_nonzero(rows < threshold) + np.count_nonzero(columns < threshold)) / (len(rows) + len(columns))
    scale = float(rows.max())
    if not scale:
        return 0.0, 0.0, dead
    if _LEAST < scale < _MOST:
        scale, shares = 1.0, values
    else:  # no square leaves the range
        shares = (values.astype(np.float64) / scale).astype(values.dtype)
    bands = (shares[start : start + _ROWS] for start in range(0, len(shares), _ROWS))
    norm = math.sqrt(math.fsum(float(np.square(band, dtype=np.float64).sum()) for band in bands))
    short = shares if shares.shape[0] <= shares.shape[1] else shares.T
    start = np.random.default_rng(_SEED).standard_normal(len(short)).astype(values.dtype)
    found, known = squared_norm(np.ascontiguousarray(short), start / np.linalg.norm(start), _CLOSE, _LONGEST)
    if not known:
        exact = short.astype(np.float64)
        found = float(np.linalg.eigvalsh(exact @ exact.T)[-1])
    return scale * norm, scale * min(math.sqrt(max(found, 0.0)), norm), dead


def _cosines(matrices: Sequence[LazyTensor], norms: Array) -> Array:
    """Of each two: products of float32 within a band of all of them, summed up in float64 over the bands."""
    total = np.zeros((len(matrices), len(matrices)))
    if not matrices:
        return total
    size = matrices[0].size
    step = max(_BAND // len(matrices), 1)
    wide = any(each.dtype == np.float64 for each in matrices)
    held = np.empty((len(matrices), min(step, size)), np.float64 if wide else np.float32)
    for start in range(0, size, step):
        stop = min(start + step, size)
        for place, (each, norm) in enumerate(zip(matrices, norms, strict=True)):
            by = float(norm) if _TINY < norm < 1 / _TINY else norm  # a number of float64 is divided by in float64
            np.divide(as_float(each.read(start, stop)), by, out=held[place, : stop - start], casting="same_kind")
        band = held[:, : stop - start]
        total += band @ band.T
    return np.clip(total, -1, 1)
