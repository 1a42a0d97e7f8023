"""Interactive mode on 1,000 tensors in an 80×24 terminal: never more than a screen at a time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pexpect
import pytest
from safetensors.numpy import save_file
from tests.support.tools import COMMAND

PROMPT = "Your choice: "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "many.safetensors"
    save_file({f"layers.{index:03}.attention.weight": np.zeros((2, 2), np.float32) for index in range(1000)}, path)
    return path


def screen(child: pexpect.spawn) -> list[str]:
    return child.before.replace("\r", "").split("\n")


def test_a_screen_at_a_time(model: Path, tmp_path: Path) -> None:
    child = pexpect.spawn(str(COMMAND), [str(model), "-i"], cwd=tmp_path, dimensions=(24, 80), encoding="utf-8", timeout=30)
    try:
        started = time.monotonic()
        child.expect(PROMPT)
        waited = time.monotonic() - started
        assert waited < 20  # the benchmark says how far below; here it only must not hang
        lines = screen(child)
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        assert "more: 'list' shows all" in child.before
        child.sendline("list")
        child.expect(r"-- (\d+) of 1000; Enter for more, q to stop: ")
        assert len(screen(child)) <= 24
        first = int(child.match[1])
        child.sendline("")
        child.expect(r"-- (\d+) of 1000; Enter for more, q to stop: ")
        assert int(child.match[1]) > first
        assert len(screen(child)) <= 24
        child.sendline("q")
        child.expect(PROMPT)
        child.sendline("/99")
        child.expect(PROMPT)
        found = re.findall(r"^ +(\d+)\. layers\.(\d+)\.", child.before.replace("\r", ""), flags=re.MULTILINE)
        assert [name for _, name in found] == [f"{index:03}" for index in range(1000) if "99" in f"{index:03}"]
        assert all(int(number) == int(name) + 1 for number, name in found)  # the numbers are those of the whole list
        child.sendline("all")
        child.expect(r"\(y/n\): ")
        assert len(screen(child)) <= 24
        assert "and 98" in child.before  # "… and 98x more"
        child.sendline("n")
        child.expect(PROMPT)
        child.send("layers.777\t")
        child.expect(r"layers\.777\.attention\.weight")  # completed
        child.sendline("")
        child.expect(r"\(y/n\): ")
        child.sendline("n")
        child.expect(PROMPT)
        child.send("\x1b[A")  # history: the line before
        child.expect(r"layers\.777")
        child.sendline("")
        child.expect(r"\(y/n\): ")
        child.sendline("n")
        child.expect(PROMPT)
        child.sendline("quit")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
