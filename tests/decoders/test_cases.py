"""Quantised checkpoints of the libraries that write them, with the weights that these say they stand for."""

from __future__ import annotations

import csv
import functools
import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from tests.support.corpus import cases, cases_root
from tests.support.tools import torch2grid

import torch2grid as t2g

LEFT: dict[str, str] = {}  # entries that are not decoded yet: name → why
# What the libraries store beside the weights, of the activations: no part of the truth.
BESIDE = ("scale", "zero_point", "input_scale", "output_scale")


@functools.cache
def entries() -> tuple[dict[str, Any], ...]:
    root = cases_root()
    path = root / "formats" / "manifest.json" if root is not None else None
    if path is None or not path.is_file():
        return ()
    return tuple(each for each in json.loads(path.read_text(encoding="utf-8")) if each["group"] == "A")


def _parameters() -> list[Any]:
    return [
        pytest.param(entry, id=entry["name"], marks=[pytest.mark.xfail(reason=LEFT[entry["name"]], strict=True)])
        if entry["name"] in LEFT
        else pytest.param(entry, id=entry["name"])
        for entry in entries()
    ]


def truth(entry: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The weights that the manifest states, as float32, and exactly those."""
    found = {}
    with safe_open(cases("formats") / entry["name"] / "truth.safetensors", framework="np") as file:
        raw = {name: file.get_slice(name) for name in entry["tensors"]}
        for name, (shape, dtype) in entry["tensors"].items():
            assert list(raw[name].get_shape()) == shape
            found[name] = np.asarray(t2g.load(cases("formats") / entry["name"] / "truth.safetensors")[name]).astype(dtype)
    return found


@pytest.mark.parametrize("entry", _parameters())
def test_the_weights_are_those_of_the_library(entry: dict[str, Any]) -> None:
    checkpoint = t2g.load(cases("formats") / entry["entry"])
    wanted = truth(entry)
    beside = [name for name in checkpoint if name not in wanted]
    assert [name for name in beside if name.rpartition(".")[2] not in BESIDE] == []
    for name, values in wanted.items():
        tensor = checkpoint[name]
        assert tensor.shape == values.shape
        found = tensor.numpy().astype(values.dtype)
        if entry["exact"]:
            np.testing.assert_array_equal(found.astype(np.float64), values.astype(np.float64), err_msg=name)
        else:
            difference = np.abs(found.astype(np.float64) - values.astype(np.float64))
            assert difference.max() <= entry["max_abs_err"], name
    assert not checkpoint.notes or not any("not decoded" in note for note in checkpoint.notes)


@pytest.mark.parametrize("entry", _parameters())
def test_the_command_line_shows_them(entry: dict[str, Any], tmp_path: Any) -> None:
    path = cases("formats") / entry["entry"]
    done = torch2grid("tree", path, "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = {each["name"]: each["shape"] for each in json.loads(done.stdout)["tensors"]}
    done = torch2grid(path, "--stats", "--part", "all", "--format", "csv", "-o", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with next(tmp_path.rglob("stats.csv")).open(encoding="utf-8") as file:
        rows = {row["Layer Name"]: row for row in csv.DictReader(file)}
    for name, values in truth(entry).items():
        assert listed[name] == list(values.shape)
        error = 2**-8 * float(np.abs(values.astype(np.float64)).max())  # the truth may be rounded to bfloat16
        for figure, wanted in (("Mean", np.mean), ("Std", np.std), ("Min", np.min), ("Max", np.max)):
            assert float(rows[name][figure]) == pytest.approx(float(wanted(values.astype(np.float64))), abs=error), name


@pytest.mark.parametrize("entry", _parameters())
@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_check_judges_the_weights_and_no_codes(entry: dict[str, Any], raw: list[str], tmp_path: Any) -> None:
    done = torch2grid("check", cases("formats") / entry["entry"], "--format", "json", *raw, cwd=tmp_path)
    (model,) = json.loads(done.stdout)["models"]
    found = [each for each in model["findings"] if each["severity"] == "error" and each["rule"] != "not_run"]
    assert found == []


def test_the_list_of_what_is_left_names_entries() -> None:
    if entries():
        assert {entry["name"] for entry in entries()} >= set(LEFT)


assert ml_dtypes.bfloat16  # numpy knows the dtypes of the truth by their names once this is imported
