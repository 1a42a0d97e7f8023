"""Quantised checkpoints of the libraries that write them, with the weights that these say they stand for."""

from __future__ import annotations

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
    done = torch2grid(cases("formats") / entry["entry"], "--stats", "--part", "all", "--format", "csv", "-o", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.csv"))
    for name, (shape, _) in entry["tensors"].items():
        assert name in table
        if len(shape) > 1:
            assert "×".join(map(str, shape)) in table


@pytest.mark.parametrize("entry", _parameters())
def test_check_judges_the_weights_and_no_codes(entry: dict[str, Any]) -> None:
    for raw in ([], ["--raw"]):
        done = torch2grid("check", cases("formats") / entry["entry"], "--format", "json", *raw)
        found = json.loads(done.stdout)
        errors = [each for each in _findings(found) if each.get("severity") == "error" and each.get("rule") != "not_run"]
        assert errors == []


def _findings(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = [value] if "severity" in value else []
        return own + [each for inside in value.values() for each in _findings(inside)]
    return [each for inside in value for each in _findings(inside)] if isinstance(value, list) else []


def test_the_list_of_what_is_left_names_entries() -> None:
    if entries():
        assert {entry["name"] for entry in entries()} >= set(LEFT)


assert ml_dtypes.bfloat16  # numpy knows the dtypes of the truth by their names once this is imported
