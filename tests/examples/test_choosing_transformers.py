"""The examples that choose and that measure: what their pictures show, what is left out, and the kit's promises."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.attention_heads_transformer import AttentionHeads
from examples.ordered_by_norm import OrderedByNorm
from safetensors.numpy import save_file
from tests.support.tools import PROJECT, torch2grid

from torch2grid_core import NotDrawable
from torch2grid_core.testing import conformance

EXAMPLES = PROJECT / "examples"
Arrays = dict[str, np.ndarray]


def attention(folder: Path) -> list[Path]:
    """A checkpoint that the transformer is for."""
    save_file(a_model(), folder / "m.safetensors")
    return [folder / "m.safetensors"]


@conformance(AttentionHeads, samples=attention)
def test_attention_heads_conform(check: Callable[[], None]) -> None:
    check()


@conformance(OrderedByNorm)
def test_ordered_by_norm_conforms(check: Callable[[], None]) -> None:
    check()


def numbered(*shape: int, first: int = 1) -> np.ndarray:
    return np.arange(first, first + int(np.prod(shape)), dtype=np.float32).reshape(shape)


def a_model() -> Arrays:
    """Two heads of 4 rows, a model of 6; keys and values of one head."""
    q, k, v, o = (f"layers.0.self_attn.{each}_proj.weight" for each in "qkvo")
    return {
        "embed.weight": numbered(9, 6),
        q: numbered(8, 6),
        k: numbered(4, 6, first=100),
        v: numbered(4, 6, first=200),
        o: numbered(6, 8, first=300),
        "layers.0.self_attn.q_proj.bias": numbered(8),
        "layers.0.mlp.up_proj.weight": numbered(12, 6),
    }


@pytest.fixture
def model() -> Arrays:
    return a_model()


def panels(grid: Any, model: int, panels: int = 4) -> np.ndarray:
    """The rows below the label, as (panel, row, column)."""
    (((_, _, title, _),),) = (label.rects for label in grid.labels)
    rows = grid.values[title:]
    return np.stack([rows[:, place * (model + 1) :][:, :model] for place in range(panels)])


def test_each_head_is_q_k_v_and_o_side_by_side(model: Arrays) -> None:
    grid = AttentionHeads(heads=2)(model)
    q, k, v, o = (model[f"layers.0.self_attn.{each}_proj.weight"] for each in "qkvo")
    found = panels(grid, 6)
    pitch = 5  # an empty row between heads
    for head in range(2):
        rows = slice(head * pitch, head * pitch + 4)
        np.testing.assert_array_equal(found[0, rows], q[4 * head : 4 * head + 4])
        np.testing.assert_array_equal(found[3, rows], o[:, 4 * head : 4 * head + 4].T)
    np.testing.assert_array_equal(found[1, :4], k)
    np.testing.assert_array_equal(found[2, :4], v)
    assert not found[1:3, 4:].any()  # one head of keys and values for two of queries
    assert grid.weights == q.size + k.size + v.size + o.size
    assert [label.name for label in grid.labels] == ["layers.0.self_attn"]


def test_fused_matrices_become_three_panels_whichever_side_comes_first(model: Arrays) -> None:
    q, k, v, o = (numbered(6, 6, first=100 * place) for place in range(1, 5))
    fused = {"attention.qkv.weight": np.concatenate([q, k, v]), "attention.out_proj.weight": o}
    gpt2 = {"attn.c_attn.weight": np.concatenate([q, k, v]).T.copy(), "attn.c_proj.weight": o.T.copy()}
    packed = {"attn.in_proj_weight": np.concatenate([q, k, v]), "attn.out_proj.weight": o}
    first, *others = (AttentionHeads(heads=3)(each) for each in (fused, gpt2, packed))
    for other in others:
        np.testing.assert_array_equal(other.values, first.values)
    np.testing.assert_array_equal(panels(first, 6)[1, :2], k[:2])


def test_heads_that_do_not_divide_are_said_and_a_model_without_attention_is_declined(model: Arrays) -> None:
    with pytest.raises(NotDrawable, match="3 heads do not divide 8 rows"):
        AttentionHeads(heads=3)(model)
    with pytest.raises(NotDrawable, match="does not draw any of these 2 tensors"):
        AttentionHeads()({"mlp.c_proj.weight": numbered(3, 4), "attn.q_proj.bias": numbered(3)})


@pytest.mark.parametrize("max_cells", [64, 512, 2048])
def test_a_large_model_fits(max_cells: int) -> None:
    shapes = {}
    for layer in range(32):
        for name, rows in (("q", 4096), ("k", 1024), ("v", 1024), ("o", 4096)):
            shapes[f"layers.{layer}.self_attn.{name}_proj.weight"] = (rows, 4096)
    if max_cells == 64:  # 2048 heads of a row of cells each
        with pytest.raises(NotDrawable, match="do not fit 64 cells"):
            AttentionHeads().layout(shapes, max_cells)
        return
    layout = AttentionHeads().layout(shapes, max_cells).validate(shapes, max_cells)
    assert max(layout.shape) > max_cells // 2


def test_only_the_bytes_of_attention_matrices_are_read(tmp_path: Path, model: Arrays) -> None:
    path = tmp_path / "model.safetensors"
    save_file(model, path)
    words = ("--load-plugin", EXAMPLES / "attention_heads_transformer.py", "--plugin", "attention_heads:heads=2")
    done = torch2grid(path, *words, "-o", "heads.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "grid: 4 of 7 tensors, chosen by attention_heads" in done.stderr
    assert "is not streamed" not in done.stderr


def test_rows_come_by_norm_and_matrices_by_size() -> None:
    small, large = numbered(3, 4), 10 * numbered(2, 4)[::-1].copy()
    small[1] = 0.5
    grid = OrderedByNorm()({"small.weight": small, "bias": numbered(5), "large.weight": large})
    assert [region.name for region in grid.regions] == ["large.weight", "small.weight"]
    flat = grid.values[grid.counts > 0]
    rows = np.concatenate([large, small[[2, 0, 1]]])
    np.testing.assert_array_equal(flat, rows.reshape(-1))


def test_a_row_with_a_nan_comes_first() -> None:
    weights = numbered(4, 3)
    weights[2, 1] = np.nan
    values = OrderedByNorm()({"w": weights}).values.reshape(-1)
    assert np.isnan(values[1])
    assert values[0] == weights[2, 0]


def test_rows_of_very_many_stay_together() -> None:
    grid = OrderedByNorm()({"w": np.repeat(np.arange(50_000, dtype=np.float32), 2).reshape(50_000, 2)})
    assert len(grid.layout.blocks) <= 3 * 20_000
    assert grid.weights == 100_000
    assert grid.values.reshape(-1)[0] >= 49_997


def test_the_command_draws_it_and_counts_what_it_leaves_out(tmp_path: Path, model: Arrays) -> None:
    path = tmp_path / "model.safetensors"
    save_file(model, path)
    done = torch2grid(path, "--load-plugin", EXAMPLES / "ordered_by_norm.py", "-o", "ordered.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"grid: 6 of 7 tensors, chosen by ordered_by_norm", done.stderr)
    assert (tmp_path / "ordered.png").stat().st_size > 1000
