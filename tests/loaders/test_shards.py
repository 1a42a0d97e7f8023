"""Shards that belong together by their names, and an index that disagrees with its shards: opened, said, and a finding."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.support.loaders.opened import opened, same
from tests.support.tools import torch2grid

from torch2grid_core import LoadError

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def weights(*names: str) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(len(name)).normal(size=(4, 6)).astype(np.float32) for name in names}


def shard(folder: Path, name: str, *names: str) -> None:
    save_file(weights(*names), folder / name)


def index(folder: Path, weight_map: dict[str, str], total: float | None = None, name: str = INDEX) -> Path:
    metadata = {} if total is None else {"total_size": total}
    (folder / name).write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))
    return folder


def two(folder: Path) -> Path:
    shard(folder, ONE, "a.weight", "b.weight")
    shard(folder, TWO, "c.weight")
    return folder


WHOLE = {"a.weight": ONE, "b.weight": ONE, "c.weight": TWO}


def drawn(folder: Path) -> subprocess.CompletedProcess[str]:
    return torch2grid(folder, "--stats", cwd=folder)


def findings(folder: Path, *words: str) -> list[str]:
    done = torch2grid("check", folder, "-q", "--select", "T305", *words, cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    return [line.partition(": T305 ")[2] for line in done.stdout.splitlines()]


def test_numbered_shards_without_an_index_are_one_checkpoint(tmp_path: Path) -> None:
    checkpoint = opened(two(tmp_path))
    expected = weights(*WHOLE)
    assert list(checkpoint) == list(WHOLE)
    assert all(same(checkpoint[name], expected[name]) for name in expected)
    done = drawn(tmp_path)
    assert done.returncode == 0
    assert "2 shards of safetensors, 3 tensors" in done.stderr
    assert findings(tmp_path) == []


def test_numbers_may_begin_at_zero_and_differ_in_width(tmp_path: Path) -> None:
    for number in range(3):
        torch.save({f"{number}.weight": torch.full((2, 2), float(number))}, tmp_path / f"x-0000{number}-of-000003.bin")
    checkpoint = opened(tmp_path)
    assert {name: tensor.numpy()[0, 0] for name, tensor in checkpoint.items()} == {"0.weight": 0, "1.weight": 1, "2.weight": 2}


@pytest.mark.parametrize(("missing", "left"), [(ONE, TWO), (TWO, ONE)])
def test_a_missing_shard_is_named(missing: str, left: str, tmp_path: Path) -> None:
    (two(tmp_path) / missing).unlink()
    done = drawn(tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f"torch2grid: {tmp_path}: has 1 of 2 shards and lacks the shard {missing}; fetch it again"
    index(tmp_path, WHOLE)
    (tmp_path / f"{missing}.incomplete").write_bytes(b"abc")
    (line,) = drawn(tmp_path).stderr.splitlines()
    assert f"names the shard {missing}, which is not there ({missing}.incomplete is what a broken download left)" in line
    assert str(tmp_path / INDEX) in line


def test_many_missing_shards_are_counted(tmp_path: Path) -> None:
    names = {f"{number}.weight": f"model-{number:05d}-of-00020.safetensors" for number in range(1, 21)}
    shard(tmp_path, names["3.weight"], "3.weight")
    with pytest.raises(LoadError, match=r"has 1 of 20 shards and lacks 19 shards model-00001.* and 13 more; fetch them again"):
        opened(tmp_path)
    with pytest.raises(LoadError, match=r"names 19 shards model-00001.* and 13 more, which are not there; fetch them again"):
        opened(index(tmp_path, names))


def test_of_two_sets_the_whole_one_opens_and_the_other_is_said(tmp_path: Path) -> None:
    shard(two(tmp_path), "model-00001-of-00003.safetensors", "a.weight")
    assert list(opened(tmp_path)) == list(WHOLE)
    assert "beside the shards: model-00001-of-00003.safetensors" in drawn(tmp_path).stderr
    for number in (1, 2):
        torch.save({f"{number}": torch.ones(2, 2)}, tmp_path / f"pytorch_model-0000{number}-of-00002.bin")
    assert list(opened(tmp_path)) == list(WHOLE)  # safetensors first, as Hugging Face's libraries have it
    for name in (ONE, TWO):
        (tmp_path / f"other{name[5:]}").write_bytes((tmp_path / name).read_bytes())
    with pytest.raises(LoadError, match="is a folder of 3 checkpoints: model-00001-of-00002"):
        opened(tmp_path)


def test_one_file_beside_leftover_shards_is_the_model(tmp_path: Path) -> None:
    shard(two(tmp_path), "model.safetensors", "a.weight", "b.weight", "c.weight")
    done = drawn(tmp_path)
    assert "model.safetensors: safetensors, 3 tensors" in done.stderr
    assert f"model.safetensors is shown; beside it: {ONE}, {TWO}" in done.stderr


def test_one_shard_alone_is_said_to_be_one(tmp_path: Path) -> None:
    two(tmp_path)
    for name, rest in (
        (ONE, "give the folder to open all of them"),
        (TWO, "model-00001-of-00002.safetensors is not beside it"),
    ):
        done = torch2grid(tmp_path / name, "--stats", cwd=tmp_path)
        number = 1 if name == ONE else 2
        assert done.returncode == 0
        assert f"note: shard {number} of 2 of a checkpoint, alone: {rest}" in done.stderr
        assert f"{name}: safetensors, shard {number} of 2, " in done.stderr
        (tmp_path / ONE).unlink(missing_ok=True)


def test_a_name_in_the_index_that_no_shard_has(tmp_path: Path) -> None:
    index(two(tmp_path), {**WHOLE, "lm_head.bias": TWO})
    assert list(opened(tmp_path)) == list(WHOLE)
    done = drawn(tmp_path)
    assert done.returncode == 0
    assert f"note: lm_head.bias: the index places it in {TWO}, which lacks it" in done.stderr
    assert findings(tmp_path) == [f"error lm_head.bias: the index places it in {TWO}, which lacks it (inconsistent)"]
    assert torch2grid("check", tmp_path, cwd=tmp_path).returncode == 1


def test_a_tensor_that_the_index_does_not_name(tmp_path: Path) -> None:
    index(two(tmp_path), {"a.weight": ONE, "c.weight": TWO})
    assert sorted(opened(tmp_path)) == sorted(WHOLE)
    assert f"note: b.weight: {ONE} holds it, and the index does not name it" in drawn(tmp_path).stderr
    assert findings(tmp_path) == [f"error b.weight: {ONE} holds it, and the index does not name it (inconsistent)"]


def test_a_tensor_in_another_shard_than_the_index_says(tmp_path: Path) -> None:
    checkpoint = opened(index(two(tmp_path), {**WHOLE, "b.weight": TWO}))
    assert same(checkpoint["b.weight"], weights("b.weight")["b.weight"])
    assert findings(tmp_path) == [f"error b.weight: it is in {ONE}, not in {TWO} as the index says (inconsistent)"]


def test_many_names_are_one_finding(tmp_path: Path) -> None:
    index(two(tmp_path), {**WHOLE, **{f"ghost.{number}": TWO for number in range(100)}})
    (line,) = findings(tmp_path)
    assert line.startswith(f"error: 100 tensors that the index places in {TWO} are not there: ghost.0, ghost.1, ")
    assert line.endswith("and 94 more (inconsistent)")


def test_two_shards_with_one_name(tmp_path: Path) -> None:
    shard(two(tmp_path), TWO, "c.weight", "a.weight")
    assert list(opened(tmp_path)) == list(WHOLE)
    assert findings(tmp_path) == [f"error a.weight: {ONE} and {TWO} both hold it (inconsistent)"]


@pytest.mark.parametrize(
    ("total", "said"), [(288, False), (288.0, False), (280, True), (None, False), ("288", False), (True, False)]
)
def test_another_size_than_the_index_states(total: float | None, said: bool, tmp_path: Path) -> None:
    found = findings(index(two(tmp_path), WHOLE, total))
    warning = "warning: the index states a total_size of 280 bytes, the tensors of its shards have 288 (inconsistent)"
    assert found == ([warning] if said else [])


def test_tied_weights_may_count_once_or_twice(tmp_path: Path) -> None:
    tied = torch.ones(4, 6)
    torch.save({"a": tied, "b": tied}, tmp_path / "1.bin")
    for total, said in ((96, False), (192, False), (100, True)):
        index(tmp_path, {"a": "1.bin", "b": "1.bin"}, total, "pytorch_model.bin.index.json")
        assert bool(findings(tmp_path)) == said


def test_of_two_indices_that_of_safetensors_is_taken(tmp_path: Path) -> None:
    index(two(tmp_path), WHOLE)
    torch.save({"a": torch.ones(2)}, tmp_path / "1.bin")
    index(tmp_path, {"a": "1.bin"}, name="pytorch_model.bin.index.json")
    index(tmp_path, {"a": "1.bin"}, name="model.safetensors.index.fp16.json")
    assert list(opened(tmp_path)) == list(WHOLE)
    assert "beside the shards: 1.bin, pytorch_model.bin.index.json" in drawn(tmp_path).stderr
    (tmp_path / INDEX).unlink()
    (tmp_path / "pytorch_model.bin.index.json").unlink()
    assert list(opened(tmp_path)) == ["a"]  # the index of a variant, alone


def test_numbers_that_are_no_shards_are_left_alone(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "fold-1-of-3.pt")
    torch.save({"b": torch.ones(2)}, tmp_path / "model-00001-of-00001.pt")
    with pytest.raises(LoadError, match=r"is a folder of 2 checkpoints: fold-1-of-3\.pt, model-00001-of-00001\.pt"):
        opened(tmp_path)
    assert "note:" not in torch2grid(tmp_path / "fold-1-of-3.pt", "--stats", cwd=tmp_path).stderr
