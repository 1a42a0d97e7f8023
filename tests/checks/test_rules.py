"""Every rule finds what was planted into real networks, every time, and none calls a healthy network ill."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from tests.support.checks.defects import HEALTHY, arrays, errors, found_in, manager, rules, save, source
from tests.support.corpus import manifest, needs_corpus, real
from tests.support.views.drawing import checkpoint_of

from torch2grid_builtin._rules.about import is_matrix
from torch2grid_builtin._rules.waves import Waves
from torch2grid_builtin._views.units import has_units, is_figure
from torch2grid_core import LoadError, check
from torch2grid_core.sources import is_floating

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
QUICK = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
NETWORKS = st.sampled_from(HEALTHY)


def network(name, dtype=np.float32):
    """A copy of a real network, its floating tensors as *dtype* where they fit its range."""
    tensors = {}
    for key, array in arrays(name).items():
        with np.errstate(over="ignore"):
            cast = array.astype(dtype) if is_floating(array.dtype) else array.copy()
        tensors[key] = cast if np.isfinite(cast.astype(np.float64)).all() else array.copy()
    return tensors


def draw_tensor(data, tensors, fits):
    checkpoint = checkpoint_of(tensors)
    names = [name for name, tensor in checkpoint.items() if fits(tensor, checkpoint)]
    return data.draw(st.sampled_from(names))


def floating(tensor, checkpoint):
    return is_floating(tensor.dtype) and tensor.size > 0


def weight(tensor, checkpoint):
    return floating(tensor, checkpoint) and has_units(tensor, checkpoint) and not is_figure(tensor.name)


def matrix(tensor, checkpoint):
    return weight(tensor, checkpoint) and is_matrix(tensor) and tensor.shape[0] >= 4 and tensor.size >= 8 * tensor.shape[0]


def learned_matrix(tensor, checkpoint):
    """No table of sines: rows of these repeat one another by what they are."""
    return matrix(tensor, checkpoint) and not Waves(tensor).throughout


def only(found, code, name, also=()):
    """The finding of *code* about *name*; no other rule of severity error says anything about the file, but those of *also*."""
    mine = [each for each in found if each.code == code and each.tensor == name]
    assert len(mine) == 1, [(each.code, each.place, each.message) for each in found]
    assert not [each for each in errors(found) if not each.startswith((code, *also))]
    return mine[0]


@QUICK
@given(name=NETWORKS, dtype=st.sampled_from(FLOATS), value=st.sampled_from([np.nan, np.inf, -np.inf]), data=st.data())
def test_one_nan_or_inf_is_found_and_located(tmp_path, name, dtype, value, data):
    if value != value or dtype != ml_dtypes.float8_e4m3fn:  # which has no Inf
        tensors = network(name, dtype)
        assert errors(found_in(save(tmp_path / "clean.safetensors", tensors))) == []
        chosen = draw_tensor(data, tensors, floating)
        place = data.draw(st.integers(0, tensors[chosen].size - 1))
        tensors[chosen].reshape(-1)[place] = value
        found = found_in(save(tmp_path / "ill.safetensors", tensors))
        finding = only(found, "T101" if value != value else "T102", chosen)
        assert finding.index == np.unravel_index(place, tensors[chosen].shape)
        assert "1 of " in finding.message


@QUICK
@given(name=NETWORKS, data=st.data())
def test_all_zero(tmp_path, name, data):
    tensors = network(name)
    chosen = draw_tensor(data, tensors, lambda tensor, all_: weight(tensor, all_) and tensor.size > 1)
    tensors[chosen][...] = data.draw(st.sampled_from([0.0, -0.0]))
    only(found_in(save(tmp_path / "ill.safetensors", tensors)), "T103", chosen)


@QUICK
@given(name=NETWORKS, dtype=st.sampled_from(FLOATS), value=st.sampled_from([1.0, -0.5, 0.015625]), data=st.data())
def test_constant(tmp_path, name, dtype, value, data):
    tensors = network(name, dtype)
    chosen = draw_tensor(data, tensors, matrix)
    tensors[chosen][...] = value
    assert f"weights are {value:g}" in only(found_in(save(tmp_path / "ill.safetensors", tensors)), "T104", chosen).message


@QUICK
@given(
    name=NETWORKS,
    dtype=st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16]),
    sign=st.booleans(),
    data=st.data(),
)
def test_exploding(tmp_path, name, dtype, sign, data):
    tensors = network(name, dtype)
    chosen = draw_tensor(data, tensors, weight)
    place = data.draw(st.integers(0, tensors[chosen].size - 1))
    size = 20_000.0 if tensors[chosen].dtype == np.float16 else data.draw(st.sampled_from([1.1e4, 1e20, 3e38]))
    tensors[chosen].reshape(-1)[place] = size if sign else -size
    where = f"{chosen}[{', '.join(map(str, np.unravel_index(place, tensors[chosen].shape)))}]: "
    beyond = (f"T109 {where}1 of ", f"T207 {where}a gain ")  # the others, too
    finding = only(found_in(save(tmp_path / "ill.safetensors", tensors)), "T105", chosen, also=beyond)
    assert finding.index == np.unravel_index(place, tensors[chosen].shape)
    left = errors(found_in(tmp_path / "ill.safetensors", exploding="exploding:limit=1e39"))
    assert not [each for each in left if not each.startswith(beyond)]


@QUICK
@given(name=NETWORKS, dtype=st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16]), data=st.data())
def test_subnormal(tmp_path, name, dtype, data):
    tensors = network(name, dtype)
    chosen = draw_tensor(
        data, tensors, lambda tensor, all_: floating(tensor, all_) and tensor.dtype == dtype and tensor.size >= 100
    )
    flat = tensors[chosen].reshape(-1)
    places = np.sort(np.random.default_rng(0).permutation(flat.size)[: max(flat.size // 50, 1) + 1])
    flat[places] = ml_dtypes.finfo(dtype).smallest_subnormal * 3
    found = [each for each in found_in(save(tmp_path / "ill.safetensors", tensors)) if each.code == "T106"]
    (finding,) = [each for each in found if each.tensor == chosen]
    assert finding.severity == "warning"
    assert finding.index is not None
    assert finding.index <= np.unravel_index(places[0], tensors[chosen].shape)  # it may have had one before


@QUICK
@given(name=NETWORKS, dtype=st.sampled_from([np.float32, np.float64, ml_dtypes.bfloat16]), data=st.data())
def test_float16_range(tmp_path, name, dtype, data):
    tensors = network(name, dtype)
    beyond, below = draw_tensor(data, tensors, weight), draw_tensor(data, tensors, matrix)
    tensors[below][: len(tensors[below]) // 2] *= dtype(1e-12)
    place = data.draw(st.integers(0, tensors[beyond].size - 1))
    tensors[beyond].reshape(-1)[place] = 70_000
    found = [each for each in found_in(save(tmp_path / "ill.safetensors", tensors)) if each.code == "T107"]
    assert np.unravel_index(place, tensors[beyond].shape) in [each.index for each in found if each.tensor == beyond]
    assert any("would become zero" in each.message for each in found if each.tensor == below)


def test_a_float16_that_was_cut_off(tmp_path):
    tensors = network("digits", np.float16)
    tensors["fc1.weight"][3, 5] = 65504
    found = found_in(save(tmp_path / "ill.safetensors", tensors))
    assert [each.code for each in found if each.place == "fc1.weight[3, 5]"] == ["T105", "T107", "T109"]


@QUICK
@given(name=NETWORKS, dtype=st.sampled_from(FLOATS), columns=st.booleans(), data=st.data())
def test_dead_units(tmp_path, name, dtype, columns, data):
    tensors = network(name, dtype)

    def fits(tensor, checkpoint):
        units = tensor.shape[1] if columns and tensor.ndim > 1 else tensor.shape[0] if tensor.ndim else 0
        return matrix(tensor, checkpoint) and units > 1 and tensor.size >= 3 * units

    chosen = draw_tensor(data, tensors, fits)
    values = tensors[chosen] if not columns else np.moveaxis(tensors[chosen], 1, 0)
    dead = sorted(data.draw(st.permutations(range(len(values))))[: len(values) - len(values) // 2 - (len(values) % 2)])
    values[dead] = 0
    found = found_in(save(tmp_path / "ill.safetensors", tensors))
    mine = [each for each in found if each.code == "T201" and each.tensor == chosen]
    assert any(f"{'input' if columns else 'output'} units are dead" in each.message for each in mine)
    assert all(each.code in ("T201", "T202") for each in found if each.severity == "error")


@QUICK
@given(name=NETWORKS, dtype=st.sampled_from(FLOATS), exact=st.booleans(), data=st.data())
def test_duplicate_units(tmp_path, name, dtype, exact, data):
    tensors = network(name, dtype)
    chosen = draw_tensor(data, tensors, learned_matrix)
    values = tensors[chosen]
    living = [row for row in range(len(values)) if np.abs(values[row].astype(np.float64)).max() > 1e-3]
    first = data.draw(st.sampled_from(living))
    count = max(-(-len(values) // 20), 1)
    others = [row for row in data.draw(st.permutations(range(len(values)))) if row != first][:count]
    values[others] = values[first] if exact else values[first] * dtype(2)
    finding = only(found_in(save(tmp_path / "ill.safetensors", tensors)), "T202", chosen)
    assert finding.severity == "error"


def test_few_duplicates_are_a_warning(tmp_path):
    tensors = network("digits")
    tensors["fc1.weight"][9] = tensors["fc1.weight"][4]
    (finding,) = found_in(save(tmp_path / "ill.safetensors", tensors))
    assert (finding.code, finding.severity, finding.tensor) == ("T202", "warning", "fc1.weight")
    assert finding.message == "1 of 32 units repeats another: 9 = 4"


@QUICK
@given(
    name=NETWORKS, dtype=st.sampled_from([np.float32, np.float64, ml_dtypes.bfloat16]), kind=st.integers(0, 2), data=st.data()
)
def test_initialisation(tmp_path, name, dtype, kind, data):
    tensors = network(name, dtype)
    assume(name != "captum/titanic_model.pt")  # which has no matrix of 1,024 weights
    chosen = draw_tensor(data, tensors, lambda tensor, all_: matrix(tensor, all_) and (kind or tensor.size >= 1024))
    values = tensors[chosen]
    bound = 1 / np.sqrt(values.size // len(values))
    fresh = np.random.default_rng(0).uniform(-bound, bound, values.shape)
    values[...] = (fresh * (1, 500, 1e-4)[kind]).astype(dtype)
    (finding,) = [
        each for each in found_in(save(tmp_path / "ill.safetensors", tensors)) if each.code == "T203" and each.tensor == chosen
    ]
    assert ("looks untrained", "times the usual 1/√fan-in", "times the usual 1/√fan-in")[kind] in finding.message
    if kind:  # the number of times is true, to its three digits
        std = np.std(values.astype(np.float64)) * np.sqrt(values.size // len(values))
        assert float(finding.message.split(": ")[1].split()[0]) == pytest.approx(std, rel=6e-3)


def test_normalisations_and_embeddings_that_were_never_trained(tmp_path):
    torch.manual_seed(0)
    modules = {"ln_1": torch.nn.LayerNorm(8), "ln_2": torch.nn.LayerNorm(8), "word_embeddings": torch.nn.Embedding(200, 64)}
    path = tmp_path / "fresh.pt"
    torch.save(torch.nn.ModuleDict(modules).state_dict(), path)
    found = found_in(path)
    assert [(each.code, each.tensor) for each in found] == [("T203", "word_embeddings.weight"), ("T203", "ln_1.weight")]


@QUICK
@given(name=NETWORKS, data=st.data())
def test_mixed_dtypes_and_tensors_without_weights(tmp_path, name, data):
    tensors = network(name)
    chosen = draw_tensor(data, tensors, floating)
    tensors[chosen] = tensors[chosen].astype(np.float64)
    tensors["empty"] = np.empty((3, 0), np.float32)
    found = found_in(save(tmp_path / "ill.safetensors", tensors))
    assert [each.tensor for each in found if each.code == "T301"] == [chosen]
    assert [each.tensor for each in found if each.code == "T302"] == ["empty"]
    assert not errors(found)


def test_types_of_mixed_precision_are_a_note_and_those_of_like_layers_a_warning(tmp_path):
    rng = np.random.default_rng(5)
    tensors = {f"layers.{number}.fc.weight": rng.standard_normal((8, 8)).astype(np.float16) for number in range(4)}
    tensors["norm.weight"] = rng.standard_normal(8).astype(np.float32)
    (found,) = [each for each in found_in(save(tmp_path / "mixed.safetensors", tensors)) if each.code == "T301"]
    assert (found.severity, found.tensor) == ("note", "norm.weight")
    tensors["layers.2.fc.weight"] = tensors["layers.2.fc.weight"].astype(np.float32)
    (found,) = [each for each in found_in(save(tmp_path / "broken.safetensors", tensors)) if each.code == "T301"]
    assert (found.severity, found.tensor) == ("warning", "layers.2.fc.weight")
    assert "is float32, and 3 of its 3 siblings are float16" in found.message


class _Payload:
    def __reduce__(self):
        return (print, ("this must not be printed",))


@QUICK
@given(name=NETWORKS, data=st.data())
def test_tied_weights_and_calls_that_were_not_run(tmp_path, capsys, name, data):
    state = {key: torch.from_numpy(array.copy()) for key, array in arrays(name).items()}
    chosen = data.draw(st.sampled_from(sorted(key for key, tensor in state.items() if tensor.numel())))
    found = found_in(_torch_save({**state, "zz.tied": state[chosen]}, tmp_path))
    assert [(each.tensor, each.message) for each in found if each.code == "T303"] == [
        ("zz.tied", f"shares its weights with {chosen}")
    ]
    found = found_in(_torch_save({**state, "extra": _Payload()}, tmp_path))
    (finding,) = [each for each in found if each.code == "T304"]
    assert finding.severity == "error"
    assert "print" in finding.message
    assert "must not be printed" not in capsys.readouterr().out


def _torch_save(value, folder):
    torch.save(value, folder / "model.pth")
    return folder / "model.pth"


def test_what_each_rule_is_about():
    about = {"values": {"T101", "T102", "T302", "T306"}, "file": {"T303", "T304", "T305"}}
    for rule in rules():
        expected = next((kind for kind, codes in about.items() if rule.code in codes), "weights")
        assert rule.judges == expected, rule.code


@needs_corpus
def test_no_error_in_a_healthy_network():
    checked = 0
    for entry in manifest("real"):
        if entry["file"] == "burn/reader/special_values.pt":  # made of NaN and Inf
            continue
        try:
            checkpoint = manager().open(real(entry["file"]))
        except LoadError:
            continue
        assert errors(check(checkpoint, rules())) == [], entry["file"]
        checked += 1
    assert checked >= 70


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.bool_, np.complex64])
def test_integers_and_complex_numbers_are_no_trouble(dtype):
    values = (np.random.default_rng(0).standard_normal((16, 32)) * 60).astype(dtype)
    codes = {each.code for each in check(checkpoint_of({"layer.weight": values}), rules()) if each.severity == "error"}
    assert codes == set()
    if np.dtype(dtype).kind == "c":
        values[3, 7] = complex(0, np.nan)
        (finding,) = [each for each in check(checkpoint_of({"layer.weight": values}), rules()) if each.code == "T101"]
        assert finding.index == (3, 7)


def test_an_infinite_mask_is_no_defect():
    mask = np.triu(np.full((8, 8), -np.inf, np.float32), 1)
    assert check(checkpoint_of({"attn.mask": mask, "attn.bias": mask.copy()}), rules()) == []
    assert check(checkpoint_of({"attn.weight": mask}), rules())[0].code == "T102"  # by its name no mask


def test_the_sources_exist():
    for name in HEALTHY:
        assert Path(source(name)).is_file()
        assert not errors(found_in(source(name)))
