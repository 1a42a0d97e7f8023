"""Adapters that libraries wrote, with the changes and the merged weights that these say they stand for."""

from __future__ import annotations

import csv
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import torch2grid as t2g
from tests.support.corpus import cases, cases_root
from tests.support.tools import torch2grid
from torch2grid_builtin.adapters import merge


@functools.cache
def entries() -> tuple[dict[str, Any], ...]:
    root = cases_root()
    path = root / "formats" / "manifest.json" if root is not None else None
    if path is None or not path.is_file():
        return ()
    return tuple(each for each in json.loads(path.read_text(encoding="utf-8")) if each["group"] == "D")


def truth(entry: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    found = t2g.load(cases("formats") / entry["name"] / "truth.safetensors")
    return {name: np.asarray(found[name]) for name in entry["tensors"]}


ADAPTERS = [pytest.param(each, id=each["name"]) for each in entries() if each["name"] != "merge-pair"]
BASED = [pytest.param(each, id=each["name"]) for each in entries() if "base" in each]


@pytest.mark.parametrize("entry", ADAPTERS)
def test_changes_are_those_of_the_library(entry: dict[str, Any], tmp_path: Path) -> None:
    found, wanted = t2g.load(cases("formats") / entry["entry"]), truth(entry)
    if any("DoRA" in note for note in found.notes):
        assert any("needs the base" in note for note in found.notes)
        return
    assert set(found) == {name for name in wanted if name.startswith("delta.")}
    for name, tensor in found.items():
        assert tensor.shape == wanted[name].shape
        assert np.abs(np.asarray(tensor) - wanted[name]).max() <= entry["max_abs_err"]
    done = torch2grid(cases("formats") / entry["entry"], "--stats", "--format", "csv", "-o", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with next(tmp_path.rglob("stats.csv")).open(encoding="utf-8") as file:
        rows = {row["Layer Name"]: row for row in csv.DictReader(file)}
    for name in found:
        assert float(rows[name]["Std"]) == pytest.approx(float(wanted[name].std()), rel=1e-4)


@pytest.mark.parametrize("entry", BASED)
def test_merged_weights_are_those_of_the_library(entry: dict[str, Any], tmp_path: Path) -> None:
    folder, wanted = cases("formats"), truth(entry)
    base = t2g.load(folder / entry["base"])
    found = merge(base, t2g.load(folder / entry["entry"])).checkpoint
    for name in base:
        assert np.abs(np.asarray(found[name]) - wanted[name]).max() <= entry["max_abs_err"], name
    save_file({name: wanted[name] for name in base}, tmp_path / "merged.safetensors")
    words = ["compare", folder / entry["base"], "merged.safetensors", "--merge", folder / entry["entry"], "--stats"]
    done = torch2grid(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("entry", BASED)
def test_the_view_measures_the_changes_of_the_library(entry: dict[str, Any], tmp_path: Path) -> None:
    folder, wanted = cases("formats"), truth(entry)
    view = f"adapter:each=false,base={folder / entry['base']}"
    done = torch2grid(folder / entry["entry"], "--view", view, "--format", "csv", "-o", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "adapter.csv").open(encoding="utf-8") as file:
        rows = {row["Weight"]: row for row in csv.DictReader(file)}
    base = t2g.load(folder / entry["base"])
    assert {f"delta.{name}" for name in rows} == {name for name in wanted if name.startswith("delta.")}
    for name, row in rows.items():
        norm, weight = np.linalg.norm(wanted[f"delta.{name}"]), np.linalg.norm(np.asarray(base[name]))
        assert float(row["‖ΔW‖"]) == pytest.approx(norm, rel=1e-5)
        assert float(row["‖ΔW‖/‖W‖"]) == pytest.approx(norm / weight, rel=1e-5)


def test_a_mean_of_two_models_is_what_the_manifest_says() -> None:
    entry = next((each for each in entries() if each["name"] == "merge-pair"), None)
    if entry is None:
        pytest.skip("no cases")
    wanted = truth(entry)
    for kind in ("mean", "task"):
        found = t2g.load(cases("formats") / "merge-pair" / "ckpt" / f"merge_{kind}" / "model.safetensors")
        named = {name.removeprefix(f"{kind}."): each for name, each in wanted.items() if name.startswith(f"{kind}.")}
        assert named.keys() <= set(found)
        for name, each in named.items():
            np.testing.assert_array_equal(np.asarray(found[name]).astype(np.float32), each.astype(np.float32))
