"""float16 becomes float32 by its bits: every number there is, in arrays of any form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from torch2grid_core._data import dtypes
from torch2grid_core.sources import as_float

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


@pytest.mark.parametrize(
    "halves", [EVERY, EVERY[np.isfinite(EVERY)], EVERY[::-1], np.tile(EVERY[:7000], 20).reshape(7, -1), EVERY[:3]]
)
def test_each_is_the_same_number(halves: np.ndarray[Any, Any]) -> None:
    found, wanted = as_float(halves), halves.astype(np.float32)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    lost = np.isnan(wanted)
    assert np.array_equal(np.isnan(found), lost)
    assert np.array_equal(found[~lost].view(np.uint32), wanted[~lost].view(np.uint32))  # the sign of 0, too


def test_a_processor_that_takes_subnormal_numbers_for_zero_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtypes, "_SUBNORMAL", np.zeros(1, np.float32))  # what such a one sees there
    assert np.array_equal(as_float(EVERY), EVERY.astype(np.float32), equal_nan=True)
