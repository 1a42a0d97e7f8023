"""Figures of one tensor: distributions, units, duplicates, single numbers; and those of one member of a joint tensor."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from torch2grid_core._data.crc import crc32, crc32_combine
from torch2grid_core._data.dtypes import as_float, has_sizes
from torch2grid_core._measures.need import Chunk, Collector, First, Need
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._summary.duplicates import DuplicateUnits, Sketch, are_unlike, duplicate_units, has_rows
from torch2grid_core._summary.largest import LargestWeights
from torch2grid_core._summary.not_finite import NotFiniteCount, count_not_finite
from torch2grid_core._summary.profile import UnitProfile

if TYPE_CHECKING:
    from torch2grid_core._array import Array
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.tensor import LazyTensor


def _only(tensors: Mapping[str, LazyTensor]) -> LazyTensor:
    (tensor,) = tensors.values()
    return tensor


@dataclass(frozen=True)
class Summary(Need[Distribution]):
    """The ``Distribution`` of a tensor.

    What comes back may hold more than was asked for, because several needs share it.

    Args:
        thresholds: near-zero thresholds, counted exactly on the stored numbers.
        brief: counts, extremes, mean, std, norm and RMS are enough, which takes half the time.
    """

    thresholds: tuple[float, ...] = ()
    brief: bool = False

    ordered: ClassVar[bool] = False
    counts_not_finite = True

    def unite(self, other: Need[Any]) -> Need[Any] | None:
        if type(other) is Profile:
            return _SummaryAndProfile(self) if self.brief else None
        return self._with(other) if type(other) is Summary else None

    def _with(self, other: Summary) -> Summary:
        return Summary(tuple(dict.fromkeys(self.thresholds + other.thresholds)), self.brief and other.brief)

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _Summary(next(iter(tensors), ""), Distribution(self.thresholds, self.brief))

    def collectors(self, tensors: Sequence[LazyTensor], stored: Array) -> Sequence[Collector]:
        return list(map(_Summary, [each.name for each in tensors], self._of_each(tensors, stored)))

    def _of_each(self, tensors: Sequence[LazyTensor], stored: Array) -> list[Distribution]:
        return Distribution.of_each(stored, [each.size for each in tensors], self.thresholds, self.brief)

    def finish(self, gathered: Any) -> Distribution:
        return gathered.distribution.settle()  # type: ignore[no-any-return]

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return {gathered.tensor: gathered.distribution.not_finite}


class _Summary(Collector):
    def __init__(self, tensor: str, distribution: Distribution) -> None:
        self.tensor, self.distribution = tensor, distribution

    def update(self, chunk: Chunk) -> None:
        self.distribution.update(chunk.stored)

    def merge(self, other: _Summary) -> None:
        self.distribution.merge(other.distribution)


@dataclass(frozen=True)
class Profile(Need[UnitProfile]):
    """The ``UnitProfile`` of a tensor: |max| and L2 norm of each output unit (row, filter) and input unit (column)."""

    def unite(self, other: Need[Any]) -> Need[Any] | None:
        return _SummaryAndProfile(other) if type(other) is Summary and other.brief else None

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        tensor = _only(tensors)
        return _Profile(tensor, UnitProfile(tensor.shape))

    def collectors(self, tensors: Sequence[LazyTensor], stored: Array) -> Sequence[Collector]:
        return list(map(_Profile, tensors, UnitProfile.of_each([each.shape for each in tensors], as_float(stored))))

    def finish(self, gathered: Any) -> UnitProfile:
        return gathered.profile  # type: ignore[no-any-return]


class _Profile(Collector):
    def __init__(self, tensor: LazyTensor, profile: UnitProfile) -> None:
        self.profile, self.looks_at_bits = profile, has_sizes(tensor.dtype)

    def update(self, chunk: Chunk) -> None:
        if self.looks_at_bits:
            self.profile._update_and_sum(chunk.start, chunk.values, chunk.sizes, chunk.stored.dtype)
        else:
            self.profile.update(chunk.start, chunk.values)

    def merge(self, other: _Profile) -> None:
        self.profile.merge(other.profile)


@dataclass(frozen=True)
class _SummaryAndProfile(Need[Any]):
    """A brief ``Summary`` and a ``Profile`` of the same tensor: the squares of its weights are computed once for both."""

    summary: Summary

    counts_not_finite = True

    def unite(self, other: Need[Any]) -> Need[Any] | None:
        if type(other) is Profile:
            return self
        return _SummaryAndProfile(self.summary._with(other)) if type(other) is Summary else None

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        tensor = _only(tensors)
        return _BothFigures(tensor, UnitProfile(tensor.shape), Distribution(self.summary.thresholds, self.summary.brief))

    def collectors(self, tensors: Sequence[LazyTensor], stored: Array) -> Sequence[Collector]:
        profiles = UnitProfile.of_each([each.shape for each in tensors], as_float(stored))
        return list(map(_BothFigures, tensors, profiles, self.summary._of_each(tensors, stored)))

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return self.summary.counted(gathered)


class _BothFigures(Collector):
    def __init__(self, tensor: LazyTensor, profile: UnitProfile, distribution: Distribution) -> None:
        self.tensor, self.profile, self.distribution = tensor.name, profile, distribution
        self.looks_at_bits = has_sizes(tensor.dtype)

    def update(self, chunk: Chunk) -> None:
        if self.looks_at_bits:
            sums = self.profile._update_and_sum(chunk.start, chunk.values, chunk.sizes, chunk.stored.dtype)
            self.distribution._take_summed(chunk.stored, chunk.sizes, *sums)
        else:
            self.profile.update(chunk.start, chunk.values)
            self.distribution.update(chunk.stored)

    def merge(self, other: _BothFigures) -> None:
        self.profile.merge(other.profile)
        self.distribution.merge(other.distribution)


@dataclass(frozen=True)
class Largest(Need[LargestWeights]):
    """The ``LargestWeights`` of a tensor: the *count* weights of greatest |w| with their places, and the first NaN and Inf.

    Raises:
        ValueError: *count* is below 1.
    """

    count: int = 20

    counts_not_finite = True

    def __post_init__(self) -> None:
        LargestWeights(self.count)

    def unite(self, other: Need[Any]) -> Largest | None:
        return Largest(max(self.count, other.count)) if type(other) is Largest else None

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _Largest(next(iter(tensors), ""), LargestWeights(self.count))

    def finish(self, gathered: Any) -> LargestWeights:
        found: LargestWeights = gathered.result()
        return found.first(self.count)

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return {gathered.tensor: gathered.largest.not_finite}


class _Largest(Collector):
    def __init__(self, tensor: str, largest: LargestWeights) -> None:
        self.tensor, self.largest = tensor, largest

    def update(self, chunk: Chunk) -> None:
        self.largest.update(chunk.start, chunk.values)

    def merge(self, other: _Largest) -> None:
        self.largest.merge(other.largest)

    def result(self) -> LargestWeights:
        return self.largest


@dataclass(frozen=True)
class NotFinite(Need[NotFiniteCount]):
    """The ``NotFiniteCount`` of a tensor: how many of its weights are NaN, and how many Inf."""

    ordered: ClassVar[bool] = False
    counts_not_finite = True

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _NotFinite(next(iter(tensors), ""))

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return {gathered.tensor: gathered.found}


class _NotFinite(Collector):
    def __init__(self, tensor: str) -> None:
        self.tensor, self.found = tensor, NotFiniteCount()

    def update(self, chunk: Chunk) -> None:
        self.found = self.found.merge(count_not_finite(chunk.values))

    def merge(self, other: _NotFinite) -> None:
        self.found = self.found.merge(other.found)

    def result(self) -> NotFiniteCount:
        return self.found


@dataclass(frozen=True)
class Duplicates(Need[DuplicateUnits]):
    """The ``DuplicateUnits`` of a tensor: output units (rows, filters) that are equal, or whose cosine is above *cosine*.

    Tensors of more than *max_units* units are not compared, because that takes longer than reading them. Candidates for
    duplicates are read a second time.
    """

    cosine: float = 0.999
    max_units: int = 8192

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _Duplicates(self, _only(tensors))

    def collectors(self, tensors: Sequence[LazyTensor], stored: Array) -> Sequence[Collector]:
        values, found, start = as_float(stored), list[Collector](), 0
        unlike = are_unlike([each.shape for each in tensors], values, self.cosine)
        for tensor, known in zip(tensors, unlike, strict=True):
            each = _Duplicates(self, tensor)
            if known and each.sketch is not None:
                each.unlike = True
            elif each.sketch is not None:
                each.sketch.update(0, values[start : start + tensor.size])
            found.append(each)
            start += tensor.size
        return found


class _Duplicates(Collector):
    def __init__(self, need: Duplicates, tensor: LazyTensor) -> None:
        self.need, self.tensor, self.rows = need, tensor, has_rows(tensor)
        self.sketch = Sketch(tensor.shape) if self.rows and tensor.shape[0] <= need.max_units else None
        self.unlike = False  # True where it is known already that no unit repeats another

    def update(self, chunk: Chunk) -> None:
        if self.sketch is not None:
            self.sketch.update(chunk.start, chunk.values)

    def result(self) -> DuplicateUnits:
        if self.sketch is None:
            return DuplicateUnits(self.tensor.shape[0] if self.rows else 0, False)
        if self.unlike:
            return DuplicateUnits(self.sketch.units, True)
        return duplicate_units(self.tensor, self.sketch, self.need.cosine)


@dataclass(frozen=True)
class Values(Need["Array | None"]):
    """The numbers of a tensor as an array of its dtype, if it has at most *limit* weights, else ``None``."""

    limit: int = 1 << 20

    def merges(self, tensor: LazyTensor) -> bool:
        return tensor.size > self.limit  # there is nothing to merge then

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _Values(self, _only(tensors))


class _Values(Collector):
    def __init__(self, need: Values, tensor: LazyTensor) -> None:
        self.array = np.empty(tensor.size, tensor.dtype) if tensor.size <= need.limit else None
        self.shape = tensor.shape

    def update(self, chunk: Chunk) -> None:
        if self.array is not None:
            self.array[chunk.start : chunk.start + len(chunk.stored)] = chunk.stored

    def merge(self, other: _Values) -> None:
        """Nothing: a tensor that is read in parts is too large."""

    def result(self) -> Array | None:
        return None if self.array is None else self.array.reshape(self.shape)


@dataclass(frozen=True)
class Checksum(Need[int]):
    """The CRC-32 of the stored bytes of a contiguous tensor."""

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _Checksum()


class _Checksum(Collector):
    def __init__(self) -> None:
        self.crc32, self.size = 0, 0

    def update(self, chunk: Chunk) -> None:
        raw = chunk.stored.view(np.uint8).data
        self.crc32, self.size = crc32(raw, self.crc32), self.size + raw.nbytes

    def merge(self, other: _Checksum) -> None:
        self.crc32, self.size = crc32_combine(self.crc32, other.crc32, other.size), self.size + other.size

    def result(self) -> int:
        return self.crc32


@dataclass(frozen=True)
class Of(Need[Any]):
    """*need* of one *member* of each ``JointTensor``, not of what the joint tensor computes.

    The result is ``None`` for a tensor without that member.
    """

    member: str = field()
    need: Need[Any]

    def __post_init__(self) -> None:
        """Raises ``TypeError`` for anything but a need."""
        if not isinstance(self.need, Need):
            raise TypeError(f"Of({self.member!r}, …) is of {type(self.need).__name__}, not of a need")

    @property
    def ordered(self) -> bool:  # type: ignore[override]
        return self.need.ordered

    @property
    def of_whole(self) -> bool:  # type: ignore[override]
        return self.need.of_whole

    @property
    def counts_not_finite(self) -> bool:  # type: ignore[override]
        return self.need.counts_not_finite

    @property
    def reads_itself(self) -> bool:
        return self.need.reads_itself

    @property
    def gathered_by(self) -> Need[Any]:
        inner = self.need.gathered_by
        return self if inner is self.need else Of(self.member, inner)

    def bind(self, checkpoint: Checkpoint) -> Need[Any]:
        bound = self.need.bind(self._members_of(checkpoint))
        return self if bound is self.need else Of(self.member, bound)

    def _first(self, checkpoint: Checkpoint) -> First | None:
        return self.need._first(self._members_of(checkpoint))  # the engine measures it of the joint tensors, for all members

    def _after(self, checkpoint: Checkpoint, results: Mapping[str, Any]) -> Need[Any]:
        return Of(self.member, self.need._after(self._members_of(checkpoint), results))

    @property
    def _chosen_by(self) -> str:
        return self.need._chosen_by

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        found = dict(self.need.groups(self._members_of(checkpoint)))
        return found if self.of_whole else {**{name: (name,) for name in checkpoint}, **found}

    def only(self, names: tuple[str, ...]) -> Need[Any]:
        part = self.need.only(names)
        return self if part is self.need else Of(self.member, part)

    def unite(self, other: Need[Any]) -> Need[Any] | None:
        if type(other) is not Of or other.member != self.member:
            return None
        both = self.need.unite(other.need)
        return None if both is None else Of(self.member, both)

    def merges(self, tensor: LazyTensor) -> bool:
        member = self._in(tensor)
        return member is None or self.need.merges(member)

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        return _Of(self, self._members(tensors), tensors)

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        return self.need.compute(self._members(tensors))

    def finish(self, gathered: Any) -> Any:
        if not isinstance(gathered, _Of):
            return self.need.finish(gathered)
        return None if gathered.inner is None else self.need.finish(gathered.inner)

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        if not isinstance(gathered, _Of):
            return self.need.counted(gathered)
        found = {} if gathered.inner is None else self.need.counted(gathered.inner)
        return {gathered.names[name]: count for name, count in found.items()}

    def _in(self, tensor: LazyTensor) -> LazyTensor | None:
        """The member of *tensor* under its name."""
        found = dict(getattr(tensor, "members", ())).get(self.member)
        return None if found is None else replace(found, name=tensor.name)

    def _members(self, tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
        found = ((name, self._in(tensor)) for name, tensor in tensors.items())
        return {name: member for name, member in found if member is not None}

    def _members_of(self, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint.with_tensors(self._members(checkpoint).values())


class _Of(Collector):
    """Hands the chunks of the member to the collector of the need. names: of the joint tensors → of their members."""

    def __init__(self, need: Of, members: dict[str, LazyTensor], tensors: Mapping[str, LazyTensor]) -> None:
        self.member = need.member
        self.inner = need.need.collector(members) if members else None
        self.names = {
            name: next(each.name for each_member, each in tensors[name].members if each_member == need.member)  # type: ignore[attr-defined]
            for name in members
        }

    def update(self, chunk: Chunk) -> None:
        if self.inner is not None and self.member in chunk.members:
            self.inner.update(chunk.of(self.member))

    def merge(self, other: _Of) -> None:
        self.names.update(other.names)
        if other.inner is None:
            return
        if self.inner is None:
            self.inner = other.inner
        else:
            self.inner.merge(other.inner)
