"""Opening a checkpoint reads what describes its tensors, in few reads, and none of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torch2grid as t2g
from torch2grid_core import LoadError
from torch2grid_core._data import local

ARRAYS = {f"a{index}": np.random.default_rng(index).normal(size=(500, 128)).astype(np.float32) for index in range(40)}


def write(path: Path, kind: str) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    if kind == "npz":
        np.savez(path, **ARRAYS)
    elif kind == "compressed npz":
        np.savez_compressed(path, **ARRAYS)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")


@pytest.mark.parametrize("kind", ["npz", "compressed npz", "legacy", "zip"])
def test_opening_reads_headers_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("x.npz" if "npz" in kind else "x.pth")
    write(path, kind)
    sizes: list[int] = []
    plain = local._OpenFiles.read

    def counted(self: Any, where: Any, offset: int, buffer: memoryview) -> None:
        sizes.append(len(buffer))
        plain(self, where, offset, buffer)

    monkeypatch.setattr(local._OpenFiles, "read", counted)
    found = t2g.load(path)
    assert path.stat().st_size > 9_000_000
    assert sum(sizes) < 120_000 + 6000 * len(ARRAYS)
    assert len(sizes) < 40 + 4 * len(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(found[name][3:5, 7], array[3:5, 7])


@pytest.mark.parametrize("kind", ["npz", "compressed npz"])
def test_an_array_whose_header_was_read_alone_is_checked_in_a_pass(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write(path, kind)
    raw = bytearray(path.read_bytes())
    raw[150_000] ^= 1
    path.write_bytes(raw)
    found = t2g.load(path)
    with pytest.raises(LoadError, match=r"'a0.npy' (is damaged|unpacks to|cannot be unpacked)"):
        list(found["a0"].chunks())
