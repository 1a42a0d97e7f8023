"""What a command needs: options that are the drawing command's own, rules, and the line that says what was shown."""

from __future__ import annotations

from torch2grid_core._cli.console import summary_line
from torch2grid_core._cli.menu import DrawChosen, Menu
from torch2grid_core._cli.options import SettingOption, settings_options
from torch2grid_core._engine.checking import Found, choose_rules
from torch2grid_core._engine.drawing import Seen, Shown
from torch2grid_core._guard import Origin
from torch2grid_core._plugins.added import settings_from
from torch2grid_core._plugins.loading import GuardedLoader
from torch2grid_core._plugins.options import Option
from torch2grid_core._plugins.record import PluginRecord, Precedence, Provided, Status
from torch2grid_core._settings import Setting, spec_name

__all__ = [
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
    "settings_from",
    "settings_options",
    "spec_name",
    "summary_line",
]
