"""The rules that are installed, and what they found in one model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch2grid_builtin._check.expectations import SEVERITIES, Accepted, is_named
from torch2grid_core import Checkpoint, PluginError, PluginManager, Rule, Settings, Severity, check
from torch2grid_core.commands import Found, Precedence, choose_rules, spec_name
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.selection import Selection, select
from torch2grid_core.sources import ALL
from torch2grid_core.text import counted


def installed_rules(manager: PluginManager, specs: Sequence[Any]) -> tuple[list[Rule], dict[str, str]]:
    """Every rule that is installed, with the options of *specs*; and name → error of those that cannot be used.

    A rule of another distribution never takes a code of the built-in ones. Raises ``UsageError`` for an unknown rule or
    option.
    """
    by_name: Mapping[str, Any] = {manager.find("rule", spec_name(spec)).qualified: spec for spec in specs}
    made: dict[str, Rule] = {}
    own: dict[str, str] = {}  # code → name of a built-in rule
    broken: dict[str, str] = {}
    provided = manager.names("rule").items()
    for name, each in sorted(provided, key=lambda item: item[1].record.precedence is not Precedence.BASE):
        try:
            rule: Rule = manager.create("rule", by_name.get(each.qualified, name))
            choose_rules([rule])  # its code and severity
            if not _is_together(rule.together):
                raise each.origin.error(f"its together is {rule.together!r}, not regular expressions and what to say")
            if rule.code in own:
                raise each.origin.error(f"its code {rule.code} is that of the built-in rule {own[rule.code]}")
        except PluginError as error:
            manager.trace(error)
            broken[name] = str(error)
            continue
        made[name] = rule
        if each.record.precedence is Precedence.BASE:  # its codes are kept
            own[rule.code] = name
    return list(made.values()), broken


def _is_together(together: Any) -> bool:
    """True where the report can group findings by it: regular expression → what to say."""
    try:
        return all(re.compile(pattern) and isinstance(said, str) for pattern, said in together.items())
    except (AttributeError, TypeError, ValueError, re.error):
        return False


@dataclass(frozen=True)
class Checked:
    """One model and what was found in it. checkpoint: ``None`` for a file that could not be read, for the reason *error*.

    broken: code of each rule that failed itself (its name, where it could not even be made) → why; what the others found is
    there all the same. rules: how many were asked, and did not fail. looked: the tensors that these were about. accepted:
    findings that are known, each with the reason why; they are not among *found*. stale: what was accepted and is not there.
    """

    model: str
    checkpoint: Checkpoint | None = None
    found: tuple[Found, ...] = ()
    error: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)
    rules: int = 0
    looked: Checkpoint | None = None
    accepted: tuple[tuple[Found, str], ...] = ()
    stale: tuple[Accepted, ...] = ()

    def fails(self, fail_on: Severity) -> bool:
        """True where a finding is as severe as *fail_on*."""
        return any(is_failure(each, fail_on) for each in self.found)

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(each.severity == severity for each in self.found)

    @property
    def numbers(self) -> int:
        """Numbers that the rules looked at, those of a tied tensor once."""
        return 0 if self.looked is None else self.looked.parameters

    @property
    def verdict(self) -> str:
        """``2 errors, 1 warning, 1 note``, or ``no finding by 14 rules in 9,258 numbers of 8 tensors``."""
        told = [counted(count, word) for word in SEVERITIES if (count := self.count(word))]
        tensors = 0 if self.looked is None else len(self.looked)
        nothing = f"{counted(self.rules, 'rule')} in {counted(self.numbers, 'number')} of {counted(tensors, 'tensor')}"
        told = told or [f"no finding by {nothing}"]
        told += [f"{len(self.accepted):,} accepted"] if self.accepted else []
        return ", ".join([*told, f"{counted(len(self.broken), 'rule')} failed"] if self.broken else told)


def is_failure(found: Found, fail_on: Severity) -> bool:
    """True where *found* is as severe as *fail_on*."""
    return SEVERITIES.index(found.severity) <= SEVERITIES.index(fail_on)


def check_checkpoint(
    manager: PluginManager,
    opened: Checkpoint,
    rules: Sequence[Rule],
    settings: Settings,
    broken: Mapping[str, str],
    failed: Callable[[PluginError], None],
    *,
    name: str = "",
    fork: bool = False,
    severity: Mapping[str, str] | None = None,
    accept: Sequence[Accepted] = (),
) -> tuple[Checked, Selection]:
    """What *rules* find in all of *opened* that *settings* choose, and what that was.

    Args:
        manager: what filters and executors are made by.
        opened: the whole file.
        rules: the rules to ask, each with a code of its own.
        settings: which part, filters and slice, and how the work is done.
        broken: name → why, of the rules that could not be made.
        failed: told of the error of each rule that fails; the others go on.
        name: what the model is called; its source unless given.
        fork: see ``workers``.
        severity: of findings of a rule, by its code, the beginning of one, or its name, where it is another than the rule says.
        accept: findings that are known.
    """
    gone = dict(broken)

    def fails(rule: Rule, error: PluginError) -> None:
        gone[rule.code] = str(error)
        failed(error)

    filters = [manager.create("filter", spec) for spec in settings.filter]
    selection = select(opened, settings.part or ALL, filters, slice=settings.slice, verified=True, everything=True)
    selection.part = settings.part
    opener, seen = executor_of(manager, settings.executor), set[str]()
    with workers(selection.checkpoint, settings.jobs, fork=fork, opener=opener) as executor:
        found = check(selection.checkpoint, rules, settings, executor=executor, failed=fails, seen=seen)
    count = sum(rule.code not in gone for rule in rules)
    looked = selection.checkpoint if len(seen) == len(selection.checkpoint) else selection.checkpoint.select(seen)
    judged = _judged(found, severity or {})
    known = [(each, next((one for one in accept if one.takes(each)), None)) for each in judged]
    accepted = tuple((each, one.reason) for each, one in known if one is not None)
    used = {id(one) for _, one in known}
    made = Checked(
        name or opened.source,
        selection.checkpoint,
        tuple(each for each, one in known if one is None),
        broken=gone,
        rules=count,
        looked=looked,
        accepted=accepted,
        stale=tuple(one for one in accept if id(one) not in used),
    )
    return made, selection


def _judged(found: Sequence[Found], severity: Mapping[str, str]) -> list[Found]:
    """*found* with the severities that were asked for; the longest word that names a rule holds. Notes come last."""
    made = []
    for each in found:
        words = [word for word in severity if is_named(each, word)]
        level = severity[max(words, key=len)] if words else each.severity
        if level in SEVERITIES:
            made.append(replace(each, severity=level))
    return sorted(made, key=lambda each: each.severity == "note")
