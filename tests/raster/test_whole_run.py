"""Whole runs of the command: single weights that must be seen, layouts that are wrong, plain transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.renderers.pixels import framed
from tests.support.tools import torch2grid

from torch2grid_core.grids import EMPTY, NOT_FINITE


@pytest.mark.parametrize("transformer", ["flatten", "atlas", "hilbert"])
def test_one_nan_and_one_outlier_are_seen_and_hide_nothing(tmp_path: Path, transformer: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"layers.{index}.weight": rng.standard_normal((800, 700), dtype=np.float32) * np.float32(0.02) for index in range(4)
    }
    arrays["layers.1.weight"][321, 234] = np.nan
    arrays["layers.2.weight"][456, 345] = 50.0
    save_file(arrays, tmp_path / "model.safetensors")
    run = torch2grid("model.safetensors", "--plugin", transformer, "--max-cells", "500", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (entry,) = json.loads((tmp_path / "grids/index.json").read_text())["files"][f"neural_grid_{transformer}.png"]["heatmaps"]
    assert entry["weights"] == 4 * 800 * 700
    assert entry["largest"] == {
        "tensor": "layers.2.weight",
        "index": 456 * 700 + 345,
        "value": 50.0,
        "cell": entry["largest"]["cell"],
    }
    assert entry["limits"][1] < 0.1
    png = (tmp_path / f"grids/neural_grid_{transformer}.png").read_bytes()
    if transformer == "flatten":  # without names on the cells, each can be read back, from its pixel that no line covers
        inside = framed(png)
        factor = len(inside) // entry["cells"][0]
        colors = inside[factor - 1 :: factor, factor - 1 :: factor]
        assert colors.shape == (*entry["cells"], 3)
        bad = (colors == NOT_FINITE).all(axis=2)
        assert np.count_nonzero(bad) == 1
        rest = colors[~bad & (colors != EMPTY).any(axis=2)]
        assert len(np.unique(rest, axis=0)) > 100
        row, column = entry["largest"]["cell"]
        (nan_cell,) = np.argwhere(bad)
        cells = -(-800 * 700 // np.prod(entry["cell"]))  # of each tensor
        assert row * entry["cells"][1] + column == 2 * cells + (456 * 700 + 345) // np.prod(entry["cell"])
        assert nan_cell[0] * entry["cells"][1] + nan_cell[1] == cells + (321 * 700 + 234) // np.prod(entry["cell"])


WRONG = """
from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block

class Wrong(LayoutTransformer):
    "a layout with a mistake"
    name = "wrong"
    def layout(self, shapes, max_cells):
        blocks = []
        for place, (name, shape) in enumerate(shapes.items()):
            blocks.append(Block(name, 0, {row}, 0, ((shape[0], 1, 0), (shape[1], 0, 1))))
        return {result}
"""
GOOD = "Layout(20, 8, (1, 1), tuple(blocks))"


@pytest.mark.parametrize(
    ("row", "result", "told"),
    [
        ("10 * place", GOOD, ""),
        ("9 * place", GOOD, "two weights in one place"),
        ("11 * place", GOOD, "covers rows 11–20, columns 0–7 of a grid of 20×8"),
        ("10 * place", "Layout(20, 8, (1, 1), tuple(blocks[:1]))", "'b' has 80 weights, 0 have a place"),
        ("10 * place", "Layout(20, 8, (4, 1), tuple(blocks))", "'a' and 'b' share a cell"),
        ("10 * place", "Layout(9000, 8, (1, 1), tuple(blocks))", "at most 2048 a side are allowed"),
        ("10 * place", "None", "layout returned None, not a Layout; is a 'return' missing?"),
        ("1 / 0", GOOD, "ZeroDivisionError"),
    ],
)
def test_a_wrong_layout_is_one_line_that_names_its_author(tmp_path: Path, row: str, result: str, told: str) -> None:
    save_file({name: np.ones((10, 8), np.float32) for name in "ab"}, tmp_path / "model.safetensors")
    (tmp_path / "wrong.py").write_text(WRONG.replace("{row}", row).replace("{result}", result), encoding="utf-8")
    run = torch2grid("model.safetensors", "--load-plugin", "wrong.py", "--plugin", "wrong", cwd=tmp_path)
    if not told:
        assert run.returncode == 0, run.stderr
        return
    assert run.returncode == 1
    (line,) = run.stderr.strip().splitlines()
    assert told in line
    assert "wrong" in line
    assert not list(tmp_path.glob("grids/*.png"))


def test_a_plain_array_is_reduced_like_a_layout(tmp_path: Path) -> None:
    weights = np.random.default_rng(1).standard_normal((300, 400), dtype=np.float32)
    save_file({"w": weights}, tmp_path / "model.safetensors")
    (tmp_path / "whole.py").write_text(
        """
from torch2grid_core import GridTransformer

class Whole(GridTransformer):
    "the matrix as it is"
    name = "whole"
    def transform(self, tensors):
        return tensors["w"]
""",
        encoding="utf-8",
    )
    words = ["model.safetensors", "--load-plugin", "whole.py", "--plugin", "whole", "--max-cells", "100", "--reduce", "absmax"]
    run = torch2grid(*words, "--format", "json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    (entry,) = json.loads((tmp_path / "grids/index.json").read_text())["files"]["neural_grid_whole.json"]["heatmaps"]
    assert (entry["cells"], entry["cell"], entry["weights"]) == ([100, 100], [3, 4], 120_000)
    assert entry["reduce"] == "absmax"
    limit = np.quantile(np.abs(weights).reshape(100, 3, 100, 4).max(axis=(1, 3)), 0.995)
    assert entry["limits"][1] == pytest.approx(limit, rel=1e-2)
