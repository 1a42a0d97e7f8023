"""``torch2grid check``: a linter for checkpoints."""

from __future__ import annotations

import json
import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import click

from torch2grid_core import (
    Checkpoint,
    Command,
    LazyTensor,
    PluginError,
    PluginManager,
    Rule,
    Settings,
    Severity,
    Torch2GridError,
    UsageError,
    check,
)
from torch2grid_core.commands import Found, Precedence, choose_rules, settings_options, spec_name, summary_line
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.selection import select
from torch2grid_core.sources import ALL
from torch2grid_core.text import counted, visible, without_secrets

CLEAN, FINDINGS, UNREADABLE = 0, 1, 2
_LINES = 50  # of one rule in one model that are shown as text
_ALONE = 3  # tensors that have a line each, and that the line about more of them names
_LIMIT = 1000


@dataclass(frozen=True)
class Asked:
    """The command line: options of this command's own, and the settings."""

    chosen: tuple[str, ...]
    ignored: tuple[str, ...]
    fail_on: Severity
    format: str
    settings: Settings


class Check(Command):
    """look for NaN, dead units, exploded weights, code in the pickle"""

    name: ClassVar[str] = "check"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, models: tuple[str, ...], list_rules: bool, **given: Any) -> int:
            try:
                settings = Settings.from_context(click.get_current_context())
                if list_rules:
                    return _list_rules(manager, settings.rule)
                if not models:
                    raise UsageError("no model given; try 'torch2grid check MODEL' or 'torch2grid check --help'")
                return check_models(manager, models, Asked(**given, settings=settings))
            except Torch2GridError as error:
                error.exit_code = UNREADABLE  # 1 says that there are findings
                raise

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=_params(),
            help="Look for defects in the weights of each MODEL, and name the tensor and index of each. Exit code: 0 where "
            "there is none, 1 where there is, 2 for a file that cannot be read, a plugin that fails, and wrong usage.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def _params() -> list[click.Parameter]:
    return [
        click.Argument(["models"], nargs=-1, metavar="MODEL..."),
        click.Option(
            ["--select", "chosen"], multiple=True, callback=listed, metavar="CODE,…", help="only these rules: T101, T1 or nan"
        ),
        click.Option(["--ignore", "ignored"], multiple=True, callback=listed, metavar="CODE,…", help="not these rules"),
        click.Option(
            ["--fail-on"],
            type=click.Choice(["error", "warning"]),
            default="error",
            show_default=True,
            help="the least severity that makes the exit code 1",
        ),
        click.Option(["--format"], type=click.Choice(list(REPORTS)), default="text", show_default=True, help="of the report"),
        *settings_options(
            rule="a rule's thresholds; 'torch2grid plugins NAME' lists them (repeatable)",
            part="",
            filter="check only what a filter keeps (repeatable)",
            slice="check only that part of each tensor",
            raw="check what is stored, without decoders",
            loader="read the files with this loader",
            jobs="",
            executor="",
            verbose="list each finding, also where many tensors have the same",
            quiet="say nothing but findings and errors",
        ),
        click.Option(["--list-rules"], is_flag=True, help="list the rules and stop; no model needed"),
    ]


def listed(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """A callback: the words of a repeatable option, each of which may be several with commas between."""
    return tuple(part.strip() for each in value for part in each.split(",") if part.strip())


def _list_rules(manager: PluginManager, specs: Sequence[Any]) -> int:
    """A line for each rule on stdout, on stderr for each that cannot be used; the exit code."""
    usable, broken = _rules(manager, specs)
    for rule in choose_rules(usable):
        click.echo(f"{rule.code}  {rule.severity:7}  {rule.name:16}  {_summary(rule)}")
    _tell(broken)
    return CLEAN


def _summary(rule: Rule) -> str:
    return (type(rule).__doc__ or "").strip().partition("\n")[0]


def _rules(manager: PluginManager, specs: Sequence[Any]) -> tuple[list[Rule], dict[str, str]]:
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


def check_models(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """Check each of *models*, write the report to stdout and a line for each to stderr; the exit code.

    Raises ``UsageError`` for wrong settings; a file that cannot be read is part of the report, and the rest is checked.
    """
    usable, unusable = _rules(manager, asked.settings.rule)
    rules = choose_rules(usable, asked.chosen, asked.ignored)
    _tell(unusable)
    if asked.chosen or asked.ignored:  # only those that are asked for by name are missed
        unusable = {name: told for name, told in unusable.items() if name in asked.chosen}
    if not rules:
        raise UsageError("no rule is left to check; see 'torch2grid check --list-rules'")
    for spec in asked.settings.filter:
        manager.create("filter", spec)  # a wrong filter ends the run before a file is read
    manager.loaders(models[0], asked.settings.loader or "")  # so does an unknown loader
    executor_of(manager, asked.settings.executor)  # or executor
    checked = []
    for model in models:
        checked.append(_check_one(manager, model, rules, asked, unusable))
        if asked.format == "text":
            _write(as_text(checked[-1:], rules, asked.fail_on, asked.settings.verbose))
    if asked.format != "text":
        _write(REPORTS[asked.format](checked, rules, asked.fail_on))
    if any(each.error or each.broken for each in checked):
        return UNREADABLE
    return FINDINGS if any(each.fails(asked.fail_on) for each in checked) else CLEAN


def _write(report: str) -> None:
    if report:
        sys.stdout.flush()
        sys.stdout.buffer.write(report.encode())
        sys.stdout.buffer.flush()


def _tell(broken: Mapping[str, str]) -> None:
    for told in broken.values():
        click.echo(f"torch2grid: {told}", err=True)


def _check_one(manager: PluginManager, model: str, rules: Sequence[Rule], asked: Asked, unusable: Mapping[str, str]) -> Checked:
    started = time.perf_counter()
    broken, shown = dict(unusable), without_secrets(model)

    def failed(rule: Rule, error: PluginError) -> None:
        broken[rule.code] = str(error)
        manager.trace(error)
        click.echo(f"torch2grid: {error}", err=True)

    try:
        checkpoint = manager.open(model, asked.settings.loader or "", raw=asked.settings.raw)
        filters = [manager.create("filter", spec) for spec in asked.settings.filter]
        selection = select(checkpoint, asked.settings.part or ALL, filters, True, asked.settings.slice, verified=True)
        selection.part = asked.settings.part
        opener = executor_of(manager, asked.settings.executor)
        with workers(selection.checkpoint, asked.settings.jobs, fork=True, opener=opener) as executor:
            seen: set[str] = set()
            found = check(selection.checkpoint, rules, asked.settings, executor=executor, failed=failed, seen=seen)
    except UsageError:
        raise
    except Torch2GridError as error:
        manager.trace(error)
        click.echo(f"torch2grid: {error}", err=True)
        return Checked(shown, error=str(error))
    count = sum(rule.code not in broken for rule in rules)
    looked = selection.checkpoint if len(seen) == len(selection.checkpoint) else selection.checkpoint.select(seen)
    checked = Checked(shown, selection.checkpoint, tuple(found), broken=broken, rules=count, looked=looked)
    if not asked.settings.quiet:
        for note in selection.checkpoint.notes:
            click.echo(f"{visible(shown)}: note: {visible(note, limit=2000)}", err=True)
        line = summary_line(selection, time.perf_counter() - started)
        click.echo(f"{line}: {checked.verdict}", err=True)
    if asked.settings.verbose and not asked.settings.quiet:
        for told in _parts(looked):
            click.echo(f"{visible(shown)}: {told}", err=True)
    return checked


def _parts(checkpoint: Checkpoint) -> Iterator[str]:
    """What was checked of each part of the file: ``part optimizer: 16 tensors, 18,516 numbers, 74,064 bytes``."""
    tensors: dict[str, list[LazyTensor]] = {}
    for name, tensor in checkpoint.items():
        part = checkpoint.part_of.get(name)
        tensors.setdefault(part.name if part else "model", []).append(tensor)
    for name, each in tensors.items():
        numbers, size = sum(tensor.size for tensor in each), sum(tensor.nbytes for tensor in each)
        yield f"part {visible(name, 60)}: {counted(len(each), 'tensor')}, {counted(numbers, 'number')}, {counted(size, 'byte')}"


@dataclass(frozen=True)
class Checked:
    """One model and what was found in it. checkpoint: ``None`` for a file that could not be read, for the reason *error*.

    broken: code of each rule that failed itself (its name, where it could not even be made) → why; what the others found is
    there all the same. rules: how many were asked, and did not fail. looked: the tensors that these were about.
    """

    model: str
    checkpoint: Checkpoint | None = None
    found: tuple[Found, ...] = ()
    error: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)
    rules: int = 0
    looked: Checkpoint | None = None

    def fails(self, fail_on: Severity) -> bool:
        """True where a finding is as severe as *fail_on*."""
        return any(_fails(each, fail_on) for each in self.found)

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(each.severity == severity for each in self.found)

    @property
    def numbers(self) -> int:
        """Numbers that the rules looked at, those of a tied tensor once."""
        return 0 if self.looked is None else self.looked.parameters

    @property
    def verdict(self) -> str:
        """``2 errors, 1 warning``, or ``no finding by 14 rules in 9,258 numbers of 8 tensors``."""
        counts = ((self.count("error"), "error"), (self.count("warning"), "warning"))
        told = [counted(count, word) for count, word in counts if count]
        tensors = 0 if self.looked is None else len(self.looked)
        nothing = f"{counted(self.rules, 'rule')} in {counted(self.numbers, 'number')} of {counted(tensors, 'tensor')}"
        told = told or [f"no finding by {nothing}"]
        return ", ".join([*told, f"{counted(len(self.broken), 'rule')} failed"] if self.broken else told)


def _fails(found: Found, fail_on: Severity) -> bool:
    return found.severity == "error" or fail_on == "warning"


def as_text(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity, verbose: bool = False) -> str:
    """A line a finding: ``model.pth: T101 error layer.weight[3, 17]: 1 of 4,096 weights is NaN (nan)``.

    What a rule finds in many tensors alike is one line: ``model.pth: T101 error 51 of 53 tensors are all NaN: a, b, c and 48
    more (nan)``. verbose: those lines are followed by each of their findings, and none is cut.
    """
    lines = []
    for each in checked:
        model = visible(each.model)
        for rule in rules:
            found = [finding for finding in each.found if finding.code == rule.code]
            told = [f"{model}: {text}" for text in _told(found, rule, each, verbose)]
            lines += told if verbose else told[:_LINES]
            if len(told) > _LINES and not verbose:
                lines.append(f"{model}: {rule.code} … and {len(told) - _LINES:,} more; --verbose lists all")
    return "".join(f"{line}\n" for line in lines)


def _told(found: Sequence[Found], rule: Rule, checked: Checked, verbose: bool) -> Iterator[str]:
    """The lines about what one rule found, those that say the same of many tensors together, where the first of them stood."""
    groups: dict[tuple[str, str, str], list[Found]] = {}
    for finding in found:
        groups.setdefault((finding.severity, _said_of_many(finding, rule), finding.part), []).append(finding)
    tensors_of = {key: list(dict.fromkeys(each.tensor for each in group)) for key, group in groups.items()}
    seen = set()
    for finding in found:
        key = (finding.severity, _said_of_many(finding, rule), finding.part)
        names = tensors_of[key]
        if not key[1] or len(names) <= _ALONE:
            yield f"{finding.code} {finding.severity}{_place(finding)}: {visible(finding.message, _LIMIT)} ({finding.rule})"
        elif key not in seen:
            seen.add(key)
            tensors = 0 if checked.checkpoint is None else len(checked.checkpoint)
            said, also, rest = key[1].partition("; ")
            first = ", ".join(visible(name, _LIMIT) for name in names[:_ALONE])
            what = f"{len(names):,} of {counted(tensors, 'tensor')} {visible(said, _LIMIT)}"
            what = f"{what}: {first} and {len(names) - _ALONE:,} more{_part(finding)}"
            rest = visible(rest.replace("{first}", finding.message), _LIMIT)
            yield f"{finding.code} {finding.severity} {what}{also}{rest} ({finding.rule})"
            for each in groups[key] if verbose else ():
                message = visible(each.message, _LIMIT)
                yield f"{each.code} {each.severity}{_place(each)}: {message} ({each.rule})"


def _said_of_many(finding: Found, rule: Rule) -> str:
    """What is said of several tensors with such a finding, empty where they are not told together."""
    if not finding.tensor:
        return ""
    said = next((said for pattern, said in rule.together.items() if re.search(pattern, finding.message)), "")
    return said or ("" if rule.together else f"have the same finding; {finding.message}")


def _place(finding: Found) -> str:
    return f" {visible(finding.place, _LIMIT)}{_part(finding)}" if finding.tensor else ""


def _part(finding: Found) -> str:
    """Which part of the file the finding is in, where there are several."""
    return f" (part {visible(finding.part, 60)})" if finding.part else ""


def as_json(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """One object: the rules, and each model with its findings or its error."""
    models = []
    for each in checked:
        entry: dict[str, object] = {"model": visible(each.model, _LIMIT), "status": _status(each, fail_on)}
        if each.checkpoint is None:
            entry["error"] = each.error
        else:
            entry.update(format=each.checkpoint.format, tensors=len(each.checkpoint), parameters=each.checkpoint.parameters)
            entry.update(verdict=each.verdict, rules_run=each.rules, numbers=each.numbers)
        if each.broken:
            entry["rules_failed"] = dict(each.broken)
        entry.update(errors=each.count("error"), warnings=each.count("warning"))
        entry["findings"] = [
            {
                "code": finding.code,
                "rule": finding.rule,
                "severity": finding.severity,
                "tensor": finding.tensor or None,
                "part": finding.part or None,
                "index": None if finding.index is None else list(finding.index),
                "message": visible(finding.message, _LIMIT),
            }
            for finding in each.found
        ]
        models.append(entry)
    document = {
        "format": "torch2grid check 1",
        "fail_on": fail_on,
        "rules": [{"code": rule.code, "name": rule.name, "severity": rule.severity} for rule in rules],
        "models": models,
    }
    return json.dumps(document, indent=1) + "\n"


def _status(checked: Checked, fail_on: Severity) -> str:
    if checked.error:
        return "unreadable"
    if checked.broken:
        return "incomplete"
    return "failed" if checked.fails(fail_on) else "passed"


def as_junit(checked: Sequence[Checked], rules: Sequence[Rule], fail_on: Severity) -> str:
    """JUnit's XML: a suite for each model and a case for each rule; what is below *fail_on* is its output, not a failure."""
    root = ElementTree.Element("testsuites", name="torch2grid check")
    totals = [0, 0, 0]
    for each in checked:
        name = visible(each.model, _LIMIT)
        suite = ElementTree.SubElement(root, "testsuite", name=name)
        failures = 0
        if each.checkpoint is not None:
            about = {"verdict": each.verdict, "rules_run": each.rules, "numbers": each.numbers, "tensors": len(each.checkpoint)}
            properties = ElementTree.SubElement(suite, "properties")
            for key, value in about.items():
                ElementTree.SubElement(properties, "property", name=key, value=str(value))
        if each.error:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name="read")
            ElementTree.SubElement(case, "error", message=visible(each.error, _LIMIT))
        for unusable in sorted(set(each.broken) - {rule.code for rule in rules}):  # never got as far as to have a code
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=unusable)
            ElementTree.SubElement(case, "error", message=visible(each.broken[unusable], _LIMIT))
        for rule in () if each.error else rules:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=f"{rule.code} {rule.name}")
            found = [finding for finding in each.found if finding.code == rule.code]
            failing = [finding for finding in found if _fails(finding, fail_on)]
            failures += bool(failing)
            if rule.code in each.broken:
                ElementTree.SubElement(case, "error", message=visible(each.broken[rule.code], _LIMIT))
            for finding in failing[:1]:
                failure = ElementTree.SubElement(case, "failure", type=finding.severity, message=_line(finding))
                failure.text = "\n".join(map(_line, failing))
            if len(found) > len(failing):
                rest = [_line(finding) for finding in found if not _fails(finding, fail_on)]
                ElementTree.SubElement(case, "system-out").text = "\n".join(rest)
        counts = (len(suite.findall("testcase")), failures, int(bool(each.error)) + len(each.broken))
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        suite.attrib.update(zip(("tests", "failures", "errors"), map(str, counts), strict=True))
    root.attrib.update(zip(("tests", "failures", "errors"), map(str, totals), strict=True))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _line(finding: Found) -> str:
    place = f"{visible(finding.place, _LIMIT)}{_part(finding)}: " if finding.tensor else ""
    return f"{place}{visible(finding.message, _LIMIT)}"


REPORTS: dict[str, Callable[[Sequence[Checked], Sequence[Rule], Severity], str]] = {
    "text": as_text,
    "json": as_json,
    "junit": as_junit,
}
