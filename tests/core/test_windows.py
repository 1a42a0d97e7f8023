"""A window of a source gives the bytes of that range, by whichever way it is read, and none beside them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from torch2grid_core import LoadError
from torch2grid_core.sources import LocalSource, Source, SourceBase

RAW = bytes(range(256)) * 5


class Plain(SourceBase):
    """A source that can only ``read``."""

    name = shown = identity = "plain"
    size = len(RAW)

    def read(self, offset: int, length: int) -> bytes:
        self.inside(offset, length)
        return RAW[offset : offset + length]


@given(st.data(), st.booleans())
def test_a_window_is_that_range_by_either_way_of_reading(data: st.DataObject, local: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(RAW)
        source: Source = LocalSource(path) if local else Plain()
        raw = RAW
        for _ in range(data.draw(st.integers(1, 3))):  # windows of windows
            offset = data.draw(st.integers(0, len(raw)))
            size = data.draw(st.integers(0, len(raw) - offset))
            source, raw = source.window(offset, size), raw[offset : offset + size]
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
        buffer = bytearray(b"?" * (stop - start))
        source.read_into(start, memoryview(buffer))  # type: ignore[attr-defined]
        assert buffer == source.read(start, stop - start) == raw[start:stop]
        for first in (-1, len(raw) - len(buffer) + 1):
            with pytest.raises(LoadError, match="is needed"):
                source.read_into(first, memoryview(buffer))  # type: ignore[attr-defined]
