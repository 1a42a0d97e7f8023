"""What a plugin of the version before says still works for one version, with a warning, or says what took its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.memory import STORE, MemorySource
from tests.support.tools import torch2grid

from torch2grid_core import LoadError
from torch2grid_core.sources import LocalSource, Range, Source, SourceBase

LOADER = r'''
import numpy as np

from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError, Source


class RawFloats(Loader):
    """one matrix of float32 behind a line of text: ``RAWF32 fc.weight 3 4``"""

    name = "raw_floats"

    def sniff(self, source: Source) -> int:
        return 2 if source.head.startswith(b"RAWF32 ") else 0

    def load(self, source: Source) -> Checkpoint:
        line = source.head.partition(b"\n")[0]
        _, name, rows, columns = line.decode().split()
        shape = int(rows), int(columns)
        data = source.storage(len(line) + 1, 4 * shape[0] * shape[1])
        tensor = LazyTensor(name, shape, np.dtype("<f4"), data).check()
        return Checkpoint([tensor], source=source.shown, format="raw float32")
'''


def test_a_loader_of_the_version_before_works_with_warnings_that_name_the_new_homes(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(LOADER, encoding="utf-8")
    (tmp_path / "m.raw").write_bytes(b"RAWF32 fc.weight 3 4\n" + np.arange(12, dtype="<f4").tobytes())
    words = ("--load-plugin", "old.py", "m.raw", "--stats", "--format", "csv", "--output", "-")
    run = torch2grid(*words, cwd=tmp_path, env={"PYTHONWARNINGS": "always::DeprecationWarning"})
    assert run.returncode == 0, run.stderr
    assert "fc.weight" in run.stdout
    assert "11.0" in run.stdout
    assert "use torch2grid_core.sources.Source" in run.stderr
    assert "use torch2grid_core.sources.Range(source, offset, size)" in run.stderr
    assert "m.raw: raw float32, 1 tensor, 12 parameters" in run.stderr


def test_storage_is_the_range_of_any_source(tmp_path: Path) -> None:
    STORE["old"] = b"abcdefgh"
    (tmp_path / "x").write_bytes(b"abcdefgh")
    for source in (MemorySource("old"), LocalSource(tmp_path / "x")):
        with pytest.warns(DeprecationWarning, match=r"use torch2grid_core\.sources\.Range\(source, offset, size\)"):
            assert source.storage(2, 3) == Range(source, 2, 3)
        with pytest.warns(DeprecationWarning, match="storage"):
            assert source.storage(2).size == 6
        with (
            pytest.warns(DeprecationWarning, match="storage"),
            pytest.raises(LoadError, match="has 8 bytes, a record claims 6–9"),
        ):
            source.storage(6, 3)
    del STORE["old"]


@pytest.mark.parametrize(
    ("name", "instead"),
    [("Measure", "torch2grid_core.Need"), ("MeasureCollector", "measures.Collector"), ("Engine", "torch2grid_core.draw(")],
)
def test_a_name_without_an_alias_is_an_import_error_that_says_what_took_its_place(name: str, instead: str) -> None:
    with pytest.raises(ImportError) as error:
        exec(f"from torch2grid_core import {name}", {})
    assert f"torch2grid_core.{name} is gone" in str(error.value)
    assert instead in str(error.value)
    script = f"import torch2grid_core; print('{name}' in dir(torch2grid_core))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_call_of_the_protocol_points_to_the_local_source() -> None:
    import torch2grid_core

    with pytest.warns(DeprecationWarning, match=r"use torch2grid_core\.sources\.Source"):
        old = torch2grid_core.Source
    with pytest.raises(TypeError, match=r"torch2grid_core\.sources\.LocalSource\(path\)"):
        old("m.pth")

    class Own(SourceBase, Source):
        """Derives from the protocol, as a class may."""

        name = shown = "own"
        size = identity = 0

        def __init__(self, level: int) -> None:
            self.level = level

        def read(self, offset: int, length: int) -> bytes:
            return b""

    assert Own(3).level == 3
    assert isinstance(Own(3), Source)
