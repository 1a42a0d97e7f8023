"""``torch2grid new-plugin``: projects of every kind, used as a stranger would use them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, PROJECT, torch2grid

from torch2grid_builtin._commands.new_plugin import HOOKS
from torch2grid_core._kinds import KINDS

RUFF = Path(sys.executable).parent / "ruff"


def installed(folder: Path, project: Path) -> list[Path]:
    """Folders for the import path: the project's source, and the metadata that an installer would write."""
    name = project.name.replace("-", "_")
    info = folder / f"{name}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project.name}\nVersion: 0.1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[torch2grid]\nx = {name}.plugin\n", encoding="utf-8")
    return [folder, project / "src"]


def run_tests(projects: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    """Run the tests of *projects* as they were written."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--import-mode=importlib"]
    words += ["--rootdir", projects[0].parent, "-c", projects[0] / "pyproject.toml"]
    path = os.pathsep.join(str(project / "src") for project in projects)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
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
    names = ("myplugin", "raw_floats", "sorted_units", "large_weights", "X101", '"tsv"')
    for path in heat.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [name for name in names if name in text], path
            assert "myplugin" not in str(path)
    assert os.access(heat / "ci.sh", os.X_OK)


def test_its_tests_pass_as_they_are_written(heat: Path) -> None:
    done = run_tests([heat])
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_kind_alone_is_a_project_whose_tests_pass(tmp_path: Path) -> None:
    assert set(KINDS) - set(HOOKS) == {"source", "decoder", "executor", "settings"}  # they need what a template does not have
    for kind in HOOKS:
        run = torch2grid("new-plugin", f"only-{kind}", "--kind", kind, "-o", "made", cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        source = tmp_path / "made" / f"torch2grid-only-{kind}" / "src" / f"torch2grid_only_{kind}"
        assert {path.stem for path in source.glob("*.py")} == {"__init__", "plugin", kind}
        assert f"`{kind}.py`" in (source.parents[1] / "README.md").read_text(encoding="utf-8")
    projects = sorted((tmp_path / "made").iterdir())
    done = run_tests(projects)
    assert done.returncode == 0, done.stdout + done.stderr
    words = [RUFF, "check", "--isolated", "--select", "E4,E7,E9,F,W", tmp_path / "made"]
    lint = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout


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
    assert "conv1.weight" in run("heat_map", DIGITS)
    run(DIGITS, "--heat-map", "--format", "heat_map")
    assert (tmp_path / "grids" / "heat_map.heat_map").read_text(encoding="utf-8").startswith("# Standard deviation")
    checked = torch2grid("check", DIGITS, "--rule", "heat_map:limit=0.1", "--select", "heat_map", cwd=tmp_path, path=path)
    assert "a weight of" in checked.stdout
    (tmp_path / "w.raw").write_bytes(b"RAWF32 fc.weight 2 2\n" + bytes(16))
    assert "fc.weight" in run("w.raw", "--stats")


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
