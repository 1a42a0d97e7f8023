"""Rules: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.testing.broken.registry import breaks

from torch2grid_core import Checkpoint, Finding, Rule
from torch2grid_core.measures import Summary


class GoodRule(Rule):
    """tensors of few weights"""

    name, code, severity = "toy", "X100", "warning"

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Any]:
        return {"all": Summary()}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        for name, summary in results["all"].items():
            if 0 < summary.count < 5:
                yield Finding(f"has {summary.count} weights", name)


@breaks("rule", "needs_are_values")
class AsksByName(GoodRule):
    """names what it wants"""

    def needs(self, checkpoint: Checkpoint, run: Any) -> Any:
        return {"all": "summary"}


@breaks("rule", "code_and_severity")
class Fatal(GoodRule):
    """a severity of its own"""

    severity = "fatal"  # type: ignore[assignment]


@breaks("rule", "findings_say_where")
class Elsewhere(GoodRule):
    """about a tensor that is not there"""

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        yield Finding("has no weights", "model.nowhere")


@breaks("rule", "something_is_found")
class FindsNothing(GoodRule):
    """finds nothing, whatever is there"""

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        return []


@breaks("rule", "deterministic")
class FindsOnce(GoodRule):
    """reports each tensor once in its life"""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        for found in super().findings(checkpoint, results, run):
            if found.tensor not in self.told:
                self.told.add(found.tensor)
                yield found
