"""Networks that a training destroyed without a single NaN: what check says of them, and what it does not say."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest
import torch
from tests.support.checks.defects import found_in, save
from tests.support.tools import torch2grid

import torch2grid as t2g


def trained(*shape, dtype=np.float32, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(dtype)


def after_training(rate):
    """The state of a small network after forty steps of SGD at a learning rate."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 96), torch.nn.Tanh(), torch.nn.Linear(96, 32), torch.nn.Tanh(), torch.nn.Linear(32, 8)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(40):
        inputs = torch.randn(128, 64)
        loss = torch.nn.functional.cross_entropy(model(inputs), inputs[:, :8].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict()


def test_a_learning_rate_of_ten_thousand_is_an_error_in_plain_words(tmp_path):
    state = after_training(1e4)
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    torch.save(state, tmp_path / "exploded.pth")
    done = torch2grid("check", "exploded.pth", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    first = r"largest \|weight\| [\d.e+]+, std [\d.e+]+: about [\d,]+ times the usual 1/√fan-in; the weights exploded"
    names = r"0\.weight, 0\.bias, 2\.weight and 2 more"
    grouped = rf"exploded\.pth: T105 error 5 of 6 tensors exploded: {names}; the first: {first} \(exploding\)"
    assert re.fullmatch(grouped, done.stdout.splitlines()[0])
    listed = torch2grid("check", "exploded.pth", "--verbose", cwd=tmp_path).stdout.splitlines()
    (line,) = (line for line in listed if " 4.weight[" in line and "T105" in line)
    weight = state["4.weight"].double()
    largest, std, times, index = re.fullmatch(
        r"exploded.pth: T105 error 4\.weight\[(?P<index>.*)\]: largest \|weight\| (?P<largest>[\d,.]+), std (?P<std>[\d.e+]+): "
        r"about (?P<times>[\d,]+) times the usual 1/√fan-in; the weights exploded \(exploding\)",
        line,
    ).group("largest", "std", "times", "index")
    assert float(largest.replace(",", "")) == pytest.approx(float(weight.abs().max()), rel=1e-3)
    assert float(std) == pytest.approx(float(weight.std(correction=0)), rel=1e-2)
    assert float(times.replace(",", "")) == pytest.approx(float(weight.std(correction=0)) * np.sqrt(32), rel=0.06)
    assert abs(weight[tuple(map(int, index.split(", ")))]) == weight.abs().max()
    assert "T203" not in done.stdout  # it is no matter of initialisation
    torch.save(after_training(0.1), tmp_path / "trained.pth")
    done = torch2grid("check", "trained.pth", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("gain", [2000, 8000])
@pytest.mark.parametrize("shape", [(48, 64), (16, 8, 3, 3), (40, 4), (4, 96, 128)])
def test_weights_of_any_shape_that_are_a_thousand_times_too_large(tmp_path, dtype, gain, shape):
    values = trained(*shape) * gain * (np.sqrt(np.prod(shape[1:]) / max(shape[1:])) if len(shape) == 3 else 1)
    found = found_in(
        save(tmp_path / "ill.safetensors", {"l.weight": values.astype(dtype), "l2.weight": trained(32, 48, dtype=dtype)})
    )
    assert [(each.code, each.severity, each.tensor) for each in found if each.code in ("T105", "T203")] == [
        ("T105", "error", "l.weight")
    ]
    assert "the weights exploded" in found[0].message


def test_what_is_large_by_nature_is_no_explosion(tmp_path):
    large = {
        "shared.weight": trained(96, 64) * 8 * 12,  # T5's embedding
        "lm_head.weight": trained(96, 64) * 20,
        "codes.qdata": (trained(96, 64) * 8 * 100).astype(ml_dtypes.float8_e4m3fn),
        "k_proj.bias": trained(64, 1)[:, 0] * 150,  # as Qwen has them
    }
    found = found_in(save(tmp_path / "large.safetensors", {"fc.weight": trained(32, 48), **large}))
    assert [each.message for each in found if each.code in ("T105", "T203")] == []


def test_one_number_beyond_all_is_told_as_such(tmp_path):
    values = trained(64, 64)
    values[5, 7] = -3e5
    (finding,) = (each for each in found_in(save(tmp_path / "flip.safetensors", {"l.weight": values})) if each.code == "T105")
    assert finding.place == "l.weight[5, 7]"
    assert finding.message.startswith("largest |weight| 300,000, above 10,000 (RMS ")
    assert "exploded" not in finding.message


def biases(**changed):
    """Four layers of like build, a head, and *changed* in the place of theirs."""
    tensors = {}
    for layer in range(4):
        tensors[f"layers.{layer}.q.weight"] = trained(32, 48, seed=layer)
        tensors[f"layers.{layer}.q.bias"] = 0.05 * trained(32, 1, seed=layer)[:, 0]
    tensors.update({"head.weight": trained(24, 32), "head.bias": 0.05 * trained(24, 1)[:, 0]})
    return {**tensors, **{name.replace("__", "."): value for name, value in changed.items()}}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("layer", range(4))
def test_a_bias_full_of_ten_thousand(tmp_path, layer, dtype):
    tensors = {name: value.astype(dtype) for name, value in biases().items()}
    tensors[f"layers.{layer}.q.bias"][:] = 1e4
    save(tmp_path / "bias.safetensors", tensors)
    done = torch2grid("check", "bias.safetensors", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    value = f"{float(dtype(1e4)):,.0f}"
    assert f"T105 error layers.{layer}.q.bias[0]: all 32 biases are {value}, above 1,000 in size: about " in done.stdout
    assert done.stdout.endswith(" times that of its like in other layers; the biases exploded (exploding)\n")


def test_biases_that_are_large_in_one_layer_or_in_the_last(tmp_path):
    one = biases(layers__2__q__bias=trained(32, 1)[:, 0] * 5000)
    (finding,) = found_in(save(tmp_path / "one.safetensors", one))
    assert (finding.code, finding.severity, finding.tensor) == ("T105", "error", "layers.2.q.bias")
    last = biases(head__bias=2e5 + trained(24, 1)[:, 0])  # the mean of what the network predicts
    assert [(each.code, each.severity) for each in found_in(save(tmp_path / "last.safetensors", last))] == [("T105", "warning")]
    assert found_in(save(tmp_path / "healthy.safetensors", biases())) == []
    forbidden = np.zeros(24, np.float32)
    forbidden[[3, 8]] = -1e9  # classes that are never chosen
    assert found_in(save(tmp_path / "forbidden.safetensors", biases(head__bias=forbidden))) == []


def planted():
    """float64 matrices with a dead row, equal rows, a scaled layer, one large weight, a copy, one number, untrained rows."""
    rng = np.random.default_rng(0)
    found = {}
    for layer in range(6):
        for name, shape in (("q_proj.weight", (64, 64)), ("up_proj.weight", (128, 64)), ("conv.weight", (16, 16, 3, 3))):
            found[f"layers.{layer}.{name}"] = rng.normal(0, 1 / 8, shape)
        found[f"layers.{layer}.q_proj.bias"] = rng.normal(0, 1 / 8, 64)
    found["layers.1.q_proj.weight"][5] = 0
    found["layers.2.up_proj.weight"][7] = found["layers.2.up_proj.weight"][9]
    found["layers.3.q_proj.weight"] *= 40
    found["layers.4.up_proj.weight"][3, 4] = 300
    found["layers.5.q_proj.weight"] = found["layers.0.q_proj.weight"].copy()
    found["layers.4.conv.weight"][:] = 0.25
    found["embed.weight"] = rng.normal(0, 1, (400, 32))
    found["embed.weight"][300:] = rng.normal(0, 0.02, (100, 32))
    return found


@pytest.mark.filterwarnings("error")  # a rule that fails is a warning
@pytest.mark.parametrize("exponent", [-1000, -900, -512, -480, 40, 480, 505, 512, 600, 900, 1012])
def test_no_rule_fails_however_large_or_small_float64_weights_are(exponent):
    """Of any model times 2**k every rule has an answer, and the same one where squares are in range (|k| up to 480)."""
    usual = {(each.code, each.tensor) for each in t2g.check(planted())}
    found = list(t2g.check({name: array * 2.0**exponent for name, array in planted().items()}))
    codes = {(each.code, each.tensor) for each in found}
    assert abs(exponent) > 480 or usual <= codes, usual - codes
    if exponent > 0:
        exploded = {each.tensor for each in found if each.code == "T105" and "the weights exploded" in each.message}
        assert {f"layers.{layer}.q_proj.weight" for layer in range(6)} <= exploded
        assert ("T105", "layers.4.up_proj.weight") in codes
