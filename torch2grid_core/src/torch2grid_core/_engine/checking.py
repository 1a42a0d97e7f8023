"""Rules over a checkpoint: what all of them need in one pass, and what they found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral
from typing import Any, get_args

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.storage import beneath, stamp_storages, verify
from torch2grid_core._engine.measuring import without_repetition
from torch2grid_core._engine.planning import Asked, Plan, check_arguments, needs_of
from torch2grid_core._engine.reading import STOPS
from torch2grid_core._engine.scheduling import outcomes
from torch2grid_core._errors import NotDrawable, PluginError, UsageError
from torch2grid_core._guard import at_most, call, collect, describe_value, origin_of, returned
from torch2grid_core._kinds.view import Finding, Rule, Severity
from torch2grid_core._settings import Settings
from torch2grid_core._text import did_you_mean, visible

MOST_FINDINGS = 100_000  # of one rule, and one of each tensor: one that never ends must not hang a run
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
CODE = re.compile(r"[A-Z]+\d{3,}")  # a letter or more, three digits or more


@dataclass(frozen=True)
class Found:
    """A finding with the rule that it comes from.

    Args:
        code: of the rule.
        rule: its name.
        severity: of the finding.
        tensor: its name; empty for the whole file.
        index: of the weight, where there is one.
        message: one line, about the tensor without naming it.
        part: the part that its tensor belongs to; empty where the file has only one.
    """

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
    """Return the rules by code: those that *select* names (all if it is empty) without those that *ignore* names.

    A word is a code, the beginning of one (``T1``) or a rule's name.

    Raises:
        UsageError: a word names no rule, or two rules have one code.
        PluginError: a rule has no proper code.
    """
    rules = list(rules)
    for rule in rules:
        code = getattr(rule, "code", None)
        if not isinstance(code, str) or not CODE.fullmatch(code):
            told = "it has no code:" if code is None else f"its code is {code!r}, not"
            raise origin_of(rule).error(f"{told} letters and three digits, as in X101")
        if rule.severity not in SEVERITIES:
            raise origin_of(rule).error(f"its severity is {rule.severity!r}, not error, warning or note")
        if rule.judges not in ("values", "weights", "file"):
            raise origin_of(rule).error(f"its judges is {rule.judges!r}, not values, weights or file")
    known = sorted(rules, key=lambda rule: rule.code)
    for rule, after in pairwise(known):
        if rule.code == after.code:
            both = " and ".join(f"{each.name} of {_shipper(each)}" for each in (rule, after))
            raise UsageError(f"the rules {both} share the code {rule.code}; disable one's plugin")
    for word in (*select, *ignore):
        if not any(_named(rule, word) for rule in known):
            raise UsageError(f"no rule {word!r}{did_you_mean(word, [*(r.name for r in known), *(r.code for r in known)])}")
    chosen = [rule for rule in known if not select or any(_named(rule, word) for word in select)]
    return [rule for rule in chosen if not any(_named(rule, word) for word in ignore)]


def _shipper(rule: Rule) -> str:
    """Who brings a rule: its distribution, else its module."""
    return origin_of(rule).distribution or type(rule).__module__


def _named(rule: Rule, word: str) -> bool:
    return bool(word) and (rule.code.startswith(word.upper()) or rule.name == word.lower().replace("-", "_"))


def check(
    checkpoint: Checkpoint,
    rules: Sequence[Rule],
    run: Settings | None = None,
    *,
    executor: Executor | None = None,
    failed: Callable[[Rule, PluginError], None] | None = None,
    seen: set[str] | None = None,
) -> list[Found]:
    """Return what *rules* find in *checkpoint*, rule by rule, from one pass over the weights.

    What the file holds beside the weights is read, too, where it has a checksum. Rules about the file see what it stores,
    whatever decoders made of it. A rule that raises ``NotDrawable``, or whose transformer does, finds nothing.

    Args:
        checkpoint: what to check.
        rules: each with a code of its own.
        run: the settings, the defaults unless given.
        executor: where the work is done; ``None`` does it here.
        failed: told of each rule that fails, while the others go on. Without it, the first ``PluginError`` is raised.
        seen: takes the names of the tensors that the rules were about (see ``Rule.subject``), for rules that came to their end.

    Raises:
        LoadError: bytes cannot be read.
        PluginError: a rule fails, and there is no *failed*.
        UsageError: an argument is of another type.
    """
    check_arguments("check", checkpoint, run)
    stored, run = checkpoint.stored, run or Settings()
    seen = set() if seen is None else seen
    if stored is checkpoint:
        return _check(checkpoint, rules, executor, run, failed, seen)
    read = {id(each) for tensor in checkpoint.values() for each in beneath(tensor.storage)}
    for tensor in stored.values():
        if id(tensor.storage) not in read:
            verify(tensor.storage)
    of_file = [rule for rule in rules if rule.judges == "file"]
    as_stored: set[str] = set()
    found = _check(stored, of_file, executor, run, failed, as_stored)
    if len(as_stored) == len(stored):
        seen.update(checkpoint)
    seen.update(name for name in checkpoint if name in as_stored)
    found += _check(checkpoint, [rule for rule in rules if rule not in of_file], executor, run, failed, seen)
    places = {rule.code: place for place, rule in enumerate(rules)}
    return sorted(found, key=lambda each: places[each.code])


def _check(
    checkpoint: Checkpoint,
    rules: Sequence[Rule],
    executor: Executor | None,
    run: Settings,
    failed: Callable[[Rule, PluginError], None] | None,
    seen: set[str],
) -> list[Found]:
    """See ``check``, of one checkpoint."""
    for each in checkpoint.unverified:
        verify(each)
    plans = _Plans(without_repetition(checkpoint))
    asked: list[tuple[Rule, Checkpoint, dict[str, Asked]]] = []
    failures: dict[str, PluginError] = {}
    for rule in rules:
        try:
            subject, plan = plans.of(rule, run)
            needs = needs_of(rule, rule.needs, subject, run, whole=True)
            asked.append((rule, subject, {key: plan.ask(need, origin_of(rule), subject) for key, need in needs.items()}))
        except STOPS as error:
            if isinstance(error, PluginError):
                failures[rule.code] = error
    for plan in plans.all:
        plan.prepare(executor)
        for _, outcomes_of_tensor in outcomes(plan.checkpoint, plan.tasks, executor):
            for outcome in outcomes_of_tensor:
                plan.take(outcome)
    found: list[Found] = []
    for rule, subject, results in asked:
        try:
            found += _found(rule, checkpoint, subject, {key: each.result for key, each in results.items()}, run)
            seen.update(name for name in subject if name in checkpoint)
        except STOPS as error:
            if isinstance(error, PluginError):
                failures[rule.code] = error
    for rule in rules:
        if rule.code in failures:
            if failed is None:
                raise failures[rule.code]
            failed(rule, failures[rule.code])
    return found


class _Plans:
    """What the rules are about: one plan for all tensors of the checkpoint, and one for each subject that has others."""

    def __init__(self, tensors: Checkpoint) -> None:
        self.tensors, self.all = tensors, [Plan(tensors)]
        self._judged: dict[bool, Checkpoint] = {}
        self._subjects: dict[int, tuple[Checkpoint, Checkpoint, Plan]] = {}  # by identity; kept, so that no other gets it

    def of(self, rule: Rule, run: Settings) -> tuple[Checkpoint, Plan]:
        """What *rule* is about, and what its needs are asked of. Raises ``PluginError``, ``NotDrawable`` where nothing is."""
        given = judged(rule, self.tensors)
        given = self._judged.setdefault(given is self.tensors, given)  # one for all about weights, so that they share needs
        chosen = call(rule, rule.subject, given, run)
        if not isinstance(chosen, Checkpoint):
            raise origin_of(rule).error(returned("subject", chosen, "a Checkpoint"))
        if chosen is not given:  # who computes what is new in it is told when that fails
            new = [each.storage for key, each in chosen.items() if given.get(key) is not each]
            stamp_storages(new, origin_of(rule), deep=False)
        if given and not chosen:
            raise NotDrawable(f"{given.source}: no tensor is left for rule {rule.name!r}")
        if id(chosen) not in self._subjects:
            if all(self.tensors.get(name) is tensor for name, tensor in chosen.items()):
                self._subjects[id(chosen)] = chosen, chosen, self.all[0]
            else:
                subject = without_repetition(chosen)
                self.all.append(Plan(subject))
                self._subjects[id(chosen)] = chosen, subject, self.all[-1]
        _, subject, plan = self._subjects[id(chosen)]
        return subject, plan


def _found(
    rule: Rule, checkpoint: Checkpoint, subject: Checkpoint, results: Mapping[str, Any], run: Settings
) -> Iterator[Found]:
    """What *rule* finds in *results*, which are under the keys of its needs. Raises ``PluginError`` before the first."""
    origin = origin_of(rule)
    most = MOST_FINDINGS + len(checkpoint)
    found = at_most(collect(rule, rule.findings, subject, results, run), origin, most)
    wrong = next(filter(None, map(_wrong, found)), "")
    if wrong:
        raise origin.error(f"findings yields {wrong}")
    for each in found:
        if each.tensor in checkpoint and each.tensor not in subject:
            raise origin.error(
                f"findings yields one about {each.tensor!r}, which is not among the tensors that the rule is about"
            )
        if each.tensor and each.tensor not in subject and not _is_known(each.tensor, checkpoint):
            raise origin.error(f"findings yields one about {visible(each.tensor, 60)!r}, and there is no such tensor")
        if each.index is not None and each.tensor in subject and not _is_in(each.index, subject[each.tensor].shape):
            told = f"findings yields one at {each.index} of {visible(each.tensor, 60)!r}, whose shape is"
            raise origin.error(f"{told} {tuple(subject[each.tensor].shape)}")
    parts = checkpoint.part_of if len(checkpoint.whole.parts) > 1 else {}
    for each in found:
        part = parts[each.tensor].name if each.tensor in parts else ""
        severity = each.severity or rule.severity
        index = each.index
        if index is not None and each.tensor in subject and (taken := subject[each.tensor].taken) is not None:
            index = taken.index(index)
        yield Found(rule.code, rule.name, severity, each.tensor, index, each.message, part)


def _is_in(index: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(index) == len(shape) and all(0 <= place < length for place, length in zip(index, shape, strict=True))


def _is_known(name: str, checkpoint: Checkpoint) -> bool:
    """True where the file has *name*, though it is not among the tensors that are looked at: it is tied, or was left out."""
    held = (checkpoint.whole, checkpoint.stored, checkpoint.aliases, {each.name for each in checkpoint.skipped})
    return any(name in each for each in held) or any(name == each.tensor for each in checkpoint.problems)


def _wrong(each: Any) -> str:
    """What is wrong with *each*, which a rule yielded for a finding; empty where nothing is."""
    if not isinstance(each, Finding):
        return f"{type(each).__name__}, not a Finding"
    for name in ("message", "tensor"):
        value = getattr(each, name)
        if not isinstance(value, str):
            return f"a Finding whose {name} is {describe_value(value)}, not a text"
    if each.severity not in (None, *SEVERITIES):
        return f"a Finding whose severity is {describe_value(each.severity)}, not error, warning or note"
    index = each.index
    if index is not None and not (isinstance(index, tuple) and all(isinstance(one, Integral) for one in index)):
        return f"a Finding whose index is {describe_value(index)}, not a tuple of whole numbers"
    return ""


def judged(rule: Rule, checkpoint: Checkpoint) -> Checkpoint:
    """What *rule* judges of *checkpoint*: rules about weights leave optimizer state, random states and the like alone."""
    parts = checkpoint.part_of
    if rule.judges != "weights" or all(name not in parts or parts[name].kind in ("model", "copy") for name in checkpoint):
        return checkpoint
    return checkpoint.select(name for name in checkpoint if name not in parts or parts[name].kind in ("model", "copy"))
