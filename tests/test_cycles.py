"""No distribution has an import cycle: imports of modules, of functions and for type checkers alike, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.tools import PROJECT
from tests.test_house import BUILTIN, CORE, GGUF

PACKAGES = {"torch2grid_core": CORE, "torch2grid_builtin": BUILTIN, "torch2grid": PROJECT / "src" / "torch2grid"}
PACKAGES["torch2grid_gguf"] = GGUF


def module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path, module: str) -> Iterator[str]:
    """Full names of what *file* imports anywhere: modules, and names in modules."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - (file.name == "__init__.py")
            base = module.rsplit(".", up)[0] if node.level and up else module if node.level else ""
            inside = ".".join(filter(None, (base, node.module)))
            yield from (f"{inside}.{alias.name}" for alias in node.names)


def graph(package: Path) -> dict[str, set[str]]:
    """Each module of *package* with the modules of it that it imports."""
    files = {module_name(file, package): file for file in package.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for module, file in files.items():
        targets = {name if name in files else name.rpartition(".")[0] for name in imported(file, module)}
        found[module] = (targets & files.keys()) - {module}
    return found


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """A cycle of imports, its first module at the end again; nothing where there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


@pytest.mark.parametrize("name", PACKAGES)
def test_no_import_cycles(name: str) -> None:
    edges = graph(PACKAGES[name])
    assert edges, PACKAGES[name]
    found = cycle(edges)
    assert not found, " → ".join(found)


def test_every_way_to_import_is_counted(tmp_path: Path) -> None:
    package = tmp_path / "made"
    package.mkdir()
    sources = {
        "__init__": "",
        "first": "def late():\n    from made import second\n",
        "second": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .third import Name\n",
        "third": "import made.first\n",
    }
    for stem, text in sources.items():
        (package / f"{stem}.py").write_text(text, encoding="utf-8")
    assert graph(package) == {
        "made": set(),
        "made.first": {"made.second"},
        "made.second": {"made.third"},
        "made.third": {"made.first"},
    }
    found = cycle(graph(package))
    assert found[0] == found[-1]
    assert set(found) == {"made.first", "made.second", "made.third"}
    assert all(target in graph(package)[source] for source, target in pairwise(found))
