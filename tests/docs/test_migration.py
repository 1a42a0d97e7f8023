"""The migration page says where each name of 0.1 is."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import torch2grid_core

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
ROWS = re.findall(r"^\| `(torch2grid_core\.\w+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("module", "names"), ROWS, ids=[module for module, _ in ROWS])
def test_the_names_are_in_their_module_and_still_at_the_top(module: str, names: str) -> None:
    """Each name of the table is public where the table says, and an import from the top warns and gives the same."""
    home = importlib.import_module(module)
    for name in re.findall(r"`(\w+)`", names):
        assert name in home.__all__
        with pytest.warns(DeprecationWarning, match=re.escape(f"{module}.{name}")):
            assert getattr(torch2grid_core, name) is getattr(home, name)


def test_every_name_that_is_gone_is_told_of() -> None:
    """What has another name or another form stands in the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name in (*torch2grid_core._GONE, *torch2grid_core._REPLACED):
        assert f"`{name}" in text, name
