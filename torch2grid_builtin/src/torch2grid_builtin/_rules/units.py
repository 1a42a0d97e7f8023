"""Units that do nothing, and units that all do the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._rules.about import (
    is_matrix,
    is_operator,
    is_place_table,
    is_pruned,
    is_single_channel,
    is_sparse,
    is_vocabulary,
    learned,
    share_text,
)
from torch2grid_builtin._rules.waves import Waves
from torch2grid_builtin._views.stacks import Matrix, apart, matrices
from torch2grid_builtin._views.units import DeadUnits, dead_units, groups_in_whole, groups_text, in_whole, ranges_text
from torch2grid_core import Checkpoint, Finding, LazyTensor, Rule, Settings, Severity
from torch2grid_core.measures import Distribution, DuplicateGroup, Duplicates, DuplicateUnits, Profile, Summary

_PER_UNIT = 3  # weights: a zero or two do not make a unit dead
_SMALL = 64  # weights: units of fewer may be much alike, and yet not the same
_SAME = 1 - 1e-6  # a cosine above is equality but for a factor
_TABLE = 6  # weights of a unit, from which rising or falling throughout is no chance
_READ = 1 << 24  # weights that are looked at as a whole


@dataclass(frozen=True)
class DeadUnitShare(Rule):
    """layers of which many rows, columns, filters or channels are dead"""

    name: ClassVar[str] = "dead_units"
    code: ClassVar[str] = "T201"
    together: ClassVar[Mapping[str, str]] = {
        "output units": "have dead output units; the first: {first}",
        "input units": "have dead input units; the first: {first}",
    }

    threshold: float = field(default=1e-6, metadata={"help": "a unit is dead where every |weight| is below"})
    share: float = field(default=0.5, metadata={"help": "share of dead units (0…1) from which it is an error"})
    warn: float = field(default=0.1, metadata={"help": "share of dead units (0…1) from which it is a warning"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {**apart(checkpoint, {"profile": Profile()}), "summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        pruned = is_pruned(checkpoint, results["summary"])
        for tensor, summary in learned(checkpoint, results["summary"]):
            if tensor.ndim < 2 or is_place_table(tensor):
                continue
            sparse = (pruned and is_sparse(tensor, summary)) or is_operator(summary)
            for each in matrices(tensor):
                yield from self._of_one(
                    each, dead_units(each.tensor, each.of(results, "profile"), self.threshold), sparse, summary
                )

    def _of_one(self, each: Matrix, found: DeadUnits, sparse: bool, summary: Distribution) -> Iterable[Finding]:
        tensor = each.tensor
        if len(found.dead_outputs) == found.outputs and not (each.index and summary.absmax >= self.threshold):
            return  # nothing but zeros has a rule of its own
        kinds = (("output", found.outputs, found.dead_outputs), ("input", found.inputs, found.dead_inputs))
        for place, (kind, units, dead) in zip(found.axes, kinds, strict=True):
            tokens = is_vocabulary(tensor) and tensor.shape[place] == max(tensor.shape)
            counted = _without_padding(dead, units) if tokens else dead
            if tensor.size < _PER_UNIT * units or len(counted) < max(self.warn * units, 1):
                continue
            text = f"{share_text(len(counted), units, f'{kind} units')} are dead (every |weight| < {self.threshold:g})"
            wanted = tokens or sparse
            severity: Severity = "error" if len(counted) >= self.share * units and not wanted else "warning"
            where = ranges_text(in_whole(tensor, counted, place))
            yield Finding(f"{each.where}{text}: {where}", each.owner, severity=severity)


def _without_padding(found: tuple[int, ...], units: int) -> tuple[int, ...]:
    """*found* without the last of *units* in one run, if that is at most half of them: a vocabulary that was padded."""
    first = units
    for unit in reversed(found):
        if unit != first - 1:
            break
        first = unit
    return tuple(unit for unit in found if unit < first) if first >= units / 2 else found


@dataclass(frozen=True)
class DuplicateUnitShare(Rule):
    """layers of which rows or filters repeat one another"""

    name: ClassVar[str] = "duplicate_units"
    code: ClassVar[str] = "T202"
    together: ClassVar[Mapping[str, str]] = {"": "have units that repeat others; the first: {first}"}

    cosine: float = field(default=0.999, metadata={"help": "units with a greater cosine are near duplicates"})
    share: float = field(default=0.05, metadata={"help": "share of repeated units (0…1) from which it is an error"})
    max_units: int = field(default=8192, metadata={"help": "tensors of more units are not compared"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        needs = {"duplicates": Duplicates(self.cosine, self.max_units)}
        return {**apart(checkpoint, needs), "summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, summary in learned(checkpoint, results["summary"]):
            for each in matrices(tensor):
                yield from self._of_one(each, each.of(results, "duplicates"), summary)

    def _of_one(self, each: Matrix, found: DuplicateUnits, summary: Distribution) -> Iterable[Finding]:
        tensor = each.tensor
        if not found.repeated or not is_matrix(tensor) or is_place_table(tensor) or summary.min == summary.max:
            return  # one number throughout has a rule of its own
        groups = _told_apart(tensor, found)
        repeated = sum(len(group.units) - 1 for group in groups)
        if not repeated or (repeated >= max(self.share * found.units, 1) and Waves(tensor).throughout):
            return  # a Fourier transform's rows are each other's mirror images
        verb = "repeats another" if repeated == 1 else "repeat others"
        text = f"{share_text(repeated, found.units, 'units')} {verb}: {groups_text(groups_in_whole(tensor, groups))}"
        yield Finding(f"{each.where}{text}", each.owner, severity=self._severity(tensor, found, groups))

    def _severity(self, tensor: LazyTensor, found: DuplicateUnits, groups: Sequence[DuplicateGroup]) -> Severity:
        """An error from the share of units that is one; of tokens from a half, of small units by those that are the same."""
        share = max(self.share, 0.5) if is_vocabulary(tensor) else self.share
        alike = tensor.size < _SMALL * tensor.shape[0] or is_single_channel(tensor)
        same = [len(group.units) - 1 if group.cosine > _SAME or not alike else len(group.equal) for group in groups]
        if _is_laid_out_again(groups, found.units):
            return "warning"
        if is_single_channel(tensor) and len(groups[0].units) == found.units and _is_filter(tensor):
            return "warning"
        return "error" if sum(same) >= max(share * found.units, 1) else "warning"


def _told_apart(tensor: LazyTensor, found: DuplicateUnits) -> list[DuplicateGroup]:
    """The groups that training should have told apart: no padding of a vocabulary, and no tables of decays or frequencies."""
    groups = []
    for group in found.groups:
        if is_vocabulary(tensor) and len(group.units) > 1 and _without_padding(group.units, found.units) == ():
            continue
        if not _is_table(tensor, group.units[0]):
            groups.append(group)
    return groups


def _is_laid_out_again(groups: Sequence[DuplicateGroup], units: int) -> bool:
    """True where blocks of units stand so many times in a row, each block: shared keys and values, an upsampling's start.

    The whole twice, one below the other, is none: a shard may have been put together with itself.
    """
    times = len(groups[0].units)
    step = groups[0].units[1] - groups[0].units[0]
    if times * len(groups) != units or times * step >= units:
        return False
    laid = sorted(group.units for group in groups)
    starts = [start for start in range(units) if start % (times * step) < step]
    return laid == [tuple(start + step * each for each in range(times)) for start in starts] and all(
        group.cosine > _SAME for group in groups
    )


def _unit(tensor: LazyTensor, unit: int) -> np.ndarray[Any, Any]:
    """The weights of one unit in float64, empty where they are too many to be read for a look."""
    if tensor.size > _READ:
        return np.empty(0)
    values: np.ndarray[Any, Any] = tensor.numpy()[unit].reshape(-1).astype(np.float64)
    return values


def _is_table(tensor: LazyTensor, unit: int) -> bool:
    """True where the weights of *unit* only rise, or only fall, and not all are the same: decays, frequencies, slopes."""
    if not tensor.size // tensor.shape[0] >= _TABLE:
        return False
    steps = np.diff(_unit(tensor, unit))
    return bool(len(steps) and steps.any() and ((steps >= 0).all() or (steps <= 0).all()))


def _is_filter(tensor: LazyTensor) -> bool:
    """True for a fixed filter (a blur, an edge, an interpolation): its weights add up to a whole number."""
    total = float(_unit(tensor, 0).sum()) if tensor.size <= _READ else 0.5
    return abs(total - round(total)) < 1e-2
