"""The exports of other tools with their true values: each opens with its names, or is named with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.support.corpus import cases, cases_root
from tests.support.tools import torch2grid as command

import torch2grid
from torch2grid_core import LoadError

NAMED = {  # what stays out → what the line says
    "executorch": "is a program of ExecuTorch (.pte)",
    "flax-msgpack": "is a checkpoint of Flax (JAX)",
    "keras-h5": "is a file of Keras' weights",
    "keras-zip": "is a model of Keras (.keras)",
    "orbax": "is a checkpoint of Orbax (JAX)",
}


def entries() -> list[Any]:
    folder = cases_root()
    path = folder / "formats" / "manifest.json" if folder is not None else None
    if path is None or not path.is_file():
        return [pytest.param({}, marks=pytest.mark.skip(reason="no cases"))]
    found = [each for each in json.loads(path.read_text(encoding="utf-8")) if each["group"] == "C"]
    assert {each["name"] for each in found} >= {*NAMED, "pt2", "onnx-inline", "onnx-external", "package", "jit-lite"}
    return [pytest.param(each, id=each["name"]) for each in found]


@pytest.mark.parametrize("entry", entries())
def test_an_entry_is_shown_with_its_values_or_named(entry: dict[str, Any], tmp_path: Path) -> None:
    path = cases(f"formats/{entry['entry']}")
    if entry["name"] in NAMED:
        run = command(path, cwd=tmp_path)
        assert run.returncode == 1
        assert run.stderr.count("\n") == 1
        assert f"{path}: {NAMED[entry['name']]}" in run.stderr
        assert "safetensors" in run.stderr or "give the checkpoint" in run.stderr
        with pytest.raises(LoadError):
            torch2grid.load(path)
        return
    truth = load_file(cases(f"formats/{entry['name']}/truth.safetensors"))
    opened = torch2grid.load(path)
    assert set(opened) == set(truth) == set(entry["tensors"])
    for name, expected in truth.items():
        tensor = opened[name]
        assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype), name
        assert np.ascontiguousarray(np.asarray(tensor)).tobytes() == np.ascontiguousarray(expected).tobytes(), name
    run = command("tree", path, "--format", "json", "--include-buffers", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert all(json.dumps(name) in run.stdout for name in truth), run.stdout
    run = command("check", path, cwd=tmp_path)
    assert run.returncode == 0, run.stdout
    assert f"{len(truth):,} tensors" in run.stderr
