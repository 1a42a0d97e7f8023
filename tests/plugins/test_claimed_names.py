"""A name that a built-in has and another plugin claims: the built-in keeps it everywhere, the claimant is reached in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

SOURCE = """
    import click
    import numpy as np
    from torch2grid_core import Command, GridTransformer, Page, TensorFilter, View, hookimpl
    from torch2grid_core.pages import Text

    class Flatten(GridTransformer):
        "ones only"
        name = "flatten"
        def transform(self, tensors):
            return np.ones((2, 3))

    class Layers(View):
        "a word"
        name = "layers"
        def pages(self, checkpoint, results, run):
            yield Page("claimed", "", (Text("claimed"),))

    class Only(TensorFilter):
        "no tensor"
        name, flag = "only", "X"
        def keep(self, tensor):
            return False

    class Check(Command):
        "not the check of torch2grid"
        name = "check"
        def build(self):
            return click.Command(self.name, callback=lambda: print("claimed"))

    @hookimpl
    def torch2grid_transformers():
        return [Flatten]

    @hookimpl
    def torch2grid_views():
        return [Layers]

    @hookimpl
    def torch2grid_filters():
        return [Only]

    @hookimpl
    def torch2grid_commands():
        return [Check]
    """


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution(tmp_path_factory.mktemp("claims"), "t2g-claims-all", SOURCE)


def told_once(stderr: str) -> bool:
    """One line for each name that was claimed, and nothing else of the plugin."""
    lines = [line for line in stderr.splitlines() if "t2g-claims-all" in line]
    return len(lines) == len(set(lines)) and all(
        "is taken by torch2grid-builtin; reach it as t2g-claims-all/" in x for x in lines
    )


def test_a_claimed_view_keeps_its_flag(claims: Path, tmp_path: Path) -> None:
    clean = torch2grid(DIGITS, "--layers", "-o", "clean", cwd=tmp_path)
    run = torch2grid(DIGITS, "--layers", "-o", "claimed", cwd=tmp_path, path=[claims])
    assert run.returncode == 0, run.stderr
    assert run.stdout == clean.stdout.replace("clean/", "claimed/")
    assert told_once(run.stderr), run.stderr
    theirs = torch2grid(DIGITS, "--t2g-claims-all-layers", cwd=tmp_path, path=[claims])
    assert (theirs.returncode, theirs.stdout) == (0, "grids/claimed.png\n"), theirs.stderr


def test_a_claimed_filter_keeps_its_flag(claims: Path, tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--layers", "--only", "conv1.*", cwd=tmp_path, path=[claims])
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[:2] == ["grids/layers/conv1.weight.png", "grids/layers/conv1.bias.png"]
    theirs = torch2grid(DIGITS, "--filter", "t2g-claims-all/only", cwd=tmp_path, path=[claims])
    assert theirs.returncode == 1
    assert "keeps none of" in theirs.stderr


def test_a_claimed_command_is_still_the_one_that_is_run(claims: Path, tmp_path: Path) -> None:
    run = torch2grid("check", DIGITS, cwd=tmp_path, path=[claims])
    clean = torch2grid("check", DIGITS, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (clean.returncode, clean.stdout), run.stderr
    assert not (tmp_path / "grids").exists()
    theirs = torch2grid("t2g-claims-all/check", cwd=tmp_path, path=[claims])
    assert (theirs.returncode, theirs.stdout) == (0, "claimed\n"), theirs.stderr


def test_listings_say_how_each_is_reached(claims: Path, tmp_path: Path) -> None:
    shown = torch2grid("--list-plugins", cwd=tmp_path, path=[claims]).stdout
    names = [line.split()[0] for line in shown.splitlines()]
    assert "flatten" in names
    assert "t2g-claims-all/flatten" in names
    assert "torch2grid-builtin/" not in shown
    help_text = torch2grid("--help-all", cwd=tmp_path, path=[claims]).stdout
    assert "torch2grid-builtin-" not in help_text
    assert "--layers " in help_text
    records = json.loads(torch2grid("plugins", "--json", cwd=tmp_path, path=[claims]).stdout)
    reached = {(r["distribution"], each["name"]): each["reached_as"] for r in records for each in r["provides"]}
    for name in ("flatten", "layers", "only", "check"):
        assert reached["torch2grid-builtin", name] == name
        assert reached["t2g-claims-all", name] == f"t2g-claims-all/{name}"
