"""Locations of schemes stand in what a comparison says as they were given, beside paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.support.tools import torch2grid

from torch2grid_builtin._compare.order import short_names
from torch2grid_core.sources import LocalSource

PLUGIN = """
import os
from torch2grid_core import SourceOpener
from torch2grid_core.sources import LocalSource

class Opener(SourceOpener):
    "files of a store"
    name, schemes = "pieces", ("pieces",)
    def open(self, location):
        print("opened", location)
        return LocalSource(location.removeprefix("pieces://"), shown=location)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "pieces.py").write_text(PLUGIN, encoding="utf-8")
    torch.save({"fc.weight": torch.arange(12.0).reshape(3, 4)}, tmp_path / "model.pth")
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "model.pth", tmp_path / "run" / "model.pth")
    return tmp_path


def test_a_location_stays_as_it_was_given(store: Path) -> None:
    run = torch2grid("--load-plugin", "pieces.py", "compare", "pieces://model.pth", "model.pth", cwd=store)
    assert run.returncode == 0, run.stderr
    assert "pieces://model.pth" in run.stdout
    assert "pieces:/m" not in run.stdout + run.stderr
    words = ("compare", "pieces://model.pth", "pieces://run/model.pth", "model.pth", "--format", "json")
    run = torch2grid("--load-plugin", "pieces.py", *words, cwd=store)
    assert run.returncode == 0, run.stderr
    assert "pieces:/m" not in run.stdout + run.stderr
    assert "pieces://run/model.pth" in run.stderr
    report = json.loads(run.stdout[run.stdout.index("{") :])
    assert set(report["sources"]) == {"pieces://model.pth", "pieces://run/model.pth", "model.pth"}


def test_what_lies_in_a_folder_of_a_location_is_called_by_it(store: Path) -> None:
    run = torch2grid("--load-plugin", "pieces.py", "pieces://run", "--stats", cwd=store)
    assert run.returncode == 0, run.stderr
    assert "pieces://run/model.pth: PyTorch zip" in run.stderr
    source = LocalSource(store / "run", shown="pieces://run")
    assert source.child("model.pth").shown == "pieces://run/model.pth"
    assert [each.shown for each in (source.child("model.pth").folder, source.folder) if each] == ["pieces://run", "pieces://"]
    root = LocalSource(store, shown="pieces://")
    assert root.child("model.pth").shown == "pieces://model.pth"


def test_the_scheme_reaches_its_opener_in_lower_case_and_the_rest_untouched(store: Path) -> None:
    (store / "Upper.pth").symlink_to(store / "model.pth")
    run = torch2grid("--load-plugin", "pieces.py", "PieCes://Upper.pth", "--stats", cwd=store)
    assert run.returncode == 0, run.stderr
    assert "opened pieces://Upper.pth\n" in run.stdout


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["s3://a/x.pth", "s3://b/x.pth"], ["s3://a/x.pth", "s3://b/x.pth"]),
        (["s3://a/x.pth", "s3://a/y.pth"], ["x.pth", "y.pth"]),
        (["s3://a/run/1/x.pth", "s3://a/run/2/x.pth"], ["1/x.pth", "2/x.pth"]),
        (["s3://x.pth", "x.pth"], ["s3://x.pth", "x.pth"]),
        (["s3://bucket", "s3://bucket/x.pth"], ["s3://bucket", "x.pth"]),
        (["runs/a/x.pth", "runs/b/x.pth"], ["a/x.pth", "b/x.pth"]),
        (["", "x.pth"], ["model", "x.pth"]),
    ],
)
def test_short_names_tell_locations_and_paths_apart(sources: list[str], names: list[str]) -> None:
    assert short_names(sources) == names
