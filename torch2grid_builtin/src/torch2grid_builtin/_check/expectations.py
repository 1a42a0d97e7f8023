"""What a model is expected to be, as a file states it: names, dtypes, shapes, counts and limits, and accepted findings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, get_args

from torch2grid_core import Checkpoint, Finding, Rule, Settings, Severity, UsageError
from torch2grid_core.commands import ConfigFile, Found, read_config
from torch2grid_core.measures import Distribution, Summary
from torch2grid_core.selection import matching
from torch2grid_core.text import counted, did_you_mean, visible

_KEYS = (
    "formats",
    "tensors",
    "parameters",
    "required",
    "forbidden",
    "others",
    "dtypes",
    "shapes",
    "limits",
    "accept",
    "severity",
)
FIGURES = ("min", "max", "absmax", "mean", "std", "rms", "zeros", "nan", "inf")
_SHOWN = 3
_MOST_NAMES = 100_000  # that one pattern with braces stands for
_MOST_DIGITS = 9  # of a number in braces
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # the gravest first
LEVELS = (*SEVERITIES, "off")


@dataclass(frozen=True)
class Accepted:
    """Findings that are known: of a rule, by code or name, in tensors by pattern, and why."""

    rule: str
    tensor: str
    reason: str

    def takes(self, found: Found) -> bool:
        return is_named(found, self.rule) and bool(matching([found.tensor], self.tensor))


def is_named(found: Found, word: str) -> bool:
    """True where *word* is the code of the rule that found it, the beginning of one, or its name."""
    return found.code.startswith(word.upper()) or found.rule == word.lower().replace("-", "_")


@dataclass(frozen=True)
class Expectations:
    """See ``read_expectations``. dtypes, shapes, limits: by pattern of names, the first that fits holds."""

    path: str
    formats: tuple[str, ...] = ()
    tensors: int | None = None
    parameters: int | None = None
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    others: bool = True
    dtypes: Mapping[str, tuple[str, ...]] | None = None
    shapes: Mapping[str, tuple[int | None, ...]] | None = None
    limits: Mapping[str, Mapping[str, tuple[float, float]]] | None = None
    accept: tuple[Accepted, ...] = ()
    severity: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Expected(Rule):
    """a model that is not what a file expects (--expect)"""

    name: ClassVar[str] = "expected"
    code: ClassVar[str] = "T402"
    judges: ClassVar[Any] = "values"
    together: ClassVar[Mapping[str, str]] = {
        "^no tensor .*, which is required": "are required, and not here; the first: {first}",
        "^is forbidden": "are forbidden",
        "^is not expected": "are not expected",
        "^has dtype": "have another dtype than expected; the first {first}",
        "^has shape": "have another shape than expected; the first {first}",
    }

    wanted: Expectations

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        names = {checkpoint.aliases.get(name, name) for name, _ in _first(self.wanted.limits, list(checkpoint))}
        own = [name for name in checkpoint if name in names]
        return {"summary": Summary().about(own)} if own else {}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        wanted, names = self.wanted, list(checkpoint)
        if wanted.formats and not any(each.lower() in checkpoint.format.lower() for each in wanted.formats):
            yield Finding(f"its format is {checkpoint.format}, not {' or '.join(wanted.formats)}")
        for what, stated, found in (
            ("tensor", wanted.tensors, len(checkpoint)),
            ("parameter", wanted.parameters, checkpoint.parameters),
        ):
            if stated is not None and stated != found:
                yield Finding(f"it has {counted(found, what)}, {stated:,} {'is' if stated == 1 else 'are'} expected")
        fits = set[str]()
        for pattern in wanted.required:
            for each in _names(pattern):
                found_names = matching(names, each)
                fits.update(found_names)
                if not found_names:
                    near = did_you_mean(each, names) if not set("*?[") & set(each) else ""
                    yield Finding(f"no tensor {visible(each, 200)}, which is required{near}")
        for pattern in wanted.forbidden:
            for name in matching(names, pattern):
                yield Finding(f"is forbidden, by {pattern}", name)
        if not wanted.others:
            for name in names:
                if name not in fits:
                    yield Finding("is not expected: no pattern of required fits", name)
        yield from self._by_pattern(checkpoint, results.get("summary", {}))

    def _by_pattern(self, checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> Iterator[Finding]:
        names = list(checkpoint)
        for name, dtypes in _first(self.wanted.dtypes, names):
            if checkpoint[name].dtype.name not in dtypes:
                yield Finding(f"has dtype {checkpoint[name].dtype.name}, {' or '.join(dtypes)} is expected", name)
        for name, shape in _first(self.wanted.shapes, names):
            own = checkpoint[name].shape
            if len(own) != len(shape) or any(one is not None and one != side for one, side in zip(shape, own, strict=True)):
                told = ", ".join("any" if side is None else str(side) for side in shape)
                yield Finding(f"has shape {list(own)}, [{told}] is expected", name)
        for name, limits in _first(self.wanted.limits, names):
            summary = summaries.get(checkpoint.aliases.get(name, name))
            if summary is None or not summary.count:  # of nothing there are no figures
                continue
            for figure, (low, high) in limits.items():
                value = _figure(summary, figure)
                if not low <= value <= high:
                    yield Finding(f"its {figure} is {value:.6g}, {_range_text(low, high)} is expected", name)


def _figure(summary: Distribution, name: str) -> float:
    """A figure of the finite weights; zeros, nan and inf are shares of all, 0 to 1."""
    if name in ("zeros", "nan", "inf"):
        count = summary.posinf + summary.neginf if name == "inf" else getattr(summary, name)
        return count / summary.count if summary.count else 0.0
    return float(getattr(summary, name)) if summary.finite else math.nan


def _range_text(low: float, high: float) -> str:
    if low == -math.inf:
        return f"at most {high:g}"
    return f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"


def _first(patterns: Mapping[str, Any] | None, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Each of *names* that a pattern fits, with what the first such pattern says."""
    said: dict[str, Any] = {}
    for pattern, value in (patterns or {}).items():
        for each in _names(pattern):
            for name in matching(names, each):
                said.setdefault(name, value)
    yield from ((name, said[name]) for name in names if name in said)


def _names(pattern: str) -> Iterator[str]:
    """*pattern* with each ``{0..21}`` and ``{a,b}`` written out."""
    pieces, place = list[list[str]](), 0
    for found in _RANGE.finditer(pattern):
        pieces.append([pattern[place : found.start()]])
        if found[3] is not None:
            pieces.append(found[3].split(","))
        else:
            pieces.append([str(number) for number in range(int(found[1]), int(found[2]) + 1)])
        place = found.end()
    pieces.append([pattern[place:]])
    yield from ("".join(each) for each in product(*pieces))


def _pattern(pattern: str) -> str:
    """*pattern*, which stands for one name or more. Raises ``ValueError`` for braces that stand for none, or for too many."""
    names = 1
    for found in _RANGE.finditer(pattern):
        if found[3] is None and max(len(found[1]), len(found[2])) > _MOST_DIGITS:
            raise ValueError(f"{visible(found[0], 60)}: a number of too many digits")
        count = len(found[3].split(",")) if found[3] is not None else int(found[2]) - int(found[1]) + 1
        if count < 1:
            raise ValueError(f"{visible(found[0], 60)} is an empty range: its first number is more than its last")
        names *= count
        if names > _MOST_NAMES:
            raise ValueError(f"{visible(pattern, 200)} stands for more than {_MOST_NAMES:,} names; * stands for any")
    return pattern


def read_expectations(path: str, codes: Iterable[str] = ()) -> Expectations:
    """The expectations in a YAML, TOML or JSON file. codes: of the rules, and their names, that ``accept`` may name.

    Raises ``UsageError`` with file and line for a key or a value that is none of theirs.
    """
    file = read_config(path, "--expect")
    read: Mapping[str, Callable[[Any], Any]] = {
        "$schema": _text,
        "formats": _texts,
        "tensors": _count,
        "parameters": _count,
        "required": _patterns,
        "forbidden": _texts,
        "others": _flag,
        "dtypes": _by(_texts),
        "shapes": _by(_shape),
        "limits": _by(_limits),
        "accept": _accepted,
        "severity": _severities,
    }
    given: dict[str, Any] = {}
    for entry in file.settings:
        if entry.key not in read:
            raise file.error(entry, f"no expectation has that name{did_you_mean(entry.key, _KEYS)}")
        try:
            given[entry.key] = read[entry.key](entry.value)
        except ValueError as error:
            raise file.error(entry, str(error)) from None
    given.pop("$schema", None)
    made = Expectations(path, **given)
    _known(file, made, [code.upper() for code in codes])
    return made


def _known(file: ConfigFile, made: Expectations, codes: Sequence[str]) -> None:
    for word in (*(each.rule for each in made.accept), *(made.severity or {})):
        if codes and not any(code.startswith(word.upper()) or code == word.upper().replace("-", "_") for code in codes):
            raise UsageError(f"{file.path}: no rule {word!r}{did_you_mean(word.upper(), codes)}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected the address of a schema")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise ValueError("expected a text, or a list of texts")
    return tuple(found)


def _patterns(value: Any) -> tuple[str, ...]:
    return tuple(_pattern(each) for each in _texts(value))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _by(one: Callable[[Any], Any]) -> Callable[[Any], Mapping[str, Any]]:
    def read(value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError("expected a mapping of patterns")
        found = {}
        for pattern, each in value.items():
            try:
                found[_pattern(str(pattern))] = one(each)
            except ValueError as error:
                raise ValueError(f"{pattern}: {error}") from None
        return found

    return read


def _shape(value: Any) -> tuple[int | None, ...]:
    if not isinstance(value, list) or not all(
        side is None or side == "any" or (type(side) is int and side >= 0) for side in value
    ):
        raise ValueError("expected a list of lengths, null or any for one that may be any")
    return tuple(side if type(side) is int else None for side in value)


def _limits(value: Any) -> Mapping[str, tuple[float, float]]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"expected figures with their limits, of {', '.join(FIGURES)}")
    found = {}
    for figure, limits in value.items():
        if figure not in FIGURES:
            raise ValueError(f"no figure {figure!r}{did_you_mean(str(figure), FIGURES)}")
        ends = [None if end == "any" else end for end in (limits if isinstance(limits, list) else [None, limits])]
        if len(ends) != 2 or not all(end is None or (type(end) in (int, float) and math.isfinite(end)) for end in ends):
            raise ValueError(f"{figure}: expected the most that it may be, or [least, most], each a number, null or any")
        low, high = (-math.inf if ends[0] is None else float(ends[0])), (math.inf if ends[1] is None else float(ends[1]))
        if low > high:
            raise ValueError(f"{figure}: the least is more than the most")
        found[str(figure)] = (low, high)
    return found


def _severities(value: Any) -> Mapping[str, str]:
    found = _by(_level)(value)
    if not all(found):
        raise ValueError("expected the code or the name of a rule")
    return found


def _level(value: Any) -> str:
    if value is False:  # ``off`` of YAML
        return "off"
    if value not in LEVELS:
        raise ValueError(f"expected {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    return str(value)


def _accepted(value: Any) -> tuple[Accepted, ...]:
    if not isinstance(value, list):
        raise ValueError("expected a list of findings: rule, tensor and reason")
    found = []
    for place, each in enumerate(value, start=1):
        keys = set(each) if isinstance(each, Mapping) else set()
        if not {"rule", "reason"} <= keys <= {"rule", "tensor", "reason"} or not all(
            isinstance(text, str) and text.strip() for text in each.values()
        ):
            raise ValueError(f"entry {place}: expected rule, tensor (a pattern; all unless given) and reason, each a text")
        found.append(Accepted(each["rule"], each.get("tensor", "*"), each["reason"].strip()))
    return tuple(found)
