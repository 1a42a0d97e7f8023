"""The singular values of every matrix of a model: from WᵀW, which is as small as the shorter side, or exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_builtin._forms import fused_parts
from torch2grid_builtin._spectra.laws import RELIABLE, STEEPEST, Bulk, PowerLaw, bulk, power_law
from torch2grid_builtin._spectra.singular import norm_of, of_squares, stable_rank_of
from torch2grid_builtin._views.convolutions import is_convolution
from torch2grid_builtin._views.stacks import matrices
from torch2grid_core import LazyTensor, Need
from torch2grid_core.sources import as_float, is_floating

Array = np.ndarray[Any, Any]

NOT_FINITE = "NaN or Inf"
_BAND = 1 << 20  # weights that are taken at a time
_SMALL = 2048  # a side up to which a second WᵀW is no matter of memory
_TILE = 512  # columns of a larger one that are summed up at a time
_NOTHING = 1e-7  # of the largest singular value: what is below was rounded away in its square
_ROUNDING = float(np.finfo(np.float64).eps)
_SEED = 20_090_101


@dataclass(frozen=True)
class Part:
    """A matrix of a tensor. index: of a stack, which one; letter: of a projection that holds several, ``Q``, ``K`` or ``V``."""

    tensor: LazyTensor
    owner: str
    index: tuple[int, ...] = ()
    letter: str = ""

    @property
    def name(self) -> str:
        """The tensor's name, with what tells this matrix from its others."""
        place = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return f"{self.owner}{place}{' ' + self.letter if self.letter else ''}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; of a kernel (output channels, input channels × taps), as it is applied to each place."""
        rows = self.tensor.shape[0]
        return rows, self.tensor.size // rows


def parts(tensor: LazyTensor) -> Iterator[Part]:
    """The matrices of a tensor that have singular values: itself, those it stacks, Q, K and V; a kernel as one.

    None of vectors, of what is no kernel and stacks no matrices, and of integers.
    """
    if not is_floating(tensor.dtype) or tensor.ndim < 2 or not tensor.size:
        return
    if is_convolution(tensor):
        yield from _large(Part(tensor, tensor.name))
        return
    for each in matrices(tensor):
        if each.tensor.ndim != 2:
            continue
        axis, fused = fused_parts(tensor.name, each.tensor.shape)
        if len(fused) < 2:
            yield from _large(Part(each.tensor, each.owner, each.index))
            continue
        for letter, start, stop in fused:
            taken = (slice(start, stop), slice(None)) if axis == 0 else (slice(None), slice(start, stop))
            yield from _large(Part(each.tensor.view(taken), each.owner, each.index, letter))


def _large(part: Part) -> Iterator[Part]:
    if min(part.shape) > 1:
        yield part


@dataclass(frozen=True)
class Spectrum:
    """What the singular values of one matrix say.

    shape: its rows and columns. values: σ, float64, largest first, as many as its shorter side; ``None`` where there are
    none: *why* says it. shuffled: the largest σ of the same weights in random places, where that was asked for;
    shuffled_spikes: how many are beyond the bulk there. floor: of σ₁, below which σ is not known.
    """

    shape: tuple[int, int]
    values: Array | None
    law: PowerLaw | None = None
    bulk: Bulk | None = None
    shuffled: float | None = None
    shuffled_spikes: int | None = None
    why: str = ""
    floor: float = _NOTHING

    @property
    def norm(self) -> float | None:
        """‖W‖_F = √Σσ²."""
        return None if self.values is None else norm_of(self.values)

    @property
    def stable_rank(self) -> float | None:
        """‖W‖²_F/‖W‖²₂ = Σσ²/σ₁²."""
        return None if self.values is None else stable_rank_of(self.values)

    @property
    def effective_rank(self) -> float | None:
        """exp(−Σ p ln p), p = σ/Σσ (Roy and Vetterli 2007)."""
        if self.values is None or not self.values[0]:
            return None
        shares = self.values[self.values > 0] / self.values.sum()
        return math.exp(-float((shares * np.log(shares)).sum()))

    @property
    def known(self) -> Array:
        """The singular values that are not lost in the rounding of the largest."""
        return np.empty(0) if self.values is None else self.values[self.values > self.floor * self.values[0]]

    @property
    def lost(self) -> int:
        """How many singular values are too small beside the largest to be known."""
        return 0 if self.values is None else len(self.values) - len(self.known)

    @property
    def alpha_hat(self) -> float | None:
        """α·log₁₀ λ₁ (Martin, Peng and Mahoney 2021)."""
        if self.law is None or self.values is None:
            return None
        return self.law.alpha * 2 * math.log10(self.values[0])

    @property
    def doubt(self) -> str:
        """Why α is not to be relied on; empty where it is."""
        if self.law is None or self.values is None:
            return ""
        if len(self.known) < RELIABLE:
            return f"α unreliable: {len(self.known)} eigenvalues"
        return f"α unreliable: above {STEEPEST:g}" if self.law.alpha > STEEPEST else ""


@dataclass(frozen=True)
class Spectra(Need[tuple[Spectrum, ...]]):
    """Name of each tensor that has matrices → the ``Spectrum`` of each, in the order of ``parts``.

    side: the longest shorter side that is measured; memory grows with its square, time with its cube. exact: by the singular
    value decomposition of the matrix itself, in float64, and not from WᵀW. shuffled: also of the weights in random places.
    """

    side: int = 4096
    exact: bool = False
    shuffled: bool = False

    def groups(self, checkpoint: Any) -> Mapping[Any, tuple[str, ...]]:
        return {
            name: (name,)
            for name, tensor in checkpoint.items()
            if name not in checkpoint.aliases and next(parts(tensor), None) is not None
        }

    def compute(self, tensors: Mapping[str, LazyTensor]) -> tuple[Spectrum, ...]:
        (tensor,) = tensors.values()
        return tuple(self._of(part) for part in parts(tensor))

    def _of(self, part: Part) -> Spectrum:
        long, short = max(part.shape), min(part.shape)
        if short > self.side:
            return Spectrum(part.shape, None, why=f"the shorter side is above {self.side:,}: side={short} measures it")
        floor = long * _ROUNDING if self.exact else _NOTHING
        values = singular_values(part) if self.exact else of_squares(gram(part))
        if values is None and all(np.isfinite(band).all() for band in _bands(part)):
            values, floor = singular_values(part), long * _ROUNDING  # squares of float64 that left its range
        if values is None:
            return Spectrum(part.shape, None, why=NOT_FINITE)
        shuffled = shuffled_spikes = None
        if self.shuffled:
            whole = _whole(part)
            largest = float(np.abs(whole).max()) or 1.0  # so that no square leaves the range of float64
            mixed = np.random.default_rng(_SEED).permutation((whole / largest).reshape(-1)).reshape(part.shape)
            found = of_squares(mixed.T @ mixed if mixed.shape[0] > mixed.shape[1] else mixed @ mixed.T)
            if found is not None:
                shuffled = float(found[0]) * largest
                noise = bulk(np.where(found > _NOTHING * found[0], found, 0) ** 2, long, short)
                shuffled_spikes = None if noise is None else noise.spikes
        # σ as shares of the largest, so that no square leaves the range of float64
        top = float(values[0])
        shares = np.where(values > floor * top, values, 0) / (top or 1.0)
        law, noise = power_law(shares[shares > 0] ** 2), bulk(shares**2, long, short)
        if law is not None:
            law = replace(law, least=law.least * top * top)
        if noise is not None:
            noise = replace(noise, std=noise.std * top, low=noise.low * top, edge=noise.edge * top)
        return Spectrum(part.shape, values, law, noise, shuffled, shuffled_spikes, floor=floor)


def gram(part: Part) -> Array:
    """WᵀW, or WWᵀ where that is smaller, float64: its upper triangle. NaN or Inf somewhere where the weights hold one."""
    rows, columns = part.shape
    side = min(rows, columns)
    total = np.zeros((side, side))
    with np.errstate(all="ignore"):  # NaN and Inf are seen in the result
        for band in _bands(part):
            if side <= _SMALL:
                total += band.T @ band  # which BLAS knows to be symmetric
                continue
            for start in range(0, side, _TILE):
                total[start : start + _TILE, start:] += band[:, start : start + _TILE].T @ band[:, start:]
    return total


def _bands(part: Part) -> Iterator[Array]:
    """The matrix in float64, in bands along its longer side: (some of these, the shorter side)."""
    tensor, (rows, columns) = part.tensor, part.shape
    axis = int(rows < columns)
    each = tensor.size // tensor.shape[axis]
    step = max(_BAND // each, 1)
    for start in range(0, tensor.shape[axis], step):
        taken = (slice(None),) * axis + (slice(start, start + step),)
        band = as_float(tensor.view(taken).numpy()).astype(np.float64)
        yield band.reshape(rows, -1).T if axis else band.reshape(-1, columns)


def _whole(part: Part) -> Array:
    return as_float(part.tensor.numpy()).astype(np.float64).reshape(part.shape)


def singular_values(part: Part) -> Array | None:
    """σ of the whole matrix, largest first, float64; ``None`` where it holds NaN or Inf."""
    whole = _whole(part)
    largest = float(np.abs(whole).max())  # NaN where one is
    if not largest < math.inf:
        return None
    found: Array = np.linalg.svd(whole / largest if largest else whole, compute_uv=False)
    return found * largest
