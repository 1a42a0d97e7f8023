"""``torch2grid check``: a linter for checkpoints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import click

from torch2grid_builtin._check.checked import Checked, check_checkpoint, installed_rules
from torch2grid_builtin._check.expectations import LEVELS, Expectations
from torch2grid_builtin._check.manifests import Manifest, write_manifest
from torch2grid_builtin._check.reports import REPORTS, as_text
from torch2grid_builtin._check.stated import chosen_rules, stated
from torch2grid_builtin._check.watching import ENDINGS, watch
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
from torch2grid_core.commands import choose_rules, settings_options, summary_line, unforeseen
from torch2grid_core.measures import executor_of
from torch2grid_core.pages import write_file
from torch2grid_core.text import counted, did_you_mean, visible, without_secrets

CLEAN, FINDINGS, UNREADABLE = 0, 1, 2
STDOUT = "-"
_REPORTS = (".json", ".sarif", ".xml", ".md", ".html", ".htm", ".txt", ".log")  # that are written anew in a model's folder


@dataclass(frozen=True)
class Asked:
    """The command line: options of this command's own, and the settings. formats: of reports → the file, or stdout (``-``)."""

    chosen: tuple[str, ...]
    ignored: tuple[str, ...]
    fail_on: Severity
    severity: Mapping[str, str]
    formats: Mapping[str, str]
    expect: str | None
    manifest: str | None
    written: str | None
    watch: str | None
    on_finding: str
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
                if given["watch"] is not None:
                    return watch_folder(manager, models, Asked(**given, settings=settings))
                if given["on_finding"]:
                    raise UsageError("--on-finding needs --watch: it runs a command for what that finds")
                if not models:
                    raise UsageError("no model given; try 'torch2grid check MODEL' or 'torch2grid check --help'")
                return check_models(manager, models, Asked(**given, settings=settings))
            except Torch2GridError as error:
                error.exit_code = UNREADABLE  # 1 says that there are findings
                raise
            except (click.ClickException, click.Abort, click.exceptions.Exit):
                raise
            except Exception as error:
                found = unforeseen(error)
                found.exit_code = UNREADABLE
                raise found from error

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=_params(),
            help="Look for defects in the weights of each MODEL, and name the tensor and index of each. Exit code: 1 for an "
            "error (see --fail-on), 0 for none, 2 for a file that cannot be read, a plugin that fails, or wrong usage.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def _params() -> list[click.Parameter]:
    return [
        click.Argument(["models"], nargs=-1, metavar="MODEL..."),
        click.Option(
            ["--select", "chosen"],
            multiple=True,
            callback=listed,
            metavar="CODE,…",
            help="check only these rules, such as T101, T1 or nan",
        ),
        click.Option(["--ignore", "ignored"], multiple=True, callback=listed, metavar="CODE,…", help="leave these rules out"),
        click.Option(
            ["--fail-on"],
            type=click.Choice(["error", "warning"]),
            default="error",
            show_default=True,
            help="lowest severity for which the exit code is 1",
        ),
        click.Option(
            ["--severity"],
            multiple=True,
            callback=_levels,
            metavar="CODE=LEVEL,…",
            help="severity of a rule's findings: error, warning, note or off",
        ),
        click.Option(
            ["--expect"], metavar="FILE", help="file that states what the model has to be, and which findings are accepted"
        ),
        click.Option(["--manifest"], metavar="FILE", help="compare every tensor with this manifest"),
        click.Option(["--write-manifest", "written"], metavar="FILE", help="write a digest and a summary of every tensor"),
        click.Option(["--watch"], metavar="FOLDER", help="check each new checkpoint in it, once it is complete, until Ctrl+C"),
        click.Option(
            ["--on-finding"],
            default="",
            metavar="COMMAND",
            help="with --watch: run this command, with the path as its last argument",
        ),
        click.Option(
            ["--format", "formats"],
            default="text",
            show_default=True,
            callback=_formats,
            metavar="NAME[=FILE],…",
            help=f"format of the report: {', '.join(REPORTS)}; several with commas between, all but one into a file",
        ),
        *settings_options(
            rule="a rule's thresholds; 'torch2grid plugins NAME' lists them (repeatable)",
            part="",
            filter="check only what a filter keeps (repeatable)",
            slice="check only that part of each tensor",
            raw="check what is stored, without decoders",
            loader="read the files with this loader",
            jobs="",
            executor="",
            verbose="list each finding, even where many tensors have the same one",
            quiet="print only findings and errors",
        ),
        click.Option(["--list-rules"], is_flag=True, help="list the rules and stop; no model needed"),
    ]


def listed(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """A callback: the words of a repeatable option, each of which may be several with commas between."""
    return tuple(part.strip() for each in value for part in each.split(",") if part.strip())


def _levels(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for each in listed(context, parameter, value):
        word, equals, level = each.partition("=")
        if not equals or level not in LEVELS:
            raise click.BadParameter(f"expected CODE={'|'.join(LEVELS)}, not {each!r}", context, parameter)
        found[word] = level
    return found


def _formats(context: click.Context, parameter: click.Parameter, value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in listed(context, parameter, (value,)):
        name, equals, path = each.partition("=")
        if name not in REPORTS:
            near = did_you_mean(name, REPORTS)
            raise click.BadParameter(f"no report {name!r}{near}", context, parameter)
        if name in found or (equals and not path):
            raise click.BadParameter(f"{each!r}: {'is named twice' if name in found else 'needs a file'}", context, parameter)
        found[name] = path or STDOUT
    if list(found.values()).count(STDOUT) > 1:
        raise click.BadParameter("one report alone goes to stdout; the others are NAME=FILE", context, parameter)
    if not found:
        raise click.BadParameter(f"names no report; there are {', '.join(REPORTS)}", context, parameter)
    return found


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
    _tell(unusable)  # first: whoever asks for one by its code is told that there is no such rule
    if len(models) > 1 and (asked.manifest or asked.written):
        raise UsageError("a manifest describes one model; check each model by itself")
    expected, extra = stated(usable, asked.expect, asked.manifest, asked.settings, recorded=bool(asked.written))
    manifest = next((each for each in extra if isinstance(each, Manifest)), None)
    for word in asked.severity:
        choose_rules([*usable, *extra], [word])
    rules = chosen_rules(usable, extra, asked.chosen, asked.ignored)
    if asked.written and manifest not in rules:
        raise UsageError("--write-manifest needs the rule manifest, which --ignore leaves out")
    if asked.chosen or asked.ignored:  # only those that are asked for by name are missed
        unusable = {name: told for name, told in unusable.items() if name in asked.chosen}
    if not rules:
        raise UsageError("no rule is left to check; see 'torch2grid check --list-rules'")
    for spec in asked.settings.filter:
        manager.create("filter", spec)  # a wrong filter ends the run before a file is read
    manager.loaders(models[0], asked.settings.loader or "")  # so does an unknown loader
    executor_of(manager, asked.settings.executor)  # or executor
    _keep_what_is_read(models, asked)
    for path in (*asked.formats.values(), *([asked.written] if asked.written else [])):
        manager.target(path)  # and a location that nothing can be written to
    checked = []
    for model in models:
        checked.append(_check_one(manager, model, rules, asked, unusable, expected))
        if asked.formats.get("text") == STDOUT:
            _write(as_text(checked[-1:], rules, asked.fail_on, asked.settings.verbose))
    for name, path in asked.formats.items():
        if path != STDOUT:
            write_file(manager, path, REPORTS[name](checked, rules, asked.fail_on).encode(), "--format")
        elif name != "text":
            _write(REPORTS[name](checked, rules, asked.fail_on))
    if manifest is not None and asked.written and checked[0].checkpoint is not None and manifest.code not in checked[0].broken:
        write_manifest(manager, asked.written, manifest.seen, checked[0].checkpoint)
    if any(each.error or each.broken for each in checked):
        return UNREADABLE
    return FINDINGS if any(each.fails(asked.fail_on) for each in checked) else CLEAN


def _keep_what_is_read(models: Sequence[str], asked: Asked) -> None:
    """Raise ``UsageError`` where a report or a manifest would be written over a model, what is expected of it, or another."""
    read = {_real(path): path for path in (*models, asked.expect) if path}
    written = dict[str, str]()
    for option, path in ((f"--format {name}", path) for name, path in asked.formats.items() if path != STDOUT):
        _keep(option, path, models, read if not asked.manifest else {**read, _real(asked.manifest): asked.manifest}, written)
    if asked.written:
        _keep("--write-manifest", asked.written, models, read, written)


def _is_of_checkpoint(path: str, models: Sequence[str]) -> bool:
    """True where *path* (real) has the name of a shard or an index, or is in the folder of a model, and there is no report."""
    name = os.path.basename(path).lower()
    if name.endswith((*ENDINGS, ".index.json")):
        return True
    folders = [real if os.path.isdir(real) else os.path.dirname(real) for real in map(_real, models)]
    if name.endswith("config.json") and os.path.dirname(path) in folders:
        return True
    within = any(os.path.isdir(real) and path.startswith(os.path.join(real, "")) for real in map(_real, models))
    return within and os.path.exists(path) and not name.endswith(_REPORTS)


def _keep(option: str, path: str, models: Sequence[str], read: Mapping[str, str], written: dict[str, str]) -> None:
    real = _real(path)
    if real in read:
        raise UsageError(f"{option}: {visible(path)} is the file that is checked; write to another one")
    if _is_of_checkpoint(real, models):
        raise UsageError(f"{option}: {visible(path)} has the name of a checkpoint file; choose another name")
    if real in written:
        raise UsageError(f"{option}: {visible(path)} is written by {written[real]} already")
    written[real] = option


def _real(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def watch_folder(manager: PluginManager, models: Sequence[str], asked: Asked) -> int:
    """Check what appears in a folder until interrupted; the highest exit code of all checks."""
    if models:
        raise UsageError("--watch checks what appears in its folder; check other models with a command of their own")
    if asked.manifest or asked.written or set(asked.formats.values()) != {STDOUT}:
        raise UsageError("--watch writes one report to stdout; a manifest describes one model")

    def say(line: str) -> None:
        click.echo(f"torch2grid: {line}", err=True)

    def check(path: str) -> int:
        return check_models(manager, [path], asked)

    stated(
        installed_rules(manager, asked.settings.rule)[0], asked.expect, settings=asked.settings
    )  # a wrong file ends it before it begins
    return watch(str(asked.watch), check, asked.on_finding, say)


def _write(report: str) -> None:
    if report:
        sys.stdout.flush()
        sys.stdout.buffer.write(report.encode())
        sys.stdout.buffer.flush()


def _tell(broken: Mapping[str, str]) -> None:
    for told in broken.values():
        click.echo(f"torch2grid: {told}", err=True)


def _check_one(
    manager: PluginManager,
    model: str,
    rules: Sequence[Rule],
    asked: Asked,
    unusable: Mapping[str, str],
    expected: Expectations | None,
) -> Checked:
    started = time.perf_counter()
    shown, settings = without_secrets(model), asked.settings

    def failed(error: PluginError) -> None:
        manager.trace(error)
        click.echo(f"torch2grid: {error}", err=True)

    try:
        checkpoint = manager.open(model, settings.loader or "", raw=settings.raw)
        levels = {**(expected.severity or {} if expected else {}), **asked.severity}
        accept = expected.accept if expected else ()
        checked, selection = check_checkpoint(
            manager, checkpoint, rules, settings, unusable, failed, name=shown, fork=True, severity=levels, accept=accept
        )
    except Exception as error:  # of this file: the others are checked all the same
        if isinstance(error, PluginError) and error.kind == "executor":  # which they need, too
            raise
        known = error if isinstance(error, Torch2GridError) else unforeseen(error)
        manager.trace(known)
        click.echo(f"torch2grid: {known}", err=True)
        return Checked(shown, error=str(known))
    if not settings.quiet:
        for note in selection.checkpoint.notes:
            click.echo(f"{visible(shown)}: note: {visible(note, limit=2000)}", err=True)
        for each in checked.stale:
            where = "" if each.tensor == "*" else f" in {visible(each.tensor, 200)}"
            told = f"{visible(each.rule, 60)}{where} is accepted, but there is no such finding"
            click.echo(f"{visible(shown)}: note: {told}", err=True)
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
