"""What a run saw on its way: NaN and Inf in what was read, and which tensors each view showed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch2grid_core.data.joint import JointTensor
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.needs import Measure, Need, NotFinite, Of, Raster, Summary
from torch2grid_core.pictures.raster import PartResult
from torch2grid_core.summary.distribution import Distribution
from torch2grid_core.summary.not_finite import NotFiniteCount

_COUNTING = (Summary, Raster, NotFinite)  # needs whose results know how many weights are NaN or Inf


@dataclass(frozen=True)
class Shown:
    """What a view showed. tensors: names, as far as the view tells (see ``View``), else ``None``; of: all that it was about."""

    view: str
    tensors: frozenset[str] | None
    of: frozenset[str]

    def merge(self, other: Shown) -> Shown:
        """What the view showed in both of two runs."""
        known = None if self.tensors is None or other.tensors is None else self.tensors | other.tensors
        return Shown(self.view, known, self.of | other.of)


@dataclass
class Seen:
    """not_finite: by the name of each tensor that was read and holds any. shown: of each view that came to its end."""

    not_finite: dict[str, NotFiniteCount] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)

    def merge(self, other: Seen) -> None:
        """Take in what another run of the same file saw."""
        self.not_finite.update(other.not_finite)
        shown = {each.view: each for each in self.shown}
        for each in other.shown:
            shown[each.view] = shown[each.view].merge(each) if each.view in shown else each
        self.shown = list(shown.values())


def counting(tensor: LazyTensor, needs: Iterable[Need]) -> list[Need]:
    """What to ask beside *needs*, so that NaN and Inf are counted in whatever is read of *tensor*; nothing where nothing is.

    Of a joint tensor its members are counted, not what it computes.
    """
    asked = list(needs)
    if not isinstance(tensor, JointTensor):
        known = not asked or any(isinstance(need, _COUNTING) for need in asked)
        return [] if known or tensor.dtype.kind in "biu" else [NotFinite()]
    if all(isinstance(need, Measure) for need in asked):
        return []
    known_members = {need.member for need in asked if isinstance(need, Of) and isinstance(need.need, _COUNTING)}
    return [
        Of(member, NotFinite())
        for member, each in tensor.members
        if member not in known_members and each.dtype.kind not in "biu"
    ]


def counted(tensor: LazyTensor, results: Mapping[Need, Any]) -> dict[str, NotFiniteCount]:
    """The counts in the results of needs, by the names of the tensors that hold NaN or Inf."""
    members = dict(tensor.members) if isinstance(tensor, JointTensor) else None
    found: dict[str, NotFiniteCount] = {}
    for need, result in results.items():
        if members is None:
            name = None if isinstance(need, Of) else tensor.name
        else:
            name = members[need.member].name if isinstance(need, Of) and need.member in members else None
        count = _count_of(result) if name is not None and name not in found else None
        if name is not None and count:
            found[name] = count
    return found


def _count_of(result: Any) -> NotFiniteCount | None:
    if isinstance(result, NotFiniteCount):
        return result
    if isinstance(result, Distribution):
        return result.not_finite
    if isinstance(result, tuple) and all(isinstance(part, PartResult) for part in result):
        total = NotFiniteCount()
        for part in result:
            total = total.merge(part.not_finite)
        return total
    return None
