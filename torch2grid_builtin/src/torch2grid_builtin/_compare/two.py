"""Comparing two checkpoints: one pass over both, then the report."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from torch2grid_builtin._compare.delta import RANK_SIZE, Delta, DeltaOf, joint_pair
from torch2grid_builtin._compare.findings import Comparison, find_differences
from torch2grid_builtin._compare.match import Match, Pair, in_shape_of, match
from torch2grid_builtin._compare.names import Names
from torch2grid_core import Checkpoint, Settings, View, draw
from torch2grid_core.sources import JointTensor


@dataclass(frozen=True)
class Tolerance:
    """What counts as a difference. tolerance: |Δ| up to it does not; ignore_dtype: nor does another dtype, nor rounding to it.

    rank_size: weights of the largest matrix whose rank is looked for.
    """

    tolerance: float = 0.0
    ignore_dtype: bool = False
    rank_size: int = RANK_SIZE

    @property
    def need(self) -> DeltaOf:
        """What the engine measures of each pair."""
        return DeltaOf(tolerance=self.tolerance, rank_size=self.rank_size)


class Comparing:
    """Two checkpoints, matched. joint: Δ of each pair that can be compared, with the two as members ``a`` and ``b``."""

    def __init__(self, a: Checkpoint, b: Checkpoint) -> None:
        self.a, self.b = a, b
        self.match: Match = match(a, b)
        self.names = Names.of(a, b)
        self.joint = _joint(self)

    def compare(
        self,
        settings: Tolerance,
        views: Sequence[View] = (),
        sink: Any = None,
        run: Settings | None = None,
        *,
        executor: Executor | None = None,
        prepare: Any = None,
        progress: Any = None,
    ) -> Comparison:
        """Read both once, hand the pages of *views* (over ``joint``) to *sink*, and say what differs."""
        statistics: dict[str, Delta] = {}
        if self.joint:
            options = {"prepare": prepare} if prepare is not None else {}
            pages = draw(
                self.joint,
                views,
                run,
                executor=executor,
                progress=progress,
                beside={"delta": settings.need},
                measured=lambda _, found: statistics.update(found),
                **options,
            )
            for page, view, made in pages:
                sink(page, view, made)
        deltas: dict[str, Delta] = {}
        for pair in self.match.pairs:
            found = statistics.get(self.match.twins.get(pair.name, pair.name))
            if found is not None:
                # Rows, columns and directions of weights in another order of dimensions are those of neither.
                deltas[pair.name] = replace(found, rank=None) if pair.reshaped and not _transposed(pair) else found
        return find_differences(self.a, self.b, self.match, deltas, settings.tolerance, settings.ignore_dtype)


def _joint(comparing: Comparing) -> Checkpoint:
    """The joint tensors; of pairs that are the same numbers on both sides, the first."""
    tensors: list[JointTensor] = []
    for pair in comparing.match.pairs:
        if pair.name in comparing.match.twins:
            continue
        if pair.reshaped:
            seen = in_shape_of(pair)
            if seen is None:
                continue
            pair, _ = seen
        if pair.b.size:
            tensors.append(joint_pair(pair.name, pair.a, pair.b))
    source = f"{comparing.names.b} − {comparing.names.a}"
    place = {name: index for index, name in enumerate(comparing.b.in_file_order())}
    tensors.sort(key=lambda tensor: place.get(tensor.name, len(place)))
    joint = Checkpoint(tensors, source=source, format="Δ of two checkpoints", metadata=comparing.b.metadata, aliases={})
    return joint.ordered()


def _transposed(pair: Pair) -> bool:
    return pair.a.shape == pair.b.shape[::-1]
