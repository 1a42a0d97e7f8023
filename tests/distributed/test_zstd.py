"""Streams of Zstandard, by each of the readers that may be installed: the same bytes, and the same errors."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
import zstandard
from hypothesis import given, strategies as st

from torch2grid_builtin._loaders import zstd
from torch2grid_core import LoadError

READERS = ("zstandard", "backports.zstd", "pyzstd", "compression.zstd")
every = pytest.mark.parametrize("name", READERS)


@pytest.fixture
def reader(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """That one alone is installed."""
    pytest.importorskip(name)
    monkeypatch.setattr(zstd, "_module", lambda each: importlib.import_module(name) if each == name else None)
    return name


def unpacked(raw: bytes, most: int = 1 << 20) -> bytes:
    return b"".join(zstd.unpacked(lambda count: stream.read(min(count, most)), "x") if (stream := io.BytesIO(raw)) else ())


@every
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), most=st.integers(1, 50), large=st.booleans())
def test_frames_one_after_another_are_one_stream(name: str, parts: list[bytes], most: int, large: bool) -> None:
    pytest.importorskip(name)
    whole = [part * (9000 if large else 1) for part in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zstd, "_module", lambda each: importlib.import_module(name) if each == name else None)
        assert unpacked(b"".join(map(zstandard.ZstdCompressor().compress, whole)), most) == b"".join(whole)


@every
@pytest.mark.parametrize("spoil", [lambda raw: b"\0" + raw[1:], lambda raw: raw[:30] + b"\xff" * 9 + raw[39:]])
def test_a_damaged_stream_is_a_clear_error(reader: str, spoil: Any) -> None:
    raw = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(range(256)) * 40)
    with pytest.raises(LoadError, match="damaged"):
        unpacked(spoil(raw))
