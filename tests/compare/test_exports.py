"""Is the export the checkpoint? A small Llama in several libraries' forms is the same; a mistake is named."""

from __future__ import annotations

import json
import os
import re
import warnings

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file
from tests.support.compare.llama import Llama, fused_groups, fused_rows, halves, pairs
from tests.support.compare.opened import compared
from tests.support.tools import PROJECT, torch2grid

import torch2grid as t2g

SMALL = Llama()
WEIGHTS = sum(value.numel() for value in SMALL.meta().values())


def said(folder, a, b, *more, **options):
    """The exit code and what is printed of two files."""
    done = torch2grid("compare", a, b, "-q", "--stats", *more, cwd=folder, **options)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def compare(a, b, config=None, **options):
    """Two state dicts compared in memory; *config* stands beside *b*."""
    opened = [t2g.load(state) for state in (a, b)]
    if config is not None:
        opened[1].beside = lambda name: json.dumps(config).encode() if name == "config.json" else None
    return compared(*opened, **options)


def faults(a, b, config=SMALL.config, **options):
    comparison = compare(a, b, config, **options)
    assert not comparison.same
    return [each.text for each in comparison.faults]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model as Meta, torchtitan's DCP and Hugging Face write it."""
    place = tmp_path_factory.mktemp("exports")
    torch.save(SMALL.meta(), place / "consolidated.00.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(SMALL.meta(), checkpoint_id=place / "step-100", no_dist=True)
    SMALL.save_hf(place / "hf")
    SMALL.save_hf(place / "bfloat16", {name: value.bfloat16() for name, value in SMALL.hf().items()})
    SMALL.save_hf(place / "bare", config=False)
    return place


@pytest.mark.parametrize("stored", ["consolidated.00.pth", "step-100"])
def test_the_export_is_the_checkpoint(folder, stored):
    for pair in ((stored, "hf"), ("hf", stored)):
        code, text = said(folder, *pair)
        assert code == 0
        assert text.startswith(f"the same model: 30 renamed, 6 permuted, 30 tensors, {WEIGHTS:,} weights ("), text
        assert "Meta's or torchtitan's" in text
        assert "heads of 16 rows: stated by config.json" in text


def test_rounded_to_bfloat16(folder):
    code, text = said(folder, "step-100", "bfloat16", "--ignore-dtype")
    assert code == 0
    assert text.startswith("the same model: 30 renamed, 6 permuted, rounded to bfloat16, 30 tensors, ")
    assert said(folder, "step-100", "bfloat16")[0] == 1
    report = json.loads(
        torch2grid("compare", "step-100", "bfloat16", "--ignore-dtype", "--format", "json", "-q", cwd=folder).stdout
    )
    assert report["same"] is True
    assert all(each["bit_equal"] and each["rounded"] == "B" for each in report["tensors"])
    (query,) = [each for each in report["tensors"] if each["name"] == "model.layers.1.self_attn.q_proj.weight"]
    assert query["name_in_a"] == "layers.1.attention.wq.weight"
    assert query["form_in_a"] == "rows of each head of 16 permuted"


def test_one_bit_beyond_rounding_is_no_rounding(folder):
    state = {name: value.bfloat16() for name, value in SMALL.hf().items()}
    name = "model.layers.2.self_attn.k_proj.weight"
    state[name].view(torch.int16)[3, 3] ^= 1
    comparison = compare(SMALL.meta(), state, SMALL.config, ignore_dtype=True)
    assert [each.name for each in comparison.differences] == [name]


def test_without_a_configuration_the_length_of_a_head_is_found(folder):
    code, text = said(folder, "step-100", "bare")
    assert code == 0
    assert "heads of 16 rows: found by trying: nothing states it" in text


def test_the_same_from_python(folder):
    found = t2g.compare(str(folder / "step-100"), str(folder / "bfloat16"), ignore_dtype=True)
    assert found.same
    assert found.report["names"][0].startswith("29 by built-in maps")


@pytest.mark.parametrize("fused", ["rows", "groups"])
def test_fused_tensors(fused):
    config = SMALL.config | {"model_type": "phi3" if fused == "rows" else "falcon", "new_decoder_architecture": True}
    made = fused_rows(SMALL.hf()) if fused == "rows" else fused_groups(SMALL.hf(), SMALL.kv_heads, SMALL.head)
    for other in (SMALL.hf(), SMALL.meta()):
        comparison = compare(other, made, config)
        assert comparison.same, comparison.differences
        assert sum(delta.weights for delta in comparison.deltas.values()) == WEIGHTS
        origin = comparison.origins(
            next(name for name in comparison.pairs if "layers.1" in name and ("q_proj" in name or "wq" in name))
        )[1]
        assert origin.part


def test_fused_tensors_that_no_configuration_cuts():
    groups = fused_groups(SMALL.hf(), SMALL.kv_heads, SMALL.head)
    comparison = compare(SMALL.hf(), groups)
    assert {each.kind for each in comparison.differences} == {"only_a", "only_b"}
    assert compare(SMALL.hf(), fused_rows(SMALL.hf())).same  # as the other file has them


def test_multi_head_attention_of_torch():
    module = torch.nn.MultiheadAttention(16, 4)
    state = module.state_dict()
    apart = {name: value for name, value in state.items() if not name.startswith("in_proj")}
    for last in ("weight", "bias"):
        for one, part in zip("qkv", state[f"in_proj_{last}"].chunk(3), strict=True):
            apart[f"{one}_proj.{last}"] = part.clone()
    assert compare(state, apart).same
    apart["k_proj.bias"] = apart["k_proj.bias"] + 1
    (found,) = compare(state, apart).differences
    assert (found.name, found.kind) == ("k_proj.bias", "changed")  # it was zeros


@given(
    heads=st.sampled_from([(2, 1), (4, 2), (4, 4), (6, 3), (8, 2)]),
    half=st.integers(2, 6),
    layers=st.integers(1, 2),
    inner=st.integers(3, 12),
    experts=st.sampled_from([0, 0, 1, 3]),
    form=st.sampled_from(["plain", "rows", "groups"]),
    seed=st.integers(0, 99),
    wrapped=st.sampled_from(["", "module.", "_orig_mod."]),
    data=st.data(),
)
@settings(max_examples=settings().max_examples // 5)
def test_any_model_is_itself_in_any_form_and_no_other(heads, half, layers, inner, experts, form, seed, wrapped, data):
    model = Llama(2 * half * heads[0], *heads, layers, inner, 7, experts, seed)
    made = model.hf()
    config = model.config
    if form == "rows":
        made = fused_rows({name: value for name, value in made.items() if "experts" not in name}) | {
            name: value for name, value in made.items() if "experts" in name
        }
        config |= {"model_type": "phi3"}
    elif form == "groups":
        made = fused_groups(made, model.kv_heads, model.head)
        config |= {"model_type": "internlm2"}
    stored = {f"{wrapped}{name}": value for name, value in model.meta().items()}
    comparison = compare(stored, made, config)
    assert comparison.same, comparison.differences
    weights = sum(value.numel() for value in made.values())
    assert sum(delta.weights for delta in comparison.deltas.values()) == weights  # each weight is compared, once
    name = data.draw(st.sampled_from(sorted(made)))
    place = data.draw(st.integers(0, made[name].numel() - 1))
    made[name] = made[name].clone()
    made[name].view(-1)[place] += 1
    changed = compare(stored, made, config)
    assert not changed.same
    assert sum(delta.changed for delta in changed.deltas.values()) == 1


# Mistakes of exports.


def of(layers, name):
    return [f"model.layers.{layer}.{name}.weight" for layer in layers]


def test_a_missing_permutation():
    state = SMALL.hf()
    for name in of(range(3), "self_attn.q_proj"):
        state[name] = pairs(state[name], SMALL.head)
    assert faults(SMALL.meta(), state) == ["q_proj of all layers lacks the rotary permutation"]
    for name in of([0, 2], "self_attn.k_proj"):
        state[name] = pairs(state[name], SMALL.head)
    rounded = {name: value.bfloat16() for name, value in state.items()}
    both = ["q_proj of all layers lacks the rotary permutation", "k_proj of layers 0, 2 lacks the rotary permutation"]
    assert faults(SMALL.meta(), state) == both
    meta = [text.replace("q_proj", "wq").replace("k_proj", "wk") for text in both]
    assert faults(state, SMALL.meta(), None) == meta  # names are those of B
    assert faults(SMALL.meta(), rounded, ignore_dtype=True) == both
    for name in of([1], "self_attn.k_proj"):
        state[name] = pairs(state[name], SMALL.head)
    both = ["q_proj and k_proj of all layers lack the rotary permutation"]
    assert faults(SMALL.meta(), state) == both
    assert faults(SMALL.meta(), state, None) == both  # nothing says how long a head is: it is a mistake all the same


def test_other_mistakes_of_the_permutation():
    state = SMALL.hf()
    for name in of(range(3), "self_attn.q_proj"):
        state[name] = halves(state[name], SMALL.head)
    assert faults(SMALL.meta(), state) == ["q_proj of all layers has the rotary permutation twice"]
    state = SMALL.hf()
    for name in of(range(3), "self_attn.k_proj"):  # with the number of heads of q
        state[name] = halves(pairs(state[name], SMALL.head), SMALL.head // 2)
    told = ["k_proj of all layers is permuted for 4 heads of 8 rows, where there are 2 heads of 16 rows"]
    assert faults(SMALL.meta(), state) == told
    state = SMALL.hf()
    for name in of(range(3), "self_attn.k_proj"):
        state[name] = pairs(state[name], SMALL.head)
    told = ["k_proj of all layers lacks the rotary permutation that A has (heads of 16 rows)"]
    assert faults(SMALL.hf(), state, None) == told


def test_exchanged_norms_and_matrices():
    state = SMALL.hf()
    one, two = of([2], "input_layernorm") + of([2], "post_attention_layernorm")
    state[one], state[two] = state[two], state[one]
    told = ["input_layernorm and post_attention_layernorm of layer 2 are exchanged"]
    assert faults(SMALL.meta(), state) == told
    assert faults(SMALL.meta(), {name: value.bfloat16() for name, value in state.items()}, ignore_dtype=True) == told
    for layer in range(3):
        one, two = of([layer], "mlp.gate_proj") + of([layer], "mlp.up_proj")
        state[one], state[two] = state[two], state[one]
    assert set(faults(SMALL.meta(), state)) == {*told, "gate_proj and up_proj of all layers are exchanged"}
    state = SMALL.hf()
    one, two = of([0, 1], "self_attn.o_proj")
    state[one], state[two] = state[two], state[one]
    assert faults(SMALL.meta(), state) == ["o_proj of layers 0–1 are exchanged"]


def test_transposed_square_experts():
    model = Llama(inner=64, experts=4)
    state = model.hf()
    for name in state:
        if "experts" in name and "gate_proj" in name:
            state[name] = state[name].T.contiguous()
    assert faults(model.meta(), state) == ["experts' gate_proj of all layers is transposed"]
    state = model.hf()
    name = "model.layers.1.mlp.experts.2.up_proj.weight"
    state[name] = state[name].T.contiguous()
    assert faults(model.meta(), state) == ["experts' up_proj of layer 1, expert 2 is transposed"]


def test_stacked_and_transposed_experts_of_other_shapes():
    model = Llama(experts=3)
    stacked = model.meta()
    for name in list(stacked):
        if "moe.experts" in name:
            stacked[name] = stacked[name].transpose(1, 2).contiguous()
    comparison = compare(stacked, model.hf(), model.config)
    assert comparison.same, comparison.differences
    assert sum(origin.turned for name in comparison.pairs for origin in comparison.origins(name)) == 3 * 3 * 3
    for turned in (False, True):
        for inner in (32, 48, 64):  # 32: gate and up together are square
            model = Llama(inner=inner, experts=3)
            apart = model.hf()
            fused = {name: value for name, value in apart.items() if "experts" not in name}
            for layer in range(3):
                front = f"model.layers.{layer}.mlp.experts."
                each = [
                    torch.stack([apart[f"{front}{place}.{one}.weight"] for place in range(3)])
                    for one in ("gate_proj", "up_proj", "down_proj")
                ]
                both, down = torch.cat(each[:2], 1), each[2]
                fused[f"{front}gate_up_proj"] = both.transpose(1, 2).contiguous() if turned else both
                fused[f"{front}down_proj"] = down.transpose(1, 2).contiguous() if turned else down
            for other in (apart, model.meta()):
                comparison = compare(other, fused, model.config)
                assert comparison.same, (turned, inner, comparison.differences)


def test_the_layout_of_a_fused_tensor():
    groups = fused_groups(SMALL.hf(), SMALL.kv_heads, SMALL.head)
    wrong = {name.replace("query_key_value", "qkv_proj"): value for name, value in groups.items()}
    told = (
        "q_proj, k_proj and v_proj of all layers are taken from a fused tensor with "
        "q, k and v group by group, not one after the other"
    )
    assert faults(SMALL.hf(), wrong, SMALL.config | {"model_type": "phi3"}) == [told]


def test_rounded_on_the_way():
    state = SMALL.hf()
    (name,) = of([1], "mlp.down_proj")
    state[name] = state[name].bfloat16().float()
    assert faults(SMALL.meta(), state) == ["down_proj of layer 1 is rounded to bfloat16 and kept as float32"]
    state[name] = torch.from_numpy((SMALL.hf()[name].numpy().view(np.uint32) & 0xFFFF0000).view(np.float32))
    assert faults(SMALL.meta(), state) == ["down_proj of layer 1 is cut off to bfloat16, not rounded, and kept as float32"]
    (norm,) = of([1], "input_layernorm")
    state = SMALL.hf()
    state[norm] = state[norm] + 1
    assert faults(SMALL.meta(), state) == ["input_layernorm of layer 1 is A + 1"]


def test_a_zero_of_the_other_sign_is_no_export():
    meta, state = SMALL.meta(), SMALL.hf()
    meta["norm.weight"][5] = 0.0
    state["model.norm.weight"][5] = -0.0
    (found,) = compare(meta, state, SMALL.config).differences
    assert (found.kind, found.name) == ("bits", "model.norm.weight")


@given(
    name=st.sampled_from([name for name in SMALL.hf() if "proj" in name]),
    seed=st.integers(0, 1000),
    way=st.sampled_from(["rows", "values", "columns"]),
)
@settings(max_examples=settings().max_examples // 5)
def test_nothing_is_called_a_known_mistake_that_is_another(name, seed, way):
    state, random = SMALL.hf(), torch.Generator().manual_seed(seed)
    value = state[name]
    if way == "rows":
        state[name] = value[torch.randperm(len(value), generator=random)]
    elif way == "columns":
        state[name] = value[:, torch.randperm(value.shape[1], generator=random)]
    else:
        state[name] = value.flatten()[torch.randperm(value.numel(), generator=random)].reshape(value.shape)
    found = compare(SMALL.meta(), state, SMALL.config)
    assert [each.name for each in found.differences] == [name]
    assert [each.text.partition(" has ")[2] for each in found.faults] == (
        ["its rows in another order"] if way == "rows" else []
    )


# Names that are stated.


def named(folder, text, *more):
    (folder / "names.csv").write_text(text)
    return torch2grid("compare", "a.safetensors", "b.safetensors", "-q", "--stats", "--names", "names.csv", *more, cwd=folder)


def test_stated_names(tmp_path):
    a = {f"block{place}.{one}": torch.randn(8, 6) for place in range(3) for one in ("x", "y")}
    b = {f"stage.{name[5]}.{ {'x': 'first', 'y': 'second'}[name[-1]] }": value for name, value in a.items()}
    b["stage.0.first"] = b["stage.0.first"].T.contiguous()
    save_file(a, tmp_path / "a.safetensors")
    save_file(b, tmp_path / "b.safetensors")
    text = "old,new,how\n# the first is turned\nblock0.x,stage.0.first,transposed\n"
    text += '"/block(\\d+)\\.x/",stage.\\1.first\n/block(\\d+)\\.y/,stage.\\g<1>.second,\n'
    done = named(tmp_path, text)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.startswith("the same model: 6 renamed, 1 transposed, 6 tensors, 288 weights")
    assert "6 by --names names.csv" in done.stdout
    back = torch2grid("compare", "b.safetensors", "a.safetensors", "-q", "--names", "names.csv", cwd=tmp_path)
    assert back.returncode == 0  # in either order
    partly = named(tmp_path, "old,new\nblock1.x,stage.1.first\nnobody,somebody\n")
    assert partly.returncode == 1
    assert "not in both files: 1 line of it (nobody → somebody)" in partly.stdout
    names = {re.compile(r"block(\d+)\.x"): r"stage.\1.first", re.compile(r"block(\d+)\.y"): r"stage.\1.second"}
    found = t2g.compare(a, b, names=names)
    assert [each["kind"] for each in found.report["differences"]] == ["shape"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names.csv:1: no header; it is a CSV file whose first line is old,new or old,new,how"),
        ("from,to\na,b\n", "names.csv:1: no header"),
        ("old,new\na\n", "names.csv:2: 1 field, not 2 or 3; put a name with a comma into double quotes"),
        ("old,new\n", "the file has no names"),
        ("old,new\n/(/,b\n", "names.csv:2: not a regular expression"),
        ("old,new\n/(x)/,b\\2\n", "names.csv:2: 'b\\\\2' refers to group 2, which the pattern does not have"),
        ("old,new,how\nx,y,turned\n", "names.csv:2: how is transposed, rotary, rotary back or empty, not 'turned'"),
        ("old,new\nx,y\nx,z\n", "names.csv:3: x is on line 2 already"),
        ("old,new\nx,\n", "names.csv:2: expected an old and a new name"),
        ("old,new\nq,r\n", "names.csv: none of its pairs of names fits the two files; the first is q → r"),
        ("old,new\n/x|y/,u\n", "names.csv:2: x and y would both be u"),
        ('old,new\n"x,y\n', "not CSV"),
    ],
)
def test_stated_names_that_say_nothing(tmp_path, text, message):
    save_file({"x": torch.zeros(2), "y": torch.ones(2)}, tmp_path / "a.safetensors")
    save_file({"u": torch.zeros(2), "v": torch.ones(2)}, tmp_path / "b.safetensors")
    done = named(tmp_path, text)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_maps_are_rules_that_go_both_ways():
    """The pieces of every rule hold each weight of the stored tensor once."""
    from torch2grid_builtin._compare.maps import ANYWHERE, MAPS

    for each in (*MAPS, ANYWHERE):
        stored = [rule.stored for rule in each.rules]
        assert len(stored) == len({*stored}), each.said
        for rule in each.rules:
            parts = [tuple(word for word in piece.forms if word in ("q", "k", "v", "gate", "up")) for piece in rule.pieces]
            assert parts in ([()], [("q",), ("k",), ("v",)], [("gate",), ("up",)]), rule


# Across forms.


def test_a_distributed_checkpoint_and_its_safetensors(tmp_path):
    state = SMALL.hf()
    network = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 4)})
    optimizer = torch.optim.AdamW(network.parameters())
    network["a"](torch.ones(1, 4)).sum().backward()
    optimizer.step()
    for front in ("", "module.", "_orig_mod."):
        whole = {"model": {f"{front}{name}": value for name, value in state.items()}, "optimizer": optimizer.state_dict()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save(whole, checkpoint_id=tmp_path / f"dcp{front}", no_dist=True)
    SMALL.save_hf(tmp_path / "hf")
    code, text = said(tmp_path, "dcp", "hf")
    assert code == 0
    assert text.startswith("same: 30 tensors, ")
    for front in ("module.", "_orig_mod."):
        for pair in ((f"dcp{front}", "hf"), ("hf", f"dcp{front}")):
            code, text = said(tmp_path, *pair)
            assert code == 0
            assert text.startswith("the same model: 30 renamed, 30 tensors, "), text
    state["model.norm.weight"][0] += 1
    SMALL.save_hf(tmp_path / "other", state)
    assert said(tmp_path, "dcp", "other")[0] == 1


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_gguf(tmp_path, architecture, kind):
    gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", architecture)
    writer.add_head_count(SMALL.heads)
    writer.add_head_count_kv(SMALL.kv_heads)
    writer.add_embedding_length(SMALL.hidden)
    for name, value in SMALL.hf().items():
        front, _, inner = name.removesuffix(".weight").partition("layers.")
        layer, _, inner = inner.partition(".")
        called = f"blk.{layer}.{names[inner]}" if layer else names[front]
        if architecture == "llama" and inner in ("self_attn.q_proj", "self_attn.k_proj"):
            value = pairs(value, SMALL.head)
        array = value.numpy()
        if kind == "Q8_0" and array.ndim > 1:
            codes = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{called}.weight", codes, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{called}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    SMALL.save_hf(tmp_path / "hf", config=False)
    info = tmp_path / "site" / "torch2grid_gguf-0.1.0.dist-info"  # as an installer would write it
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch2grid-gguf\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[torch2grid]\ngguf = torch2grid_gguf.plugin\n")
    path = os.pathsep.join(map(str, (tmp_path / "site", PROJECT / "plugins" / "torch2grid_gguf" / "src")))
    code, text = said(tmp_path, "hf", "model.gguf", env={"PYTHONPATH": path})
    if kind == "F32":
        permuted = "6 permuted, " if architecture == "llama" else ""
        assert text.startswith(f"the same model: 30 renamed, {permuted}30 tensors, "), text
        assert code == 0
    else:
        assert text.startswith("B is A quantised (Q8_0): 23 of 30 tensors, relative error 0.00"), text
        assert code == 1
