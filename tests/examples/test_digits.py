"""The committed checkpoints of the digits network are what the training script makes, and are as good as promised."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "train_digits.py"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("train_digits", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def torch_settings() -> Iterator[None]:
    """Training sets the number of threads and deterministic algorithms for the process: put both back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def load(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=True)


def test_the_trained_network_classifies_97_percent_of_the_held_out_digits(script):
    _, images, _, labels = script.load_split()
    assert len(labels) == 450
    assert script.accuracy(load(script.TRAINED), images, labels) >= 0.97
    assert script.accuracy(load(script.UNTRAINED), images, labels) < 0.3


def test_the_held_out_digits_are_not_trained_on(script):
    trained_on, held_out, _, _ = script.load_split()
    assert len(trained_on) + len(held_out) == 1797
    both = {image.numpy().tobytes() for image in trained_on} & {image.numpy().tobytes() for image in held_out}
    assert not both


def test_the_state_dicts_are_small_float32_and_of_one_shape(script):
    untrained, trained = load(script.UNTRAINED), load(script.TRAINED)
    assert {name: tensor.shape for name, tensor in untrained.items()} == {name: t.shape for name, t in trained.items()}
    assert {tensor.dtype for tensor in [*untrained.values(), *trained.values()]} == {torch.float32}
    assert sum(tensor.numel() for tensor in trained.values()) < 30_000
    assert script.UNTRAINED.stat().st_size + script.TRAINED.stat().st_size < 300_000
    assert all(torch.isfinite(tensor).all() for tensor in trained.values())


def test_the_run_ends_in_the_trained_network_and_keeps_the_optimizer(script):
    files = sorted(script.RUN.glob("epoch_*.pth"))
    assert sum(file.stat().st_size for file in files) < 1_500_000
    run = [load(file) for file in files]
    assert [checkpoint["epoch"] for checkpoint in run] == list(script.SNAPSHOTS)
    losses = [checkpoint["loss"] for checkpoint in run]
    assert losses == sorted(losses, reverse=True)
    trained = load(script.TRAINED)
    assert all(torch.equal(run[-1]["model"][name], tensor) for name, tensor in trained.items())
    for checkpoint in run:
        state = checkpoint["optimizer"]["state"]
        shapes = [tensor.shape for tensor in trained.values()]
        assert [state[i]["exp_avg"].shape for i in range(len(shapes))] == shapes
        assert all(state[i]["exp_avg_sq"].min() >= 0 for i in state)


@pytest.mark.usefixtures("torch_settings")
def test_training_again_gives_the_committed_numbers(script, capsys):
    assert script.main(["--check"]) == 0, capsys.readouterr().out
    lines = capsys.readouterr().out.splitlines()
    assert float(lines[0].rpartition(" ")[2].rstrip("%")) >= 97
    assert [line[:4] for line in lines[1:]] == ["ok  "] * 6


def test_check_names_every_place_that_differs(script):
    committed = load(script.RUN / "epoch_01.pth")
    changed = copy.deepcopy(committed)
    assert script.differences(changed, committed) == []
    changed["model"]["fc1.weight"][3, 4] += 0.01
    changed["optimizer"]["state"][2]["exp_avg"][0] += 1
    changed["epoch"] = 2
    del changed["model"]["fc2.bias"]
    places = [line.split(":")[0] for line in script.differences(changed, committed)]
    assert places == ["model", "optimizer.state.2.exp_avg", "epoch"]
    del changed["model"]
    assert script.differences(changed, committed)[0].startswith(": has")


def test_a_changed_weight_or_a_missing_file_fails_the_check(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    trained = load(script.TRAINED)
    torch.save(trained, tmp_path / "same.pth")
    off = {name: tensor.clone() for name, tensor in trained.items()}
    off["conv2.bias"][0] += 0.001
    torch.save(off, tmp_path / "off.pth")
    assert script.check({tmp_path / "same.pth": trained})
    assert not script.check({tmp_path / "same.pth": trained, tmp_path / "off.pth": trained})
    assert "conv2.bias: differs by up to 0.001" in capsys.readouterr().out
    assert not script.check({tmp_path / "gone.pth": trained})
