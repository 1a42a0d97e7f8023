"""Comparing many checkpoints of one run: one pass over all of them, each read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from torch2grid_builtin.compare.match import match
from torch2grid_builtin.compare.order import Ordered
from torch2grid_builtin.compare.track import LastMinusFirst, Track, TrackOf
from torch2grid_builtin.views.limits import whole_model_run
from torch2grid_core import (
    Checkpoint,
    Engine,
    Grid,
    GridTransformer,
    JointTensor,
    LazyTensor,
    Need,
    NotDrawable,
    Of,
    Page,
    Run,
    Transformed,
    View,
)

_CELLS = 1024  # a side of a square of all frames together


@dataclass(frozen=True)
class Series:
    """What became of each tensor. tracks: by its name in the last checkpoint; left_out: why others have none."""

    ordered: Ordered
    tracks: Mapping[str, Track]
    vectors: frozenset[str]
    left_out: Mapping[str, str] = field(default_factory=dict)


def joint_series(ordered: Ordered) -> tuple[Checkpoint, dict[str, str]]:
    """A joint tensor of all snapshots for each tensor that all have in one shape, and why others are left out.

    Raises ``NotDrawable`` where no tensor is in all of them.
    """
    last = ordered.checkpoints[-1]
    partners: dict[str, list[LazyTensor]] = {name: [] for name in last}
    left_out: dict[str, str] = {}
    for each, label in zip(ordered.checkpoints[:-1], ordered.labels, strict=False):
        matched = match(each, last)
        for pair in matched.pairs:
            if pair.reshaped:
                left_out.setdefault(pair.name, f"another shape in {label}")
            partners[pair.name].append(pair.a)
        paired = {pair.name for pair in matched.pairs}
        for name in last:
            if name not in paired:
                left_out.setdefault(name, f"not in {label}")
        left_out.update({tensor.name: f"only in {label}" for tensor in matched.only_a if tensor.name not in last})
    joint = []
    for name, found in partners.items():
        if name in left_out or name in last.aliases:
            continue
        tensors = [*found, last[name].distinct()]
        wide = any(each.dtype.itemsize > 4 for each in tensors)
        members = {str(place): tensor for place, tensor in enumerate(tensors)}
        joint.append(JointTensor.of(name, members, LastMinusFirst(str(len(tensors) - 1)), "float64" if wide else "float32"))
    if not joint:
        raise NotDrawable(f"no tensor has one name and shape in all {len(ordered.checkpoints)} checkpoints")
    place = {name: index for index, name in enumerate(last.in_file_order())}
    joint.sort(key=lambda tensor: place[tensor.name])
    found_in_all = Checkpoint(joint, source=last.source, format="series", metadata=last.metadata, aliases={})
    return found_in_all.ordered(), left_out


class TrackStatistics(View):
    """Keeps the track of every tensor in ``found``; draws nothing."""

    name = "series"

    def __init__(self) -> None:
        self.found: dict[str, Track] = {}

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Need]:
        return {"track": TrackOf(run.threshold)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Page]:
        self.found.update(results["track"])
        return ()


@dataclass(frozen=True)
class Frames(View):
    """The whole model at every snapshot, as one page each on one scale.

    labels: of the snapshots; members: what joint tensors call them, their places unless given.
    """

    name = "frames"

    transformer: GridTransformer
    labels: tuple[str, ...]
    members: tuple[str, ...] = ()

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Need]:
        side = max(int(_CELLS / len(self.labels) ** 0.5), 256)
        need = Transformed(self.transformer, run.reduce, min(side, run.max_cells))
        members = self.members or map(str, range(len(self.labels)))
        return {str(place): Of(member, need) for place, member in enumerate(members)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Page]:
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
    run: Run | None = None,
    *,
    executor: Executor | None = None,
    prepare: Any = None,
    joint: tuple[Checkpoint, dict[str, str]] | None = None,
) -> Series:
    """Read every snapshot once, hand the pages of *views* over the joint tensors to *sink*, and return the tracks."""
    tensors, left_out = joint or joint_series(ordered)
    statistics = TrackStatistics()
    options = {"prepare": prepare} if prepare is not None else {}
    Engine(executor).run(tensors, [statistics, *views], sink or (lambda drawn: None), run, **options)
    vectors = frozenset(name for name, tensor in tensors.items() if tensor.ndim < 2)
    return Series(ordered, statistics.found, vectors, left_out)
