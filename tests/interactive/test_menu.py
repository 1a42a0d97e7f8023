"""Interactive mode, keystroke for keystroke, in a real pseudo-terminal and through a pipe."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pexpect
import pytest
from safetensors.numpy import save_file
from tests.support.tools import COMMAND, interruptible, torch2grid

PROMPT = "Your choice: "
CONFIRM = r"Visualize these layers\? \(y/n\): "


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = {"fc1.weight": (20, 10), "fc1.bias": (20,), "fc2.weight": (5, 20), "fc2.bias": (5,)}
    path = tmp_path / "net.safetensors"
    save_file({name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, path)
    return path


@pytest.fixture
def terminal(model: Path, tmp_path: Path) -> Iterator[pexpect.spawn]:
    child = pexpect.spawn(
        str(COMMAND),
        [str(model), "-i"],
        cwd=tmp_path,
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=30,
        preexec_fn=interruptible,
    )
    yield child
    child.close(force=True)


def test_the_session_of_the_interface(terminal: pexpect.spawn, tmp_path: Path) -> None:
    terminal.expect("Available layers:")
    terminal.expect(PROMPT)
    listing = terminal.before.replace("\r", "")
    # safetensors keeps its own order: by size and name of the dtype; the numbers follow the file
    rows = re.findall(r"^  (\d+)\. (\S+) +(torch\.Size\(\[[\d, ]+\]\))$", listing, flags=re.MULTILINE)
    assert {(name, size) for _, name, size in rows} == {
        ("fc1.weight", "torch.Size([20, 10])"),
        ("fc1.bias", "torch.Size([20])"),
        ("fc2.weight", "torch.Size([5, 20])"),
        ("fc2.bias", "torch.Size([5])"),
    }
    assert [number for number, _, _ in rows] == ["1", "2", "3", "4"]
    assert max(map(len, listing.split("\n"))) <= 80
    terminal.sendline("fc*weight*")
    terminal.expect(r"Matched 2 layer\(s\):\r\n  - fc\d\.weight\r\n  - fc\d\.weight\r\n" + CONFIRM)
    terminal.sendline("y")
    terminal.expect(PROMPT)
    assert sorted(re.findall(r"grids/layers/\S+\.png", terminal.before)) == [
        "grids/layers/fc1.weight.png",
        "grids/layers/fc2.weight.png",
    ]
    assert (tmp_path / "grids/layers/fc1.weight.png").is_file()

    for wrong, told in [
        ("9", r"9 is out of range: there are 4 tensors"),
        ("3-1", r"runs backwards"),
        ("conv*", r"no tensor matches 'conv\*'"),
        ("fc1.wieght", r"did you mean 'fc1.weight'"),
        ("views nothing", r"unknown view 'nothing'"),
        ("", r"Nothing chosen"),
    ]:
        terminal.sendline(wrong)
        terminal.expect(told)
        terminal.expect(PROMPT)
    terminal.sendline("1-2,4")
    terminal.expect(r"Matched 3 layer\(s\):")
    terminal.expect(CONFIRM)
    terminal.sendline("perhaps")
    terminal.expect("Please answer y or n")
    terminal.expect(CONFIRM)
    terminal.sendline("n")
    terminal.expect(PROMPT)
    assert "grids/" not in terminal.before
    terminal.sendline("help")
    terminal.expect("1-10")
    terminal.expect(PROMPT)
    terminal.sendline("unified")
    terminal.expect(r"grids/neural_grid\.png")
    terminal.expect(PROMPT)
    terminal.sendline("overview")
    terminal.expect(r"grids/layer_overview\.png")
    terminal.expect(PROMPT)
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


def test_control_c_leaves_with_130(terminal: pexpect.spawn) -> None:
    terminal.expect(PROMPT)
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 130
    assert "Traceback" not in terminal.before


def test_views_choose_what_is_drawn(terminal: pexpect.spawn, tmp_path: Path) -> None:
    terminal.expect(PROMPT)
    terminal.sendline("views histogram")
    terminal.expect(r"\[x\] histogram")
    terminal.expect(PROMPT)
    terminal.sendline("all")
    terminal.expect(r"Matched 4 layer\(s\):")
    terminal.expect(CONFIRM)
    terminal.sendline("y")
    terminal.expect(PROMPT)
    assert len(list((tmp_path / "grids/histograms").glob("*_hist.png"))) == 4
    terminal.sendline("quit")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


def test_piped_input(model: Path, tmp_path: Path) -> None:
    run = torch2grid(model, "-i", "--stats", cwd=tmp_path, stdin="*.bias\ny\nlist\nquit\n")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("Available layers:") == 2
    assert "Matched 2 layer(s):" in run.stdout
    assert "Layer Statistics Comparison" in run.stdout  # the views of the command line are what is drawn
    ended = torch2grid(model, "-i", cwd=tmp_path, stdin="1\n")
    assert ended.returncode == 0
    assert not (tmp_path / "grids").exists()


def test_limits_shared_are_those_of_what_is_chosen_later(model: Path, tmp_path: Path) -> None:
    answers = "fc2.weight\ny\nfc1.bias\ny\nquit\n"
    run = torch2grid(model, "-i", "--layers", "--limits", "shared", "--format", "json", cwd=tmp_path, stdin=answers)
    assert run.returncode == 0, run.stderr
    pages = [json.loads(path.read_text()) for path in sorted((tmp_path / "grids/layers").glob("*.json"))]
    limits = [panel["limits"] for page in pages for panel in page["panels"] if panel["kind"] == "heatmap"]
    assert len(limits) == 2
    assert limits[0] == limits[1]
