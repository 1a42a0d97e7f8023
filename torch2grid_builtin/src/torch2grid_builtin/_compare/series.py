"""Comparing many checkpoints of one run: one pass over all of them, each read once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from torch2grid_builtin._compare.delta import Delta, DeltaCollector, DeltaOf, minus
from torch2grid_builtin._compare.match import match
from torch2grid_builtin._compare.order import Ordered, step_text
from torch2grid_builtin._views.grid import whole_model_run
from torch2grid_builtin._views.histogram import LEVELS, bar_edges
from torch2grid_builtin._views.units import dead_units, has_units
from torch2grid_core import (
    Checkpoint,
    Grid,
    GridTransformer,
    LazyTensor,
    LoadError,
    Need,
    NotDrawable,
    Page,
    Settings,
    View,
    draw,
)
from torch2grid_core.grids import ColorScale, color_scale
from torch2grid_core.measures import Chunk, Collector, Distribution, Of, Transformed, UnitProfile, counted_distribution
from torch2grid_core.pages import PageOrigin
from torch2grid_core.sources import JointTensor
from torch2grid_core.text import shape_text, visible

Array = np.ndarray[Any, Any]
_BARS = 64
_NARROW = 1e-30  # of the largest weight: an axis does not resolve less
_EXPLODED = 100  # a snapshot whose limits are so many times those of the calmest is shown on a bent scale
_CALM = 60  # the limits of the calmest snapshot are at least half so many times the bend of that scale
_GROWN, _OUTSIDE = 10, 3  # or one tensor, of which the largest are so many times the least, and the limits
_NONE = np.float64("nan")
Bad = Literal["NaN", "Inf"]
EXPLODED = 10  # times its first std: a matrix that trains well stays far below
EXPLODED_VECTOR = 100  # times its first norm: biases begin near 0, and grow more
_NAMED = 3  # snapshots, in the reason why a tensor is left out
_CELLS = 1024  # a side of a square of all frames together
FORMAT = "torch2grid recording"
_PLACES = ("codes", "counts", "ends", "figures")


@dataclass(frozen=True, eq=False)
class Track:
    """Figures of one tensor at each of S snapshots, float64, NaN where there is none.

    norm, mean, std, absmax, kurtosis (0 for a normal distribution), near (share of near-zero weights), dead (share of dead
    units), spread (standard deviation of the norms of output units, over their mean): (S,). ratio: (S,), ‖Δ‖/‖w‖ of the
    step that led to each, or ‖g‖/‖w‖ for gradients. quantiles: (levels, S). edges: (n+1,), counts: (S, n), a histogram of
    every snapshot over the same bars, which are of one width on an axis of asinh(w / bend); of bend 0, on a linear one.
    weights, nan, inf: int64, (S,), how many there are; figures are about the finite ones.
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
    bend: float


def track_of(
    distributions: Sequence[Distribution | None],
    dtype: Any,
    threshold: float | None,
    dead: Sequence[float],
    spread: Sequence[float],
    ratio: Sequence[float],
) -> Track:
    """The track of a tensor by the distributions of its snapshots; ``None`` where one has none."""
    known = [each if each is not None and each.finite else None for each in distributions]
    edges, bend = _bars([each for each in known if each is not None], np.dtype(dtype))

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
        bend=bend,
    )


def _bars(known: Sequence[Distribution], dtype: np.dtype[Any]) -> tuple[Array, float]:
    """Edges of bars for all of *known*, and the half-width of the linear middle of their axis: the least spread of any.

    A run that explodes spans many powers of ten, and what it was before it did is to be seen too. 0: the axis is linear, for
    whole numbers and for weights that are all one number.
    """
    spreads = [each.std for each in known if each.std > 0]
    if not spreads or dtype.kind in "iub":
        both = Distribution()
        for each in known:
            both.merge(each)
        return bar_edges(both, dtype, _BARS, 0.0, whole=False, ends=(both.min, both.max)), 0.0
    low, high = min(each.min for each in known), max(each.max for each in known)
    bend = max(min(spreads), max(abs(low), abs(high)) * _NARROW)
    ends = np.arcsinh(np.array([low, high]) / bend)
    edges = np.sinh(np.linspace(float(ends[0]), float(ends[1]), _BARS + 1)) * bend
    edges[0], edges[-1] = low, np.nextafter(high, np.inf)
    return edges, bend


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
        ratio = [_NONE, *(_ratio(change.result()) for change in self.changes)]
        return track_of(
            [each.settle() for each in self.distributions],
            self.tensor.dtype,
            self.threshold,
            dead or [_NONE] * len(self.members),
            [_spread(each.output_norm) for each in self.profiles] or [_NONE] * len(self.members),
            ratio,
        )


def _ratio(delta: Delta) -> float:
    """‖Δ‖/‖w‖ of the weights that are finite in both snapshots."""
    finite = delta.of_finite()
    return finite.relative if finite.weights > finite.not_finite.both else _NONE


def _spread(norms: Array) -> float:
    """How unequal units are, 0 where all norms are one; of those that are finite."""
    known = norms[np.isfinite(norms)]
    largest = float(known.max(initial=0.0))
    if not largest or len(known) < 2:
        return _NONE
    shares = known / largest  # whose squares do not overflow
    return float(shares.std()) / float(shares.mean())


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


@dataclass(frozen=True)
class Series:
    """What became of each tensor. tracks: by its name in the last checkpoint; left_out: why others have none."""

    ordered: Ordered
    tracks: Mapping[str, Track]
    vectors: frozenset[str]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def first(self, what: Bad) -> First | None:
        """When there was a NaN, or an Inf, for the first time; ``None`` where there is none."""
        counts = {name: track.nan if what == "NaN" else track.inf for name, track in self.tracks.items()}
        for place, label in enumerate(self.ordered.labels):
            names = tuple(name for name, each in counts.items() if each[place])
            if names:
                return First(what, place, label, names)
        return None

    @property
    def exploded(self) -> dict[str, int]:
        """Name → place of the first snapshot in which a matrix has ten times its first std, a vector 100 times its ‖w‖.

        The first ‖w‖ of a vector that begins near 0 is taken to be that of weights as large as the largest of most tensors.
        """
        largest = [float(track.absmax[0]) for track in self.tracks.values() if 0 < track.absmax[0] < math.inf]
        usual = float(np.median(largest)) if largest else 0.0
        found = {}
        for name, track in self.tracks.items():
            vector = name in self.vectors
            figure = track.norm if vector else track.std
            known = np.flatnonzero(figure > 0)
            if not len(known):
                continue
            first = float(figure[known[0]])
            if vector:
                first = max(first, usual * math.sqrt(track.weights[known[0]]))
            grown = figure >= (EXPLODED_VECTOR if vector else EXPLODED) * first
            if grown.any():
                found[name] = int(grown.argmax())
        return found

    @property
    def explosions(self) -> tuple[First, ...]:
        """When a matrix, and when a vector exploded for the first time, where one did; the first before the second."""
        found = (self.first_exploded, self.first_exploded_vector)
        return tuple(sorted((each for each in found if each is not None), key=lambda each: each.place))

    @property
    def first_exploded(self) -> First | None:
        """When a matrix exploded for the first time; ``None`` where none did."""
        places = {name: place for name, place in self.exploded.items() if name not in self.vectors}
        return self._earliest(f"{EXPLODED}-fold std", places)

    @property
    def first_exploded_vector(self) -> First | None:
        """The same of vectors."""
        places = {name: place for name, place in self.exploded.items() if name in self.vectors}
        return self._earliest(f"{EXPLODED_VECTOR}-fold ‖w‖", places)

    def _earliest(self, what: str, places: Mapping[str, int]) -> First | None:
        if not places:
            return None
        first = min(places.values())
        names = tuple(name for name, place in places.items() if place == first)
        return First(what, first, self.ordered.labels[first], names)

    @property
    def firsts(self) -> tuple[First, ...]:
        """The first NaN and the first Inf, where there are any."""
        found = (self.first("NaN"), self.first("Inf"))
        return tuple(each for each in found if each is not None)


@dataclass(frozen=True)
class First:
    """The snapshot at *place* is the first with a NaN, an Inf …, and these tensors have it, in the order of the file."""

    what: str
    place: int
    label: str
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """``first NaN: global_step 60, 12 tensors, first in layers.0.weight``."""
        count = len(self.names)
        where = f"in {visible(self.names[0])}" if count == 1 else f"{count:,} tensors, first in {visible(self.names[0])}"
        return f"first {self.what}: {self.label}, {where}"


def joint_series(ordered: Ordered) -> tuple[Checkpoint, dict[str, str]]:
    """A joint tensor of all snapshots for each tensor that all have in one shape, and why others are left out.

    Raises ``NotDrawable`` where no tensor is in all of them.
    """
    last = ordered.checkpoints[-1]
    partners: dict[str, list[LazyTensor]] = {name: [] for name in last}
    held: dict[str, dict[int, LazyTensor | str]] = {name: {len(ordered.labels) - 1: last[name]} for name in last}
    ties: list[Mapping[str, str]] = []
    apart: set[str] = set()  # what is not tied to another tensor in all of them, and has a track of its own
    for place, each in enumerate(ordered.checkpoints[:-1]):
        matched = match(each, last)
        for pair in matched.pairs:
            held.setdefault(pair.name, {})[place] = each[pair.a.name]
            if pair.name in partners:
                partners[pair.name].append(each[pair.a.name])
            elif pair.b.name != pair.name:
                held[pair.name][len(ordered.labels) - 1] = pair.b.name
            if pair.name not in matched.covered:
                apart.add(pair.name)
        for tensor in matched.only_a:
            held.setdefault(tensor.name, {})[place] = tensor
        ties.append(matched.tied)
    for place, tied in enumerate(ties):
        for name, other in tied.items():
            if name in last:  # and in this snapshot only as the other
                held[name].setdefault(place, other)
            elif name in held:
                held[name].setdefault(place, ordered.checkpoints[place][name])
                held[name][len(ordered.labels) - 1] = other
    reasons = ((name, _why_left_out(held[name], ordered.labels)) for name in held)
    left_out = {name: why for name, why in reasons if why}
    joint = []
    for name, found in partners.items():
        if name in left_out or name not in apart:
            continue
        tensors = _of_one_shape([*found, last[name]])
        if tensors is None:
            left_out[name] = "repeated in other ways"
            continue
        wide = any(each.dtype.itemsize > 4 for each in tensors)
        members = {str(place): tensor for place, tensor in enumerate(tensors)}
        joint.append(JointTensor.of(name, members, LastMinusFirst(str(len(tensors) - 1)), "float64" if wide else "float32"))
    if not joint:
        raise NotDrawable(f"no tensor has one name and shape in all {len(ordered.checkpoints)} checkpoints")
    places = {name: index for index, name in enumerate(last.in_file_order())}
    joint.sort(key=lambda tensor: places[tensor.name])
    found_in_all = Checkpoint(joint, source=last.source, format="series", metadata=last.metadata, aliases={})
    return found_in_all.ordered(), left_out


def _why_left_out(held: Mapping[int, LazyTensor | str], labels: Sequence[str]) -> str:
    """Why a tensor is not in all snapshots in one shape, empty where it is.

    held: place of a snapshot → the tensor, or the name of another that holds its numbers there.
    """
    own = [place for place in range(len(labels)) if isinstance(held.get(place), LazyTensor)]
    tied: dict[str, list[int]] = {}
    for place, other in held.items():
        if isinstance(other, str):
            tied.setdefault(other, []).append(place)
    gone = [place for place in range(len(labels)) if place not in held]
    reasons = [f"only as {visible(other)} in {_named(places, labels)}" for other, places in tied.items()]
    if gone:
        reasons.append(f"only in {_named(own, labels)}" if len(own) < len(gone) else f"not in {_named(gone, labels)}")
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place in own:
        tensor = held[place]
        assert isinstance(tensor, LazyTensor)
        shapes.setdefault(tensor.shape, []).append(place)
    if len(shapes) > 1:
        told = (f"{shape_text(shape)} in {_named(places, labels)}" for shape, places in shapes.items())
        reasons.append(", ".join(told))
    return "; ".join(reasons)


def _named(places: Sequence[int], labels: Sequence[str]) -> str:
    """The snapshots at *places*, of many the first and how many more."""
    names = [labels[place] for place in sorted(places)]
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED:,} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _of_one_shape(tensors: Sequence[LazyTensor]) -> list[LazyTensor] | None:
    """The tensors without what they repeat; as they are, where one does not repeat; ``None`` where neither is of one shape."""
    bare = [tensor.distinct() for tensor in tensors]
    if len({tensor.shape for tensor in bare}) == 1:
        return bare
    same = len({tensor.shape for tensor in tensors}) == 1 and not all(tensor.repeats for tensor in tensors)
    return list(tensors) if same else None


@dataclass(frozen=True)
class Frames(View):
    """The whole model at every snapshot, as one page each on one scale.

    labels: of the snapshots; members: what joint tensors call them, their places unless given.
    """

    name = "frames"

    transformer: GridTransformer
    labels: tuple[str, ...]
    members: tuple[str, ...] = ()

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        side = max(int(_CELLS / len(self.labels) ** 0.5), 256)
        need = Transformed(self.transformer, run.reduce, min(side, run.max_cells))
        members = self.members or map(str, range(len(self.labels)))
        return {str(place): Of(member, need) for place, member in enumerate(members)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        grids: list[Grid] = [results[str(place)] for place in range(len(self.labels))]
        usual = whole_model_run(run, checkpoint, *grids).color_scale(*grids)
        shared = _exploding(run, grids, usual) or usual
        for place, (grid, label) in enumerate(zip(grids, self.labels, strict=True)):
            own = color_scale(grid, "asinh" if shared.kind == "asinh" else "auto", limits=(shared.low, shared.high))
            panel = run.heatmap(grid, scale=replace(own, bend=shared.bend), boundaries=True, labels=True, steady=True)
            title = f"{run.title or 'All weights'} · {label}"
            about = {"snapshot": label, "place": place}
            yield Page(f"series_atlas_{place:04}", title, (panel,), about=about, frame=(place + 1, len(grids)))


def _exploding(run: Settings, grids: Sequence[Grid], usual: ColorScale) -> ColorScale | None:
    """A bent scale for a run that explodes, from its calmest snapshot to its largest tensor; ``None`` for others.

    usual: the scale that it has otherwise.

    A scale or limits that were asked for stay.
    """
    if run.scale != "auto" or run.limits is not None:
        return None
    drawable = [grid for grid in grids if np.any(np.isfinite(grid.drawn()) & (grid.drawn() != 0))]
    own = [run.color_scale(grid) for grid in drawable]
    sizes = [max(abs(each.low), abs(each.high)) for each in own]
    if not sizes:
        return None
    # One tensor among many explodes within the cells that limits leave out: each is compared with itself.
    tensors: dict[str, list[float]] = {}
    for grid in drawable:
        for name, size in _sizes_of(grid).items():
            tensors.setdefault(name, []).append(size)
    limit = max(abs(usual.low), abs(usual.high))
    exploded = [max(each) for each in tensors.values() if max(each) > max(_GROWN * min(each), _OUTSIDE * limit)]
    if max(sizes) > _EXPLODED * min(sizes):
        calm, farthest = min(sizes), max(*sizes, *exploded)
    elif exploded:
        calm, farthest = limit, max(exploded)
    else:
        return None
    # The calmest snapshot takes a quarter of the colours, or more: from the bend to its limits are so many e-foldings.
    folds = max(math.log(_CALM), math.log(farthest / calm) / 3)
    bend = calm * 2 * math.exp(-folds)
    return ColorScale(-farthest if any(each.low < 0 for each in own) else 0.0, farthest, "asinh", bend=bend)


def _sizes_of(grid: Grid) -> dict[str, float]:
    """The |value| that all but a hundredth of the cells of each tensor are within, where there is one."""
    found = {}
    for region in grid.regions:
        cells = [
            grid.values[top : top + height, left : left + width][grid.counts[top : top + height, left : left + width] > 0]
            for top, left, height, width in region.rects
        ]
        held = np.abs(np.concatenate(cells)) if cells else np.zeros(0)
        held = held[np.isfinite(held)]
        if len(held) and (size := float(np.quantile(held, 0.99))) > 0:
            found[region.name] = size
    return found


def compare_many(
    ordered: Ordered,
    views: Sequence[View] = (),
    sink: Any = None,
    run: Settings | None = None,
    *,
    executor: Executor | None = None,
    joint: tuple[Checkpoint, dict[str, str]] | None = None,
) -> Series:
    """Read every snapshot once, hand the pages of *views* over the joint tensors to *sink*, and return the tracks."""
    for each in ordered.checkpoints:
        each.check_readers()
    tensors, left_out = joint or joint_series(ordered)
    tracks: dict[str, Track] = {}
    pages: Iterator[tuple[Page, View, Any]] = draw(
        tensors,
        views,
        run,
        executor=executor,
        beside={"track": TrackOf((run or Settings()).threshold)},
        origin=PageOrigin.of(*ordered.checkpoints),
        measured=lambda _, found: tracks.update(found),
    )
    for page, view, made in pages:
        sink(page, view, made)
    vectors = frozenset(name for name, tensor in tensors.items() if tensor.ndim < 2)
    return Series(ordered, tracks, vectors, left_out)


def is_recording(checkpoint: Checkpoint) -> bool:
    """True for a file that a ``GradientRecorder`` saved: all its arrays are needed, those of one number and empty ones too."""
    return str(checkpoint.metadata.get("format", "")).startswith(FORMAT)


def recorded_series(checkpoint: Checkpoint) -> tuple[Series, str]:
    """The gradient of each parameter at each record in *checkpoint*, and a title. Raises ``LoadError`` where it is damaged."""
    whole = checkpoint.whole
    for gone in whole.skipped:
        told = f"all arrays of a recording are needed, and {visible(gone.name)} was left out: {visible(gone.reason)}"
        raise LoadError(whole.source, told)
    try:
        steps = whole["steps"].numpy().astype(np.float64)
        names = [name.rpartition("/")[0] for name in whole if name.endswith("/codes")]
        keys = str(whole.metadata["figures"]).split(",")
        distributions, norms = {}, {}
        for name in names:
            codes, counts, ends, figures = (whole[f"{name}/{place}"].numpy() for place in _PLACES)
            if len(ends) != len(steps) or figures.shape != (len(steps), len(keys)) or (len(ends) and ends[-1] != len(codes)):
                raise ValueError(f"{name}: its arrays do not fit one another")
            series: list[Distribution | None] = []
            for first, last, row in zip([0, *ends[:-1].tolist()], ends.tolist(), figures, strict=True):
                figure = dict(zip(keys, row.tolist(), strict=True))
                buckets = codes[first:last], counts[first:last]
                series.append(None if np.isnan(figure["zeros"]) else recorded_distribution(*buckets, figure))
            distributions[name] = series
            norms[name] = figures[:, keys.index("weight_norm")]
    except (KeyError, ValueError, IndexError) as error:
        raise LoadError(whole.source, f"is a damaged recording: {error}", "record again") from error
    if not distributions:
        raise LoadError(whole.source, "is a recording of no gradients", "record again")
    tracks = recorded_tracks(distributions, norms)
    labels = tuple(f"step {step_text(step)}" for step in steps.tolist())
    ordered = Ordered((checkpoint,), tuple(steps.tolist()), labels, "as recorded", "step")
    vectors = frozenset(name for name in tracks if name.endswith("bias"))  # by name: shapes are not recorded
    title = f"Gradients of {_some(len(tracks), 'parameter')} at {_some(len(labels), 'step')}"
    return Series(ordered, tracks, vectors), title


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def recorded_distribution(codes: Array, counts: Array, figures: Mapping[str, float]) -> Distribution:
    """The ``Distribution`` of one record: uint16 *codes* of buckets, int64 *counts* in each, and what a row of figures says."""
    low, high = figures["min"], figures["max"]
    return counted_distribution(
        codes,
        counts,
        mean=min(max(figures["mean"], low), high),  # it was rounded to float32
        std=figures["std"],
        low=low,
        high=high,
        **{key: int(figures[key]) for key in ("zeros", "nan", "posinf", "neginf")},
    )
