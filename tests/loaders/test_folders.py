"""A folder that holds one checkpoint, packed or not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tests.support.tools import DIGITS

from torch2grid import load
from torch2grid_core import LoadError


def test_the_only_checkpoint_may_be_packed(tmp_path: Path) -> None:
    (tmp_path / "model.pth.gz").write_bytes(gzip.compress(DIGITS.read_bytes()))
    (tmp_path / "notes.txt").write_text("a run of last week")
    assert list(load(tmp_path)) == list(load(DIGITS))


def test_a_checkpoint_goes_before_what_is_packed(tmp_path: Path) -> None:
    (tmp_path / "logs.gz").write_bytes(gzip.compress(b"a run of last week"))
    (tmp_path / "model.pth").write_bytes(DIGITS.read_bytes())
    assert load(tmp_path).source.endswith("model.pth")


def test_several_packed_files_are_named(tmp_path: Path) -> None:
    for name in ("a.pth.gz", "b.pth.gz"):
        (tmp_path / name).write_bytes(gzip.compress(DIGITS.read_bytes()))
    with pytest.raises(LoadError, match=r"2 checkpoints: a\.pth\.gz, b\.pth\.gz"):
        load(tmp_path)
