"""What is not decoded is said and shown as it is stored; codes, scales and zero points are judged by no rule."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.support import quantised
from tests.support.quantised import Quantised
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_core import LoadError


def random() -> np.random.Generator:
    return np.random.default_rng(5)


def gptq(**config: Any) -> Quantised:
    case = quantised.gptq(random(), 3, 32, 4, 32, version=2, act_order=False)
    return case._replace(config={"quantization_config": {**case.config["quantization_config"], **config}})


def findings(path: Path, *words: str) -> list[dict[str, Any]]:
    done = torch2grid("check", path, "--format", "json", *words, cwd=path.parent)
    (model,) = json.loads(done.stdout)["models"]
    return [each for each in model["findings"] if each["rule"] != "not_run"]


def test_scales_may_lie_in_another_shard(tmp_path: Path) -> None:
    case = quantised.pack_quantized(random(), 12, 70, 4, 32, asymmetric=True, act_order=False)
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    where = {name: files["scale" in name] for name in case.stored}
    for file in files:
        save_file(
            {name: np.ascontiguousarray(each) for name, each in case.stored.items() if where[name] == file}, tmp_path / file
        )
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps(case.config))
    np.testing.assert_array_equal(t2g.load(tmp_path)["fc.weight"].numpy(), case.meant["fc.weight"])
    alone = t2g.load(tmp_path / files[0])
    assert set(alone) == {"fc.weight_packed", "fc.weight_shape", "fc.weight_zero_point"}
    assert any("weight_scale is not here; they are shown as stored" in note for note in alone.notes)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (gptq(checkpoint_format="marlin"), "their layout is marlin"),
        (Quantised({**gptq().stored, "fc.scales": np.ones((2, 16), np.float16)}, {}), "scales of shape [2, 16]"),
        (Quantised({**gptq().stored, "fc.qzeros": np.ones((9, 9), np.int32)}, {}), "neither the shapes nor"),
        (quantised.mlx(random(), 4, 2, 4, 32)._replace(config={"quantization": {"bits": 3, "group_size": 32}}), "do not fit"),
        (
            Quantised({"fc.W_q": np.zeros((8, 4), np.uint8), "fc.scale": np.ones((16, 1)), "fc.zero": np.ones((16, 1))}, {}),
            "the file does not tell the shape",
        ),
        (
            Quantised({"fc.weight": np.ones((4, 4), np.int8), "fc.weight_scale": np.ones((3, 1), np.float32)}, {}),
            "scales of shape [3, 1] for weights of shape [4, 4]",
        ),
        (
            Quantised({"fc.weight_packed": np.ones((4, 16), np.uint8), "fc.weight_scale": np.full((4, 2), 127, np.uint8)}, {}),
            "scales of shape [4, 2] for codes of shape [4, 16]",  # groups of 16, which no format with exponents has
        ),
        (
            Quantised(
                {"fc.weight.tensor_impl.packed_weight": np.ones((4, 2, 32, 4), np.int32),
                 "fc.weight.tensor_impl.scale_and_zero": np.ones((4, 8, 2), np.float16)}, {}),
            "they are in the order of a GPU's kernel",
        ),
        (
            quantised.onnx_runtime(random(), (6, 6), 1, "int8"),
            "6 scales for weights of shape [6, 6], which do not tell of which dimension they are",
        ),
        (
            quantised.mxfp4(random(), 4, 2)._replace(config={"quantization_config": {"data_type": "mx_int4"}}),
            "they are integers of AutoRound's MXINT",
        ),
        (
            quantised.torchao_floats(random(), 5, 4, "nvfp4", in_tiles=True)._replace(
                stored={
                    **quantised.torchao_floats(random(), 5, 4, "nvfp4", in_tiles=True).stored,
                    "fc._weight_scale": np.ones((16, 16), ml_dtypes.float8_e4m3fn),
                }
            ),
            "scales of shape [16, 16] for weights of shape [5, 64]",
        ),
        (
            Quantised(
                {"fc.weight_packed": np.ones((2, 4), np.int32), "fc.weight_scale": np.ones((2, 1), np.float16),
                 "fc.weight_shape": np.array([2, 1 << 40])}, {}),
            "a weight_shape of [2, 1099511627776]",
        ),
    ],
)  # fmt: skip
def test_what_is_not_decoded_says_why(case: Quantised, reason: str, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    checkpoint = t2g.load(path)
    assert set(checkpoint) == set(case.stored)
    (note,) = [note for note in checkpoint.notes if "not decoded" in note]
    assert reason in note
    assert note.endswith("they are shown as stored")
    assert note in torch2grid(path, "--stats", cwd=tmp_path).stderr.replace("\n", " ")
    assert [each for each in findings(path) if each["severity"] == "error"] == []


ESCAPE = "x\x1b[31m\r\n"


@pytest.mark.parametrize(
    "case",
    [
        gptq(checkpoint_format=ESCAPE),
        quantised.mlx(random(), 4, 2, 4, 32)._replace(config={"quantization": {"bits": 4, "group_size": 32, "mode": ESCAPE}}),
        quantised.mlx(random(), 4, 2, 4, 32)._replace(config={"quantization": {"bits": ESCAPE, "group_size": 32}}),
        quantised.torchao(random(), 6, 2, 8, zero=False)._replace(metadata={"fc.weight": json.dumps({"_type": ESCAPE})}),
    ],
)
def test_settings_that_are_quoted_have_no_control_characters(case: Quantised, tmp_path: Path) -> None:
    checkpoint = t2g.load(case.write(tmp_path))
    notes = [*checkpoint.notes, *(each.note for each in checkpoint.values())]
    assert any("not decoded" in note for note in notes)
    assert all(note.isprintable() for note in notes)


def as_floats(value: Any) -> Any:
    """The same settings as JSON of a language that has no integers."""
    if isinstance(value, dict):
        return {key: as_floats(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_floats(each) for each in value]
    return float(value) if type(value) is int else value


@pytest.mark.parametrize(
    "case",
    [
        gptq(),
        quantised.awq(random(), 32, 2, 16),
        quantised.mlx(random(), 4, 2, 4, 32),
        quantised.mlx(random(), 3, 1, 6, 64, (2,)),
        quantised.pack_quantized(random(), 6, 40, 4, 16, asymmetric=True, act_order=False),
        quantised.block_fp8(random(), 9, 10, (4, 4)),
        quantised.torchao(random(), 6, 2, 8, zero=True),
        quantised.bitsandbytes4(random(), (9, 8), 32, kind="nf4", nested=True),
    ],
)
def test_settings_that_are_no_integers_crash_no_decoder(case: Quantised, tmp_path: Path) -> None:
    metadata = {}
    for name, text in case.metadata.items():
        metadata[name] = json.dumps(as_floats(json.loads(text))) if text.startswith("{") else text
    stored = dict(case.stored)
    for name, array in stored.items():
        if "quant_state" in name:
            stored[name] = np.frombuffer(json.dumps(as_floats(json.loads(array.tobytes()))).encode(), np.uint8)
    checkpoint = t2g.load(case._replace(stored=stored, config=as_floats(case.config), metadata=metadata).write(tmp_path))
    assert set(checkpoint) in (set(case.meant), set(case.stored))
    for name in checkpoint.composed:
        np.testing.assert_array_equal(checkpoint[name].numpy(), case.meant[name])
    assert checkpoint.composed or any("shown as stored" in note for note in checkpoint.notes)


def _int(*shape: int) -> Any:
    return random().integers(-9, 9, shape).astype(np.int32)


KNOWN: dict[str, dict[str, Any]] = {
    "AQLM": {"codes": _int(8, 4, 2).astype(np.int8), "codebooks": np.ones((2, 256, 1, 8)), "scales": np.ones((8, 1, 1, 1))},
    "VPTQ": {"indices": _int(1, 8, 4), "centroids.weight": np.ones((1, 16), np.float32)},
    "SpQR": {"dense_weights": _int(64), "row_offsets": _int(9)},
    "compressed-tensors' sparse bitmasks": {"bitmask": np.ones((8, 4), np.uint8), "compressed": np.ones(9, np.float16)},
    "Marlin's layout": {"B": _int(4, 16), "s": np.ones((1, 64), np.float16)},
    "EETQ's order for a GPU's kernel": {"weight": _int(8, 4).astype(np.int8), "weight_scales": np.ones(4, np.float16)},
    "QuIP#": {"Qidxs": _int(8, 4), "SU": np.ones(8, np.float16), "SV": np.ones(8, np.float16)},
    "ExLlamaV2": {"q_weight": _int(8, 4), "q_scale": _int(8), "q_groups": _int(8)},
    "ExLlamaV3": {"trellis": _int(2, 2, 64), "suh": np.ones(8, np.float16), "svh": np.ones(8, np.float16)},
    "HIGGS": {"weight": np.ones((2, 8), np.uint8), "scales": np.ones(1, np.float16), "tables": np.ones((16, 2), np.float16)},
}


@pytest.mark.parametrize("scheme", KNOWN)
def test_schemes_that_are_not_decoded_are_said_and_not_judged(scheme: str, tmp_path: Path) -> None:
    stored = {f"fc.{name}": np.zeros_like(array) for name, array in KNOWN[scheme].items()}
    path = Quantised({**stored, "norm.weight": np.ones(4, np.float32)}, {}).write(tmp_path)
    (note,) = t2g.load(path).notes
    assert note.endswith(f"codes of {scheme} that are not decoded; they are shown as stored")
    wrong = [each["tensor"] for each in findings(path) if each["severity"] == "error"]
    assert set(wrong) <= {"fc.centroids.weight"}  # which are numbers as weights are
    plain = {name: np.zeros(array.shape, np.float32) for name, array in stored.items()}
    assert t2g.load(Quantised(plain, {}).write(tmp_path / "plain")).notes == ()


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_codes_are_never_on_the_scale_of_the_weights(raw: list[str], tmp_path: Path) -> None:
    weights = random().normal(0, 0.02, (128, 128)).astype(np.float32)
    words = random().integers(-(2**31), 2**31, (64, 256)).astype(np.int32)
    path = Quantised({"a.qweight": words, "b.weight": weights}, {}).write(tmp_path)
    (panel,) = t2g.draw(t2g.load(path, raw=bool(raw)), ["grid"])["neural_grid"].panels
    assert panel.scale.high < 0.1
    assert panel.scale.over + panel.scale.under == pytest.approx(0.5, abs=0.01)  # the codes are beyond it


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (
            quantised.mlx(random(), 3, 2, 4, 64),
            "4 bits in groups of 64, 8 bits in groups of 32, 2 bits in groups of 128",
        ),
        (
            quantised.pack_quantized(random(), 5, 3, 4, 16, asymmetric=False, act_order=False),
            "4 or 8 bits would fit, and config.json, which tells, is not beside the file",
        ),
    ],
)
def test_what_only_the_configuration_tells_is_not_guessed(case: Quantised, reason: str, tmp_path: Path) -> None:
    assert set(t2g.load(case.write(tmp_path / "whole"))) == set(case.meant)
    (note,) = t2g.load(case._replace(config={}).write(tmp_path / "bare")).notes
    assert reason in note


@pytest.mark.parametrize("bits", [2, 4])
def test_bits_of_quanto_that_two_rows_do_not_tell(bits: int, tmp_path: Path) -> None:
    few = quantised.quanto_kernel(random(), (2, 3, 3, 3), bits)
    (note,) = t2g.load(few.write(tmp_path / "few")).notes
    assert "the file does not tell whether they have 2 bits or 4" in note
    more = quantised.quanto(random(), 7, 2, 8, bits)  # whose other weights tell
    found = t2g.load(Quantised({**few.stored, **more.stored}, {}).write(tmp_path / "more"))
    for name, meant in {**few.meant, **more.meant}.items():
        np.testing.assert_array_equal(found[name].numpy(), meant)


@pytest.mark.parametrize("bits", [4, 8])
def test_bits_that_the_library_writes_come_first_where_several_would_fit(bits: int, tmp_path: Path) -> None:
    case = quantised.pack_quantized(random(), 5, 7, bits, 16, asymmetric=True, act_order=False)
    found = t2g.load(case._replace(config={}).write(tmp_path))["fc.weight"]
    np.testing.assert_array_equal(found.numpy(), case.meant["fc.weight"])


def test_groups_of_gptq_whose_last_is_not_full_need_no_configuration(tmp_path: Path) -> None:
    case = quantised.gptq(random(), 3, 32, 4, 32, version=1, act_order=False)
    rows = 10  # of words: 80 inputs, in groups of 32, 32 and 16
    stored = {"fc.qweight": case.stored["fc.qweight"][:rows], **{n: a for n, a in case.stored.items() if n != "fc.qweight"}}
    del stored["fc.g_idx"]
    found = t2g.load(case._replace(stored=stored, config={}).write(tmp_path))["fc.weight"]
    assert "group 32" in found.note
    np.testing.assert_array_equal(found.numpy(), case.meant["fc.weight"][:, :80])


def test_only_the_configuration_tells_the_version_of_gptq(tmp_path: Path) -> None:
    case = gptq()
    second = t2g.load(case.write(tmp_path / "second"))["fc.weight"].numpy()
    first = t2g.load(gptq(checkpoint_format="gptq").write(tmp_path / "first"))["fc.weight"]
    scale = case.stored["fc.scales"].astype(np.float32)[case.stored["fc.g_idx"]].T
    np.testing.assert_allclose(second - first.numpy(), scale, rtol=1e-3)
    assert "version 1" in first.note
    assert "version 1" in t2g.load(case._replace(config={}).write(tmp_path / "none"))["fc.weight"].note


@pytest.mark.parametrize(
    ("packing", "version"),
    [("auto_round:auto_gptq", 1), ("auto_round:gptq", 1), ("auto_round", 2), ("auto_round:gptqmodel", 2)],
)
def test_formats_of_autoround_tell_how_zero_points_are_stored(packing: str, version: int, tmp_path: Path) -> None:
    case = quantised.gptq(random(), 3, 32, 4, 32, version=version, act_order=False)
    config = {"quant_method": "auto-round", "packing_format": packing, "bits": 4, "group_size": 32, "sym": False}
    found = t2g.load(case._replace(config={"quantization_config": config}).write(tmp_path))["fc.weight"]
    assert f"version {version}" in found.note
    np.testing.assert_array_equal(found.numpy(), case.meant["fc.weight"])


def test_bits_of_codes_that_have_a_byte_each_are_said(tmp_path: Path) -> None:
    case = quantised.plain(random(), 5, 8, "int8")
    groups = {"group_0": {"weights": {"num_bits": 4, "type": "int", "strategy": "channel"}}}
    config = {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}}
    assert t2g.load(case._replace(config=config).write(tmp_path))["fc.weight"].note.startswith("INT4, a byte each, ")


@pytest.mark.parametrize("form", ["of the parameter", "of the last run", "of another weight"])
def test_pickled_layers_of_eight_bits(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes keeps the scales with the parameter, and moves them to the state of the layer when it runs."""
    case = quantised.bitsandbytes8(random(), 7, 9)
    codes, scale = torch.from_numpy(case.stored["fc.weight"]), torch.from_numpy(case.stored["fc.SCB"])
    library = types.ModuleType("bitsandbytes")
    layer = type("Linear8bitLt", (torch.nn.Module,), {"__module__": "bitsandbytes", "__qualname__": "Linear8bitLt"})
    state = type("MatmulLtState", (), {"__module__": "bitsandbytes", "__qualname__": "MatmulLtState"})
    library.Linear8bitLt, library.MatmulLtState = layer, state  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bitsandbytes", library)
    module = layer()
    module.weight = torch.nn.Parameter(codes, requires_grad=False)
    its = {"CB": codes if form != "of another weight" else codes.clone(), "SCB": scale}
    if form == "of the parameter":
        module.weight.__dict__.update(its)
    else:
        module.state = state()
        module.state.__dict__.update(its)
    torch.save(torch.nn.ModuleDict({"fc": module}), tmp_path / "m.pt")
    found = t2g.load(tmp_path / "m.pt")
    assert set(found) == {"fc.weight"} | ({"fc.state.CB"} if form == "of another weight" else set())
    np.testing.assert_array_equal(found["fc.weight"].numpy(), case.meant["fc.weight"])


def test_rules_judge_the_weights(tmp_path: Path) -> None:
    case = quantised.pack_quantized(random(), 64, 128, 4, 32, asymmetric=True, act_order=False)
    scale = case.stored["fc.weight_scale"].copy()
    scale[3, 1] = np.nan
    path = Quantised({**case.stored, "fc.weight_scale": scale}, {}, case.config).write(tmp_path)
    (found,) = [each for each in findings(path) if each["rule"] == "nan"]
    assert found["tensor"] == "fc.weight"
    assert "32 of 8,192" in found["message"]


def test_no_rule_judges_codes_scales_and_zero_points(tmp_path: Path) -> None:
    stored = {
        **{f"a.{name}": np.zeros(shape, np.int8) for name, shape in (("weight", (64, 64)), ("weight_zero_point", (64, 1)))},
        "a.weight_scale": np.full((64, 1), 1e6, np.float32),
        "b.qweight": np.zeros((8, 64), np.int32),
        "b.scales": np.zeros((2, 64), np.float16),
        "b.qzeros": np.zeros((2, 8), np.int32),
        "b.bias": np.full(64, 1e7, np.float32),
        "c._weight_qdata": np.zeros((64, 64), np.int8),
        "c._weight_scale": np.zeros((64, 64), np.float32),
        "d.weight": np.zeros((64, 8), np.uint32),
        "d.scales": np.zeros((64, 2), np.float16),
        "d.biases": np.zeros((64, 2), np.float16),
        "e.weight": np.zeros((64, 64), np.float32),
    }
    path = Quantised(stored, {}).write(tmp_path)
    names = {each["tensor"] for each in findings(path, "--raw") if each["severity"] == "error"}
    assert names == {"b.bias", "e.weight"}  # a bias that exploded and a weight of zeros stay what they are


def test_a_file_of_other_names_asks_no_decoder(tmp_path: Path) -> None:
    save_file({"fc.weight": np.ones((4, 4), np.float32), "fc.scaled": np.ones(4, np.float32)}, tmp_path / "m.safetensors")
    done = torch2grid("m.safetensors", "--stats", cwd=tmp_path)
    code = "import sys, torch2grid as t; t.load('m.safetensors'); print([m for m in sys.modules if '_decoders' in m])"
    assert done.returncode == 0
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("same", [True, False])
def test_data_that_a_parameter_is_given_again_must_be_its_own(same: bool, tmp_path: Path) -> None:
    numbers = torch.arange(12, dtype=torch.float32)
    parameter = torch.nn.Parameter(numbers)
    state = {"data": numbers if same else torch.zeros(12), "blocksize": 64}

    class Holder:
        def __reduce__(self) -> Any:
            return torch._utils._rebuild_parameter_with_state, (parameter.data, True, {}, state)

    torch.save({"weight": Holder()}, tmp_path / "m.pt")
    if same:
        np.testing.assert_array_equal(t2g.load(tmp_path / "m.pt")["weight"].numpy(), numbers.numpy())
    else:
        with pytest.raises(LoadError, match="would replace its numbers"):
            t2g.load(tmp_path / "m.pt")
