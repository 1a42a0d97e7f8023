"""What a command needs: options that are the drawing command's own, rules, and the line that says what was shown."""

from __future__ import annotations

from torch2grid_core._cli.console import summary_line
from torch2grid_core._cli.menu import Menu
from torch2grid_core._cli.options import standard_options
from torch2grid_core._engine.checking import Found, choose_rules
from torch2grid_core._engine.seen import Seen

__all__ = ["Found", "Menu", "Seen", "choose_rules", "standard_options", "summary_line"]
