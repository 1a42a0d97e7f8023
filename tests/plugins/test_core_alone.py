"""The core without the built-ins: it says what is missing, and any distribution can stand in for them."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, PROJECT, distribution

TOY = '''
"""A whole torch2grid of its own: text files of numbers, a transformer, a view and a renderer."""
from dataclasses import dataclass
import numpy as np
from torch2grid_core import Checkpoint, GridTransformer, LazyTensor, Loader, Page, Renderer, View, hookimpl
from torch2grid_core.measures import Transformed
from torch2grid_core.sources import BytesStorage

class ToyLoader(Loader):
    "lines of name: numbers"
    name = "toy"
    def sniff(self, source):
        return 2 if source.head.startswith(b"TOY") else 0
    def load(self, source):
        lines = source.read(0, source.size).decode().splitlines()[1:]
        tensors = []
        for line in lines:
            name, numbers = line.split(":")
            values = np.array(numbers.split(), np.float32)
            tensors.append(LazyTensor(name, values.shape, values.dtype, BytesStorage(values)))
        return Checkpoint(tensors, source=source.shown, format="toy")

class Column(GridTransformer):
    "all in one column"
    name = "column"
    def transform(self, tensors):
        return np.concatenate(list(tensors.values())).reshape(-1, 1)

class ToyView(View):
    "the column"
    name = "toy"
    default_format = "num"
    def needs(self, checkpoint, run):
        return {"grid": Transformed(run.transformer)}
    def pages(self, checkpoint, results, run):
        yield Page("column", "A column", (run.heatmap(results["grid"]),))

class Numbers(Renderer):
    "plain numbers"
    name = "numbers"
    formats = ("num",)
    def render(self, page, target, style, format):
        for row in page.panels[0].grid.values:
            target.write(" ".join(f"{value:g}" for value in row).encode() + b"\\n")

@hookimpl
def torch2grid_loaders(): return [ToyLoader]
@hookimpl
def torch2grid_transformers(): return [Column]
@hookimpl
def torch2grid_views(): return [ToyView]
@hookimpl
def torch2grid_renderers(): return [Numbers]
'''


@pytest.fixture(scope="module")
def core_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the import path with the core, what it depends on, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("core_only")
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.lower().startswith(("torch2grid", "_torch2grid", "torch-", "__editable__", "_editable")):
            (folder / entry.name).symlink_to(entry)
    (folder / "torch2grid_core").symlink_to(PROJECT / "torch2grid_core" / "src" / "torch2grid_core")
    info = folder / "torch2grid_core-0.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch2grid-core\nVersion: 0.2.0\n", encoding="utf-8")
    return folder


def run(path: list[Path], *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = "import sys; from torch2grid_core._cli.main import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-S", "-c", script, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_core_alone_says_which_package_brings_loaders(core_only: Path, tmp_path: Path) -> None:
    result = run([core_only], DIGITS, cwd=tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "no loader is installed" in line
    assert "pip install torch2grid brings" in line
    assert run([core_only], "--help", cwd=tmp_path).returncode == 0
    listed = run([core_only], "plugins", cwd=tmp_path)
    assert (listed.returncode, "pip install torch2grid brings" in listed.stdout) == (0, True)


def test_one_distribution_is_enough_to_draw(core_only: Path, tmp_path: Path) -> None:
    toy = distribution(tmp_path / "site", "t2g-toy", TOY)
    (tmp_path / "x.toy").write_text("TOY\na: 1 2 3\nb: -4\n", encoding="utf-8")
    result = run([core_only, toy], "x.toy", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "grids/column.num\n"
    assert (tmp_path / "grids/column.num").read_text() == "1\n2\n3\n-4\n"
    assert "x.toy: toy, 2 tensors, 4 parameters, float32" in result.stderr
