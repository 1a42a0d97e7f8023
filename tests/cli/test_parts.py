"""``--part``: a training checkpoint is shown by its model, the choice is said, and so is what else there is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.corpus import hostile, real
from tests.support.tools import DIGITS, torch2grid


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
    assert rows(done) == ["weight", "bias", "best"]
    assert "3 of 9 tensors shown; not shown: optimizer (6); 30 parameters, float32, " in done.stderr


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("model", ["weight", "bias", "best"]),
        ("optimizer", [f"state.{index}.{name}" for index in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")]),
    ],
)
def test_a_part_is_chosen(part: str, names: list[str], training: Path, tmp_path: Path) -> None:
    done = stats(training, "--part", part, cwd=tmp_path)
    assert rows(done) == names
    other = "optimizer (6)" if part == "model" else "model (3)"
    assert f"{len(names)} of 9 tensors shown; not shown: {other}; " in done.stderr
    assert f", part {part}, " in done.stderr


def test_all_is_every_tensor_under_its_full_name(training: Path, tmp_path: Path) -> None:
    done = stats(training, "--part", "all", cwd=tmp_path)
    states = [f"opt.state.{index}.{name}" for index in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")]
    assert rows(done) == ["net.weight", "net.bias", *states, "best"]
    assert "PyTorch zip, 9 tensors, 88 parameters, float32, part all, " in done.stderr


def test_an_unknown_part_names_the_parts(training: Path, tmp_path: Path) -> None:
    done = stats(training, "--part", "optimiser", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no part 'optimiser'; did you mean 'optimizer'" in done.stderr
    done = stats(training, "--part", "xyz", cwd=tmp_path)
    assert done.stderr.endswith("has no part 'xyz'; valid: all, model, optimizer\n")


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
        ("burn/reader/checkpoint.pt", (), "4 of 5 tensors shown; not shown: optimizer (1); 93 parameters, float32, "),
        (
            "burn/reader/checkpoint.pt",
            ("--part", "optimizer"),
            "1 of 5 tensors shown; not shown: model (4); 50 parameters, float32, part optimizer, ",
        ),
        (
            "admet/classification_model_0.pt",
            (),
            "12 of 14 tensors shown; not shown: hyper_parameters (2); 327,395 parameters, float32, ",
        ),
        ("resnet_cifar/resnet20-12fca82f.th", (), ": PyTorch legacy stream, 97 tensors, 271,098 parameters, float32, "),
    ],
)
def test_real_training_checkpoints(path: str, words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = stats(real(path), *words, cwd=tmp_path)
    assert done.returncode == 0
    assert told in done.stderr


def test_a_lightning_checkpoint_of_unknown_classes(tmp_path: Path) -> None:
    done = stats(hostile("t/train.ckpt"), cwd=tmp_path)
    assert "1 of 4 tensors shown; not shown: optimizer (3); 12 parameters, float32, " in done.stderr
