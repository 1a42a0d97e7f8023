"""The architecture page beside the folders: every path that it names is there, and every room of the core is named."""

from __future__ import annotations

import re

from tests.support.tools import PROJECT

PAGE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
CORE = PROJECT / "torch2grid_core" / "src" / "torch2grid_core"
ROOTS = (PROJECT, CORE, PROJECT / "torch2grid_builtin" / "src" / "torch2grid_builtin")


def test_every_path_on_the_page_is_there() -> None:
    named = re.findall(r"`([\w./]+(?:/|\.py))`", PAGE)
    assert len(named) > 50
    assert [path for path in named if not any((root / path).exists() for root in ROOTS)] == []


def test_every_room_of_the_core_is_on_the_page() -> None:
    rooms = [f"{each.name}/" for each in CORE.iterdir() if (each / "__init__.py").is_file()]
    files = [each.name for each in CORE.glob("*.py") if each.name != "__init__.py"]
    assert [name for name in [*rooms, *files] if f"`{name}`" not in PAGE] == []


def test_the_picture_fetches_nothing() -> None:
    picture = (PROJECT / "docs" / "pictures" / "way_of_the_data.svg").read_text(encoding="utf-8")
    assert re.findall(r"(?:href|src)\s*=|url\((?!#)|@import", picture) == []
    for folder in re.findall(r'class="f"[^>]*>([^<]+)<', picture):
        assert [path for path in folder.split() if not (CORE / path).exists()] == []
