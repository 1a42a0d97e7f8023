"""The heads of attention in every layout: as numpy finds them of whole matrices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._heads.attention import attentions
from torch2grid_builtin._heads.circuits import Circuits, Composition

Array = np.ndarray[Any, Any]
State = dict[str, Array]


@dataclass(frozen=True)
class Layer:
    """q: (heads, rows, width), k: (kv heads, rows, width), v: (kv heads, rows, width), o: (heads, width, rows)."""

    q: Array
    k: Array
    v: Array
    o: Array

    def head(self, head: int) -> tuple[Array, Array, Array, Array]:
        """Its q, k, v and o in float64."""
        shared = head * len(self.k) // len(self.q)
        found = self.q[head], self.k[shared], self.v[shared], self.o[head]
        return tuple(each.astype(np.float64) for each in found)  # type: ignore[return-value]

    @property
    def out(self) -> Array:
        return np.concatenate(list(self.o), axis=1)


def rows(stack: Array) -> Array:
    return stack.reshape(-1, stack.shape[2])


def separate(q: str, k: str, v: str, o: str) -> Callable[[Layer], State]:
    return lambda each: {q: rows(each.q), k: rows(each.k), v: rows(each.v), o: each.out}


def fused(name: str, out: str, turned: bool = False) -> Callable[[Layer], State]:
    def state(each: Layer) -> State:
        whole = np.concatenate([rows(each.q), rows(each.k), rows(each.v)])
        return {name: whole.T, out: each.out.T} if turned else {name: whole, out: each.out}

    return state


def grouped(name: str, out: str) -> Callable[[Layer], State]:
    def state(each: Layer) -> State:
        share = len(each.q) // len(each.k)
        parts = [
            rows(stack)
            for place in range(len(each.k))
            for stack in (each.q[place * share : (place + 1) * share], each.k[[place]], each.v[[place]])
        ]
        return {name: np.concatenate(parts), out: each.out}

    return state


def stacked(each: Layer) -> State:
    return {
        f"blocks.{{n}}.attn.W_{name}": stack.transpose(0, 2, 1)
        for name, stack in zip("QKVO", (each.q, each.k, each.v, each.o), strict=True)
    }


A = "layers.{n}.self_attn."
# layout → tensors of a layer, what config.json says beside the numbers of heads, and whether heads share keys: "" for never,
# "some" for also, "one" for always
LAYOUTS: Mapping[str, tuple[Callable[[Layer], State], Mapping[str, Any], str]] = {
    "llama": (separate(*(f"{A}{x}_proj.weight" for x in "qkvo")), {"model_type": "llama"}, "some"),
    "meta": (separate(*(f"layers.{{n}}.attention.w{x}.weight" for x in "qkvo")), {}, "some"),
    "bert": (
        separate(
            *(f"encoder.layer.{{n}}.attention.self.{x}.weight" for x in ("query", "key", "value")),
            "encoder.layer.{n}.attention.output.dense.weight",
        ),
        {"model_type": "bert"},
        "",
    ),
    "t5": (separate(*(f"block.{{n}}.layer.0.SelfAttention.{x}.weight" for x in "qkvo")), {"model_type": "t5"}, ""),
    "diffusers": (separate(*(f"b.{{n}}.attn1.{x}.weight" for x in ("to_q", "to_k", "to_v", "to_out.0"))), {}, ""),
    "gpt2": (fused("h.{n}.attn.c_attn.weight", "h.{n}.attn.c_proj.weight", turned=True), {"model_type": "gpt2"}, ""),
    "nanogpt": (fused("h.{n}.attn.c_attn.weight", "h.{n}.attn.c_proj.weight"), {"model_type": "gpt2"}, ""),
    "neox": (
        grouped("layers.{n}.attention.query_key_value.weight", "layers.{n}.attention.dense.weight"),
        {"model_type": "gpt_neox"},
        "",
    ),
    "bloom": (
        grouped("h.{n}.self_attention.query_key_value.weight", "h.{n}.self_attention.dense.weight"),
        {"model_type": "bloom"},
        "",
    ),
    "falcon": (
        grouped("h.{n}.self_attention.query_key_value.weight", "h.{n}.self_attention.dense.weight"),
        {"model_type": "falcon"},
        "some",
    ),
    "falcon 7b": (
        fused("h.{n}.self_attention.query_key_value.weight", "h.{n}.self_attention.dense.weight"),
        {"model_type": "falcon", "multi_query": True},
        "one",
    ),
    "internlm2": (
        grouped("layers.{n}.attention.wqkv.weight", "layers.{n}.attention.wo.weight"),
        {"model_type": "internlm2"},
        "some",
    ),
    "bigcode": (fused("h.{n}.attn.c_attn.weight", "h.{n}.attn.c_proj.weight"), {"model_type": "gpt_bigcode"}, "one"),
    "bigcode, a key each": (grouped("h.{n}.attn.c_attn.weight", "h.{n}.attn.c_proj.weight"), {"model_type": "gpt_bigcode"}, ""),
    "phi3": (fused(f"{A}qkv_proj.weight", f"{A}o_proj.weight"), {"model_type": "phi3"}, "some"),
    "chatglm": (fused("l.{n}.attn.query_key_value.weight", "l.{n}.attn.dense.weight"), {"model_type": "chatglm"}, "some"),
    "mpt": (fused("blocks.{n}.attn.Wqkv.weight", "blocks.{n}.attn.out_proj.weight"), {"model_type": "mpt"}, ""),
    "torch": (fused(f"{A}in_proj_weight", f"{A}out_proj.weight"), {}, ""),
    "timm": (fused("blocks.{n}.attn.qkv.weight", "blocks.{n}.attn.proj.weight"), {}, ""),
    "megatron": (
        grouped("layers.{n}.self_attention.linear_qkv.weight", "layers.{n}.self_attention.linear_proj.weight"),
        {},
        "some",
    ),
    "transformer lens": (stacked, {}, "some"),
}


@dataclass(frozen=True, repr=False)
class Model:
    """Layers, and the state and configuration that hold them in one layout."""

    layout: str
    layers: list[Layer]
    state: State
    config: Mapping[str, Any]

    def __repr__(self) -> str:
        shapes = {name: (array.shape, array.dtype.name) for name, array in self.state.items()}
        return f"<{self.layout}: {self.config}, {shapes}>"


@st.composite
def models(draw: Any) -> Any:
    """A model in some layout."""
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    state_of, config, sharing = LAYOUTS[layout]
    heads, size, width = draw(st.integers(2, 5)), draw(st.sampled_from([2, 3, 8])), draw(st.integers(4, 40))
    if layout in ("gpt2", "nanogpt", "torch", "timm", "mpt"):  # the width is that of all heads
        width = heads * size
    shared = [each for each in range(1, heads) if heads % each == 0]
    kv = {"": heads, "one": 1, "some": draw(st.sampled_from([*shared, heads]))}[sharing]
    dtype = draw(st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    kind = draw(st.sampled_from(["normal", "decaying", "zero head", "few", "large", "small"]))
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        made = [random.normal(0, 0.1, (number, size, width)) for number in (heads, kv, kv, heads)]
        if kind == "decaying":
            # no further: beyond 10⁻⁸ of the largest, float64 does not know the directions of a whole product
            made = [each * 10.0 ** -(np.arange(size) / 2)[:, None] for each in made]
        elif kind == "few":
            made[3][:, 1:] = made[3][:, :1]
        elif kind == "zero head":
            made[3][0] = 0
            made[0][-1] = 0
        elif kind in ("large", "small") and dtype in (np.float32, np.float64):
            made = [each * (1e15 if kind == "large" else 1e-15) for each in made]
        q, k, v, o = (each.astype(dtype) for each in made)
        layers.append(Layer(q, k, v, o.transpose(0, 2, 1)))
    state = {
        name.format(n=n): np.ascontiguousarray(array) for n, each in enumerate(layers) for name, array in state_of(each).items()
    }
    return Model(layout, layers, state, {**config, "num_attention_heads": heads})


def written(folder: Path, state: State, config: Mapping[str, Any] | None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").unlink(missing_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"


def close(found: Any, wanted: Any, scale: float | None = None) -> None:
    top = float(np.max(np.abs(wanted), initial=0)) if scale is None else scale
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * top)


def space(whole: Array) -> Array:
    """Orthonormal columns of what a matrix writes to."""
    left, values, _ = np.linalg.svd(whole)
    return left[:, : np.linalg.matrix_rank(whole)] if values[0] else left[:, :0]


def in_blocks(whole: Array, side: int) -> Array:
    steps = [max(-(-length // side), 1) for length in whole.shape]
    return np.array(
        [
            [np.sqrt((whole[i : i + steps[0], j : j + steps[1]] ** 2).mean()) for j in range(0, whole.shape[1], steps[1])]
            for i in range(0, whole.shape[0], steps[0])
        ]
    )


@given(models(), st.sampled_from([3, 32]))
def test_heads_are_those_of_whole_matrices(tmp_path_factory: Any, model: Model, side: int) -> None:
    layers = model.layers
    checkpoint = t2g.load(written(tmp_path_factory.getbasetemp() / "heads", model.state, model.config))
    known = attentions(checkpoint)
    assert not known.left
    assert [each.heads for each in known.found] == [len(each.q) for each in layers]
    qk, ov = [], []
    for each, layer in zip(known.found, layers, strict=True):
        assert each.kv_heads == len(layer.k)
        found = Circuits(known.found, side).only(each.names).compute({name: checkpoint[name] for name in each.names})
        spaces = []
        for head in range(each.heads):
            q, k, v, o = layer.head(head)
            close(found.norms[head], [np.linalg.norm(part) for part in (q, k, v, o)])
            for circuit, values, tiles in ((q.T @ k, found.qk, found.tiles_qk), (o @ v, found.ov, found.tiles_ov)):
                close(values[head], np.linalg.svd(circuit, compute_uv=False)[: values.shape[1]])
                close(np.linalg.norm(values[head]), np.linalg.norm(circuit))
                close(tiles[head], in_blocks(circuit, side))
            qk.append(q.T @ k)
            ov.append(o @ v)
            spaces.append(space(o @ v))
        for one, first in enumerate(spaces):
            for two, second in enumerate(spaces):
                if first.size and second.size:
                    close(found.kernel[one, two], np.linalg.norm(first.T @ second) ** 2 / layer.v.shape[1], 1.0)
                else:
                    assert np.isnan(found.kernel[one, two])
    if len(layers) > 1:
        composed = Composition((known.found,)).compute(dict(checkpoint))
        each = len(layers[0].q)
        assert not composed.lost.any()
        for earlier in range(len(qk)):
            for later in range(len(qk)):
                found = composed.scores[:, earlier, later]
                for kind, matrix in enumerate((qk[later].T, qk[later], ov[later])):
                    norms = np.linalg.norm(matrix) * np.linalg.norm(ov[earlier])
                    if earlier // each >= later // each or not norms:
                        assert np.isnan(found[kind])
                    else:
                        close(found[kind], np.linalg.norm(matrix @ ov[earlier]) / norms, 1.0)


def llama(heads: int = 4, kv: int = 2, size: int = 8, width: int = 24, layers: int = 3) -> State:
    random = np.random.default_rng(0)
    state = {}
    for layer in range(layers):
        for name, shape in (
            ("q_proj", (heads * size, width)),
            ("k_proj", (kv * size, width)),
            ("v_proj", (kv * size, width)),
            ("o_proj", (width, heads * size)),
        ):
            state[f"model.layers.{layer}.self_attn.{name}.weight"] = random.normal(0, 0.1, shape).astype(np.float32)
    return state


CONFIG = {"model_type": "llama", "num_attention_heads": 4}


def test_nan_is_of_its_heads_alone_and_never_averaged_away(tmp_path: Path) -> None:
    state = llama()
    state["model.layers.1.self_attn.v_proj.weight"][3, 5] = np.nan  # of the heads 0 and 1, which share it
    state["model.layers.2.self_attn.q_proj.weight"][3 * 8, :2] = np.inf
    pages = t2g.heads(written(tmp_path, state, CONFIG))
    rows = {
        (row[0], row[1]): dict(zip(pages["heads"].panels[0].columns, row, strict=True)) for row in pages["heads"].panels[0].rows
    }
    told = {key: row["What"] for key, row in rows.items() if row["What"]}
    one, two = "model.layers.1.self_attn", "model.layers.2.self_attn"
    assert told == {(one, 0): "1 NaN in v", (one, 1): "1 NaN in v", (two, 3): "2 Inf in q"}
    assert rows[one, 0]["‖W_OV‖"] is None
    assert rows[one, 0]["‖W_QK‖"] > 0  # its queries and keys are whole
    assert rows[two, 3]["‖W_QK‖"] is None
    assert rows[two, 3]["‖W_OV‖"] > 0
    maps = {panel.title: panel for panel in pages["heads_overview"].panels if hasattr(panel, "grid")}
    assert np.argwhere(np.isnan(maps["‖W_OV‖, by layer and head"].grid.values)).tolist() == [[1, 0], [1, 1]]
    assert np.argwhere(np.isnan(maps["‖W_QK‖, by layer and head"].grid.values)).tolist() == [[2, 3]]
    q, _, v = (panel for panel in pages["heads_composition"].panels if hasattr(panel, "grid"))
    lost = np.argwhere(np.isnan(q.grid.values)).tolist()
    heads = [[row, column] for row in range(4) for column in (8,)]
    assert [each for each in heads if each in lost] == heads  # q of the last head of the last layer reads nothing known
    assert not np.isnan(v.grid.values[2:4, 5:]).any()  # what is unknown of q is not unknown of v


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "neither shapes nor a config.json beside the file say how many heads there are; heads=… says it"),
        (
            {"model_type": "llama", "num_attention_heads": 5},
            "32 rows are not 5 heads, as config.json says; heads=… says how many",
        ),
        ({"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}, "32 rows are not 4 heads"),
    ],
)
def test_where_the_number_of_heads_is_not_known_it_is_said_and_can_be_given(tmp_path: Path, config: Any, said: str) -> None:
    path = written(tmp_path / "model", llama(), config)
    done = torch2grid(str(path), "--heads", "-o", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    given = torch2grid(str(path), "--view", "heads:heads=4", "-o", str(tmp_path / "out"), cwd=tmp_path)
    assert given.returncode == 0, given.stderr
    assert "model.layers.2.self_attn" in given.stdout
    wrong = torch2grid(str(path), "--view", "heads:heads=3", "-o", str(tmp_path / "out"), cwd=tmp_path)
    assert "3 heads (heads=…) do not fit shapes 32×24, 16×24, 16×24, 24×32" in wrong.stderr


def test_shapes_say_how_many_heads_there_are(tmp_path: Path) -> None:
    for name, shape in (("q_norm.weight", (8,)), ("sinks", (4,)), ("relative_position_bias_table", (49, 4))):
        state = llama()
        for layer in range(3):
            state[f"model.layers.{layer}.self_attn.{name}"] = np.ones(shape, np.float32)
        found = attentions(t2g.load(written(tmp_path, state, None))).found
        assert [each.heads for each in found] == [4, 4, 4], name


def test_a_part_of_the_model_has_the_heads_that_its_own_configuration_says(tmp_path: Path) -> None:
    state = {f"{part}.{name}": array for part in ("text_model", "vision_model") for name, array in llama(kv=4).items()}
    config = {"model_type": "clip", "text_config": {"num_attention_heads": 4}, "vision_config": {"num_attention_heads": 8}}
    found = attentions(t2g.load(written(tmp_path, state, config))).found
    assert {each.module.partition(".")[0]: each.heads for each in found} == {"text_model": 4, "vision_model": 8}


def test_a_model_without_attention_is_one_clear_line(tmp_path: Path) -> None:
    path = written(tmp_path, {"fc.weight": np.ones((4, 4), np.float32)}, None)
    done = torch2grid(str(path), "--heads", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("--heads shows attention, and no projections of queries, keys and values were found")


def test_a_head_that_writes_where_another_does_and_a_pair_that_composes_are_found(tmp_path: Path) -> None:
    state = llama(heads=4, kv=4, size=8, width=64)
    name = "model.layers.{}.self_attn.{}_proj.weight"
    out = state[name.format(1, "o")]
    out[:, 24:32] = out[:, 0:8] @ np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]  # 1.3 writes where 1.0 does
    state[name.format(2, "k")][8:16] = state[name.format(0, "o")][:, 16:24].T  # keys of 2.1 read what 0.2 writes
    pages = t2g.heads(written(tmp_path, state, CONFIG))
    table, pairs = pages["heads"].panels
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["Head"], row["Most alike"]) for row in rows if row["Similarity"] and row["Similarity"] > 0.99] == [
        (0, 3),
        (3, 0),
    ]
    first = max((row for row in pairs.rows), key=lambda row: row[3])
    assert first[:3] == ("K", "model.layers.0.self_attn 2", "model.layers.2.self_attn 1")
    assert first[4] > 2


def test_composition_is_left_out_where_it_takes_long_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch2grid_builtin._views.heads._MOST", 10.0)
    path = written(tmp_path, llama(), CONFIG)
    pages = t2g.draw(path, ["heads"])
    assert "heads_composition" not in [page.name for page in pages]
    assert "Composition is not measured" in str([getattr(each, "text", "") for each in pages["heads_overview"].panels])
    assert "heads_composition" in [page.name for page in t2g.heads(path, composition=True)]
    assert "heads_composition" not in [page.name for page in t2g.heads(path, composition=False)]


def test_cross_attention_has_heads_and_no_composition(tmp_path: Path) -> None:
    state = {name.replace("self_attn", "encoder_attn"): array for name, array in llama().items()}
    pages = t2g.heads(written(tmp_path, state, CONFIG))
    assert len(pages["heads"].panels[0].rows) == 12
    assert "heads_composition" not in [page.name for page in pages]


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("names", ["deepseek", "meta", "llama.cpp"])
def test_latent_attention_is_cut_by_its_shapes(names, short, tmp_path):
    random, heads, plain, rotary, value, rank, q_rank, width = np.random.default_rng(4), 3, 8, 4, 6, 10, 14, 40
    q_a = random.standard_normal((q_rank, width))
    q_b = random.standard_normal((heads, plain + rotary, width if short else q_rank))
    kv_a = random.standard_normal((rank + rotary, width))
    kv_b = random.standard_normal((heads, plain + value, rank))
    o = random.standard_normal((width, heads, value))
    module, q, q_through, kv, kv_through, out = {
        "deepseek": ("model.layers.0.self_attn", "q_b_proj", "q_a_proj", "kv_b_proj", "kv_a_proj_with_mqa", "o_proj"),
        "meta": ("layers.0.attn", "wq_b", "wq_a", "wkv_b", "wkv_a", "wo"),
        "llama.cpp": ("blk.0", "attn_q_b", "attn_q_a", "attn_kv_b", "attn_kv_a_mqa", "attn_output"),
    }[names]
    state = {q.replace("_b", "") if short else q: rows(q_b), kv: rows(kv_b), kv_through: kv_a, out: o.reshape(width, -1)}
    if not short:
        state[q_through] = q_a
    path = tmp_path / "latent.safetensors"
    save_file({f"{module}.{name}.weight": np.ascontiguousarray(each) for name, each in state.items()}, path)
    checkpoint = t2g.load(str(path))
    (attention,) = attentions(checkpoint).found
    assert (attention.heads, attention.width, attention.q_width) == (heads, width, width)
    figures = Circuits((attention,)).compute({name: checkpoint[name] for name in attention.names})
    for head in range(heads):
        queries = q_b[head, :plain] if short else q_b[head, :plain] @ q_a
        keys, values = kv_b[head, :plain] @ kv_a[:rank], kv_b[head, plain:] @ kv_a[:rank]
        qk, ov = queries.T @ keys, o[:, head] @ values
        np.testing.assert_allclose(figures.qk[head], np.linalg.svd(qk, compute_uv=False)[:plain], rtol=1e-8)
        np.testing.assert_allclose(figures.ov[head], np.linalg.svd(ov, compute_uv=False)[:value], rtol=1e-8)
        wanted = [np.linalg.norm(each) for each in (queries, keys, values, o[:, head])]
        np.testing.assert_allclose(figures.norms[head], wanted, rtol=1e-10)
    assert attentions(checkpoint, heads=2).left[0][1] == "the shapes are those of 3 heads, not of 2"


def test_few_keys_and_three_times_as_many_inputs_are_not_taken_for_the_other_way_round(tmp_path):
    random = np.random.default_rng(0)
    state = {
        "h.0.attn.c_attn.weight": random.standard_normal((12, 36)),
        "h.0.attn.c_proj.weight": random.standard_normal((36, 6)),
    }
    known = attentions(t2g.load(str(written(tmp_path, state, {"model_type": "gpt_bigcode", "n_head": 2}))))
    assert [(each.heads, each.kv_heads, each.width) for each in known.found] == [(2, 1, 36)]
