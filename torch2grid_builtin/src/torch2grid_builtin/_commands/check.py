"""``torch2grid check``: a linter for checkpoints."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import click

from torch2grid_builtin._commands.check_reports import REPORTS, Checked, as_text, counted
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
from torch2grid_core.commands import choose_rules, settings_options, summary_line
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.selection import select
from torch2grid_core.sources import ALL
from torch2grid_core.text import visible

CLEAN, FINDINGS, UNREADABLE = 0, 1, 2
OWN = "torch2grid-builtin"  # whose rules keep their codes


@dataclass(frozen=True)
class Asked:
    """The command line: options of this command's own, and the settings."""

    chosen: tuple[str, ...]
    ignored: tuple[str, ...]
    rules: tuple[str, ...]
    fail_on: Severity
    format: str
    settings: Settings


class Check(Command):
    """look for defects: NaN, dead and duplicate units, exploded weights, code in the pickle"""

    name: ClassVar[str] = "check"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, models: tuple[str, ...], list_rules: bool, **given: Any) -> int:
            try:
                if list_rules:
                    return _list_rules(manager, given["rules"])
                if not models:
                    raise UsageError("no model given; try 'torch2grid check MODEL' or 'torch2grid check --help'")
                settings = Settings.from_context(click.get_current_context())
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
            ["--select", "chosen"], multiple=True, callback=listed, metavar="CODE,…", help="Only these rules: T101, T1 or nan."
        ),
        click.Option(["--ignore", "ignored"], multiple=True, callback=listed, metavar="CODE,…", help="Not these rules."),
        click.Option(
            ["--rule", "rules"],
            multiple=True,
            metavar="NAME:KEY=VALUE,…",
            help="A rule's thresholds; 'torch2grid plugins NAME' lists them.",
        ),
        click.Option(
            ["--fail-on"],
            type=click.Choice(["error", "warning"]),
            default="error",
            show_default=True,
            help="The least severity that makes the exit code 1.",
        ),
        click.Option(["--format"], type=click.Choice(list(REPORTS)), default="text", show_default=True, help="Of the report."),
        *settings_options(
            part="",
            filter="Check only what a filter keeps (repeatable).",
            raw="Check what is stored, without decoders.",
            loader="Read the files with this loader.",
            jobs="",
            executor="",
            verbose="List each finding, also where many tensors have the same.",
            quiet="Say nothing but findings and errors.",
        ),
        click.Option(["--list-rules"], is_flag=True, help="List the rules and stop; no model needed."),
    ]


def listed(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """A callback: the words of a repeatable option, each of which may be several with commas between."""
    return tuple(part.strip() for each in value for part in each.split(",") if part.strip())


def _list_rules(manager: PluginManager, specs: Sequence[str]) -> int:
    """A line for each rule on stdout, on stderr for each that cannot be used; the exit code."""
    usable, broken = _rules(manager, specs)
    for rule in choose_rules(usable):
        click.echo(f"{rule.code}  {rule.severity:7}  {rule.name:16}  {_summary(rule)}")
    _tell(broken)
    return CLEAN


def _summary(rule: Rule) -> str:
    return (type(rule).__doc__ or "").strip().partition("\n")[0]


def _rules(manager: PluginManager, specs: Sequence[str]) -> tuple[list[Rule], dict[str, str]]:
    """Every rule that is installed, with the options of *specs*; and name → error of those that cannot be used.

    A rule of another distribution never takes a code of the built-in ones. Raises ``UsageError`` for an unknown rule or
    option.
    """
    by_name: Mapping[str, str] = {manager.find("rule", spec.partition(":")[0].strip()).qualified: spec for spec in specs}
    made: dict[str, Rule] = {}
    own: dict[str, str] = {}  # code → name of a built-in rule
    broken: dict[str, str] = {}
    provided = manager.names("rule").items()
    for name, each in sorted(provided, key=lambda item: item[1].record.owner != OWN):
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
        if each.record.owner == OWN:
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
    usable, unusable = _rules(manager, asked.rules)
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
    broken = dict(unusable)

    def failed(rule: Rule, error: PluginError) -> None:
        broken[rule.code] = str(error)
        manager.trace(error)
        click.echo(f"torch2grid: {error}", err=True)

    try:
        checkpoint = manager.open(model, asked.settings.loader or "", raw=asked.settings.raw)
        filters = [manager.create("filter", spec) for spec in asked.settings.filter]
        selection = select(checkpoint, asked.settings.part or ALL, filters, include_buffers=True)
        selection.part = asked.settings.part
        opener = executor_of(manager, asked.settings.executor)
        with workers(selection.checkpoint, asked.settings.jobs, fork=True, opener=opener) as executor:
            found = check(selection.checkpoint, rules, executor, failed=failed)
    except UsageError:
        raise
    except Torch2GridError as error:
        manager.trace(error)
        click.echo(f"torch2grid: {error}", err=True)
        return Checked(model, error=str(error))
    count = sum(rule.code not in broken for rule in rules)
    checked = Checked(model, selection.checkpoint, tuple(found), broken=broken, rules=count)
    if not asked.settings.quiet:
        for note in selection.checkpoint.notes:
            click.echo(f"{visible(model)}: note: {visible(note, limit=2000)}", err=True)
        line = summary_line(selection, time.perf_counter() - started)
        click.echo(f"{line}: {checked.verdict}", err=True)
    if asked.settings.verbose and not asked.settings.quiet:
        for told in _parts(selection.checkpoint):
            click.echo(f"{visible(model)}: {told}", err=True)
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
