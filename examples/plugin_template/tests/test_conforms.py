"""Everything that the plugin brings keeps what its kind promises: one test for each check of each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.sources import BytesStorage
from torch2grid_core.testing import Bound, conformance


def write_files(folder: Path) -> list[Path]:
    """Files that the loader must open."""
    path = folder / "small.raw"
    path.write_bytes(b"RAWF32 fc.weight 3 4\n" + np.arange(12, dtype="<f4").tobytes())
    return [path]


def write_locations(folder: Path) -> list[str]:
    """Locations that the source must open."""
    for number in range(2):
        (folder / f"x.0{number}").write_bytes(bytes(range(250)) * 200)
    return [f"pieces://{folder}/x"]


def make_packed(folder: Path) -> list[Checkpoint]:
    """Checkpoints that hold something for the decoder."""
    codes = np.arange(-100, 100).astype(np.int8).reshape(20, 10)
    scale = np.linspace(0.5, 2, 20, dtype=np.float32)
    stored = {"fc.weight.codes": codes, "fc.weight.scale": scale}
    tensors = [LazyTensor(name, each.shape, each.dtype, BytesStorage(each.tobytes())) for name, each in stored.items()]
    return [Checkpoint(tensors)]


FILES = {  # for each kind that is checked on something of its own
    "source": write_locations,
    "loader": write_files,
    "decoder": make_packed,
}


@conformance("torch2grid_myplugin.plugin", files=FILES)
def test_it_conforms(check: Bound) -> None:
    check()
