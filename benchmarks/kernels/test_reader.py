"""Opening files with many tensors, and reading one with many bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from torch2grid import load

COUNT = 2000
BYTES = 1 << 28


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    arrays = {f"blocks.{number}.weight": np.full((8, 8), number, np.float32) for number in range(COUNT)}
    save_file(arrays, folder / "many.safetensors")
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, folder / "many.pth")
    np.savez(folder / "many.npz", allow_pickle=False, **arrays)
    np.save(folder / "large.npy", np.random.default_rng(0).standard_normal(BYTES // 4, dtype=np.float32))
    return folder


@pytest.mark.parametrize("way", ["ours", "torch.load, weights_only"])
@pytest.mark.benchmark(group=f"names and shapes of {COUNT} tensors, .pth")
def test_pickle(benchmark: Any, folder: Path, way: str) -> None:
    path = folder / "many.pth"

    def theirs() -> dict[str, tuple[int, ...]]:
        return {name: tuple(each.shape) for name, each in torch.load(path, weights_only=True, mmap=True).items()}

    assert len(benchmark((lambda: _shapes(path)) if way == "ours" else theirs)) == COUNT


@pytest.mark.parametrize("way", ["ours", "safe_open"])
@pytest.mark.benchmark(group=f"names and shapes of {COUNT} tensors, .safetensors")
def test_safetensors(benchmark: Any, folder: Path, way: str) -> None:
    path = folder / "many.safetensors"

    def theirs() -> dict[str, tuple[int, ...]]:
        with safe_open(path, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118

    assert len(benchmark((lambda: _shapes(path)) if way == "ours" else theirs)) == COUNT


@pytest.mark.parametrize("way", ["ours", "numpy.load"])
@pytest.mark.benchmark(group=f"all weights of {COUNT} arrays, .npz")
def test_npz(benchmark: Any, folder: Path, way: str) -> None:
    path = folder / "many.npz"

    def ours() -> float:
        return sum(float(tensor.numpy().sum()) for tensor in load(path).values())

    def theirs() -> float:
        with np.load(path, allow_pickle=False) as arrays:
            return sum(float(arrays[name].sum()) for name in arrays.files)

    assert benchmark(ours if way == "ours" else theirs) == 64 * sum(range(COUNT))


@pytest.mark.parametrize("way", ["ours", "numpy.load"])
@pytest.mark.benchmark(group=f"the sum of {BYTES >> 20} MiB, .npy")
def test_bytes(benchmark: Any, folder: Path, way: str) -> None:
    path = folder / "large.npy"

    def ours() -> float:
        return sum(float(chunk.sum(dtype=np.float64)) for tensor in load(path).values() for chunk in tensor.chunks())

    found = benchmark(ours if way == "ours" else (lambda: float(np.load(path).sum(dtype=np.float64))))
    assert found == pytest.approx(float(np.load(path, mmap_mode="r").sum(dtype=np.float64)))


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in load(path).values()}
