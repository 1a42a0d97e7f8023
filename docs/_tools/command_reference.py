"""The command reference, from the command line itself: every option of every command, the flags of views and filters too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import click

from torch2grid_core import PluginManager
from torch2grid_core._cli.app import App
from torch2grid_core._cli.options import SettingOption
from torch2grid_core._settings import GROUPS, PROCESS

_DRAW = "draw"
_HEAD = """# Command reference

<!-- Written by `make reference` from the code: change the help texts there. -->

Written from the command line of torch2grid {version} itself; [The command line](../command-line.md) says how its parts work
together. Options under *Process* are taken by every command, before or after its name. Each option of the drawing command but
those can be set in [a settings file](../command-line.md#settings) too, or by a variable: `--max-cells` is
`TORCH2GRID_MAX_CELLS`; where another command has the same option, that holds for it too. `--no-NAME` takes back a flag
that a file or a variable sets: `--no-include-buffers`.
"""
SAME = "It takes the options of the drawing command, [above](#torch2grid).\n"


def reference(manager: PluginManager) -> str:
    """The page as Markdown, for the plugins that *manager* knows."""
    from torch2grid_core import __version__

    parts = [_HEAD.format(version=__version__)]
    drawn: set[str] = set()
    for name, command, context in commands(manager):
        own = {option.opts[-1] for option in options_of(command, context)}
        if name == _DRAW:
            drawn = own
            parts += ["## torch2grid MODEL… { #torch2grid }\n", _usage("torch2grid [OPTIONS] MODEL...")]
        else:
            pieces = " ".join(command.collect_usage_pieces(context))
            parts += [f"## torch2grid {name} {{ #{name} }}\n", _usage(f"torch2grid {name} {pieces}")]
        parts.append(_text(command.help or command.short_help) + "\n")
        parts += [SAME] if name != _DRAW and len(own) > 10 and own <= drawn else _tables(command, context)
    return "\n".join(parts)


def commands(manager: PluginManager) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command by name, the drawing one first, with a context to ask it in."""
    app = App(manager)
    context = click.Context(app, info_name="torch2grid", obj=manager, **app.context_settings)
    for name in (_DRAW, *(each for each in app.list_commands(context) if each != _DRAW)):
        command = app.get_command(context, name)
        assert command is not None
        yield name, command, click.Context(command, info_name=name, parent=context)


def options_of(command: click.Command, context: click.Context) -> Iterator[click.Option]:
    """The options of a command that a user may give."""
    for each in command.get_params(context):
        if isinstance(each, click.Option) and not each.hidden:
            yield each


def _usage(line: str) -> str:
    return f"```text\n{line}\n```\n"


def _tables(command: click.Command, context: click.Context) -> list[str]:
    """A table for each group of options, in order of first appearance, what is of the process last."""
    groups: dict[str, list[click.Option]] = {}
    for option in options_of(command, context):
        grouped = command.name == _DRAW
        group = "" if not grouped else option.group if isinstance(option, SettingOption) else PROCESS
        groups.setdefault(group, []).append(option)
    tables = []
    for group, options in sorted(
        groups.items(), key=lambda item: GROUPS.index(item[0]) if item[0] in GROUPS else len(GROUPS) - 1.5
    ):
        defaults = [_default(option, context) for option in options]
        head = ["| option | what it does |", "| --- | --- |"] if not any(defaults) else [_THREE, "| --- | --- | --- |"]
        rows = [_row(option, default, context, any(defaults)) for option, default in zip(options, defaults, strict=True)]
        tables.append((f"### {group} {{ .group }}\n\n" if group else "") + "\n".join([*head, *rows]) + "\n")
    return tables


_THREE = "| option | what it does | default |"


def _row(option: click.Option, default: str, context: click.Context, defaults: bool) -> str:
    record = option.get_help_record(context)
    assert record is not None
    flags, _ = record  # as --help and --help-all have them
    more = f" {_cell(default)} |" if defaults else ""
    shown = escape(flags, quote=False).replace("|", "&#124;")  # in backquotes, a table would show the backslash before it
    return f"| <code>{shown}</code> | {_cell(_text(option.help))} |{more}"


def _default(option: click.Option, context: click.Context) -> str:
    value: Any = option.get_default(context, call=False)
    plain = isinstance(value, (str, int, float)) and value != ""
    return f"`{value}`" if plain and not option.is_flag and not option.multiple else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _text(text: str | None) -> str:
    """Help as Markdown: a paragraph is filled, unless it begins with click's mark for lines that stay; nothing is markup."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", (text or "").strip()):
        kept = paragraph.strip(" \n").startswith("\b\n")
        lines = "\n".join(line.strip() for line in paragraph.replace("\b", "").strip().splitlines())
        parts.append(f"```text\n{lines}\n```" if kept else _escaped(" ".join(lines.split())))
    return "\n\n".join(parts)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]])", r"\\\1", escape(text, quote=False))
