"""One tensor over time: a few figures of every snapshot, from one pass over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._compare.delta import DeltaCollector, DeltaOf, minus
from torch2grid_builtin._views.histogram import LEVELS, bar_edges
from torch2grid_builtin._views.units import dead_units, has_units
from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import Chunk, Collector, Distribution, UnitProfile
from torch2grid_core.sources import JointTensor

Array = np.ndarray[Any, Any]
_BARS = 64
_NONE = np.float64("nan")


@dataclass(frozen=True, eq=False)
class Track:
    """Figures of one tensor at each of S snapshots, float64, NaN where there is none.

    norm, mean, std, absmax, kurtosis (0 for a normal distribution), near (share of near-zero weights), dead (share of dead
    units), spread (standard deviation of the norms of output units, over their mean): (S,). ratio: (S,), ‖Δ‖/‖w‖ of the
    step that led to each, or ‖g‖/‖w‖ for gradients. quantiles: (levels, S). edges: (n+1,), counts: (S, n), a histogram of
    every snapshot over the same bars. weights, nan, inf: int64, (S,), how many there are; figures are about the finite ones.
    """

    norm: Array
    mean: Array
    std: Array
    absmax: Array
    kurtosis: Array
    near: Array
    dead: Array
    spread: Array
    ratio: Array
    quantiles: Array
    edges: Array
    counts: Array
    weights: Array
    nan: Array
    inf: Array


def track_of(
    distributions: Sequence[Distribution | None],
    dtype: Any,
    threshold: float | None,
    dead: Sequence[float],
    spread: Sequence[float],
    ratio: Sequence[float],
) -> Track:
    """The track of a tensor by the distributions of its snapshots; ``None`` where one has none."""
    both = Distribution()
    for each in distributions:
        if each is not None:
            both.merge(each)
    edges = bar_edges(both, np.dtype(dtype), _BARS, 0.001, whole=False)
    known = [each if each is not None and each.finite else None for each in distributions]

    def figure(of: Any) -> Array:
        return np.array([_NONE if each is None else of(each) for each in known])

    empty_levels, empty_bars = np.full(len(LEVELS), np.nan), np.zeros(len(edges) - 1)
    return Track(
        norm=figure(lambda each: each.l2),
        mean=figure(lambda each: each.mean),
        std=figure(lambda each: each.std),
        absmax=figure(lambda each: each.absmax),
        kurtosis=figure(lambda each: each.kurtosis),
        near=figure(lambda each: each.near_zero(threshold) / each.count) if threshold is not None else figure(lambda _: _NONE),
        dead=np.where([each is None for each in known], _NONE, np.array(dead, float)),
        spread=np.array(spread, float),
        ratio=np.array(ratio, float),
        quantiles=np.stack([empty_levels if each is None else each.quantiles(LEVELS) for each in known], axis=1),
        edges=edges,
        counts=np.stack([empty_bars if each is None else each.histogram(edges)[0] for each in known]).astype(np.float64),
        weights=np.array([0 if each is None else each.count for each in distributions]),
        nan=np.array([0 if each is None else each.nan for each in distributions]),
        inf=np.array([0 if each is None else each.posinf + each.neginf for each in distributions]),
    )


@dataclass(frozen=True)
class TrackOf(Need[Track]):
    """The ``Track`` of a joint tensor whose members ``"0"`` to ``"S-1"`` are its snapshots."""

    threshold: float

    def collector(self, tensors: Mapping[str, LazyTensor]) -> TrackCollector:
        (tensor,) = tensors.values()
        assert isinstance(tensor, JointTensor)
        return TrackCollector(self, tensor)


class TrackCollector(Collector):
    """Collects distributions, unit profiles and changes of all snapshots while they stream past together."""

    def __init__(self, need: TrackOf, tensor: JointTensor) -> None:
        self.threshold, self.tensor = need.threshold, tensor
        self.members = [name for name, _ in tensor.members]
        self.distributions = [Distribution((need.threshold,)) for _ in self.members]
        self.profiles = [UnitProfile(tensor.shape) for _ in self.members] if tensor.ndim > 1 and has_units(tensor, {}) else []
        pairs = zip(self.members, self.members[1:], strict=False)
        self.changes = [DeltaCollector(DeltaOf(before, after, rank_size=0), tensor) for before, after in pairs]

    def update(self, chunk: Chunk) -> None:
        for place, member in enumerate(self.members):
            self.distributions[place].update(chunk.of(member).stored)
            if self.profiles:
                self.profiles[place].update(chunk.start, chunk.of(member).values)
        for change in self.changes:
            change.update(chunk)

    def result(self) -> Track:
        dead = [dead_units(self.tensor, each, self.threshold).share for each in self.profiles]
        ratio = [_NONE, *(change.result().relative for change in self.changes)]
        return track_of(
            [each.settle() for each in self.distributions],
            self.tensor.dtype,
            self.threshold,
            dead or [_NONE] * len(self.members),
            [_spread(each.output_norm) for each in self.profiles] or [_NONE] * len(self.members),
            ratio,
        )


def _spread(norms: Array) -> float:
    """How unequal units are: 0 where all norms are one."""
    mean = float(norms.mean())
    return float(norms.std()) / mean if mean > 0 and len(norms) > 1 else _NONE


@dataclass(frozen=True)
class LastMinusFirst:
    """What a series' joint tensor is: the change over the whole run."""

    last: str

    def __call__(self, arrays: Mapping[str, Array]) -> Array:
        return minus(arrays[self.last], arrays["0"])


def recorded_tracks(distributions: Mapping[str, Sequence[Distribution | None]], norms: Mapping[str, Array]) -> dict[str, Track]:
    """Tracks of recorded gradients. norms: ‖w‖ of each parameter at each record."""
    found = {}
    for name, series in distributions.items():
        steps = zip(series, norms[name], strict=True)
        ratio = [_NONE if each is None or not each.finite or not norm > 0 else each.l2 / norm for each, norm in steps]
        none = [_NONE] * len(series)
        found[name] = track_of(series, np.float32, None, none, none, ratio)
    return found
