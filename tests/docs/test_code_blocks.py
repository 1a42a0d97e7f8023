"""Every code block of the documentation that says it runs, runs, and prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.docs.blocks import DOCS, blocks, matches, pages, prepare, run_page, runs
from tests.support.tools import PROJECT, torch2grid

RUNNING = [page for page in pages() if any(map(runs, blocks(page)))]


@pytest.mark.parametrize("page", RUNNING, ids=[page.relative_to(DOCS).as_posix() for page in RUNNING])
def test_its_blocks_run(page: Path, tmp_path: Path) -> None:
    if any(".to_pandas()" in block.text for block in blocks(page) if runs(block)):
        pytest.importorskip("pandas", reason="pandas is not installed")
    assert run_page(page, tmp_path) == sum(map(runs, blocks(page)))


def test_what_the_readme_shows_works(tmp_path: Path) -> None:
    """Its Python blocks run, and every line of its tour that draws does so."""
    prepare(tmp_path)
    for name in ("a.pth", "b.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / "model.pth").read_bytes())
    readme = blocks(PROJECT / "README.md")
    python = [block.text for block in readme if block.language == "python"]
    assert len(python) >= 2
    for text in python:
        if "import torch2grid" in text:
            subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True, capture_output=True, timeout=120)
        else:
            (tmp_path / "rows.py").write_text(text, encoding="utf-8")
    shown = (PROJECT / "README.md").read_text(encoding="utf-8")
    lines = [line for block in readme if not block.language for line in block.text.splitlines()]
    lines += re.findall(r"`(torch2grid model\.pth [^`\n]+)`", shown)
    ran = [re.split(r"\s{2,}", line)[0].split() for line in lines if line.startswith("torch2grid ")]
    assert len(ran) >= 8
    for words in ran:
        done = torch2grid(*words[1:], cwd=tmp_path, stdin="quit\n")
        assert done.returncode == 0, (words, done.stderr)


def test_a_page_that_says_what_is_not_so_is_caught() -> None:
    assert matches("a\n…\nb … d\n", "a\nx\ny\nb c d\n")
    assert matches("…\n", "") or matches("…", "\n")
    assert not matches("a\nb\n", "a\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("1.5 …\n", "15 s\n")
