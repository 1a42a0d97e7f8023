"""Process-wide options, taken from anywhere on the line before click and before any plugin is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch2grid_core._conversion import convert
from torch2grid_core._errors import UsageError
from torch2grid_core._settings import FIELDS, PROCESS_SETTINGS, Setting


@dataclass
class Process:
    """What the process-wide options say."""

    debug: bool = False
    no_plugins: bool = False
    config: str = ""
    disable_plugin: list[str] = field(default_factory=list)
    load_plugin: list[str] = field(default_factory=list)


def preparse(arguments: Sequence[str]) -> tuple[Process, list[str]]:
    """The process-wide options, and the rest of the line in its order.

    Knows which core options take a value, so that ``--title --debug`` keeps its title, and stops at ``--``. The environment
    sets ``TORCH2GRID_CONFIG``, ``TORCH2GRID_NO_PLUGINS`` and ``TORCH2GRID_DEBUG`` where the line does not.
    Raises ``UsageError`` where a value is missing.
    """
    process = Process(
        debug=_flag("TORCH2GRID_DEBUG"),
        no_plugins=_flag("TORCH2GRID_NO_PLUGINS"),
        config=os.environ.get("TORCH2GRID_CONFIG", ""),
    )
    rest: list[str] = []
    ours, core = _by_flag(PROCESS_SETTINGS.values()), _by_flag(FIELDS.values())
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            return process, [*rest, word, *waiting]
        flag, equals, value = word.partition("=")
        if flag in ours:
            setting = ours[flag]
            if setting.is_flag:
                if equals:
                    raise UsageError(f"{flag} takes no value")
                setattr(process, setting.name, True)
                continue
            if not equals:
                if not waiting:
                    raise UsageError(f"{flag} needs a value: {setting.metavar}")
                value = waiting.pop(0)
            if setting.many:
                getattr(process, setting.name).append(value)
            else:
                setattr(process, setting.name, value)
            continue
        rest.append(word)
        if flag in core and not core[flag].is_flag and not equals and waiting:
            rest.append(waiting.pop(0))
    return process, rest


def _flag(variable: str) -> bool:
    value = os.environ.get(variable, "").strip()
    try:
        return bool(convert(value or "false", bool))
    except ValueError as error:
        raise UsageError(f"{variable}={value!r}: {error}") from None


def _by_flag(settings: Iterable[Setting]) -> dict[str, Setting]:
    return {flag: each for each in settings for flag in (*each.flags, "--" + each.name.replace("_", "-"))}
