"""The linter for checkpoints: rules that are installed, what they find and how grave it is, the report as text."""

from __future__ import annotations

from torch2grid_builtin._check.checked import Checked, check_checkpoint, installed_rules
from torch2grid_builtin._check.expectations import LEVELS
from torch2grid_builtin._check.reports import as_text
from torch2grid_builtin._check.stated import chosen_rules, stated

__all__ = ["LEVELS", "Checked", "as_text", "check_checkpoint", "chosen_rules", "installed_rules", "stated"]
