"""Everything that the plugin brings keeps what its kind promises: one test for each check of each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from torch2grid_core.testing import Bound, conformance


def write_files(folder: Path) -> list[Path]:
    """Files that the loader must open."""
    path = folder / "small.raw"
    path.write_bytes(b"RAWF32 fc.weight 3 4\n" + np.arange(12, dtype="<f4").tobytes())
    return [path]


@conformance("torch2grid_myplugin.plugin", files=write_files)
def test_it_conforms(check: Bound) -> None:
    check()
