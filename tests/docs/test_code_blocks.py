"""Every code block of the documentation that says it runs, runs, and prints what the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.docs.blocks import DOCS, blocks, matches, pages, run_page, runs
from tests.support.tools import PROJECT, torch2grid

RUNNING = [page for page in pages() if any(map(runs, blocks(page)))]


@pytest.mark.parametrize("page", RUNNING, ids=[page.relative_to(DOCS).as_posix() for page in RUNNING])
def test_its_blocks_run(page: Path, tmp_path: Path) -> None:
    if any(".to_pandas()" in block.text for block in blocks(page) if runs(block)):
        pytest.importorskip("pandas", reason="pandas is not installed")
    assert run_page(page, tmp_path) == sum(map(runs, blocks(page)))


def test_what_the_readme_shows_works(tmp_path: Path) -> None:
    """From its clone: the three commands, the five minutes, and its Python."""
    readme = blocks(PROJECT / "README.md")
    shutil.copytree(PROJECT / "examples" / "digits_run", tmp_path / "examples" / "digits_run")
    assert run_page(PROJECT / "README.md", tmp_path) == sum(map(runs, readme)) >= 4
    for name in ("a.pth", "b.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / "model.pth").read_bytes())
    lines = [line for block in readme if not block.language for line in block.text.splitlines()]
    ran = [re.split(r"\s{2,}", line)[0].split() for line in lines if line.startswith("torch2grid ")]
    assert len(ran) >= 3
    for words in ran:
        done = torch2grid(*words[1:], cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
    (python,) = [block.text for block in readme if block.language == "python"]
    subprocess.run([sys.executable, "-c", python], cwd=tmp_path, check=True, capture_output=True, timeout=120)


def test_a_page_that_says_what_is_not_so_is_caught() -> None:
    assert matches("a\n…\nb … d\n", "a\nx\ny\nb c d\n")
    assert matches("…\n", "") or matches("…", "\n")
    assert not matches("a\nb\n", "a\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("1.5 …\n", "15 s\n")
