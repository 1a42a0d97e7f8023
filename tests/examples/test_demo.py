"""``torch2grid demo`` draws the committed checkpoints, at run time, on one scale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.renderers.pixels import all_framed

from torch2grid_core import Page, PluginManager, Settings, UsageError
from torch2grid_core.grids import NOT_FINITE
from torch2grid_core.pages import Output

PACKAGE = Path(__file__).resolve().parents[2] / "torch2grid_builtin" / "src" / "torch2grid_builtin"


@pytest.fixture
def manager() -> PluginManager:
    return PluginManager.discover(third_party=False)


@pytest.fixture
def pages(monkeypatch) -> list[Page]:
    """The pages that a run hands to its output, in order."""
    seen: list[Page] = []
    take = Output.take

    def spy(self, page, view, rendered):
        seen.append(page)
        take(self, page, view, rendered)

    monkeypatch.setattr(Output, "take", spy)
    return seen


def demo(*arguments: object, cwd: Path, package: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The installed command, with torch2grid_builtin from *package* where that is given."""
    env = {**os.environ, "PYTHONPATH": str(package or ""), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "torch2grid_core", "demo", *map(str, arguments)]
    return subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, timeout=120)


def state(stage: str) -> dict[str, torch.Tensor]:
    return torch.load(PACKAGE / "data" / f"digits_{stage}.pth", weights_only=True)


def flat(stage: str) -> np.ndarray:
    return np.concatenate([tensor.numpy().ravel() for tensor in state(stage).values()])


def test_it_prints_the_paths_of_pictures_and_one_summary_line(tmp_path):
    done = demo(cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert {Path("grids/demo_grid.png"), Path("grids/demo_kernels.png")} <= set(paths)
    for path in paths:
        with Image.open(tmp_path / path) as picture:
            assert min(picture.size) > 100
    (summary,) = done.stderr.splitlines()
    assert "digits_trained.pth" in summary
    assert "8 tensors, 9,258 parameters, float32" in summary
    index = json.loads((tmp_path / "grids" / "index.json").read_text())["files"]
    untrained, trained = index["demo_grid.png"]["heatmaps"]
    assert untrained["limits"] == trained["limits"]


def test_both_panels_hold_every_weight_on_one_scale(manager, pages, tmp_path):
    from torch2grid_builtin._commands.demo import draw_demo

    draw_demo(manager, Settings(output=str(tmp_path)))
    panels = pages[0].panels
    assert [panel.title for panel in panels] == ["untrained", "trained"]
    assert pages[0].columns == 2
    assert (panels[0].scale.low, panels[0].scale.high) == (panels[1].scale.low, panels[1].scale.high)
    for panel, stage in zip(panels, ("untrained", "trained"), strict=True):
        np.testing.assert_array_equal(np.sort(panel.grid.drawn()), np.sort(flat(stage)))
    assert panels[0].scale.high == pytest.approx(np.quantile(np.abs([flat("untrained"), flat("trained")]), 0.995), rel=0.01)


def test_each_kernel_is_a_tile(manager, pages, tmp_path):
    from torch2grid_builtin._commands.demo import draw_demo

    draw_demo(manager, Settings(output=str(tmp_path)))
    (page,) = [page for page in pages if page.name == "demo_kernels"]
    kernels = state("trained")["conv1.weight"].numpy()
    grid = page.panels[1].grid
    assert grid.shape == (15, 15)
    for unit in range(16):
        row, column = 4 * (unit // 4), 4 * (unit % 4)
        np.testing.assert_array_equal(grid.values[row : row + 3, column : column + 3], kernels[unit, 0])
    assert grid.weights == kernels.size


def test_a_nan_weight_changes_exactly_its_cell(tmp_path):
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package / "torch2grid_builtin", ignore=shutil.ignore_patterns("__pycache__"))
    before, after = tmp_path / "before", tmp_path / "after"
    assert demo("--plugin", "flatten", "-o", before, cwd=tmp_path, package=package).returncode == 0
    changed = state("trained")
    assert abs(changed["fc1.weight"][7, 40]) < 0.2  # not one of those beyond the colour limits, which would move them
    changed["fc1.weight"][7, 40] = float("nan")
    torch.save(changed, package / "torch2grid_builtin" / "data" / "digits_trained.pth")
    done = demo("--plugin", "flatten", "-o", after, cwd=tmp_path, package=package)
    assert done.returncode == 0, done.stderr

    one, two = (all_framed((folder / "demo_grid_flatten.png").read_bytes()) for folder in (before, after))
    side = 97  # cells a side for 9,258 weights
    sizes = {inside.shape for inside in (*one, *two)}
    ((high, wide, _),) = sizes
    assert high == wide
    assert high % side == 0
    np.testing.assert_array_equal(one[0], two[0])  # the untrained network is as it was
    size = high // side
    names = list(changed)
    index = sum(changed[name].numel() for name in names[: names.index("fc1.weight")]) + 7 * 128 + 40
    row, column = divmod(index, side)
    there = np.zeros((high, wide), dtype=bool)
    there[row * size : (row + 1) * size, column * size : (column + 1) * size] = True
    np.testing.assert_array_equal((one[1] != two[1]).any(axis=2), there)
    assert (two[1][there] == NOT_FINITE).all()


def test_the_transformer_asked_for_is_the_only_one(manager, tmp_path, capsys):
    from torch2grid_builtin._commands.demo import draw_demo

    draw_demo(manager, Settings(plugin="flatten", output=str(tmp_path), format="svg"))
    assert capsys.readouterr().out.split() == [str(tmp_path / "demo_grid_flatten.svg")]


def test_a_single_file_takes_the_grid(tmp_path):
    done = demo("-o", "one.png", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "one.png"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["one.png"]


def test_a_transformer_from_a_file_takes_the_default_place(tmp_path):
    file = PACKAGE.parents[2] / "examples" / "reversed_transformer.py"
    done = demo("--load-plugin", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == str(Path("grids/demo_grid_reversed.png"))


@pytest.mark.parametrize(("plugin", "colors"), [("flaten", None), ("flatten:sides=3", None), (None, "no_such_map")])
def test_a_wrong_name_is_an_error_and_draws_nothing(manager, tmp_path, plugin, colors):
    from torch2grid_builtin._commands.demo import draw_demo

    with pytest.raises(UsageError):
        draw_demo(manager, Settings(plugin=plugin, output=str(tmp_path / "out"), colormap=colors))
    assert not (tmp_path / "out").exists()
