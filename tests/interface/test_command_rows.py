"""A test for each row of the command line's interface, of content: pictures are read back cell by cell."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.interface.digits import STATE, WEIGHTS, Array, spiral, square
from tests.support.interface.promised import COLUMN_MAJOR
from tests.support.interface.reading import assert_shows, entry, read_back
from tests.support.raster.reference import full_size
from tests.support.tools import DIGITS, torch2grid


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All views of the digits network, in one run."""
    folder = tmp_path_factory.mktemp("drawn")
    views = ("--grid", "--layers", "--histogram", "--conv", "--stats", "--dead-neurons")
    run = torch2grid(DIGITS, *views, cwd=folder)
    assert run.returncode == 0, run.stderr
    (folder / "stdout.txt").write_text(run.stdout, encoding="utf-8")
    return folder


def test_one_grid_of_all_weights(drawn: Path) -> None:
    assert_shows(drawn / "grids/neural_grid.png", drawn / "grids", square(WEIGHTS))


def test_plugin_flatten_draws_the_same_under_its_name(tmp_path: Path) -> None:
    assert torch2grid(DIGITS, "--plugin", "flatten", cwd=tmp_path).stdout == "grids/neural_grid_flatten.png\n"
    assert_shows(tmp_path / "grids/neural_grid_flatten.png", tmp_path / "grids", square(WEIGHTS))


@pytest.mark.parametrize("clockwise", [True, False])
def test_plugin_spiral_walks_out_from_the_centre(tmp_path: Path, clockwise: bool) -> None:
    run = torch2grid(DIGITS, "--plugin", f"spiral:clockwise={clockwise}", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    path = tmp_path / "grids/neural_grid_spiral.png"
    values, empty, _ = read_back(path, tmp_path / "grids")
    wanted = spiral(WEIGHTS, clockwise)
    # the walk may start in any of the four directions: the picture may be the reference turned
    assert any(matches(values, empty, np.rot90(wanted, quarter)) for quarter in range(4))


def matches(values: Array, empty: Array, wanted: Array) -> bool:
    """True where the picture is *wanted*, cell by cell, but for cells under labels and rows that hold nothing."""
    shown = np.isnan(wanted)
    held = np.argwhere(~shown)
    wanted = wanted[: held[:, 0].max() + 1, : held[:, 1].max() + 1]
    for top in range(values.shape[0] - wanted.shape[0] + 1):
        for left in range(values.shape[1] - wanted.shape[1] + 1):
            moved = np.full(values.shape, np.nan)
            moved[top : top + wanted.shape[0], left : left + wanted.shape[1]] = wanted
            seen = ~np.ma.getmaskarray(values)
            if seen.mean() < 0.9 or (np.isnan(moved) != empty.data)[seen].any():
                continue
            inside = seen & ~empty.data & np.isfinite(values.data)
            if np.abs(values.data[inside] - moved[inside]).max() < np.abs(values.data[inside]).max() / 64:
                return True
    return False


def test_plugin_normalized_maps_the_model_to_0_1(tmp_path: Path) -> None:
    assert torch2grid(DIGITS, "--plugin", "normalized", cwd=tmp_path).returncode == 0
    low, high = WEIGHTS.min(), WEIGHTS.max()
    assert_shows(tmp_path / "grids/neural_grid_normalized.png", tmp_path / "grids", square((WEIGHTS - low) / (high - low)))
    assert torch2grid(DIGITS, "--plugin", "normalized:per=tensor", "-o", "per", cwd=tmp_path).returncode == 0
    each = np.concatenate([((array - array.min()) / np.ptp(array)).reshape(-1) for array in STATE.values()])
    assert_shows(tmp_path / "per/neural_grid_normalized.png", tmp_path / "per", square(each))


@pytest.mark.parametrize("name", ["layer_weighted", "layer_separated"])
def test_plugins_that_place_layers_show_every_weight_in_its_place(tmp_path: Path, name: str) -> None:
    from torch2grid_core import PluginManager

    assert torch2grid(DIGITS, "--plugin", name, cwd=tmp_path).returncode == 0
    transformer = PluginManager.discover().create("transformer", name)
    layout = transformer.layout({key: array.shape for key, array in STATE.items()}, None)
    values, counts = full_size(layout, STATE)
    assert counts.sum() == len(WEIGHTS)
    assert_shows(
        tmp_path / f"grids/neural_grid_{name}.png", tmp_path / "grids", np.where(counts == 1, values, np.nan), hidden=0.1
    )
    if name == "layer_weighted":  # it must really differ from flatten
        assert (
            layout.blocks
            != PluginManager.discover()
            .create("transformer", "flatten")
            .layout({key: array.shape for key, array in STATE.items()}, None)
            .blocks
        )
        for region in layout.regions:
            cells = sum(height * width for _, _, height, width in region.rects)
            assert cells == pytest.approx(STATE[region.name].size, rel=0.35, abs=100)


def test_layers_show_rows_as_output_units(drawn: Path) -> None:
    for name, array in STATE.items():
        path = drawn / f"grids/layers/{name}.png"
        shown = entry(path, drawn / "grids")
        assert shown["about"]["tensor"] == name
        assert name in shown["title"]
        assert "×".join(map(str, array.shape)) in shown["title"]
        assert "float32" in shown["title"]
        rows, columns = shown["heatmaps"][0]["cells"]
        if array.ndim >= 2:
            expected = array.reshape(len(array), -1)
        else:
            expected = np.full(rows * columns, np.nan)
            expected[: array.size] = array
            expected = expected.reshape(rows, columns)
        assert_shows(path, drawn / "grids", expected)
    assert (drawn / "grids/layer_overview.png").is_file()
    overview = entry(drawn / "grids/layer_overview.png", drawn / "grids")
    assert overview["heatmaps"][0]["cells"] == [16, 9]
    assert len(overview["heatmaps"]) == len(STATE)


def test_histogram_files_and_names(drawn: Path) -> None:
    names = sorted(path.name for path in (drawn / "grids/histograms").iterdir())
    assert names == sorted(f"{name}_hist.png" for name in STATE)
    assert (drawn / "grids/histogram_overview.png").stat().st_size > 20_000


def test_histogram_bars_are_numpys(tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--histogram", "--format", "json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for name, array in STATE.items():
        document = json.loads((tmp_path / f"grids/histograms/{name}_hist.json").read_text())
        (panel,) = document["panels"]
        edges, counts = np.array(panel["edges"]), np.array(panel["counts"])
        np.testing.assert_array_equal(counts, np.histogram(array, edges)[0])
        assert panel["below"] + counts.sum() + panel["above"] == array.size
        told = " ".join(map(str, panel["summary"].values()))
        for figure in (array.mean(), array.std(), array.min(), array.max()):
            assert f"{figure:.4g}" in told.replace("−", "-"), (name, figure, told)


def test_conv_tiles_are_at_their_places(drawn: Path) -> None:
    assert sorted(path.name for path in (drawn / "grids/conv_kernels").iterdir()) == [
        "conv1.weight_grid.png",
        "conv2.weight_grid.png",
    ]
    values, empty, scale = read_back(drawn / "grids/conv_kernels/conv1.weight_grid.png", drawn / "grids")
    kernels = STATE["conv1.weight"][:, 0]
    tiles = tiles_of(~empty, 3)
    assert len(tiles) == 16  # reading order is the order of the output channels
    for (row, column), kernel in zip(tiles, kernels, strict=True):
        shown = np.clip(values[row : row + 3, column : column + 3], scale.low, scale.high)
        np.testing.assert_allclose(shown, np.clip(kernel, scale.low, scale.high), atol=(scale.high - scale.low) / 256)


def tiles_of(there: Array, size: int) -> list[tuple[int, int]]:
    """Corners of the *size*×*size* tiles, in reading order."""
    left = there.copy()
    corners = []
    for row, column in np.argwhere(there):
        if left[row, column]:
            assert there[row : row + size, column : column + size].all()
            left[row : row + size, column : column + size] = False
            corners.append((int(row), int(column)))
    return corners


def test_stats_table(drawn: Path) -> None:
    lines = (drawn / "stdout.txt").read_text(encoding="utf-8").splitlines()
    start = lines.index("Layer Statistics Comparison")
    assert lines[start + 1].split("  ")[0] == "Layer Name"
    assert lines[start + 1].split() == ["Layer", "Name", "Mean", "Std", "Min", "Max", "~Zero%"]
    rows = [line.split() for line in lines[start + 3 : start + 3 + len(STATE)]]
    for row, (name, array) in zip(rows, STATE.items(), strict=True):
        near = 100 * np.mean(np.abs(array) < 1e-6)
        figures = [f"{figure:.4f}" for figure in (array.mean(), array.std(), array.min(), array.max())]
        assert row == [name, *figures, f"{near:.2f}"]


def test_dead_neurons(tmp_path: Path) -> None:
    state = torch.load(DIGITS, weights_only=True)
    state["fc1.weight"][[3, 7]] = 0
    state["fc1.weight"][:, 100] = 1e-9
    state["conv2.weight"][5] = 0
    torch.save(state, tmp_path / "model.pth")
    run = torch2grid("model.pth", "--dead-neurons", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert {"grids/dead_neurons_report.json", "grids/dead_neurons_overview.png"} <= set(run.stdout.splitlines())
    report = json.loads((tmp_path / "grids/dead_neurons_report.json").read_text())
    text = json.dumps(report)
    by_name = {each["name"]: each for each in report["tensors"]}
    assert by_name["fc1.weight"]["dead_output_units"] == [3, 7], text
    assert by_name["fc1.weight"]["dead_input_units"] == [100]
    assert by_name["conv2.weight"]["dead_output_units"] == [5]
    assert by_name["fc2.weight"]["dead_output_units"] == []
    assert not any(name.endswith("bias") for name in by_name)
    assert re.search(r"^fc1\.weight .* 2 ", run.stdout, flags=re.MULTILINE)
    quiet = torch2grid("model.pth", "--dead-neurons", "--threshold", "0", "-o", "none", cwd=tmp_path)
    report = json.loads((tmp_path / "none/dead_neurons_report.json").read_text())
    assert all(not each["dead_output_units"] for each in report["tensors"]), quiet.stdout


def test_list_plugins_names_the_five_with_a_line_each(tmp_path: Path) -> None:
    lines = torch2grid("--list-plugins", cwd=tmp_path).stdout.splitlines()
    for name in ("flatten", "spiral", "normalized", "layer_weighted", "layer_separated"):
        assert any(re.match(rf" +{name} +\w.{{8}}", line) for line in lines), name


def test_a_transformer_file_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(COLUMN_MAJOR, encoding="utf-8")
    listed = torch2grid("--list-plugins", "--load-plugin", "mine.py", cwd=tmp_path).stdout
    assert re.search(r"column_major +weights down the columns", listed)
    assert "spiral" in listed  # as well as the installed ones
    weights = np.concatenate([array.reshape(-1) for name, array in STATE.items() if "weight" in name])
    side = math.ceil(math.sqrt(len(weights)))
    expected = np.zeros(side * side)
    expected[: len(weights)] = weights
    for words in (("--plugin", "column_major"), ()):  # the only one that the file brings needs no name
        run = torch2grid(DIGITS, "--load-plugin", "mine.py", *words, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        path = tmp_path / run.stdout.strip()
        assert path.name.startswith("neural_grid")
        assert_shows(path, tmp_path / "grids", expected.reshape(side, side).T)


def test_colormap_limits_and_scale_are_followed(tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--colormap", "coolwarm", "--limits=-0.3,0.3", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert entry(tmp_path / "grids/neural_grid.png", tmp_path / "grids")["heatmaps"][0]["limits"] == [-0.3, 0.3]
    assert_shows(tmp_path / "grids/neural_grid.png", tmp_path / "grids", square(WEIGHTS), "coolwarm")
    assert torch2grid(DIGITS, "--scale", "asinh", "-o", "log", cwd=tmp_path).returncode == 0
    assert_shows(tmp_path / "log/neural_grid.png", tmp_path / "log", square(WEIGHTS))


def test_reductions_are_of_the_weights_of_a_cell(tmp_path: Path) -> None:
    for reduce, function in {
        "mean": np.mean,
        "absmax": lambda each: np.abs(each).max(),
        "rms": lambda each: np.sqrt(np.mean(each**2)),
        "min": np.min,
        "max": np.max,
    }.items():
        run = torch2grid(DIGITS, "--max-cells", "16", "--reduce", reduce, "-o", reduce, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        told = entry(tmp_path / reduce / "neural_grid.png", tmp_path / reduce)["heatmaps"][0]
        rows, columns = told["cells"]
        assert max(rows, columns) <= 16
        taken = told["cell"][0] * told["cell"][1]
        cells = [
            function(array.reshape(-1)[start : start + taken])
            for array in STATE.values()
            for start in range(0, array.size, taken)
        ]
        expected = np.full(rows * columns, np.nan)
        expected[: len(cells)] = cells
        assert_shows(tmp_path / reduce / "neural_grid.png", tmp_path / reduce, expected.reshape(rows, columns))
