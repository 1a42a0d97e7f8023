"""The experts of mixtures in every layout: as numpy finds them of whole matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.support.corpus import cases, needs_cases
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._experts.figures import ExpertFigures, Experts, _figures_of
from torch2grid_builtin._experts.finding import mixtures
from torch2grid_core import Checkpoint, Torch2GridError

Array = np.ndarray[Any, Any]
State = dict[str, Array]
M = "model.layers.{n}.mlp."


def apart(name: str) -> Callable[[Mapping[str, Array]], State]:
    """A tensor for each expert and matrix. name: with ``{e}`` and ``{m}``."""
    return lambda stacks: {
        name.replace("{e}", str(e)).replace("{m}", m): np.ascontiguousarray(matrix)
        for m, stack in stacks.items()
        for e, matrix in enumerate(stack)
    }


def stacked(name: str) -> Callable[[Mapping[str, Array]], State]:
    return lambda stacks: {name.replace("{m}", m): stack for m, stack in stacks.items()}


# layout → tensors of a layer, the names of its matrices, the module, and the router
LAYOUTS: Mapping[str, tuple[Callable[[Mapping[str, Array]], State], tuple[str, ...], str, str]] = {
    "qwen": (apart(M + "experts.{e}.{m}.weight"), ("gate_proj", "up_proj", "down_proj"), M, "gate.weight"),
    "mixtral": (
        apart("layers.{n}.block_sparse_moe.experts.{e}.{m}.weight"),
        ("w1", "w2", "w3"),
        "layers.{n}.block_sparse_moe.",
        "gate.weight",
    ),
    "switch": (
        apart("block.{n}.layer.1.mlp.experts.expert_{e}.{m}.weight"),
        ("wi", "wo"),
        "block.{n}.layer.1.mlp.",
        "router.classifier.weight",
    ),
    "megatron, a module each": (
        apart("layers.{n}.mlp.experts.local_experts.{e}.{m}.weight"),
        ("linear_fc1", "linear_fc2"),
        "layers.{n}.mlp.",
        "router.weight",
    ),
    "megatron, grouped": (
        apart("layers.{n}.mlp.experts.{m}.weight{e}"),
        ("linear_fc1", "linear_fc2"),
        "layers.{n}.mlp.",
        "router.weight",
    ),
    "gpt-oss": (stacked(M + "experts.{m}"), ("gate_up_proj", "down_proj"), M, "router.weight"),
    "vllm": (stacked(M + "experts.{m}_weight"), ("w13", "w2"), M, "gate.weight"),
    "llama.cpp": (stacked("blk.{n}.{m}.weight"), ("ffn_gate_exps", "ffn_down_exps"), "blk.{n}.", "ffn_gate_inp.weight"),
    "granite": (
        stacked("layers.{n}.block_sparse_moe.{m}.weight"),
        ("input_linear", "output_linear"),
        "layers.{n}.block_sparse_moe.",
        "router.layer.weight",
    ),
}


def opened(folder: Path, state: State) -> Checkpoint:
    save_file(state, folder / "experts.safetensors")
    return t2g.load(folder / "experts.safetensors")


def figures_of(checkpoint: Checkpoint, threshold: float = 1e-6) -> dict[Any, ExpertFigures]:
    need = Experts(tuple(part for each in mixtures(checkpoint) for part in (*each.projections, *each.shared)), threshold)
    return {
        key: need.only(names).compute({name: checkpoint[name] for name in names})
        for key, names in need.groups(checkpoint).items()
    }


def check(found: ExpertFigures, stack: Array, threshold: float = 1e-6) -> None:
    whole = stack.astype(np.float64)
    for place, matrix in enumerate(whole):
        if not np.isfinite(matrix).all():
            assert found.lost[place]
            assert np.isnan([found.norms[place], found.top[place], found.dead[place]]).all()
            assert np.isnan(found.cosine[place]).all()
            continue
        assert not found.lost[place]
        dead = [(np.abs(matrix).max(axis=axis) < threshold) for axis in (0, 1)]
        assert found.dead[place] == np.concatenate(dead).mean()
        np.testing.assert_allclose(found.norms[place], np.linalg.norm(matrix), rtol=1e-6)
        np.testing.assert_allclose(found.top[place], np.linalg.norm(matrix, 2), rtol=1e-5)
        for other, second in enumerate(whole):
            if np.isfinite(second).all() and matrix.any() and second.any():
                scale = np.abs(matrix).max(), np.abs(second).max()
                one, two = (each.reshape(-1) / size for each, size in zip((matrix, second), scale, strict=True))
                wanted = one @ two / (np.linalg.norm(one) * np.linalg.norm(two))
                np.testing.assert_allclose(found.cosine[place, other], wanted, rtol=0, atol=2e-6)


@given(
    st.sampled_from(sorted(LAYOUTS)),
    st.integers(2, 12),
    st.integers(33, 70),
    st.integers(33, 70),
    st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]),
    st.sampled_from(["normal", "alike", "dead", "zero", "nan", "one direction", "large", "small"]),
    st.integers(0, 99),
)
def test_experts_are_those_of_whole_matrices(
    tmp_path_factory: Any, layout: str, count: int, rows: int, columns: int, dtype: Any, kind: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    make, matrices, module, router = LAYOUTS[layout]
    state: State = {}
    stacks = []
    for layer in range(2):
        own = {}
        for place, name in enumerate(matrices):
            stack = random.normal(0, 0.02, (count, *((rows, columns) if place else (columns, rows))))
            if kind == "alike":
                stack[1:] += 2 * stack[0]
            elif kind == "dead":
                stack[0, : rows // 3] = 0
                stack[-1, :, 1] = 1e-9
            elif kind == "zero":
                stack[-1] = 0
            elif kind == "nan":
                stack[0, 1, 2:4] = np.nan, -np.inf
            elif kind == "one direction":
                stack += np.outer(random.normal(size=stack.shape[1]), random.normal(size=stack.shape[2]))
            elif kind in ("large", "small") and dtype in (np.float32, np.float64):
                stack *= 1e30 if kind == "large" else 1e-30
            own[name] = stack.astype(dtype)
        stacks.append(own)
        state |= {name.replace("{n}", str(layer)): array for name, array in make(own).items()}
        state[(module + router).replace("{n}", str(layer))] = random.normal(size=(count, columns)).astype(np.float32)
    checkpoint = opened(tmp_path_factory.getbasetemp(), state)
    found = mixtures(checkpoint)
    assert [each.module + "." for each in found] == [module.replace("{n}", str(layer)) for layer in range(2)]
    figures = figures_of(checkpoint)
    for each, own in zip(found, stacks, strict=True):
        assert each.experts == tuple(range(count))
        assert each.router == (each.module + "." + router, 0)
        assert {part.name for part in each.projections} == set(matrices)
        for part in each.projections:
            check(figures[part.key], own[part.name])


PARTS: Mapping[str, Any] = {
    "0:8": np.s_[0:8],
    ":, 5:20": np.s_[:, 5:20],
    "1:30:4, ::3": np.s_[1:30:4, ::3],
    "..., 2:": np.s_[..., 2:],
    "1:, 1:9, :": np.s_[1:, 1:9, :],
    "::2, :, 3:12": np.s_[::2, :, 3:12],
    "2:4": np.s_[2:4],
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("part", PARTS)
def test_a_slice_of_experts_is_measured_as_that_part_of_each(tmp_path: Path, layout: str, part: str) -> None:
    """Whatever a slice leaves of the matrices of two experts has its figures, and experts keep their numbers."""
    random = np.random.default_rng(0)
    make, matrices, module, router = LAYOUTS[layout]
    stacks = {name: random.normal(0, 0.02, (6, 40, 36)).astype(np.float32) for name in matrices}
    state = {name.replace("{n}", "0"): array for name, array in make(stacks).items()}
    state[(module + router).replace("{n}", "0")] = random.normal(size=(6, 36)).astype(np.float32)
    save_file(state, tmp_path / "experts.safetensors")
    wanted: dict[tuple[int, str], float] = {}
    for name, stack in stacks.items():
        if len(state) == len(stacks) + 1:  # a tensor for all experts
            numbers, taken = np.broadcast_to(np.arange(6)[:, None, None], stack.shape)[PARTS[part]][:, 0, 0], stack[PARTS[part]]
        elif part.count(",") == 2:  # of a matrix there are two dimensions
            continue
        else:
            numbers, taken = np.arange(6), np.stack([matrix[PARTS[part]] for matrix in stack])
        wanted |= {(int(number), name): float(np.linalg.norm(each)) for number, each in zip(numbers, taken, strict=True)}
    if not wanted:
        with pytest.raises(Torch2GridError, match="takes nothing"):
            t2g.experts(tmp_path / "experts.safetensors", slice=part)
        return
    rows = rows_of(t2g.experts(tmp_path / "experts.safetensors", slice=part))
    found = {(expert, matrix.partition("[")[0]): row["‖W‖"] for (_, expert, matrix), row in rows.items()}
    assert found == pytest.approx(wanted, rel=1e-6)


def qwen(layers: int = 3, experts: int = 6, width: int = 40, inner: int = 36) -> State:
    random = np.random.default_rng(0)
    state = {}
    for layer in range(layers):
        mlp = f"model.layers.{layer}.mlp"
        for name, shape in (("gate_proj", (inner, width)), ("up_proj", (inner, width)), ("down_proj", (width, inner))):
            for expert in range(experts):
                state[f"{mlp}.experts.{expert}.{name}.weight"] = random.normal(0, 0.02, shape).astype(np.float32)
            state[f"{mlp}.shared_expert.{name}.weight"] = random.normal(0, 0.02, shape).astype(np.float32)
        state[f"{mlp}.gate.weight"] = random.normal(0, 0.02, (experts, width)).astype(np.float32)
        state[f"{mlp}.shared_expert_gate.weight"] = random.normal(0, 0.02, (1, width)).astype(np.float32)
    return state


def rows_of(pages: Any) -> dict[Any, dict[str, Any]]:
    table = pages["experts"].panels[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {(row["Layer"], row["Expert"], row["Matrix"]): row for row in rows}


def test_what_is_planted_is_shown(tmp_path: Path) -> None:
    state = qwen()
    name = "model.layers.{}.mlp.experts.{}.{}.weight"
    for matrix in ("gate_proj", "up_proj", "down_proj"):
        state[name.format(1, 4, matrix)] = 3 * state[name.format(1, 2, matrix)]
        state[name.format(2, 5, matrix)][:] = 0
    state[name.format(0, 3, "up_proj")][:18] = 0
    state[name.format(0, 1, "down_proj")][2, 3] = np.nan
    state["model.layers.2.mlp.gate.weight"][0] *= 9
    pages = t2g.experts(opened(tmp_path, state))
    rows = rows_of(pages)
    assert len(rows) == 3 * (6 + 1) * 3
    layer = "model.layers.{}.mlp"
    assert rows[layer.format(1), 4, "up_proj"]["Most alike"] == 2
    assert rows[layer.format(1), 2, "up_proj"]["Cosine"] == pytest.approx(1)
    assert rows[layer.format(2), 5, "up_proj"]["What"] == "all zero"
    assert rows[layer.format(2), 5, "up_proj"]["Most alike"] is None
    assert rows[layer.format(0), 3, "up_proj"]["Dead"] == pytest.approx(18 / 76)
    assert rows[layer.format(0), 1, "down_proj"]["What"] == "1 NaN"
    assert rows[layer.format(0), 1, "down_proj"]["‖W‖"] is None
    gate = state["model.layers.2.mlp.gate.weight"]
    assert rows[layer.format(2), 0, "up_proj"]["Router gain"] == pytest.approx(np.linalg.norm(gate[0]), rel=1e-6)
    assert rows[layer.format(2), "shared", "up_proj"]["‖W‖"] > 0  # apart from the others: it is like none of them
    assert rows[layer.format(2), "shared", "up_proj"]["Most alike"] is None
    maps = {panel.title: panel.grid for panel in pages["experts_overview"].panels if hasattr(panel, "grid")}
    assert np.argwhere(np.isnan(maps["‖W‖ of down_proj, by layer and expert"].values)).tolist() == [[0, 1]]
    alike = maps["cosine to the expert most alike, by layer and expert"]
    assert np.argwhere(alike.values > 0.99).tolist() == [[1, 2], [1, 4]]
    assert np.isnan(alike.values[0, 1])  # one of its matrices holds NaN
    assert alike.counts[2, 5] == 0  # zeros have no direction
    assert np.argmax(maps["router gain, by layer and expert"].values) == 12
    assert "dead share of gate_proj, by layer and expert" in maps
    said = " ".join(getattr(panel, "text", "") for panel in pages["experts_overview"].panels)
    unknown = maps["dead share of down_proj, by layer and expert"]  # of the matrix with NaN, nothing is said
    assert np.argwhere(np.isnan(unknown.values)).tolist() == [[0, 1]]
    assert "down_proj" not in said


def test_layers_may_have_other_numbers_of_experts_or_none(tmp_path: Path) -> None:
    state = {name: array for name, array in qwen().items() if not name.startswith("model.layers.0.mlp.experts.")}
    state = {name: array for name, array in state.items() if not name.startswith("model.layers.2.mlp.experts.5.")}
    del state["model.layers.2.mlp.gate.weight"]
    pages = t2g.experts(opened(tmp_path, state))
    rows = rows_of(pages)
    assert {key[0] for key in rows} == {"model.layers.1.mlp", "model.layers.2.mlp"}
    assert [page.name for page in pages if page.folder] == ["model.layers.1.mlp_experts", "model.layers.2.mlp_experts"]
    (norms,) = (panel for panel in pages["experts_overview"].panels if getattr(panel, "title", "").startswith("‖W‖ of up_proj"))
    assert norms.grid.counts.tolist() == [[1] * 6, [1] * 5 + [0]]


def test_a_threshold_says_what_is_dead(tmp_path: Path) -> None:
    state = qwen(layers=1)
    state["model.layers.0.mlp.experts.0.up_proj.weight"][:4] = 1e-4
    checkpoint = opened(tmp_path, state)
    key = "model.layers.0.mlp", 0, "up_proj"
    assert rows_of(t2g.experts(checkpoint))[key]["Dead"] == 0
    assert rows_of(t2g.experts(checkpoint, threshold=1e-3))[key]["Dead"] == pytest.approx(4 / 76)


@needs_cases
def test_packed_experts_are_measured_as_the_weights_that_they_stand_for() -> None:
    checkpoint = t2g.load(cases("formats") / "mxfp4-gptoss-e2" / "ckpt")
    (mixture,) = mixtures(checkpoint)
    assert mixture.router is not None
    figures = figures_of(checkpoint)
    for part in mixture.projections:
        check(figures[part.key], np.asarray(checkpoint[part.names[0]]))


def test_a_model_without_experts_is_one_clear_line(tmp_path: Path) -> None:
    save_file({"fc.weight": np.ones((4, 4), np.float32)}, tmp_path / "fc.safetensors")
    done = torch2grid("fc.safetensors", "--experts", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("--experts shows mixtures of experts, and no weights of experts were found")


def test_where_the_iteration_does_not_end_all_eigenvalues_are_computed(monkeypatch):
    values = np.random.default_rng(3).standard_normal((60, 90)).astype(np.float32)
    monkeypatch.setattr("torch2grid_builtin._experts.figures._LONGEST", 3)
    norm, top, dead = _figures_of(values, 1e-6)
    assert (norm, top, dead) == pytest.approx((np.linalg.norm(values), np.linalg.norm(values, 2), 0.0), rel=1e-5)


@pytest.mark.parametrize("size", [1e-37, 1e-4, 1.0, 1e4, 1e37])
@pytest.mark.parametrize("rank", [1, 2, 3, 5, 40])
def test_the_largest_singular_value_of_few_directions_and_of_any_size(rank, size):
    random = np.random.default_rng(rank)
    values = (random.standard_normal((50, rank)) @ random.standard_normal((rank, 40)) * size / 50).astype(np.float32)
    wide = values.astype(np.float64)
    assert _figures_of(values, 0.0)[:2] == pytest.approx((np.linalg.norm(wide), np.linalg.norm(wide, 2)), rel=1e-5)
