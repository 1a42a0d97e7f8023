"""Cells that are run again and files that are loaded again: the last one counts, and what it no longer takes is free."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tools import distribution, torch2grid

from torch2grid.plugins.registry import PluginRegistry
from torch2grid_core import GridTransformer, Page, PluginManager, Renderer, UsageError, hookimpl

FILE = """
import numpy as np
from torch2grid_core import GridTransformer
class Mine(GridTransformer):
    "from the file"
    name = "{name}"
    def transform(self, tensors):
        return np.full((1, 1), {value})
"""


def cell(value: float, name: str = "mine") -> type[GridTransformer]:
    """The class that a notebook's cell defines, a new one each time that the cell is run."""

    class Mine(GridTransformer):
        def transform(self, tensors: Any) -> Any:
            return np.full((1, 1), value)

    Mine.name, Mine.__doc__ = name, f"gives {value}"
    return Mine


def drawn(registry: PluginRegistry, name: str) -> float:
    return float(np.asarray(registry.get(name)({}))[0, 0])


def test_an_instance_registered_again_is_the_one_that_draws() -> None:
    manager = PluginManager()
    registry = PluginRegistry(manager)
    registry.register(cell(1.0)())
    registry.register(cell(5.0, "other")())
    assert registry.list_plugins() == {"mine": "gives 1.0", "other": "gives 5.0"}
    registry.register(cell(2.0)())
    assert drawn(registry, "mine") == 2.0
    assert drawn(registry, "Mine/mine") == 2.0
    assert drawn(registry, "other") == 5.0
    assert registry.list_plugins() == {"mine": "gives 2.0", "other": "gives 5.0"}
    assert manager.problems() == []


class Mine(Renderer):
    """another kind, of the same name"""

    name = "mine"
    formats = ("mine",)

    def render(self, page: Page, target: Any, style: Any) -> None:
        target.write(b"mine")


def test_another_kind_of_that_name_stays() -> None:
    manager = PluginManager()
    manager.add(Mine())
    manager.add(cell(1.0)())
    assert (list(manager.names("renderer")), list(manager.names("transformer"))) == (["mine"], ["mine"])


def test_the_registry_takes_transformers_only() -> None:
    manager = PluginManager()
    for wrong in (Mine(), cell(1.0), 3):
        with pytest.raises(UsageError, match=r"is not a transformer; it must be a subclass of TransformerPlugin"):
            PluginRegistry(manager).register(wrong)  # type: ignore[arg-type]
    assert manager.records == []


def test_a_class_registered_again_is_the_one_that_draws() -> None:
    manager = PluginManager()
    for value in (1.0, 2.0):
        manager.register(cell(value))
    assert drawn(PluginRegistry(manager), "mine") == 2.0
    assert list(manager.names("transformer")) == ["mine"]


def test_plugins_of_one_name_from_two_places_stay_apart() -> None:
    manager = PluginManager()
    for module, name in (("one.plugin", "first"), ("two.plugin", "second")):
        made = cell(1.0, name)
        made.__module__ = module
        manager.register(made)
    assert list(manager.names("transformer")) == ["first", "second"]


def test_a_listener_registered_again_hears_of_each_file_once() -> None:
    heard: list[int] = []

    def listener(number: int) -> Any:
        class Log:
            @hookimpl
            def torch2grid_written(self, path: Path) -> None:
                heard.append(number)

        return Log()

    manager = PluginManager()
    for number in (1, 2):
        with pytest.warns(DeprecationWarning, match="will be removed in 0.3"):
            manager.register(listener(number))
    assert manager.listens()
    manager.written(None, Path("x.png"), None)  # type: ignore[arg-type]
    assert heard == [2]


def by_owner(manager: PluginManager, owner: str) -> Iterable[str]:
    return [name for name, each in manager.names("transformer").items() if each.record.owner == owner]


def test_a_file_that_gives_a_name_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = FILE.format(name="same", value=1.0).replace("from the file", "installed")
    monkeypatch.syspath_prepend(str(distribution(tmp_path / "site", "t2g-again", installed)))
    manager = PluginManager.discover()
    registry = PluginRegistry(manager)
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(name="same", value=7.0), encoding="utf-8")
    registry.load_from_file(file)
    assert (drawn(registry, "same"), drawn(registry, "t2g-again/same")) == (7.0, 1.0)
    assert [line for line in manager.problems() if "t2g-again" in line] == [
        f"transformer 'same': {file} is used instead of t2g-again's"
    ]
    file.write_text(FILE.format(name="otherwise", value=8.00), encoding="utf-8")
    registry.load_from_file(file)
    assert (drawn(registry, "same"), drawn(registry, "otherwise")) == (1.0, 8.0)
    assert by_owner(manager, "t2g-again") == ["same"]
    assert [line for line in manager.problems() if "t2g-again" in line] == []


def test_of_two_files_with_one_name_the_first_keeps_it(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"f{number}.py").write_text(FILE.format(name="same", value=number), encoding="utf-8")
    run = torch2grid("--list-plugins", "--load-plugin", "f2.py", "--load-plugin", "f1.py", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "torch2grid: transformer 'same': f1.py is used instead of f2's\n")
    assert [line.split()[0] for line in run.stdout.splitlines() if "same" in line] == ["f2/same", "same"]
