"""``torch2grid config``: the settings that a run would have, and where each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from torch2grid_core._cli.config import ConfigFile
from torch2grid_core._cli.options import PROCESS, GroupedOption
from torch2grid_core._text import visible


def config_command(options: Sequence[GroupedOption], config: ConfigFile | None) -> click.Command:
    """The command for the drawing options that there are and the file that was named."""

    def show(**given: Any) -> None:
        context = click.get_current_context()
        rows = []
        for option in options:
            if option.group == PROCESS or option.key == "list_plugins":
                continue
            source = context.get_parameter_source(str(option.name)) or ParameterSource.DEFAULT
            rows.append((option.key, _shown(context.params.get(str(option.name))), _where(option, source, config)))
        width = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for key, value, where in rows:
            print(visible(f"{key:<{width[0]}}  {value:<{width[1]}}  {where}", 400).rstrip())

    copies = [option for option in options if option.group != PROCESS]
    return click.Command(
        "config",
        callback=show,
        params=list(copies),
        short_help="The settings that a run would have, and where each comes from.",
        help="Print each setting, its value and its source: the command line, the environment, a file or the default.",
        add_help_option=True,
    )


def _shown(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _where(option: GroupedOption, source: ParameterSource, config: ConfigFile | None) -> str:
    if source is ParameterSource.COMMANDLINE:
        return "command line"
    if source is ParameterSource.ENVIRONMENT:
        return f"environment, {option.variable}"
    if source is ParameterSource.DEFAULT_MAP and config is not None:
        lines = [each.line for each in config.settings if each.key.replace("-", "_") == option.key]
        return f"{config.path}:{lines[0] if lines else 1}"
    return "default"
