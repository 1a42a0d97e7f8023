"""A rule: what ``torch2grid check`` looks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch2grid_core import Checkpoint, Finding, Need, Rule, Settings
from torch2grid_core.measures import Summary


@dataclass(frozen=True)
class LargeWeights(Rule):
    """weights beyond a limit"""

    name, code, severity = "large_weights", "X101", "warning"  # the code is yours to choose

    limit: float = field(default=1000.0, metadata={"help": "the largest |weight| that is fine"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"summaries": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for name, summary in results["summaries"].items():
            if summary.finite and summary.absmax > self.limit:
                yield Finding(f"a weight of {summary.absmax:g}, the limit is {self.limit:g}", name)
