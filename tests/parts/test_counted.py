"""Every tensor of a file is shown or named as not shown: the summary line adds up, for all files that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support import corpus
from tests.support.loaders.opened import opened

from torch2grid_core import Checkpoint, NotDrawable, Torch2GridError
from torch2grid_core.commands import summary_line
from torch2grid_core.selection import select

SHOWN = re.compile(r": (?:[^:;]*, )?(?:(\d+) of )?(\d+) tensors?(?: shown; not shown: ([^;]*))?[,;] ")


def files() -> list[Path]:
    """The files and folders of the corpora that may be checkpoints."""
    found: list[Path] = []
    if (root := corpus.root()) is not None:
        found += [root / kind / case["file"] for kind in ("real", "hostile") for case in corpus.manifest(kind)]
    if (root := corpus.cases_root()) is not None:
        found += [path for path in (root / "found").rglob("*") if path.suffix not in (".json", ".md", ".incomplete")]
        found += (root / "formats").glob("*/ckpt")
        found += [path for path in (root / "formats").glob("*/ckpt/**/*") if path.suffix not in (".json", ".py", ".txt")]
    return sorted(found)


def counted(line: str) -> tuple[int, int]:
    """How many tensors the summary *line* says are shown, and how many it names as not shown."""
    match = SHOWN.search(line)
    assert match, line
    if match[3] is None:
        return int(match[2]), 0
    numbers = [int(number) for number in re.findall(r"\((\d+)\)(?:, |$)", match[3])]
    assert sum(numbers) == int(match[2]) - int(match[1]), line
    return int(match[1]), sum(numbers)


def adds_up(checkpoint: Checkpoint) -> None:
    for part in ("", "all", *(part.name for part in checkpoint.parts)):
        for buffers in (False, True):
            try:
                selection = select(checkpoint, part, include_buffers=buffers)
            except NotDrawable:
                continue
            shown, hidden = counted(summary_line(selection, 0.1))
            assert shown == len(selection.checkpoint)
            assert shown + hidden == len(checkpoint)


def test_the_files_of_the_corpora_add_up() -> None:
    paths = files()
    if not paths:
        pytest.skip("neither corpus nor cases")
    tried = 0
    for path in paths:
        try:
            checkpoint = opened(path)
        except Torch2GridError:
            continue
        adds_up(checkpoint)
        tried += 1
    assert tried > len(paths) / 4
