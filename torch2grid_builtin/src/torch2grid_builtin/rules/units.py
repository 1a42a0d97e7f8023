"""Units that do nothing, and units that all do the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch2grid_builtin.rules.about import is_matrix, share_text, weights
from torch2grid_builtin.views.units import dead_units, groups_text, ranges_text
from torch2grid_core import Checkpoint, Duplicates, Finding, Profile, Rule, Run, Severity, Summary

_PER_UNIT = 3  # weights: a zero or two do not make a unit dead


@dataclass(frozen=True)
class DeadUnitShare(Rule):
    """layers of which many rows, columns, filters or channels are dead"""

    name: ClassVar[str] = "dead_units"
    code: ClassVar[str] = "T201"

    threshold: float = field(default=1e-6, metadata={"help": "a unit is dead where every |weight| is below"})
    share: float = field(default=0.5, metadata={"help": "share of dead units (0…1) from which it is an error"})
    warn: float = field(default=0.1, metadata={"help": "share of dead units (0…1) from which it is a warning"})

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return {"profile": Profile()}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        for tensor, profile in weights(checkpoint, results["profile"]):
            if tensor.ndim < 2:
                continue
            found = dead_units(tensor, profile, self.threshold)
            if len(found.dead_outputs) == found.outputs:
                continue  # nothing but zeros has a rule of its own
            kinds = (("output", found.outputs, found.dead_outputs), ("input", found.inputs, found.dead_inputs))
            for kind, units, dead in kinds:
                if tensor.size < _PER_UNIT * units or len(dead) < max(self.warn * units, 1):
                    continue
                text = f"{share_text(len(dead), units, f'{kind} units')} are dead (every |weight| < {self.threshold:g})"
                severity: Severity = "error" if len(dead) >= self.share * units else "warning"
                yield Finding(f"{text}: {ranges_text(dead)}", tensor.name, severity=severity)


@dataclass(frozen=True)
class DuplicateUnitShare(Rule):
    """layers of which rows or filters repeat one another"""

    name: ClassVar[str] = "duplicate_units"
    code: ClassVar[str] = "T202"

    cosine: float = field(default=0.999, metadata={"help": "units with a greater cosine are near duplicates"})
    share: float = field(default=0.05, metadata={"help": "share of repeated units (0…1) from which it is an error"})
    max_units: int = field(default=8192, metadata={"help": "tensors of more units are not compared"})

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return {"duplicates": Duplicates(self.cosine, self.max_units), "summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        for tensor, found in weights(checkpoint, results["duplicates"]):
            summary = results["summary"][tensor.name]
            if not found.repeated or not is_matrix(tensor) or summary.min == summary.max:
                continue  # one number throughout has a rule of its own
            severity: Severity = "error" if found.repeated >= self.share * found.units else "warning"
            text = f"{share_text(found.repeated, found.units, 'units')} repeat others: {groups_text(found.groups)}"
            yield Finding(text, tensor.name, severity=severity)
