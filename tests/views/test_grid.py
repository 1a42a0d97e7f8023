"""The grid view: its need, its names and titles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tests.support.views.drawing import checkpoint_of, draw

import torch2grid as t2g
from torch2grid_builtin._transformers.atlas import Atlas
from torch2grid_builtin._transformers.flatten import Flatten, Spiral
from torch2grid_builtin._transformers.layer_separated import LayerSeparated
from torch2grid_builtin._views.grid import GridView
from torch2grid_builtin._views.layers import LayersView
from torch2grid_core import GridTransformer, Settings
from torch2grid_core.pages import Heatmap

ARRAYS = {"fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "fc.bias": -np.arange(4, dtype=np.float32)}


@dataclass(frozen=True)
class Negated(GridTransformer):
    """A plain transformer."""

    name = "negated"

    def transform(self, tensors):
        return -np.concatenate([array.ravel() for array in tensors.values()]).reshape(4, 4)


def test_the_default_is_all_weights_in_order():
    page = draw(GridView(), checkpoint_of(ARRAYS, source="/some/folder/model.pth"), Settings(transformer=Flatten()))[
        "neural_grid"
    ]
    (panel,) = page.panels
    assert isinstance(panel, Heatmap)
    assert panel.boundaries
    assert panel.labels
    assert panel.grid.weights == 16
    np.testing.assert_array_equal(panel.grid.values.ravel(), np.concatenate([array.ravel() for array in ARRAYS.values()]))
    assert page.title == "model.pth · 16 weights · flatten"
    assert page.folder == ""


def test_the_title_counts_the_weights_that_are_in_the_picture(tmp_path):
    file = tmp_path / "training.pth"
    tied = torch.arange(6.0).reshape(2, 3)
    model = {"a.weight": tied, "b.weight": tied, "c.weight": torch.ones(4, 1).expand(4, 5), "c.bias": torch.ones(3)}
    torch.save(
        {"model": model, "optimizer": {"state": {0: {"exp_avg": torch.ones(2, 3)}}, "param_groups": [{"params": [0]}]}}, file
    )
    for options, weights in (
        ({}, 13),
        ({"part": "optimizer"}, 6),
        ({"part": "all"}, 19),
        ({"only": "b.*"}, 6),
        ({"only": "c.*"}, 7),
    ):
        page = t2g.grid(file, **options)[0]
        assert page.panels[0].grid.weights == weights
        assert f" · {weights} weights · " in page.title


@pytest.mark.parametrize("transformer", [None, Flatten()])
def test_without_a_choice_the_name_has_no_suffix(transformer):
    assert list(draw(GridView(), ARRAYS, Settings(transformer=transformer))) == ["neural_grid"]


def test_a_chosen_transformer_names_the_file():
    run = Settings(transformer=Negated(), transformer_name="negated")
    pages = draw(GridView(), ARRAYS, run)
    assert list(pages) == ["neural_grid_negated"]
    (panel,) = pages["neural_grid_negated"].panels
    assert panel.grid.values[0, 1] == -1
    assert "negated" in pages["neural_grid_negated"].title


def test_the_users_title_scale_and_size_count():
    arrays = {"w": np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32)}
    run = Settings(title="My network", limits=(-2, 2), reduce="absmax", max_cells=10)
    page = draw(GridView(), arrays, run)["neural_grid"]
    assert page.title == "My network"
    (panel,) = page.panels
    assert max(panel.grid.shape) <= 10
    assert (panel.scale.low, panel.scale.high) == (-2, 2)
    assert panel.label == panel.grid.cell_text() == "absmax of 1×100 weights"


def test_names_from_files_are_made_visible():
    page = draw(GridView(), checkpoint_of(ARRAYS, source="/tmp/\x1b[31mmodel.pth"))["neural_grid"]
    assert page.title.startswith("\\x1b[31mmodel.pth · ")


def small_convolutional_network():
    """Kernels of ±0.1, and 3 % of the weights normalisations and running statistics of another size."""
    generator = np.random.default_rng(0)
    arrays = {}
    for layer in range(6):
        arrays[f"{layer}.conv.weight"] = generator.uniform(-0.1, 0.1, (32, 32, 1, 1)).astype(np.float32)
        arrays[f"{layer}.bn.weight"] = np.ones(32, np.float32)
        arrays[f"{layer}.bn.running_var"] = np.full(32, 300, np.float32)
    return arrays


@pytest.mark.parametrize("transformer", [Flatten(), Spiral(), Atlas(), LayerSeparated()])
def test_normalisations_do_not_make_kernels_pale(transformer):
    (panel,) = draw(GridView(), small_convolutional_network(), Settings(transformer=transformer))["neural_grid"].panels
    assert 0.09 < panel.scale.high <= 0.1
    assert panel.scale.low == -panel.scale.high
    assert panel.scale.over == pytest.approx(64 / 1088, rel=0.1)  # said, of all cells


def test_limits_are_of_all_cells_where_that_is_alike_or_asked_for():
    arrays = small_convolutional_network()
    (panel,) = draw(GridView(), arrays, Settings(limits=(-1, 1)))["neural_grid"].panels
    assert (panel.scale.low, panel.scale.high) == (-1, 1)
    (panel,) = draw(GridView(), arrays, Settings(scale="asinh"))["neural_grid"].panels
    assert panel.scale.kind == "asinh"
    alike = {name: array if array.ndim > 1 else array * 0.15 / array.max() for name, array in arrays.items()}
    (panel,) = draw(GridView(), alike)["neural_grid"].panels
    assert panel.scale.high == np.float32(0.15)
    vectors = {name: array for name, array in arrays.items() if array.ndim == 1}
    (panel,) = draw(GridView(), vectors)["neural_grid"].panels
    assert panel.scale.high == 300
    plain = {"fc.weight": np.ones((2, 2)), "x": np.full(12, 300.0)}  # a transformer that does not say where weights go
    (panel,) = draw(GridView(), plain, Settings(transformer=Negated()))["neural_grid"].panels
    assert panel.scale == Settings().color_scale(panel.grid)


def larger_head(factor):
    generator = np.random.default_rng(4)
    arrays = {f"h.{layer}.w": generator.standard_normal((40, 40)).astype(np.float32) for layer in range(6)}
    return arrays | {"head.weight": (factor * generator.standard_normal((60, 40))).astype(np.float32)}


@pytest.mark.parametrize("reduce", ["mean", "absmax"])
def test_a_head_that_is_much_larger_leaves_no_layer_pale(reduce):
    run = Settings(reduce=reduce, max_cells=70)
    panel = draw(GridView(), larger_head(30), run)["neural_grid"].panels[0]
    assert panel.scale.kind == "asinh"
    shares = panel.scale.fraction(np.abs(panel.grid.drawn()))
    middle = 0.5 if panel.scale.diverging else 0.0
    assert np.median(shares) - middle > 0.1 * (1 - middle)
    assert panel.scale.over < 0.01  # and the head is not beyond it
    for asked in (replace(run, scale="symmetric"), replace(run, limits=(-1.0, 1.0))):
        assert draw(GridView(), larger_head(30), asked)["neural_grid"].panels[0].scale.kind == "linear"
    assert draw(GridView(), larger_head(2), run)["neural_grid"].panels[0].scale.kind == "linear"


def test_one_layer_that_exploded_leaves_the_others_of_its_column_readable():
    generator = np.random.default_rng(5)
    arrays = {f"h.{layer}.w": generator.standard_normal((200, 90)).astype(np.float32) for layer in range(8)}
    arrays["h.5.w"] *= 40
    page = draw(LayersView(), arrays)["layer_overview"]
    assert "asinh" in page.column_notes[0]
    for panel in page.panels:
        assert np.median(panel.scale.fraction(panel.grid.drawn())) > 0.2
    arrays["h.5.w"] /= 20
    assert "linear" in draw(LayersView(), arrays)["layer_overview"].column_notes[0]


def test_a_picture_says_that_codes_set_no_limits():
    rng = np.random.default_rng(0)
    arrays = {
        "fc.weight": rng.normal(0, 0.02, (64, 64)).astype(np.float32),
        "fc2.qweight": rng.integers(-127, 128, (64, 64)).astype(np.int8),
        "fc2.scales": rng.normal(0, 0.02, (64,)).astype(np.float32),
    }
    (panel,) = draw(GridView(), arrays)["neural_grid"].panels
    assert panel.scale.high < 1
    assert any("of codes and scales may lie beyond" in note for note in panel.grid.notes)
    (plain,) = draw(GridView(), {"fc.weight": arrays["fc.weight"]})["neural_grid"].panels
    assert not plain.grid.notes
    (asked,) = draw(GridView(), arrays, Settings(limits=(-1, 1)))["neural_grid"].panels
    assert not asked.grid.notes
