"""The checkpoints of trainers and of several ranks with their true values: each opens as one model, whole."""

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

NOT_DONE: dict[str, str] = {}  # entry → what is lacking
SHORT = {
    "composer": "state.model.",
    "fastai-save": "model.",
    "lightning-ckpt": "state_dict.",
    "root-tuple": "0.",
    "hf-trainer": "",
}


def entries() -> list[Any]:
    folder = cases_root()
    path = folder / "formats" / "manifest.json" if folder is not None else None
    if path is None or not path.is_file():
        return [pytest.param({}, marks=pytest.mark.skip(reason="no cases"))]
    found = [each for each in json.loads(path.read_text(encoding="utf-8")) if each["group"] == "B"]
    return [
        pytest.param(each, id=each["name"], marks=pytest.mark.xfail(reason=NOT_DONE[each["name"]], strict=True))
        if each["name"] in NOT_DONE
        else pytest.param(each, id=each["name"])
        for each in found
    ]


def bits(array: np.ndarray[Any, Any]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("entry", entries())
def test_an_entry_opens_with_its_values(entry: dict[str, Any], tmp_path: Path) -> None:
    path = cases(f"formats/{entry['entry']}")
    truth = load_file(cases(f"formats/{entry['name']}/truth.safetensors"))
    opened = torch2grid.load(path)
    assert set(truth) == set(entry["tensors"])
    for name, expected in truth.items():
        tensor = opened[name]
        assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype), name
        assert bits(np.asarray(tensor)) == bits(expected), name
        flat = expected.reshape(-1)
        start, stop = len(flat) // 3, len(flat) - len(flat) // 4
        assert bits(tensor.read(start, stop)) == bits(flat[start:stop]), name

    run = command(path, "--stats", "--format", "json", "--output", tmp_path / "stats.json", "--include-buffers", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    shown = opened.default_part
    model = opened.part(shown) if shown else opened
    listed = json.dumps(json.loads((tmp_path / "stats.json").read_text(encoding="utf-8")))
    for name in model:
        assert json.dumps(name)[1:-1] in listed
    assert {opened.part_of[name].shown(name) if opened.part_of else name for name in truth} & set(model)

    run = command("check", path, cwd=tmp_path)
    assert run.returncode in (0, 1)
    assert f"{len(opened):,} tensors" in run.stderr
