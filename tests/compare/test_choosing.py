"""Filters that count mean the same tensors in all of the checkpoints, however unlike these are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.compare.llama import Llama
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin.compare import SameTensors
from torch2grid_core import NotDrawable, PluginManager, Settings

SIZES = {"b": 5, "d": 40, "f": 7, "h": 30, "j": 9}
MORE = {"first": {}, "second": {"a": 50, "c": 60}, "third": {"0": 3, "e": 70, "g": 80}}  # what lies between, and is larger
FILTERS = ("tensors:positions=1", "tensors:positions=2-3", "tensors:positions=4-5", "largest:count=1", "largest:count=3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unlike")
    for count, (name, more) in enumerate(MORE.items()):
        state = {each: np.full((size, 2), count + 1, np.float32) for each, size in sorted({**SIZES, **more}.items())}
        save_file(state, place / f"{name}.safetensors")
    return place


def kept_of_first(spec: str) -> set[str]:
    if spec.startswith("largest"):
        return {*sorted(SIZES, key=lambda name: -SIZES[name])[: int(spec[-1])]}
    positions = {"1": [0], "2-3": [1, 2], "4-5": [3, 4]}[spec.partition("=")[2]]
    return {sorted(SIZES)[position] for position in positions}


@pytest.mark.parametrize("spec", FILTERS)
def test_what_counts_is_counted_in_the_first(folder: Path, spec: str) -> None:
    kept = kept_of_first(spec)
    files = [f"{name}.safetensors" for name in MORE]
    words = ("--filter", spec, "--format", "json", "-q")
    for second in files[1:]:
        report = json.loads(torch2grid("compare", files[0], second, *words, cwd=folder).stdout)
        assert {each["name"] for each in report["tensors"]} == kept
        assert not [each for each in report["differences"] if each["kind"].startswith("only")]
    series = json.loads(torch2grid("compare", *files, *words, cwd=folder).stdout)
    assert {*series["tensors"]} == kept
    assert not series["left_out"]
    made = t2g.compare(folder / files[0], folder / files[2], filter=spec)
    assert {each["name"] for each in made.report["tensors"]} == kept
    assert t2g.series([folder / each for each in files], filter=spec).tensors == len(kept)


def test_other_filters_are_asked_of_each(folder: Path) -> None:
    words = ("--filter", "largest:count=3", "--only", "[d-h]", "--format", "json", "-q")
    report = json.loads(torch2grid("compare", "first.safetensors", "third.safetensors", *words, cwd=folder).stdout)
    assert {each["name"] for each in report["tensors"]} == {"d", "h"}


def test_a_checkpoint_with_none_of_them_says_so(folder: Path) -> None:
    done = torch2grid("compare", "third.safetensors", "first.safetensors", "--tensors", "1", "-q", cwd=folder)
    told = "has no tensor that belongs to what filter 'tensors' keeps of third.safetensors, such as 0"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"torch2grid: first.safetensors: {told}\n")
    with pytest.raises(NotDrawable, match="no tensor that belongs"):
        t2g.compare(folder / "third.safetensors", folder / "first.safetensors", tensors=1)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("tok_embeddings.weight", "model.embed_tokens.weight"),
        ("layers.1.attention.wk.weight", "model.layers.1.self_attn.k_proj.weight"),
        ("layers.0.feed_forward.w2.weight", "model.layers.0.mlp.down_proj.weight"),
    ],
)
def test_a_number_means_the_same_tensor_under_other_names(name: str, other: str) -> None:
    small = Llama()
    meta, hf = t2g.load(small.meta()), t2g.load(small.hf())
    run = Settings()
    spec = f"tensors:positions={[*meta].index(name) + 1}"
    same = SameTensors([PluginManager.discover(third_party=False).create("filter", spec)])
    assert [[*same.select(each, run).checkpoint] for each in (meta, hf, meta)] == [[name], [other], [name]]
