"""``--part``: a training checkpoint is shown by its model, the choice is said, and so is what else there is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.corpus import hostile, real
from tests.tools import DIGITS, torch2grid


@pytest.fixture
def training(tmp_path: Path) -> Path:
    model = torch.nn.Linear(6, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    value = {"epoch": 3, "net": model.state_dict(), "opt": optimizer.state_dict(), "best": torch.ones(2)}
    torch.save(value, tmp_path / "training.pt")
    return tmp_path / "training.pt"


def stats(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return torch2grid("--no-plugins", *words, "--stats", cwd=cwd)


def rows(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[0] for line in done.stdout.splitlines()[3:]]


def test_the_model_is_drawn_and_said(training: Path, tmp_path: Path) -> None:
    done = stats(training, cwd=tmp_path)
    assert rows(done) == ["weight", "bias"]
    assert "2 tensors, 28 parameters, float32, part model (also optimizer, other)" in done.stderr


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("model", ["weight", "bias"]),
        ("optimizer", [f"state.{index}.{name}" for index in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")]),
        ("other", ["best"]),
    ],
)
def test_a_part_is_chosen(part: str, names: list[str], training: Path, tmp_path: Path) -> None:
    done = stats(training, "--part", part, cwd=tmp_path)
    assert rows(done) == names
    assert f"part {part} (also " in done.stderr


def test_an_unknown_part_names_the_parts(training: Path, tmp_path: Path) -> None:
    done = stats(training, "--part", "optimiser", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no part 'optimiser'; did you mean 'optimizer'" in done.stderr
    done = stats(training, "--part", "xyz", cwd=tmp_path)
    assert done.stderr.endswith("has no part 'xyz'; valid: model, optimizer, other\n")


def test_a_state_dict_is_a_model_without_parts(tmp_path: Path) -> None:
    done = stats(DIGITS, "--part", "model", cwd=tmp_path)
    assert done.returncode == 0
    assert "8 tensors" in done.stderr
    assert "part" not in done.stderr
    done = stats(DIGITS, "--part", "optimizer", cwd=tmp_path)
    assert (done.returncode, "has no parts to choose from" in done.stderr) == (2, True)


FOUND = {
    "a dict with epoch: a number, args: a dict of 1, names: a list": {"epoch": 3, "args": {"lr": 0.1}, "names": ["a"]},
    "a list of 0": [],
    "1 cannot be read (m: a meta tensor of size [3]": {"m": torch.empty(3, device="meta")},
    "1 cannot be read (words: a numpy array of dtype": {"words": np.array(["a"])},
    "an empty dict": {},
}


@pytest.mark.parametrize("told", FOUND)
def test_no_tensors_is_an_error_that_lists_what_was_found(told: str, tmp_path: Path) -> None:
    torch.save(FOUND[told], tmp_path / "x.pt")
    done = stats(tmp_path / "x.pt", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "holds no tensors: " in line
    assert told in line


@pytest.mark.parametrize(
    ("path", "words", "told"),
    [
        ("burn/reader/checkpoint.pt", (), "4 tensors, 93 parameters, float32, part model (also optimizer)"),
        ("burn/reader/checkpoint.pt", ("--part", "optimizer"), "1 tensor, 50 parameters, float32, part optimizer (also model)"),
        ("admet/classification_model_0.pt", (), "12 tensors, 327,395 parameters, float32, part model (also hyper_parameters)"),
        ("resnet_cifar/resnet20-12fca82f.th", (), "97 tensors, 271,098 parameters, float32, part model,"),
    ],
)
def test_real_training_checkpoints(path: str, words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = stats(real(path), *words, cwd=tmp_path)
    assert done.returncode == 0
    assert told in done.stderr


def test_a_lightning_checkpoint_of_unknown_classes(tmp_path: Path) -> None:
    done = stats(hostile("t/train.ckpt"), cwd=tmp_path)
    assert "1 tensor, 12 parameters, float32, part model (also optimizer)" in done.stderr
