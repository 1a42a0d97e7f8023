"""Rows with gaps between them, as a part of a matrix has: the bytes are those of the file, however they are read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import LocalSource, Range

SIZE = 1 << 20


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path, raw = tmp_path_factory.mktemp("rows") / "raw", np.random.default_rng(0).bytes(SIZE)
    path.write_bytes(raw)
    return path, raw


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5000), st.integers(1, 3000), st.integers(0, 20_000), st.integers(1, 1200), st.booleans())
def test_rows_are_those_of_the_file(
    file: tuple[Path, bytes], offset: int, length: int, gap: int, count: int, one_by_one: bool
) -> None:
    path, raw = file
    step = length + gap
    count = min(count, (SIZE - offset - length) // step + 1)
    rows = [memoryview(bytearray(length)) for _ in range(count)]
    with pytest.MonkeyPatch.context() as patched:
        if one_by_one:
            patched.delattr(os, "preadv")  # as on Windows
        LocalSource(path).read_rows(offset, step, rows)
    assert [bytes(row) for row in rows] == [raw[start : start + length] for start in range(offset, offset + count * step, step)]


def test_rows_beyond_the_end_are_one_line(file: tuple[Path, bytes]) -> None:
    rows = [memoryview(bytearray(100)) for _ in range(8)]
    with pytest.raises(LoadError, match="cut short"):
        LocalSource(file[0]).read_rows(SIZE - 1000, 300, rows)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 500))
def test_columns_of_a_matrix_are_read_in_few_calls(
    file: tuple[Path, bytes], rows: int, columns: int, wide: int, offset: int
) -> None:
    path, raw = file
    whole = columns + wide
    tensor = LazyTensor(
        "part", (rows, columns), np.dtype(np.float32), Range(LocalSource(path), 0, SIZE), offset=offset, strides=(whole, 1)
    )
    stored = np.frombuffer(raw, np.uint32)[offset : offset + rows * whole].reshape(rows, whole)[:, :columns]
    assert np.array_equal(tensor.numpy().view(np.uint32), stored)
