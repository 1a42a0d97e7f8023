"""The plugin template as a user has it, found by its entry point, and the bare class in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torch2grid_core import PluginManager

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # a dependency of pytest there

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "examples" / "plugin_template"
REVERSED = ROOT / "examples" / "reversed_transformer.py"
Done = subprocess.CompletedProcess[str]
TRAINED = ROOT / "torch2grid_builtin" / "src" / "torch2grid_builtin" / "data" / "digits_trained.pth"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """The environment of a Python in which the template is installed: its source, and the metadata that pip would write."""
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / "torch2grid_myplugin-{version}.dist-info".format(**project)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".format(**project))
    entries = project["entry-points"]["torch2grid"].items()
    (info / "entry_points.txt").write_text("[torch2grid]\n" + "".join(f"{name} = {value}\n" for name, value in entries))
    path = os.pathsep.join([str(site), str(TEMPLATE / "src")])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def torch2grid(
    *arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "torch2grid_core", *map(str, arguments)]
    return subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_its_own_tests_pass(installed):
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        TEMPLATE / "pyproject.toml",
        TEMPLATE / "tests",
    ]
    done = subprocess.run([*map(str, words)], env=installed, cwd=TEMPLATE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    assert "skipped" not in done.stdout


def test_torch2grid_draws_with_it(installed, tmp_path):
    done = torch2grid(TRAINED, "--plugin", "sorted_units:weakest_first=true", env=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == Path("grids/neural_grid_sorted_units.png")
    entry = json.loads((tmp_path / "grids" / "index.json").read_text())["files"]["neural_grid_sorted_units.png"]
    # conv1 (16 × 9), conv2 (32 × 144), fc1 (32 × 128), fc2 (10 × 32) in bands with a row between
    assert entry["heatmaps"][0]["cells"] == [16 + 32 + 32 + 10 + 3, 144]
    assert entry["heatmaps"][0]["weights"] == 16 * 9 + 32 * 144 + 32 * 128 + 10 * 32


def test_plugins_names_its_distribution_version_and_option(installed):
    done = torch2grid("plugins", "sorted_units", "--json", env=installed)
    (record,) = json.loads(done.stdout)
    assert (record["distribution"], record["version"], record["status"]) == ("torch2grid-myplugin", "0.1.0", "ok")
    (provided,) = record["provides"]
    assert provided["kind"] == "transformer"
    (option,) = provided["options"]
    assert (option["name"], option["default"]) == ("weakest_first", False)
    assert option["help"]


def test_the_versions_in_the_template_agree():
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = (TEMPLATE / "src" / "torch2grid_myplugin" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{project["version"]}"' in source


def test_a_bare_class_in_a_file_draws_without_a_hook(tmp_path):
    done = torch2grid(TRAINED, "--load-plugin", REVERSED, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name == "neural_grid_reversed.png"
    assert (tmp_path / "neural_grid_reversed.png").stat().st_size > 1000


def test_reversed_puts_the_last_weight_first():
    manager = PluginManager.discover(third_party=False, files=[str(REVERSED)])
    tensors = {"a": np.arange(3, dtype=np.float32), "b": np.arange(3, 7, dtype=np.float32).reshape(2, 2)}
    grid = manager.create("transformer", "reversed")(tensors)
    assert grid.values.tolist() == [[6, 5, 4], [3, 2, 1], [0, 0, 0]]
    assert grid.count.tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]
