"""Interactive mode, keystroke for keystroke, in a real pseudo-terminal and through a pipe."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pexpect
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.support.tools import COMMAND, interruptible, torch2grid

from torch2grid_core._cli.drawing import headless

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
        ("1-3,zz", r"no tensor matches 'zz'"),
        ("fc*,9,1", r"9 is out of range: there are 4 tensors"),
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


def test_a_wrong_word_is_named_and_few_names_with_it(tmp_path: Path) -> None:
    names = sorted(f"layers.{number:02}.{leaf}" for number in range(14) for leaf in ("weight", "bias"))
    save_file({name: np.zeros(2, np.float32) for name in names}, tmp_path / "m.safetensors")
    child = screened(tmp_path / "m.safetensors", tmp_path)
    try:
        child.expect(PROMPT)
        for typed, wrong in [
            ("foo", "foo"),
            ("1-3,zz", "zz"),
            ("*.weight zz 4", "zz"),
            ("layers.00.weihgt,3", "layers.00.weihgt"),
        ]:
            child.sendline(typed)
            child.expect(rf"no tensor matches '{re.escape(wrong)}'(.*)\r\n")
            told = child.match[1]
            assert 1 <= len(re.findall(r"layers\.\d\d", told)) <= 3, told
            assert len(told) < 160
            child.expect(PROMPT)
        child.sendline("2-3,layers.13.*")
        child.expect(r"Matched 4 layer\(s\):")
        child.expect(CONFIRM)
        child.sendline("n")
        child.expect(PROMPT)
        leave(child)
    finally:
        child.close(force=True)


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


def screened(model: Path, tmp_path: Path, *words: str, signals: bool = False, **environment: str) -> pexpect.spawn:
    """The menu in a terminal of 80×24 without a display, with *environment*. signals: it will be sent one."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "NO_COLOR", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return pexpect.spawn(
        str(COMMAND),
        [str(model), "-i", *words],
        cwd=tmp_path,
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=30,
        env={**kept, "TERM": "xterm-256color", **environment},
        preexec_fn=interruptible if signals else None,
    )


def leave(child: pexpect.spawn) -> None:
    child.sendline("quit")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_tensor_is_opened_on_a_screen(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("textual", reason="textual is not installed")
    array = load_file(model)["fc1.weight"]
    child = screened(model, tmp_path)
    try:
        child.expect(PROMPT)
        started = time.monotonic()
        child.sendline("open fc1.weight[3, 2]")
        child.expect(re.escape("\x1b[?1049h"))  # the other screen of the terminal
        child.expect(re.escape(f"[3, 2] = {array[3, 2]!s}"))
        for keys, place in [
            ("\x1b[B", (4, 2)),
            ("\x1b[C", (4, 3)),
            ("\x1b[F", (4, 9)),
            ("\x1b[6~", (19, 9)),
            ("\x1b[1;5H", (0, 0)),
        ]:
            child.send(keys)
            child.expect(re.escape(f"[{place[0]}, {place[1]}] = "))
        child.send("l")
        child.expect(r"largest")
        time.sleep(max(0.0, 3 - (time.monotonic() - started)))  # the person looks
        child.send("q")
        child.expect(re.escape("\x1b[?1049l"))
        child.expect(PROMPT)
        child.sendline("open 9")
        child.expect("9 is out of range")
        child.expect(PROMPT)
        leave(child)
        seconds = float(re.search(r"([\d.]+) s\r?\n", child.before)[1])
        assert seconds < time.monotonic() - started - 2  # what the person took is not the run's
    finally:
        child.close(force=True)


@pytest.mark.parametrize("when", [re.escape("\x1b[?1049h"), r"largest \|w\|"], ids=["the screen opens", "it is read"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_gives_the_terminal_back(model: Path, tmp_path: Path, number: int, code: int, when: str) -> None:
    pytest.importorskip("textual", reason="textual is not installed")
    child = screened(model, tmp_path, signals=True)
    try:
        child.expect(PROMPT)
        child.sendline("open 1")
        child.expect(when)
        child.kill(number)
        child.expect(pexpect.EOF)
        assert "\x1b[?1049l" in child.before
        assert "\x1b[?25h" in child.before  # the cursor
        assert "Traceback" not in child.before
        child.wait()
        assert child.exitstatus == code
    finally:
        child.close(force=True)


@pytest.mark.parametrize("how", ["without textual", "dumb"])
def test_without_a_screen_lines_are_printed(model: Path, tmp_path: Path, how: str) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['textual'] = None\n")
    child = screened(model, tmp_path, **({"TERM": "dumb"} if how == "dumb" else {"PYTHONPATH": str(tmp_path)}))
    try:
        child.expect(PROMPT)
        child.sendline("open fc1.weight")
        child.expect(r"\(20, 10\) float32, 200 weights")
        child.expect(
            "In a terminal, open scrolls through it"
            + (", with the extra: pip install 'torch2grid\\[menu\\]'" * (how != "dumb"))
        )
        child.expect(PROMPT)
        assert "1049h" not in child.before
        leave(child)
    finally:
        child.close(force=True)


def test_without_a_display_a_picture_is_drawn_in_the_terminal(model: Path, tmp_path: Path) -> None:
    child = screened(model, tmp_path)
    try:
        child.expect(PROMPT)
        child.sendline("fc1.weight")
        child.expect(CONFIRM)
        child.sendline("y")
        child.expect(PROMPT)
        assert child.before.count("▀") + child.before.count("▄") > 50
        assert child.before.count("fc1.weight · 20×10 · float32") == 1
        assert "grids/layers/fc1.weight.png" in child.before
        assert (tmp_path / "grids/layers/fc1.weight.png").is_file()
        child.sendline("unified")
        child.expect(PROMPT)
        assert child.before.count("▀") + child.before.count("▄") > 50
        assert (tmp_path / "grids/neural_grid.png").is_file()
        child.sendline("show *.weight")
        child.expect(PROMPT)
        assert "fc2.weight · 5×20 · float32" in child.before
        assert not (tmp_path / "grids/layers/fc2.weight.png").exists()
        child.sendline("histogram")  # of more tensors than anybody scrolls through
        child.expect(PROMPT)
        leave(child)
    finally:
        child.close(force=True)


@pytest.mark.parametrize(
    ("words", "environment"), [((), {"DISPLAY": ":0"}), (("--format", "json"), {}), (("-o", "x.html"), {})]
)
def test_pictures_stay_files_where_that_is_enough(
    model: Path, tmp_path: Path, words: tuple[str, ...], environment: dict[str, str]
) -> None:
    child = screened(model, tmp_path, *words, **environment)
    try:
        child.expect(PROMPT)
        child.sendline("fc1.weight")
        child.expect(CONFIRM)
        child.sendline("y")
        child.expect(PROMPT)
        assert not {*"▀▄█"} & {*child.before}
        assert "20×10 · float32" not in child.before
        leave(child)
    finally:
        child.close(force=True)


def test_words_that_are_views_and_commands(model: Path, tmp_path: Path) -> None:
    arrays = load_file(model)
    arrays["fc1.weight"][3, 4] = np.nan
    save_file(arrays, model)
    answers = ["stats *.bias", "check", "check fc2*", "tree", "tree fc1*", "outliers", "open fc1.weight", "quit"]
    run = torch2grid(model, "-i", cwd=tmp_path, stdin="\n".join(answers) + "\n")
    assert run.returncode == 0, run.stderr
    stats, check, part, tree, subtree, outliers, opened = run.stdout.split(PROMPT)[1:-1]
    assert re.findall(r"^(fc\S+)", stats, flags=re.MULTILINE) == [name for name in arrays if name.endswith("bias")]
    assert "T101 error fc1.weight[3, 4]" in check
    assert "T101" not in part
    assert re.search(r"^total +4 tensors", tree, flags=re.MULTILINE)
    assert re.search(r"^total shown +2 tensors", subtree, flags=re.MULTILINE)
    assert "fc1.weight  [3, 4]" in outliers
    assert "grids/outliers_overview.png" in outliers
    assert re.search(r"^ +3( +\S+){4} +nan", opened, flags=re.MULTILINE)
    assert "In a terminal, open scrolls" in opened


def test_commands_follow_the_settings_of_the_line(tmp_path: Path) -> None:
    path = tmp_path / "training.pth"
    weight = torch.tensor([[1.0, float("nan")], [2.0, 3.0]])
    model = {"net.a.weight": torch.ones(2, 2), "net.b.weight": weight}
    optimizer = {"state": {0: {"exp_avg": weight, "exp_avg_sq": weight, "step": torch.tensor(3.0)}}, "param_groups": []}
    torch.save({"state_dict": model, "optimizer": optimizer}, path)
    run = torch2grid(path, "-i", "--only", "*b*", cwd=tmp_path, stdin="tree\ncheck\ncheck 1\nquit\n")
    assert run.returncode == 0, run.stderr
    tree, check, one = run.stdout.split(PROMPT)[1:4]
    assert "b.weight" in tree
    assert "a.weight" not in tree
    assert "b.weight[0, 1]" in check
    assert "b.weight[0, 1]" in one
    assert "exp_avg" not in one
    env = {"TORCH2GRID_PART": "optimizer"}  # weaker than the line
    run = torch2grid(path, "-i", "--part", "all", cwd=tmp_path, stdin="tree\nquit\n", env=env)
    assert "b.weight" in run.stdout.split(PROMPT)[1]


def test_seconds_are_those_of_the_run(model: Path, tmp_path: Path) -> None:
    child = screened(model, tmp_path)
    try:
        started = time.monotonic()
        child.expect(PROMPT)
        time.sleep(2)
        child.sendline("1")
        child.expect(CONFIRM)
        time.sleep(2)
        child.sendline("n")
        child.expect(PROMPT)
        child.sendline("quit")
        child.expect(pexpect.EOF)
        seconds = float(re.search(r"([\d.]+) s\r?\n", child.before)[1])
        assert seconds < time.monotonic() - started - 4 + 0.1
    finally:
        child.close(force=True)


@pytest.mark.parametrize(
    ("platform", "environment", "blind"),
    [
        ("linux", {}, True),
        ("linux", {"DISPLAY": ":0"}, False),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0", "SSH_TTY": "/dev/pts/0"}, False),
        ("darwin", {}, False),
        ("darwin", {"SSH_CONNECTION": "a 1 b 2"}, True),
        ("win32", {"SSH_CLIENT": ""}, False),
    ],
)
def test_where_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], blind: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert headless() is blind
