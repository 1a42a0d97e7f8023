"""Every import of the interface, by its content."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.interface.digits import SIDE, STATE, WEIGHTS, square
from tests.support.interface.promised import COLUMN_MAJOR
from tests.support.interface.reading import assert_shows
from tests.support.tools import DIGITS

import torch2grid as t2g
from torch2grid.conv_visualizer import visualize_all_conv_layers
from torch2grid.histogram import compare_layer_statistics, create_histogram_overview, visualize_all_histograms
from torch2grid.inspector import inspect_torch_object
from torch2grid.interactive import interactive_mode
from torch2grid.layer_visualizer import create_layer_overview, visualize_layers
from torch2grid.loader import load_torch_model
from torch2grid.plugins import PluginRegistry, TransformerPlugin, get_registry
from torch2grid.plugins.builtin import (
    FlattenTransformer,
    LayerSeparatedTransformer,
    LayerWeightedTransformer,
    NormalizedTransformer,
    SpiralTransformer,
)
from torch2grid.transformer import to_neutral_grid
from torch2grid.visualizer import visualize_grid
from torch2grid_core import PluginManager, UsageError


@pytest.fixture
def tensors() -> Iterator[object]:
    return inspect_torch_object(load_torch_model(DIGITS))


def test_the_mapping_behaves_as_a_dict_of_arrays(tensors) -> None:
    assert list(tensors) == list(STATE)
    for name, array in tensors.items():
        assert array.dtype == np.float32
        assert array.shape == STATE[name].shape
        np.testing.assert_array_equal(array.flatten(), STATE[name].flatten().astype(np.float32))
    live = torch.load(DIGITS, weights_only=True)
    again = inspect_torch_object(live)
    np.testing.assert_array_equal(again["fc1.weight"], tensors["fc1.weight"])


def test_layers_histograms_and_kernels_are_written_where_asked(tensors, tmp_path: Path) -> None:
    paths = visualize_layers(tensors, output_dir=tmp_path / "layers")
    assert [path.name for path in paths] == [f"{name}.png" for name in STATE]
    assert_shows(paths[4], tmp_path / "layers", STATE["fc1.weight"])
    assert create_layer_overview(tensors, output_path=tmp_path / "deep/overview.png").read_bytes()[:4] == b"\x89PNG"
    paths = visualize_all_histograms(tensors, output_dir=tmp_path / "hist")
    assert [path.name for path in paths] == [f"{name}_hist.png" for name in STATE]
    assert create_histogram_overview(tensors, output_path=tmp_path / "h.svg").read_text().startswith("<?xml")
    paths = visualize_all_conv_layers(tensors, output_dir=tmp_path / "conv")
    assert [path.name for path in paths] == ["conv1.weight_grid.png", "conv2.weight_grid.png"]
    with pytest.raises(UsageError):
        visualize_layers(tensors, output_dir=tmp_path / "x", colour="red")


def test_the_table_is_printed(tensors, capsys: pytest.CaptureFixture[str]) -> None:
    compare_layer_statistics(tensors)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Layer Statistics Comparison"
    assert lines[1].split() == ["Layer", "Name", "Mean", "Std", "Min", "Max", "~Zero%"]
    assert len(lines) == 3 + len(STATE)
    assert lines[3].split()[1] == f"{STATE['conv1.weight'].mean():.4f}"


def test_the_neutral_grid(tensors) -> None:
    grid = to_neutral_grid(tensors)
    assert grid.shape == (SIDE, SIDE)
    np.testing.assert_array_equal(grid, np.nan_to_num(square(WEIGHTS)).astype(np.float32))
    assert to_neutral_grid(tensors, plugin_name="layer_separated").shape != grid.shape
    with pytest.raises(UsageError, match="did you mean 'spiral'"):
        to_neutral_grid(tensors, plugin_name="spirla")


def test_any_array_is_drawn(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 12).reshape(3, 4)
    path = visualize_grid(values, title="Twelve $numbers$", output_dir=tmp_path)
    assert path == tmp_path / "neural_grid.png"
    assert_shows(path, tmp_path, values)
    with pytest.raises(ValueError, match="two dimensions"):
        visualize_grid(np.zeros(3), output_dir=tmp_path)


def test_builtin_transformers_are_callable_on_arrays(tensors) -> None:
    for cls in (
        FlattenTransformer,
        SpiralTransformer,
        NormalizedTransformer,
        LayerWeightedTransformer,
        LayerSeparatedTransformer,
    ):
        plugin = cls()
        assert isinstance(plugin, TransformerPlugin)
        assert plugin.description
        grid = plugin(tensors)
        assert grid.weights == len(WEIGHTS)


def test_the_registry(tmp_path: Path, tensors) -> None:
    registry = PluginRegistry(PluginManager.discover(third_party=False))
    assert {"flatten", "spiral", "normalized", "layer_weighted", "layer_separated"} <= set(registry.list_plugins())
    (tmp_path / "mine.py").write_text(COLUMN_MAJOR, encoding="utf-8")
    assert registry.load_from_file(tmp_path / "mine.py") == ["column_major"]
    drawn = registry.get("column_major")(tensors)
    assert drawn[1, 0] == tensors["conv1.weight"].flatten()[1]

    class Constant(TransformerPlugin):
        name = "constant"

        def transform(self, tensors):
            return np.ones((2, 2))

    registry.register(Constant())
    assert registry.list_plugins()["column_major"] == "weights down the columns"
    np.testing.assert_array_equal(registry.get("constant")(tensors), np.ones((2, 2)))
    with pytest.raises(UsageError, match="unknown transformer 'nothing'"):
        registry.get("nothing")
    assert get_registry() is get_registry()


def test_interactive_mode_from_python(tensors, tmp_path: Path, monkeypatch, capsys) -> None:
    answers = iter(["fc1.*", "y", "quit"])
    monkeypatch.setattr(builtins, "input", lambda prompt: next(answers))
    interactive_mode(tensors, output_dir=tmp_path)
    told = capsys.readouterr().out
    assert "Matched 2 layer(s):" in told
    assert sorted(path.name for path in (tmp_path / "layers").glob("*.png")) == ["fc1.bias.png", "fc1.weight.png"]


def test_the_new_api_takes_anything_and_saves_anything(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(5, 6))
    for model in (DIGITS, str(DIGITS), t2g.load(DIGITS), module, module.state_dict()):
        pages = t2g.grid(model)
        assert pages.grid.weights == t2g.load(model).parameters
        assert np.asarray(pages).shape == pages.grid.shape
    assert t2g.grid(DIGITS, plugin="spiral").save(tmp_path / "s.svg") == [tmp_path / "s.svg"]
    assert len(t2g.layers(DIGITS).save(tmp_path / "out", format="png,svg")) == 2 * 9
    kernels = t2g.conv(DIGITS)
    assert [page.name for page in kernels] == ["conv1.weight_grid", "conv2.weight_grid"]
    assert kernels["conv2.weight_grid"] is kernels[1]
    with pytest.raises(KeyError, match=r"no page 'conv3'; there are: conv1\.weight_grid, conv2\.weight_grid"):
        kernels["conv3"]
    assert "histogram_overview" in [page.name for page in t2g.histograms(module)]
    table = t2g.stats(DIGITS, detail=True)
    assert "Layer Statistics Comparison" in str(table)
    assert "<table" in table._repr_html_()
    assert t2g.grid(module)._repr_png_().startswith(b"\x89PNG")
    report = t2g.dead_neurons({"w.weight": np.zeros((3, 4), np.float32)})
    assert "dead_neurons_report" in [page.name for page in report]
    with pytest.raises(UsageError, match="a path, a module, a state dict or a Checkpoint is needed, not int"):
        t2g.grid(5)


def test_no_public_function_has_the_name_of_a_submodule() -> None:
    folder = Path(t2g.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    assert not modules & set(t2g.__all__)
    assert (folder / "py.typed").is_file()


def test_a_table_is_saved_as_csv_where_nothing_else_is_said(tmp_path: Path) -> None:
    """A folder takes tables, too, and nothing that was to be written is lost without a word."""
    pages = t2g.stats(DIGITS, jobs=1)
    assert pages.save(tmp_path / "plain") == [tmp_path / "plain" / "stats.csv"]
    assert pages.save(tmp_path / "s.csv") == [tmp_path / "s.csv"]
    assert (tmp_path / "plain" / "stats.csv").read_bytes() == (tmp_path / "s.csv").read_bytes()
    assert pages.save(tmp_path / "data", format="json") == [tmp_path / "data" / "stats.json"]
    written = t2g.dead_neurons(DIGITS, jobs=1).save(tmp_path / "units")
    assert {"dead_neurons.csv", "dead_neurons_report.json"} <= {path.name for path in written}
    assert [path.suffix for path in t2g.grid(DIGITS, jobs=1).save(tmp_path / "grid")] == [".png"]
    with pytest.raises(UsageError, match="nothing was drawn as png, svg; a table takes csv, json or html"):
        pages.save(tmp_path / "pictures", format="png,svg")
    assert not (tmp_path / "pictures").exists()
