"""``torch2grid config``: the settings that a run would have, and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from torch2grid_core._cli.config import ConfigFile
from torch2grid_core._cli.options import SettingOption
from torch2grid_core._settings import GIVEN, PROCESS, Setting
from torch2grid_core._text import visible


def config_command(options: Sequence[SettingOption], config: ConfigFile | None) -> click.Command:
    """The command for the settings that there are and the file that was named."""

    def show() -> None:
        context = click.get_current_context()
        given = {setting.name: value for setting, value in context.meta.get(GIVEN, ())}
        rows = []
        for setting in (option.setting for option in options if option.group != PROCESS):
            source = context.get_parameter_source(setting.name) or ParameterSource.DEFAULT
            value = given.get(setting.name, setting.default)
            rows.append((setting.name, _shown(value), _where(setting, source, config)))
        width = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for key, value, where in rows:
            print(visible(f"{key:<{width[0]}}  {value:<{width[1]}}  {where}", 400).rstrip())

    return click.Command(
        "config",
        callback=show,
        params=[option for option in options if option.group != PROCESS],
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
        return ",".join(str(item) if isinstance(item, float) else _shown(item) for item in value)
    if isinstance(value, Mapping):
        ((name, options),) = value.items()
        return f"{name}:{','.join(f'{key}={_shown(each)}' for key, each in options.items())}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _where(setting: Setting, source: ParameterSource, config: ConfigFile | None) -> str:
    if source is ParameterSource.COMMANDLINE:
        return "command line"
    if source is ParameterSource.ENVIRONMENT:
        return f"environment, {setting.variable}"
    if source is ParameterSource.DEFAULT_MAP and config is not None:
        lines = [each.line for each in config.settings if each.key.replace("-", "_") == setting.name]
        return f"{config.path}:{lines[0] if lines else 1}"
    return "default"
