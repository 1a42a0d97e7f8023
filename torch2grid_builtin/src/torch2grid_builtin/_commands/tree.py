"""``torch2grid tree``: what is in a file, from its headers alone."""

from __future__ import annotations

import sys
import time
from typing import Any, ClassVar

import click

from torch2grid_builtin._tree.reports import REPORTS, Asked, Contents
from torch2grid_core import Command, PluginManager, Settings
from torch2grid_core.commands import settings_options, summary_line
from torch2grid_core.selection import select
from torch2grid_core.text import visible, without_secrets


class Tree(Command):
    """list modules and tensors with shapes, dtypes, weights and bytes"""

    name: ClassVar[str] = "tree"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, model: str, format: str, **given: Any) -> int:
            write_tree(manager, model, format, Asked(**given), Settings.from_context(click.get_current_context()))
            return 0

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=_params(),
            help="List what is in MODEL as a tree of modules and tensors, with shapes, dtypes, weights and bytes, and their "
            "totals for each module, each part of the file and each kind of tensor. Only headers are read. Numbered blocks of "
            "equal build are one line. Bytes are those of the weights as they are read: decoded ones take less in the file.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def _params() -> list[click.Parameter]:
    return [
        click.Argument(["model"], metavar="MODEL"),
        click.Option(
            ["--depth"],
            type=click.IntRange(0),
            default=0,
            metavar="N",
            help="list modules down to this depth; 0 lists all",
        ),
        click.Option(["--flat"], is_flag=True, help="a list of full names, each tensor on a line with its number"),
        click.Option(["--all", "every"], is_flag=True, help="list every numbered block, even if blocks have the same build"),
        click.Option(
            ["--format"], type=click.Choice(list(REPORTS)), default="text", show_default=True, help="format of the list"
        ),
        *settings_options(
            part="another part of the file, such as optimizer; all lists everything",
            filter="list only what a filter keeps (repeatable)",
            include_buffers="list counters and index buffers too",
            slice="",
            raw="list what is stored, without decoders",
            loader="read the file with this loader",
            verbose="also list each entry that was left out, and why",
            quiet="print only the list and errors",
        ),
    ]


def write_tree(manager: PluginManager, model: str, format: str, asked: Asked, settings: Settings) -> None:
    """Write the list to stdout and a line about the file to stderr. Raises ``Torch2GridError`` where it cannot be read."""
    started = time.perf_counter()
    filters = [manager.create("filter", spec) for spec in settings.filter]
    opened = manager.open(model, settings.loader or "", raw=settings.raw)
    selection = select(opened, settings.part, filters, settings.include_buffers, settings.slice)
    report = REPORTS[format](Contents.of(model, opened, selection), asked)
    sys.stdout.flush()
    sys.stdout.buffer.write(report.encode())
    sys.stdout.buffer.flush()
    if settings.quiet:
        return
    for skip in selection.checkpoint.skipped if settings.verbose else ():
        click.echo(f"skipped {visible(skip.name)}: {visible(skip.reason)} ({skip.by})", err=True)
    for note in selection.checkpoint.notes_at_a_glance:
        click.echo(f"{visible(without_secrets(model))}: note: {visible(note, limit=2000)}", err=True)
    click.echo(summary_line(selection, time.perf_counter() - started), err=True)
