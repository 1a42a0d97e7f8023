"""``torch2grid check``: a linter for checkpoints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import click

from torch2grid_builtin._check.checked import Checked, check_checkpoint, installed_rules
from torch2grid_builtin._check.reports import REPORTS, as_text
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
)
from torch2grid_core.commands import choose_rules, settings_options, summary_line
from torch2grid_core.measures import executor_of
from torch2grid_core.text import counted, visible, without_secrets

CLEAN, FINDINGS, UNREADABLE = 0, 1, 2


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
    usable, broken = installed_rules(manager, specs)
    for rule in choose_rules(usable):
        click.echo(f"{rule.code}  {rule.severity:7}  {rule.name:16}  {_summary(rule)}")
    _tell(broken)
    return CLEAN


def _summary(rule: Rule) -> str:
    return (type(rule).__doc__ or "").strip().partition("\n")[0]


def check_models(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """Check each of *models*, write the report to stdout and a line for each to stderr; the exit code.

    Raises ``UsageError`` for wrong settings; a file that cannot be read is part of the report, and the rest is checked.
    """
    usable, unusable = installed_rules(manager, asked.settings.rule)
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
    shown, settings = without_secrets(model), asked.settings

    def failed(error: PluginError) -> None:
        manager.trace(error)
        click.echo(f"torch2grid: {error}", err=True)

    try:
        checkpoint = manager.open(model, settings.loader or "", raw=settings.raw)
        checked, selection = check_checkpoint(manager, checkpoint, rules, settings, unusable, failed, name=shown, fork=True)
    except UsageError:
        raise
    except Torch2GridError as error:
        manager.trace(error)
        click.echo(f"torch2grid: {error}", err=True)
        return Checked(shown, error=str(error))
    if not settings.quiet:
        for note in selection.checkpoint.notes:
            click.echo(f"{visible(shown)}: note: {visible(note, limit=2000)}", err=True)
        line = summary_line(selection, time.perf_counter() - started)
        click.echo(f"{line}: {checked.verdict}", err=True)
    if settings.verbose and not settings.quiet:
        for told in () if checked.looked is None else _parts(checked.looked):
            click.echo(f"{visible(shown)}: {told}", err=True)
    return checked


def _parts(checkpoint: Checkpoint) -> Iterator[str]:
    """What was checked of each part of the file: ``part optimizer: 16 tensors, 18,516 numbers, 74,064 bytes``."""
    tensors: dict[str, list[LazyTensor]] = {}
    for name, tensor in checkpoint.items():
        part = checkpoint.part_of.get(name)
        tensors.setdefault(part.name if part else "model", []).append(tensor.distinct())
    for name, each in tensors.items():
        numbers, size = sum(tensor.size for tensor in each), sum(tensor.nbytes for tensor in each)
        yield f"part {visible(name, 60)}: {counted(len(each), 'tensor')}, {counted(numbers, 'number')}, {counted(size, 'byte')}"
