"""Comparing many checkpoints of one run: one pass over all of them, each read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch2grid_builtin._compare.match import match
from torch2grid_builtin._compare.order import Ordered
from torch2grid_builtin._compare.track import LastMinusFirst, Track, TrackOf
from torch2grid_builtin._views.limits import whole_model_run
from torch2grid_core import Checkpoint, Grid, GridTransformer, LazyTensor, Need, NotDrawable, Page, Settings, View, draw
from torch2grid_core.measures import Of, Transformed
from torch2grid_core.sources import JointTensor
from torch2grid_core.text import visible

Bad = Literal["NaN", "Inf"]
_CELLS = 1024  # a side of a square of all frames together


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
    def firsts(self) -> tuple[First, ...]:
        """The first NaN and the first Inf, where there are any."""
        found = (self.first("NaN"), self.first("Inf"))
        return tuple(each for each in found if each is not None)


@dataclass(frozen=True)
class First:
    """The snapshot at *place* is the first with a NaN, or an Inf, and these tensors have it, in the order of the file."""

    what: Bad
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
    left_out: dict[str, str] = {}
    apart: set[str] = set()  # what is not tied to another tensor in all of them, and has a track of its own
    for each, label in zip(ordered.checkpoints[:-1], ordered.labels, strict=False):
        matched = match(each, last)
        paired = {pair.name: pair for pair in matched.pairs}
        for name, pair in paired.items():
            if name not in partners:
                left_out[name] = f"only in {label}"
                continue
            if pair.reshaped:
                left_out.setdefault(name, f"another shape in {label}")
            partners[name].append(each[pair.a.name])
            if name not in matched.covered:
                apart.add(name)
        for name in last:
            if name not in paired:
                tied = matched.tied.get(name)
                left_out.setdefault(name, f"not in {label}" if tied is None else f"only as {visible(tied)} in {label}")
        left_out.update({tensor.name: f"only in {label}" for tensor in matched.only_a if tensor.name not in last})
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
    place = {name: index for index, name in enumerate(last.in_file_order())}
    joint.sort(key=lambda tensor: place[tensor.name])
    found_in_all = Checkpoint(joint, source=last.source, format="series", metadata=last.metadata, aliases={})
    return found_in_all.ordered(), left_out


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
        shared = whole_model_run(run, checkpoint, *grids).color_scale(*grids)
        run = replace(run, limits=(shared.low, shared.high))
        for place, (grid, label) in enumerate(zip(grids, self.labels, strict=True)):
            title = f"{run.title or 'All weights'} · {label}"
            panel = run.heatmap(grid, boundaries=True, labels=True)
            yield Page(f"series_atlas_{place:04}", title, (panel,), about={"snapshot": label, "place": place})


def compare_many(
    ordered: Ordered,
    views: Sequence[View] = (),
    sink: Any = None,
    run: Settings | None = None,
    *,
    executor: Executor | None = None,
    prepare: Any = None,
    joint: tuple[Checkpoint, dict[str, str]] | None = None,
) -> Series:
    """Read every snapshot once, hand the pages of *views* over the joint tensors to *sink*, and return the tracks."""
    tensors, left_out = joint or joint_series(ordered)
    tracks: dict[str, Track] = {}
    options = {"prepare": prepare} if prepare is not None else {}
    pages = draw(
        tensors,
        views,
        run,
        executor=executor,
        beside={"track": TrackOf((run or Settings()).threshold)},
        measured=lambda _, found: tracks.update(found),
        **options,
    )
    for page, view, made in pages:
        sink(page, view, made)
    vectors = frozenset(name for name, tensor in tensors.items() if tensor.ndim < 2)
    return Series(ordered, tracks, vectors, left_out)
