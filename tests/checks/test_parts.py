"""``check`` looks at everything in a file, and says which part each finding is in."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tools import torch2grid


@pytest.fixture
def training(tmp_path: Path) -> dict[str, Any]:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 20))
    with torch.no_grad():  # neither constant nor as an initialisation leaves it
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.13)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3, 30)).square().sum().backward()
    optimizer.step()
    ema = {name: tensor * 0.99 for name, tensor in model.state_dict().items()}
    buffer = {"observations": torch.zeros(200, 4), "actions": torch.zeros(200, 2), "rewards": torch.zeros(200)}
    return {
        "model": model.state_dict(),
        "ema": ema,
        "opt": optimizer.state_dict(),
        "rng_state": torch.get_rng_state(),
        "replay": buffer,
    }


def check(value: Any, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    torch.save(value, cwd / "run.pt")
    return torch2grid("check", "run.pt", *words, cwd=cwd)


def test_zero_moments_and_repeated_observations_are_no_defect(training: dict[str, Any], tmp_path: Path) -> None:
    for state in training["opt"]["state"].values():
        state["exp_avg"].zero_()
        state["exp_avg_sq"].fill_(1e4)
    done = check(training, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    numbers = sum(each.numel() for each in training["model"].values())
    everything = 2 * numbers + 2 * numbers + 4 + 5056 + 200 * 7
    assert re.search(rf"no finding by \d+ rules in {everything:,} numbers of 24 tensors", done.stderr)


@pytest.mark.parametrize(
    ("path", "name", "part"),
    [
        (("model", "0.weight"), "model.0.weight", "model"),
        (("ema", "1.bias"), "ema.1.bias", "ema"),
        (("opt", "state", 2, "exp_avg_sq"), "opt.state.2.exp_avg_sq", "optimizer"),
        (("replay", "rewards"), "replay.rewards", "replay"),
    ],
)
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_number_that_is_none_is_found_in_every_part(
    path: tuple[Any, ...], name: str, part: str, number: str, training: dict[str, Any], tmp_path: Path
) -> None:
    tensor: Any = training
    for key in path:
        tensor = tensor[key]
    tensor.view(-1)[3] = float(number)
    done = check(training, tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if " error " in line]
    assert f" error {name}[" in line
    assert f"] (part {part}): " in line
    done = check(training, tmp_path, "--format", "json")
    (finding,) = [each for each in json.loads(done.stdout)["models"][0]["findings"] if each["severity"] == "error"]
    assert (finding["tensor"], finding["part"]) == (name, part)


def test_one_part_alone_and_its_bytes(training: dict[str, Any], tmp_path: Path) -> None:
    training["model"]["0.weight"][2, 3] = float("nan")
    assert check(training, tmp_path, "--part", "optimizer").returncode == 0
    done = check(training, tmp_path, "--part", "model")
    assert "error 0.weight[2, 3] (part model): " in done.stdout
    done = check(training, tmp_path, "--verbose")
    numbers = sum(each.numel() for each in training["model"].values())
    assert f"run.pt: part model: 4 tensors, {numbers:,} numbers, {4 * numbers:,} bytes" in done.stderr
    assert f"run.pt: part optimizer: 12 tensors, {2 * numbers + 4:,} numbers, {8 * numbers + 16:,} bytes" in done.stderr
    assert "run.pt: part random: 1 tensor, 5,056 numbers, 5,056 bytes" in done.stderr
    assert "run.pt: part replay: 3 tensors, 1,400 numbers, 5,600 bytes" in done.stderr


def test_a_copy_is_judged_as_a_model_is(training: dict[str, Any], tmp_path: Path) -> None:
    training["ema"]["0.weight"].zero_()
    done = check(training, tmp_path, "--fail-on", "warning")
    assert done.returncode == 1
    assert "ema.0.weight (part ema): " in done.stdout


def test_a_file_without_parts_names_none(tmp_path: Path) -> None:
    done = check({"w.weight": torch.full((4, 4), float("nan"))}, tmp_path)
    assert "error w.weight[0, 0]: " in done.stdout
    assert "part" not in done.stdout
