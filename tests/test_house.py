"""The arrows between the distributions, and the promises of the layout, read from the source itself."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import LONGEST, NEW_PROCESSES
from tests.support import traced
from tests.support.tools import PROJECT

CORE = PROJECT / "torch2grid_core" / "src" / "torch2grid_core"
BUILTIN = PROJECT / "torch2grid_builtin" / "src" / "torch2grid_builtin"
FACADE = PROJECT / "src" / "torch2grid"
TEMPLATE = PROJECT / "examples" / "plugin_template" / "src" / "torch2grid_myplugin"
GGUF = PROJECT / "plugins" / "torch2grid_gguf" / "src" / "torch2grid_gguf"


def imports(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """(file, module, name) of every import below *folder*; the name is empty for ``import module``."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((file, node.module, alias.name) for alias in node.names)


def test_the_core_knows_neither_builtins_nor_facade_nor_torch() -> None:
    for file, module, _ in imports(CORE):
        assert module.partition(".")[0] not in ("torch2grid_builtin", "torch2grid", "torch"), file


def test_nobody_has_a_private_door() -> None:
    """What stands behind an underscore is imported inside its own distribution alone; a dunder module is public."""
    for folder, below in (
        (BUILTIN, ("torch2grid", "torch")),
        (TEMPLATE, ("torch2grid", "torch")),
        (GGUF, ("torch2grid", "torch")),
        (FACADE, ()),
    ):
        for file, module, name in imports(folder):
            root, *inner = module.split(".")
            assert root not in below, file
            private = [part for part in (*inner, name) if part.startswith("_") and not part.endswith("__")]
            assert not private or root == folder.name or not root.startswith("torch2grid"), (file, module)


def test_the_public_modules_say_what_is_public() -> None:
    import torch2grid_core

    assert len(torch2grid_core.__all__) <= 35
    homes = {}
    for file in [*CORE.glob("[a-z]*.py"), CORE / "testing" / "__init__.py"]:
        module = importlib.import_module(f"torch2grid_core.{file.stem if file.stem != '__init__' else file.parent.name}")
        homes |= {name: [*homes.get(name, []), module.__name__] for name in module.__all__}
    assert {name: found for name, found in homes.items() if len(found) > 1 or name in torch2grid_core.__all__} == {}
    for name in torch2grid_core.__all__:
        assert getattr(torch2grid_core, name) is not None
    told = {
        name for file, module, name in imports(CORE) if file == CORE / "__init__.py" and module.startswith("torch2grid_core.")
    }
    assert told >= set(torch2grid_core.__all__)


def test_names_that_left_the_top_say_where_they_are() -> None:
    import torch2grid_core

    with pytest.warns(
        DeprecationWarning, match=r"torch2grid_core\.Block will be removed in 0\.3; use torch2grid_core\.grids\.Block"
    ):
        assert torch2grid_core.Block is importlib.import_module("torch2grid_core.grids").Block
    with pytest.raises(AttributeError, match="has no attribute 'Blok'"):
        getattr(torch2grid_core, "Blok")  # noqa: B009  a type checker knows that it is not there


# What is only imported where it is there: a colour map by matplotlib's name, the kit inside pytest, torch beside live modules,
# the screen of the menu.
ASKED_FOR = {
    "torch2grid_core": {"matplotlib", "pandas", "pytest", "textual"},
    "torch2grid_builtin": {"scipy"},
    ".": {"lightning", "pytest", "pytorch_lightning", "torch", "transformers"},
}
PROJECTS = (".", "torch2grid_core", "torch2grid_builtin", "plugins/torch2grid_gguf", "examples/plugin_template")


@functools.cache
def brought() -> Mapping[str, list[str]]:
    """The distributions that each package comes with; all files of all that are installed are looked at."""
    return packages_distributions()


@pytest.mark.parametrize("project", PROJECTS)
def test_what_a_distribution_imports_it_declares(project: str) -> None:
    toml = pytest.importorskip("tomllib")  # of Python 3.11
    declared = toml.loads((PROJECT / project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {canonicalize_name(Requirement(each).name) for each in declared}
    brings = brought()
    (source,) = [folder for folder in (PROJECT / project / "src").iterdir() if (folder / "__init__.py").is_file()]
    imported = {module.partition(".")[0] for _, module, _ in imports(source)} - {source.name, *sys.stdlib_module_names}
    undeclared = {root for root in imported if not names & {canonicalize_name(each) for each in brings.get(root, [root])}}
    assert imported
    assert undeclared == ASKED_FOR.get(project, set())


def test_one_version_for_the_three() -> None:
    versions = set()
    for project in (PROJECT, PROJECT / "torch2grid_core", PROJECT / "torch2grid_builtin"):
        text = (project / "pyproject.toml").read_text(encoding="utf-8")
        versions.add(re.search(r'^version = "(.+)"$', text, flags=re.MULTILINE)[1])  # type: ignore[index]
        versions |= set(re.findall(r'"torch2grid-(?:core|builtin)==(.+)"', text))
    for file in (CORE / "_version.py", BUILTIN / "__init__.py"):
        versions.add(re.search(r'__version__ = "(.+)"', file.read_text(encoding="utf-8"))[1])  # type: ignore[index]
    assert versions == {"0.2.0"}


@pytest.mark.parametrize("package", ["torch2grid_core", "torch2grid_builtin", "torch2grid"])
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    script = (
        f"import sys, {package}; print(*[name for name in ('numpy', 'torch', 'matplotlib', 'click') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_the_files_that_are_run_in_another_way_are_there() -> None:
    assert [name for name in (*LONGEST, *NEW_PROCESSES) if not (PROJECT / "tests" / f"{name}.py").is_file()] == []


def test_a_file_that_has_changed_or_is_new_is_traced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = "tests/test_cycles.py"
    (tmp_path / "list").write_text(f"{known} {traced.checksum_of(known)}\ntest_one[a b]\n\ntests/test_house.py 00000000\n")
    monkeypatch.setattr(traced, "LIST", tmp_path / "list")
    monkeypatch.setattr(traced, "chosen", traced.chosen.__wrapped__)
    monkeypatch.delenv(traced.FOLDER, raising=False)
    assert traced.is_traced(f"{known}::test_one[a b]")
    assert not traced.is_traced(f"{known}::test_one[c]")
    assert traced.is_traced("tests/test_house.py::test_one[c]")
    assert traced.is_traced("tests/conftest.py::test_one[c]")


def test_few_tests_that_run_everything_are_chosen() -> None:
    seconds = {"all": 9.0, "most": 1.0, "same": 1.0, "rest": 0.1, "rare": 99.0}
    arcs = {"all": {*range(100)}, "most": {*range(99)}, "same": {*range(99)}, "rest": {98, 99}, "rare": {100}}
    assert sorted(traced.choose(seconds, arcs)) == ["rest", "same"]
