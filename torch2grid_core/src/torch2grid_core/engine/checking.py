"""Rules over a checkpoint: what all of them need in one pass, and what they found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.data.storage import verify
from torch2grid_core.engine import Drawn, Engine
from torch2grid_core.engine.asking import needs_of
from torch2grid_core.errors import NotDrawable, PluginError, UsageError
from torch2grid_core.kinds.rule import Finding, Rule, Severity
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need
from torch2grid_core.pictures.page import Page
from torch2grid_core.plugins.guard import at_most, collect, origin_of, stamp
from torch2grid_core.run import Run
from torch2grid_core.text import did_you_mean

MOST_FINDINGS = 100_000  # of one rule: one that never ends must not hang a run
CODE = re.compile(r"[A-Z]+\d{3,}")  # a letter or more, three digits or more


@dataclass(frozen=True)
class Found:
    """A finding with the rule that it comes from. part: that of its tensor; empty where the file has one alone."""

    code: str
    rule: str
    severity: Severity
    tensor: str
    index: tuple[int, ...] | None
    message: str
    part: str = ""

    @property
    def place(self) -> str:
        """``layer.weight[3, 17]``; empty for the whole file."""
        return self.tensor if self.index is None else f"{self.tensor}[{', '.join(map(str, self.index))}]"


def choose_rules(rules: Iterable[Rule], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> list[Rule]:
    """The rules by code, those that *select* names (all where it is empty) without those that *ignore* names.

    A word is a code, the beginning of one (``T1``) or a rule's name. Raises ``UsageError`` for one that names no rule, and
    for two rules of one code; ``PluginError`` for a rule without a proper code.
    """
    known = sorted(rules, key=lambda rule: str(rule.code))
    for rule, after in pairwise(known):
        if rule.code == after.code:
            raise UsageError(f"the rules {rule.name} and {after.name} share the code {rule.code}; disable one's plugin")
    for rule in known:
        if not isinstance(rule.code, str) or not CODE.fullmatch(rule.code):
            raise origin_of(rule).error(f"its code is {rule.code!r}, not letters and three digits, as in X101")
        if rule.severity not in ("error", "warning"):
            raise origin_of(rule).error(f"its severity is {rule.severity!r}, neither error nor warning")
    for word in (*select, *ignore):
        if not any(_named(rule, word) for rule in known):
            raise UsageError(f"no rule {word!r}{did_you_mean(word, [*(r.name for r in known), *(r.code for r in known)])}")
    chosen = [rule for rule in known if not select or any(_named(rule, word) for word in select)]
    return [rule for rule in chosen if not any(_named(rule, word) for word in ignore)]


def _named(rule: Rule, word: str) -> bool:
    return bool(word) and (rule.code.startswith(word.upper()) or rule.name == word.lower().replace("-", "_"))


def check(
    checkpoint: Checkpoint,
    rules: Sequence[Rule],
    executor: Executor | None = None,
    run: Run | None = None,
    failed: Callable[[Rule, PluginError], None] | None = None,
) -> list[Found]:
    """What *rules*, each with a code of its own, find in *checkpoint*, rule by rule, from one pass over the weights.

    What the file holds beside them is read, too, where it has a checksum.
    A rule that raises ``NotDrawable``, or whose transformer does, finds nothing. failed: told of each rule that fails, while
    the others go on; without it, the first ``PluginError`` is raised. Raises ``LoadError`` for unreadable bytes.
    """
    run = run or Run()
    found: dict[str, tuple[Found, ...]] = {}
    failures: dict[str, PluginError] = {}

    def take(drawn: Drawn) -> None:
        found[drawn.page.name] = drawn.page.about["found"]

    def fail(view: View, error: PluginError) -> None:
        assert isinstance(view, _Asked)
        failures[view.rule.code] = error

    for each in checkpoint.unverified:
        verify(each)
    views = [_Asked(rule) for rule in rules]
    if checkpoint:
        Engine(executor).run(checkpoint, views, take, run, failed=fail, declined=lambda view, error: None)
    for view in () if checkpoint else views:  # a file may hold calls and not a single tensor
        try:
            found[view.rule.code] = view.found(checkpoint, {key: {} for key in view.needs(checkpoint, run)}, run)
        except PluginError as error:
            fail(view, error)
        except NotDrawable:
            continue
    for rule in rules:
        if rule.code in failures:
            if failed is None:
                raise failures[rule.code]
            failed(rule, failures[rule.code])
    return [each for rule in rules for each in found.get(rule.code, ())]


class _Asked(View):
    """A rule as a view, whose only page carries what the rule found."""

    name: ClassVar[str] = "check"
    default_format: ClassVar[str] = "text"

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        stamp(self, origin_of(rule))

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Need]:
        return needs_of(self.rule, self.rule.needs, judged(self.rule, checkpoint), run, whole=True)

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Page]:
        yield Page(self.rule.code, "", (), about={"found": self.found(checkpoint, results, run)})

    def found(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> tuple[Found, ...]:
        """What the rule finds in *results*, which are under the keys of its needs."""
        rule, origin = self.rule, origin_of(self.rule)
        subject = judged(rule, checkpoint)
        if subject is not checkpoint:
            results = {key: _of_these(result, subject) for key, result in results.items()}
        found = at_most(collect(rule, rule.findings, subject, results, run), origin, MOST_FINDINGS)
        parts = checkpoint.part_of if len(checkpoint.whole.parts) > 1 else {}
        wrong = next((each for each in found if not isinstance(each, Finding)), None)
        if wrong is not None:
            raise origin.error(f"findings yields {type(wrong).__name__}, not a Finding")
        return tuple(
            Found(
                rule.code,
                rule.name,
                each.severity or rule.severity,
                each.tensor,
                each.index,
                each.message,
                parts[each.tensor].name if each.tensor in parts else "",
            )
            for each in found
        )


def judged(rule: Rule, checkpoint: Checkpoint) -> Checkpoint:
    """What *rule* judges of *checkpoint*: rules about weights leave optimizer state, random states and the like alone."""
    parts = checkpoint.part_of
    if rule.judges != "weights" or all(name not in parts or parts[name].kind in ("model", "copy") for name in checkpoint):
        return checkpoint
    return checkpoint.select(name for name in checkpoint if name not in parts or parts[name].kind in ("model", "copy"))


def _of_these(result: Any, subject: Checkpoint) -> Any:
    """The results of the tensors in *subject*, where a result is by tensor."""
    return {name: each for name, each in result.items() if name in subject} if isinstance(result, Mapping) else result
