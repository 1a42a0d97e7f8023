"""``torch2grid plugins`` and ``--list-plugins``: what was found, what it brings, and what is wrong with the rest."""

from __future__ import annotations

import contextlib
import enum
import json
import shutil
from collections.abc import Iterable
from typing import Any

import click

from torch2grid_core._cli.completion import owners, quiet
from torch2grid_core._errors import PluginError, UsageError
from torch2grid_core._kinds import KINDS
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.record import PluginRecord, Precedence, Provided
from torch2grid_core._text import did_you_mean, display_width, visible


def list_transformers(manager: PluginManager) -> None:
    """A line for each transformer: name and summary."""
    names = manager.names("transformer")
    if not names:
        print("no transformer is installed")
    width = max(map(len, names), default=0)
    for name, each in names.items():
        origin = "" if each.record.precedence is Precedence.BASE else f"  [{each.record.owner}]"
        print(f"  {visible(name):<{width}}  {visible(each.summary)}{origin}".rstrip())


def plugins_command() -> click.Command:
    """``torch2grid plugins [NAME] [--json] [--timing]``."""

    @click.command("plugins", short_help="list every plugin found, what it brings, and the error of each that failed")
    @click.argument("name", required=False, shell_complete=quiet(owners))
    @click.option("--json", "as_json", is_flag=True, help="print JSON")
    @click.option(
        "--timing", is_flag=True, help="print the time that each takes to import: at every start, and when it is used"
    )
    @click.pass_obj
    def plugins(manager: PluginManager, name: str | None, as_json: bool, timing: bool) -> None:
        """List every plugin that was found: distribution, version, source, status and what it brings.

        With NAME, list only that plugin or distribution, or what has that name in one, and its options with their help.
        """
        # Asks every hook, so that each failure is in its record.
        reached = {id(each): name for kind in KINDS for name, each in manager.names(kind).items()}
        records, brought = (manager.records, None) if name is None else _matching(manager, name)
        if as_json:
            document = [_as_json(record, brought, reached) for record in records]
            print(json.dumps(document, indent=2, ensure_ascii=False))
            return
        if timing:
            _print_timing(records, brought)
            return
        for record in records:
            _print_record(record, brought, reached, options=name is not None)
        if not records:
            print("no plugin is installed; pip install torch2grid brings the usual loaders, views and renderers")

    return plugins


def _status(record: PluginRecord) -> str:
    """``ok``, ``disabled``, ``in part`` where something of it cannot be used, ``failed`` where nothing of it can."""
    if record.status != "ok":
        return record.status
    brought = _brought(record, None)
    failed = sum(bool(_error(each)) for each in brought)
    if failed and failed == len(brought):
        return "failed"
    return "in part" if failed or record.error else "ok"


def _error(each: Provided) -> str:
    """Why a thing cannot be used: it, or its options, cannot be imported."""
    try:
        each.options()
        each.remark_mistakes()
    except PluginError as error:
        return str(error)
    return ""


def _matching(manager: PluginManager, name: str) -> tuple[list[PluginRecord], set[int] | None]:
    """The records of that name, or those that bring a thing of that name (then only those things)."""
    records = [record for record in manager.records if name in (record.name, record.owner, record.source)]
    if records:
        return records, None
    found = [each for kind in KINDS for each in _all(manager.records, kind) if name in (each.name, each.qualified)]
    if not found:
        valid = {each.name for kind in KINDS for each in _all(manager.records, kind)} | {r.owner for r in manager.records}
        raise UsageError(f"no plugin, and nothing that a plugin brings, is named {name!r}{did_you_mean(name, valid)}")
    bringing = [record for record in manager.records if any(each.record is record for each in found)]
    return bringing, {id(each) for each in found}


def _all(records: Iterable[PluginRecord], kind: str) -> list[Provided]:
    return [each for record in records for each in record.provides(kind)]


def _brought(record: PluginRecord, only: set[int] | None) -> list[Provided]:
    return [each for kind in KINDS for each in record.provides(kind) if only is None or id(each) in only]


def _as_json(record: PluginRecord, only: set[int] | None, reached: dict[int, str]) -> dict[str, Any]:
    return {
        "name": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "source": record.source,
        "status": "failed" if _status(record) == "failed" else record.status,
        "error": record.error or None,
        "remarks": record.all_remarks(),
        "import_seconds": record.seconds,
        "provides": [
            {
                "kind": each.kind,
                "name": each.name,
                "summary": each.summary,
                "reached_as": reached.get(id(each), each.qualified),
                "options": _options_json(each),
                "import_seconds": each.seconds,
                "error": _error(each) or None,
            }
            for each in _brought(record, only)
        ],
    }


def _options_json(each: Provided) -> list[dict[str, Any]]:
    try:
        options = each.options()
    except PluginError:
        return []
    return [
        {"name": option.name, "type": option.type_text, "default": _plain(option.default), "help": option.help}
        for option in options.values()
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _print_record(record: PluginRecord, only: set[int] | None, reached: dict[int, str], options: bool) -> None:
    status = _status(record)
    head = f"{record.owner} {record.version}".strip()
    print(visible(f"{head}  ({record.name} = {record.source})  {status}", 400))
    for text, _ in record.faults.values():
        print(visible(f"  error: {text}", 1000))
    for remark in record.all_remarks():
        print(visible(f"  note: {remark}", 1000))
    names = {id(each): visible(reached.get(id(each), each.qualified), 80) for each in _brought(record, only)}
    width = max([18, *map(display_width, names.values())])
    for each in _brought(record, only):
        name = names[id(each)] + " " * (width - display_width(names[id(each)]))
        print(visible(f"  {each.kind:<12} {name} {each.summary}", 400).rstrip())
        try:
            found = each.options()
        except PluginError as error:
            print(visible(f"    error: {error}", 1000))
            continue
        if not options:
            if found:
                told = ", ".join(f"{option.name}={_plain(option.default)}" for option in found.values())
                print(visible(f"{'':<15}{'':<{width}} options: {told}", 400))
            continue
        for option in found.values():
            default = _plain(option.default)
            print(visible(f"    {option.name}={default}  ({option.type_text})  {option.help}", 400).rstrip())
        if not found:
            print("    no options")


def _print_timing(records: list[PluginRecord], only: set[int] | None) -> None:
    """A table: what each plugin takes at every start, and each thing of it when it is first used, slowest plugin first.

    A module that several need counts for the one that imports it first: numpy, say, for the first loader.
    """
    from torch2grid_core._pictures.page import Cell, Table, table_lines  # numpy comes with it

    rows: list[tuple[Cell, ...]] = []
    for record in sorted(records, key=lambda each: -each.seconds):
        rows.append((record.owner, "at every start", 1000 * record.seconds))
        for each in _brought(record, only):
            with contextlib.suppress(PluginError):
                each.load()
            if each.seconds is not None:
                rows.append((record.owner, f"{each.kind} {each.name}", 1000 * each.seconds))
    columns, formats = ("Distribution", "Imported", "Milliseconds"), {"Milliseconds": ",.1f"}
    lines = table_lines(Table(columns, tuple(rows), formats=formats))
    over = max(map(display_width, lines)) - (shutil.get_terminal_size((0, 0)).columns or 400)
    for place in (1, 0):  # what does not fit is cut in the middle of names, the things before who brings them
        widest = max(display_width(str(row[place])) for row in [columns, *rows])
        if over > 0:
            room = max(widest - over, len(columns[place]))
            rows = [(*row[:place], visible(str(row[place]), room), *row[place + 1 :]) for row in rows]
            over -= widest - room
    for line in table_lines(Table(columns, tuple(rows), formats=formats)):
        print(visible(line, 400))
