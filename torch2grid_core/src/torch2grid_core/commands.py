"""What a command needs: the options of the drawing command, rules, and the line that says what was shown.

Names are imported on first use, so that a command that reads headers alone starts without the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "_cli.config": "ConfigEntry ConfigFile read_config",
    "_cli.console": "summary_line",
    "_cli.menu": "DrawChosen Menu",
    "_cli.options": "SettingOption settings_options",
    "_engine.checking": "Found choose_rules",
    "_engine.drawing": "Seen Shown",
    "_errors": "unforeseen",
    "_guard": "Origin",
    "_plugins.added": "settings_from",
    "_plugins.loading": "GuardedLoader",
    "_plugins.options": "Option",
    "_plugins.record": "PluginRecord Precedence Provided Status",
    "_settings": "Setting spec_name",
}
_HOMES = {name: home for home, names in _WHERE.items() for name in names.split()}

if TYPE_CHECKING:
    from torch2grid_core._cli.config import ConfigEntry as ConfigEntry, ConfigFile as ConfigFile, read_config as read_config
    from torch2grid_core._cli.console import summary_line as summary_line
    from torch2grid_core._cli.menu import DrawChosen as DrawChosen, Menu as Menu
    from torch2grid_core._cli.options import SettingOption as SettingOption, settings_options as settings_options
    from torch2grid_core._engine.checking import Found as Found, choose_rules as choose_rules
    from torch2grid_core._engine.drawing import Seen as Seen, Shown as Shown
    from torch2grid_core._errors import unforeseen as unforeseen
    from torch2grid_core._guard import Origin as Origin
    from torch2grid_core._plugins.added import settings_from as settings_from
    from torch2grid_core._plugins.loading import GuardedLoader as GuardedLoader
    from torch2grid_core._plugins.options import Option as Option
    from torch2grid_core._plugins.record import (
        PluginRecord as PluginRecord,
        Precedence as Precedence,
        Provided as Provided,
        Status as Status,
    )
    from torch2grid_core._settings import Setting as Setting, spec_name as spec_name

__all__ = [
    "ConfigEntry",
    "ConfigFile",
    "DrawChosen",
    "Found",
    "GuardedLoader",
    "Menu",
    "Option",
    "Origin",
    "PluginRecord",
    "Precedence",
    "Provided",
    "Seen",
    "Setting",
    "SettingOption",
    "Shown",
    "Status",
    "choose_rules",
    "read_config",
    "settings_from",
    "settings_options",
    "spec_name",
    "summary_line",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'torch2grid_core.commands' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"torch2grid_core.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
