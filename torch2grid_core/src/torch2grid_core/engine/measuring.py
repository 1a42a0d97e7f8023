"""Reading a tensor once for all that is wanted of it: at one go, or a very large one in pieces that several workers share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from torch2grid_core.data.dtypes import as_float
from torch2grid_core.data.joint import JointTensor
from torch2grid_core.data.storage import has_checksum
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.engine.collectors import Collector, Failed, collector_of
from torch2grid_core.engine.memory import keep_scratch
from torch2grid_core.needs import Measure, Need, NotFinite, Of, Profile, Raster, Summary, Values

Array = np.ndarray[Any, Any]
Results = dict[Need, Any]

# Weights of a piece, at least. Its results may be one number for each cell of a picture: reading must take longer than
# sending them.
PIECE = 1 << 27
_MOST_PIECES = 4  # the results of all of them wait in memory until the end


@dataclass(frozen=True)
class Piece:
    """What is wanted of the weights with flat indices *start* to *stop* (in C order) of one tensor; picklable as it is."""

    tensor: LazyTensor
    needs: tuple[Need, ...]
    start: int
    stop: int

    def measure(self) -> Results:
        """The result of each need, as far as these weights go. Raises ``LoadError`` for unreadable bytes."""
        keep_scratch()
        if not self.needs:
            return {}
        if isinstance(self.tensor, JointTensor):
            return _measured_together(self.tensor, self.needs)
        collectors = {need: collector_of(need, self.tensor) for need in self.needs}
        part = self.tensor
        if self.stop - self.start < part.size:
            part = replace(part, shape=(self.stop - self.start,), offset=part.offset + self.start, strides=None)
        if all(isinstance(need, Summary) for need in self.needs):  # needs neither the order of the weights nor their floats
            for chunk in part.chunks():
                for each in collectors.values():
                    each.update(0, chunk, chunk)
        else:
            for first, chunk in part.flat_chunks():
                values = as_float(chunk)
                for each in collectors.values():
                    each.update(self.start + first, chunk, values)
        return {need: each.result() for need, each in collectors.items()}


def pieces(tensor: LazyTensor, needs: Iterable[Need]) -> tuple[Piece, ...]:
    """The pieces that *tensor* is measured in: one, or more for a very large one where every result can be merged.

    They follow from the tensor and the needs alone, never from the number of workers. A tensor with a checksum is one piece:
    it has to be read from end to end by the same process.
    """
    asked = _united(needs)
    count = 1
    if (
        type(tensor) is LazyTensor
        and tensor.contiguous
        and all(_merges(need, tensor) for need in asked)
        and not has_checksum(tensor.storage)
    ):
        count = most_pieces(tensor)
    bounds = [tensor.size * place // count for place in range(count + 1)]
    return tuple(Piece(tensor, asked, start, stop) for start, stop in pairwise(bounds))


def most_pieces(tensor: LazyTensor) -> int:
    """How many pieces a tensor of that size can have."""
    return min(max(-(-tensor.size // PIECE), 1), _MOST_PIECES)


def merged(parts: Sequence[Results]) -> Results:
    """The results of all pieces of a tensor, in their order, as one; the first of *parts* takes the others in."""
    found = parts[0]
    for part in parts[1:]:
        for need, result in part.items():
            found[need] = _merged(found[need], result)
    return found


def answers(needs: Iterable[Need], results: Results) -> Results:
    """The result of each of *needs*, those of which ``pieces`` united with others included."""
    summary = next((result for need, result in results.items() if isinstance(need, Summary)), None)
    return {need: summary if isinstance(need, Summary) else results[need] for need in needs}


def _united(needs: Iterable[Need]) -> tuple[Need, ...]:
    """Each need once, and one summary that serves all."""
    distinct = dict.fromkeys(needs)
    summaries = [need for need in distinct if isinstance(need, Summary)]
    others = tuple(need for need in distinct if not isinstance(need, Summary))
    if not summaries:
        return others
    thresholds = {threshold: None for need in summaries for threshold in need.thresholds}
    return (*others, Summary(tuple(thresholds), all(need.brief for need in summaries)))


def _merges(need: Need, tensor: LazyTensor) -> bool:
    if isinstance(need, Values):  # of a tensor that is too large, they are none
        return tensor.size > need.limit
    return isinstance(need, (Summary, Profile, NotFinite, Raster))


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, Failed) or isinstance(other, Failed):
        return one if isinstance(one, Failed) else other
    if isinstance(one, tuple):  # parts of a raster, which ``assemble`` adds up
        return (*one, *other)
    return None if one is None else one.merge(other)


def _measured_together(tensor: JointTensor, needs: tuple[Need, ...]) -> Results:
    """The same for tensors that are read side by side: each collector gets its member's weights, or those computed."""
    members = dict(tensor.members)
    found: dict[Need, tuple[str | None, Collector]] = {}
    for need in needs:
        if not isinstance(need, Of):
            found[need] = (None, collector_of(need, tensor))
        elif need.member in members:
            found[need] = (need.member, collector_of(need.need, replace(members[need.member], name=tensor.name)))
    computed = any(member is None and not isinstance(need, Measure) for need, (member, _) in found.items())
    for start, chunks in tensor.lockstep():
        stored: dict[str | None, Array] = dict(chunks.items())
        if computed:
            stored[None] = tensor.compute(chunks)
        values: dict[str | None, Array] = {}
        for need, (member, collector) in found.items():
            if isinstance(need, Measure):
                collector.update(start, chunks, None)
                continue
            if member not in values:
                values[member] = as_float(stored[member])
            collector.update(start, stored[member], values[member])
    results = {need: collector.result() for need, (_, collector) in found.items()}
    return {need: results.get(need) for need in needs}
