"""``torch2grid new-plugin``: projects of every kind, used as a stranger would use them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
import pytest
from tests.support.tools import DIGITS, PROJECT, TRACING, torch2grid

from torch2grid_builtin._commands.new_plugin import PARTS, core_range, project
from torch2grid_core import __version__
from torch2grid_core._kinds import KINDS

RUFF = Path(sys.executable).parent / "ruff"


def installed(folder: Path, project: Path) -> list[Path]:
    """Folders for the import path: the project's source, and the metadata that an installer would write."""
    name = project.name.replace("-", "_")
    info = folder / f"{name}-0.1.0.dist-info"
    info.mkdir(parents=True)
    required = re.findall(r'^  "([^"]+)",$', (project / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [each for each in required if each.startswith("torch2grid-core>=")]
    lines = [f"Name: {project.name}", "Version: 0.1.0", *(f"Requires-Dist: {each}" for each in required)]
    (info / "METADATA").write_text("Metadata-Version: 2.1\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[torch2grid]\nx = {name}.plugin\n", encoding="utf-8")
    return [folder, project / "src"]


def run_tests(projects: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    """Run the tests of *projects* as they were written."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib"]
    words += ["--rootdir", projects[0].parent, "-c", projects[0] / "pyproject.toml"]
    path = os.pathsep.join(str(project / "src") for project in projects)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop(TRACING, None)  # the kit finds nothing here, as in the tests of the built-ins
    files = [project / "tests" / "test_conforms.py" for project in projects]
    return subprocess.run([*map(str, [*words, *files])], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def heat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    run = torch2grid("new-plugin", "Heat_Map", cwd=folder)
    assert (run.returncode, run.stdout) == (0, "torch2grid-heat-map\n"), run.stderr
    return folder / "torch2grid-heat-map"


def test_the_packed_template_is_the_one_in_examples() -> None:
    sys.path.insert(0, str(PROJECT / "examples"))
    try:
        import pack_template
    finally:
        sys.path.pop(0)
    assert pack_template.PACKED.read_text(encoding="utf-8") == pack_template.packed(), "run: make template"


def test_no_name_of_the_template_is_left(heat: Path) -> None:
    parts = [name for part in PARTS.values() for name in (f"class {part.cls}(", f":{part.cls}", f'"{part.name}"')]
    parts += [cls for part in PARTS.values() for cls, _ in part.others]
    names = ("myplugin", "raw_floats", "sorted_units", "large_weights", "X101", "pieces://", *parts)
    for path in heat.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [name for name in names if name in text], path
            assert "myplugin" not in str(path)
    assert os.access(heat / "ci.sh", os.X_OK)


def test_its_tests_pass_as_they_are_written(heat: Path) -> None:
    done = run_tests([heat])
    assert done.returncode == 0, done.stdout + done.stderr


def lint(folder: Path) -> None:
    """By ruff's own rules, and by the project's settings with sorted imports, as its formatter leaves it."""
    commands = [
        ["check", "--isolated", "--no-cache", "--select", "E4,E7,E9,F,W", folder],
        *(["check", "--no-cache", "--extend-select", "I,E501", each] for each in projects_in(folder)),
        *(["format", "--no-cache", "--diff", each] for each in projects_in(folder)),
    ]
    for words in commands:
        done = subprocess.run([str(RUFF), *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def projects_in(folder: Path) -> list[Path]:
    return (
        [folder] if (folder / "pyproject.toml").is_file() else sorted(each.parent for each in folder.glob("*/pyproject.toml"))
    )


@pytest.mark.parametrize("name", ["q", "a-name-of-some-length", "x" * 45])
def test_names_of_every_length_make_clean_code(tmp_path: Path, name: str) -> None:
    words = [word for kind in PARTS for word in ("--kind", kind)]
    assert torch2grid("new-plugin", name, *words, cwd=tmp_path).returncode == 0
    for kind in PARTS:
        assert torch2grid("new-plugin", f"{kind}-{name[:40]}", "--kind", kind, cwd=tmp_path).returncode == 0
    assert len(projects_in(tmp_path)) == len(PARTS) + 1
    lint(tmp_path)
    for each in projects_in(tmp_path):
        assert "line-length = " in (each / "pyproject.toml").read_text(encoding="utf-8")
    told = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("command.py"))
    assert told.count('help="How many weights each tensor of MODEL has."') == 2


def test_each_kind_alone_is_a_project_whose_tests_pass(tmp_path: Path) -> None:
    assert set(KINDS) - set(PARTS) == {"executor", "settings"}  # they need what a template does not have
    assert set(PARTS) - set(KINDS) == {"streaming", "need"}  # a second transformer, and a second view
    for kind in PARTS:
        run = torch2grid("new-plugin", f"only-{kind}", "--kind", kind, "-o", "made", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        source = tmp_path / "made" / f"torch2grid-only-{kind}" / "src" / f"torch2grid_only_{kind}"
        assert {path.stem for path in source.glob("*.py")} == {"__init__", "plugin", kind}
        readme = (source.parents[1] / "README.md").read_text(encoding="utf-8")
        assert f"`{kind}.py`" in readme
        for other in set(PARTS) - {kind}:
            assert not re.search(
                rf"\b{other}s?\b(?!\.py`|-)", readme.replace("streaming transformer", "streaming").replace("--view", "")
            ), other
        assert "Delete the files" not in readme
        assert re.findall(r"^(\d)\. ", readme, flags=re.MULTILINE) == list("12345")[: readme.count("\n4. ") + 3]
    projects = sorted((tmp_path / "made").iterdir())
    done = run_tests(projects)
    assert done.returncode == 0, done.stdout + done.stderr
    lint(tmp_path / "made")


@pytest.mark.parametrize(
    "kinds", [("loader", "view"), ("source", "decoder", "command"), ("transformer", "streaming", "view", "need")]
)
def test_some_kinds_are_a_project_whose_tests_pass(kinds: tuple[str, ...], tmp_path: Path) -> None:
    words = [word for kind in kinds for word in ("--kind", kind)]
    run = torch2grid("new-plugin", "some", *words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    readme = (tmp_path / "torch2grid-some" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)\.py`", readme, flags=re.MULTILINE)
    assert sorted(listed) == sorted(kinds)
    first = re.search(r"^A plugin for torch2grid: a small (.*)\. They work as they are\.$", readme, flags=re.MULTILINE)
    assert first
    assert len(re.split(", | and ", first[1])) == len(kinds)
    assert ("Without a\n   command" in readme) == ("command" in kinds)
    done = run_tests([tmp_path / "torch2grid-some"])
    assert done.returncode == 0, done.stdout + done.stderr
    lint(tmp_path)


def test_classes_are_named_after_the_project() -> None:
    def classes(short: str, *kinds: str) -> list[str]:
        texts = project(short, kinds or tuple(PARTS)).values()
        return [name for text in texts for name in re.findall(r"^class (\w+)\(", text, flags=re.MULTILINE)]

    assert classes("rows", "transformer") == ["RowsTransformer"]
    assert classes("heat-map", "view", "need") == ["HeatMapCollector", "HeatMapNeed", "HeatMapNeedView", "HeatMapView"]
    assert classes("grid", "transformer") == ["MyGridTransformer"]  # GridTransformer is its base class
    assert classes("local", "source")[-1:] == ["MyLocalSource"]
    assert len({*classes("t5")}) == len(classes("t5"))


def test_it_asks_for_this_core_and_its_patches() -> None:
    assert core_range("0.2.0") == ">=0.2,<0.3"
    assert core_range("0.10.3.dev1") == ">=0.10,<0.11"
    assert core_range("1.4.2") == ">=1.4,<2"
    assert f"torch2grid-core{core_range(__version__)}" in project("x", ["view"])["pyproject.toml"]
    assert "requires_core" not in "".join(project("x", tuple(PARTS)).values())


def test_a_command_keeps_its_hyphen(tmp_path: Path) -> None:
    run = torch2grid("new-plugin", "my-tool", "--kind", "command", cwd=tmp_path)
    path = installed(tmp_path / "site", tmp_path / "torch2grid-my-tool")
    assert "torch2grid my-tool model.pth" in (tmp_path / "torch2grid-my-tool" / "README.md").read_text(encoding="utf-8")
    run = torch2grid("my-tool", DIGITS, "--total", cwd=tmp_path, path=path)
    assert (run.returncode, run.stdout.split()) == (0, ["9,258", "in", "all"]), run.stderr


def test_everything_that_it_brings_works_from_the_command_line(heat: Path, tmp_path: Path) -> None:
    path = installed(tmp_path / "site", heat)

    def run(*words: object) -> str:
        done = torch2grid(*words, cwd=tmp_path, path=path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "heat_map" in run("--list-plugins")
    assert run(DIGITS, "--plugin", "heat_map:weakest_first=true") == "grids/neural_grid_heat_map.png\n"
    assert run(DIGITS, "--heat-map") == "grids/heat_map.png\n"
    assert run(DIGITS, "--stats", "--filter", "heat_map:least=4").count("conv") == 2
    assert run(DIGITS, "--plugin", "heat_map_streaming:largest_first=true") == "grids/neural_grid_heat_map_streaming.png\n"
    assert re.search(r"fc1\.weight +[\d,]+ +[\d,]+", run(DIGITS, "--heat-map-need"))
    assert "conv1.weight" in run("heat-map", DIGITS)
    run(DIGITS, "--heat-map", "--format", "heat_map")
    assert (tmp_path / "grids" / "heat_map.heat_map").read_text(encoding="utf-8").startswith("# Standard deviation")
    checked = torch2grid("check", DIGITS, "--rule", "heat_map:limit=0.1", "--select", "heat_map", cwd=tmp_path, path=path)
    assert "a weight of" in checked.stdout
    (tmp_path / "w.raw").write_bytes(b"RAWF32 fc.weight 2 2\n" + bytes(16))
    assert "fc.weight" in run("w.raw", "--stats")
    data = DIGITS.read_bytes()
    for number in range(2):
        (tmp_path / f"model.pth.0{number}").write_bytes(data[number * 20_000 :][: 20_000 if not number else None])
    assert run("heatmap://model.pth", "--stats").count("conv") == 4
    np.savez(tmp_path / "packed.npz", **{"w.codes": np.ones((3, 4), np.int8), "w.scale": np.ones(3, np.float32)})
    assert re.search(r"^w ", run("packed.npz", "--stats"), flags=re.MULTILINE)


TRIED = re.compile(r"^\| `(\w+)\.py` \| [^|]+ \| `torch2grid ([^`]+)`", flags=re.MULTILINE)


@pytest.mark.parametrize("kinds", [tuple(PARTS), *((kind,) for kind in PARTS)], ids="-".join)
def test_what_the_readme_says_to_try_works(kinds: tuple[str, ...], tmp_path: Path) -> None:
    """Every command of the table, as it is written, on files of the names that it has."""
    words = [word for kind in kinds for word in ("--kind", kind)]
    assert torch2grid("new-plugin", "my-all", *words, cwd=tmp_path).returncode == 0
    project = tmp_path / "torch2grid-my-all"
    path = installed(tmp_path / "site", project)
    data = DIGITS.read_bytes()
    (tmp_path / "model.pth").write_bytes(data)
    for number, part in enumerate((data[:20_000], data[20_000:])):
        (tmp_path / "pieces").mkdir(exist_ok=True)
        (tmp_path / "pieces" / f"model.pth.0{number}").write_bytes(part)
    (tmp_path / "small.raw").write_bytes(b"RAWF32 fc.weight 2 2\n" + bytes(16))
    np.savez(tmp_path / "packed.npz", **{"NAME.codes": np.ones((3, 4), np.int8), "NAME.scale": np.ones(3, np.float32)})
    tried = TRIED.findall((project / "README.md").read_text(encoding="utf-8"))
    assert [kind for kind, _ in tried] == list(kinds)
    for kind, command in tried:
        folder = tmp_path / "pieces" if kind == "source" else tmp_path
        done = torch2grid(*command.split(), cwd=folder, path=path)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout or "no finding" in done.stderr
        assert not re.search(r"plugin|Traceback", done.stderr), (command, done.stderr)


@pytest.mark.parametrize("name", ["my-all", "signs", "q"])
def test_texts_of_the_template_stay_as_they_were(name: str) -> None:
    """Classes are renamed, and what users type; no word of a title or of a docstring becomes the name of a class."""
    packed, made = _python(project("myplugin", tuple(PARTS))), _python(project(name, tuple(PARTS)))
    renamed = [cls for text in made for cls in re.findall(r"^class (\w+)\(", text, re.MULTILINE)]
    prose = [each.value for text in made for each in ast.walk(ast.parse(text)) if _is_prose(each)]
    assert len(prose) == sum(_is_prose(each) for text in packed for each in ast.walk(ast.parse(text)))
    for text in prose:
        assert not [cls for cls in renamed if re.search(rf"\b{cls}\b", text)], text
    assert "Signs of the weights" in prose


def _python(texts: Mapping[str, str]) -> list[str]:
    return [text for path, text in texts.items() if path.endswith(".py")]


def _is_prose(node: ast.AST) -> TypeGuard[ast.Constant]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def test_a_project_is_never_written_over(heat: Path) -> None:
    before = (heat / "README.md").read_bytes()
    run = torch2grid("new-plugin", "heat-map", cwd=heat.parent)
    assert run.returncode == 2
    assert "torch2grid-heat-map exists" in run.stderr
    assert (heat / "README.md").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["../../etc"], "letters, digits and hyphens"),
        (["9lives"], "begins with a letter"),
        ([""], "letters, digits and hyphens"),
        (["spiral"], "torch2grid-builtin brings a transformer 'spiral' already"),
        (["npz", "--kind", "loader"], "torch2grid-builtin brings a loader 'npz' already"),
        (["plugins", "--kind", "command"], "'plugins' is a command of torch2grid"),
        (["view", "--kind", "need"], "--view is an option of torch2grid, which the view would get"),
        (["max-cells", "--kind", "filter"], "--max-cells is an option of torch2grid, which the filter would get"),
        (["no_plugins", "--kind", "view"], "--no-plugins is an option of torch2grid"),
        (["x", "--kind", "colour"], "colour"),
    ],
)
def test_a_name_that_cannot_be_is_refused(words: list[str], told: str, tmp_path: Path) -> None:
    run = torch2grid("new-plugin", *words, cwd=tmp_path)
    assert run.returncode == 2
    assert told in run.stderr
    assert not list(tmp_path.iterdir())


def test_a_name_is_free_for_another_kind_and_may_carry_the_prefix(tmp_path: Path) -> None:
    run = torch2grid("new-plugin", "torch2grid-spiral", "--kind", "loader", "-o", tmp_path / "deep" / "er", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "deep" / "er" / "torch2grid-spiral" / "src" / "torch2grid_spiral" / "loader.py").is_file()


@pytest.mark.parametrize("name", ["core", "builtin", "torch2grid-core", "Torch2Grid_Builtin"])
def test_the_projects_own_distributions_are_not_written_over(name: str, tmp_path: Path) -> None:
    run = torch2grid("new-plugin", name, "--kind", "rule", cwd=tmp_path)
    assert run.returncode == 2
    assert "is a distribution of torch2grid itself; choose another name" in run.stderr
    assert not list(tmp_path.iterdir())
