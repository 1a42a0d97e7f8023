"""A ``.metadata`` of very many blocks: rows in arrays, and a memo that forgets what no pickle comes back to."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.distributed.made import by_rows, dcp
from tests.support.tools import TRACING
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

import torch2grid
from torch2grid_builtin._loaders import dcp_metadata
from torch2grid_core import LoadError


def described(folder: Path, tensors: int, blocks: int) -> Path:
    """A folder of so many tensors, each in so many blocks, whose files hold nothing but zeros."""
    folder.mkdir()
    tables, stored = {}, {}
    for number in range(tensors):
        name = f"model.layers.{number}.weight"
        chunks = [ChunkStorageMetadata(torch.Size((2 * row, 0)), torch.Size((2, 8))) for row in range(blocks)]
        tables[name] = TensorStorageMetadata(TensorProperties(torch.float32), torch.Size((2 * blocks, 8)), chunks)
        for row in range(blocks):
            stored[MetadataIndex(name, (2 * row, 0), row)] = _StorageInfo(f"__{row % 4}_0.distcp", 1000 * number, 1000)
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata(tables, None, stored, StorageMeta())))
    for rank in range(4):
        (folder / f"__{rank}_0.distcp").write_bytes(bytes(1000 * tensors))
    return folder


@pytest.mark.parametrize("forgetting", [10, 1000, 200_000])
def test_a_memo_that_forgets_reads_the_same(forgetting: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dcp_metadata, "_FORGETTING", forgetting)
    whole = torch.arange(4000.0).reshape(1000, 4)
    state = {"a": whole, "b": whole + 1, "c": torch.arange(90.0).reshape(9, 10)}
    opened = torch2grid.load(dcp(tmp_path / "c", state, lambda shape: by_rows(shape, 500), ranks=4))
    for name, tensor in state.items():
        assert np.asarray(opened[name]).tobytes() == tensor.numpy().tobytes()
        assert opened[name].read(1000 % tensor.numel(), tensor.numel() - 7).tobytes() == (
            tensor.reshape(-1)[1000 % tensor.numel() : -7].numpy().tobytes()
        )


def test_a_pickle_that_comes_back_to_what_was_forgotten_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dcp_metadata, "_FORGETTING", 10)
    folder = dcp(tmp_path / "c", {f"{each}": torch.ones(300, 2) for each in range(400)}, lambda shape: by_rows(shape, 30))
    about = pickle.loads((folder / ".metadata").read_bytes())
    first = next(iter(about.state_dict_metadata.values())).chunks[0]
    for each in about.state_dict_metadata.values():
        each.chunks[0] = first  # one object, in the beginning and in the end
    (folder / ".metadata").write_bytes(pickle.dumps(about))
    assert len(torch2grid.load(folder)) == 400


def test_the_memory_of_a_block_is_small(tmp_path: Path) -> None:
    few, many = described(tmp_path / "few", 4, 25), described(tmp_path / "many", 400, 250)
    code = "import resource, sys, torch2grid; torch2grid.load(sys.argv[1])\n"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"

    def peak(folder: Path) -> int:
        words = [sys.executable, "-c", code, folder]
        untraced = {name: text for name, text in os.environ.items() if name != TRACING}
        return int(subprocess.run(words, env=untraced, capture_output=True, check=True, text=True).stdout)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    assert (peak(many) - peak(few)) * 1024 / 100_000 < 1000  # bytes of a block: a gigabyte holds a million


def test_more_blocks_than_any_checkpoint_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = described(tmp_path / "c", 2, 60)
    assert len(torch2grid.load(folder)) == 2
    monkeypatch.setattr(dcp_metadata, "_BLOCKS", 100)
    with pytest.raises(LoadError, match="more than 100 blocks"):
        torch2grid.load(folder)
    monkeypatch.setattr(dcp_metadata, "METADATA_BYTES", 1000)
    with pytest.raises(LoadError, match="at most 1,000 are read"):
        torch2grid.load(folder)


class _Elsewhere:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_an_index_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = described(tmp_path / "c", 2, 6)
    for value in ([1, 2], {"a": torch.Size((2,))}, ChunkStorageMetadata(torch.Size((1,)), torch.Size((1,))), _Elsewhere()):
        (folder / ".metadata").write_bytes(pickle.dumps(value))
        with pytest.raises(LoadError):
            torch2grid.load(folder)
    with pytest.raises(LoadError, match=r"print\('run'\)"):
        torch2grid.load(folder)
