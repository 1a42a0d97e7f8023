"""Changed checkpoints of several ranks, adapters and quantised models: a short run of ``python -m tests.fuzz.folders``."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fuzz import folders
from tests.fuzz.described import otherwise
from tests.fuzz.folders import FOLDERS, KINDS, fuzz

from torch2grid_core import Checkpoint

RUNS = 60


@pytest.mark.filterwarnings("ignore:Please use DTensor instead:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_changed_opens_or_is_a_clean_error(kind: str, tmp_path: Path) -> None:
    if "packed" in kind:
        pytest.importorskip("zstandard")
    became = list(fuzz(kind, RUNS, 7, tmp_path))
    assert len(became) == RUNS
    assert not [each for each in became if each.startswith("broken")]
    assert "error" in became
    assert kind in FOLDERS or {"otherwise", "as stored"} <= set(became)


def _wrong_numbers(opened: Checkpoint) -> Checkpoint:
    first = next(iter(opened))
    storage = opened[first].storage

    class Wrong:
        size, shippable = storage.size, True

        def read_into(self, offset: int, buffer: memoryview) -> None:
            buffer[:] = random.randbytes(len(buffer))

    tensors = {**dict(opened), first: type(opened[first])(first, opened[first].shape, np.dtype(np.float32), Wrong())}
    return Checkpoint(tensors, source=opened.source, format=opened.format)


def _raise(opened: Checkpoint) -> Checkpoint:
    raise IndexError("list index out of range")


@pytest.mark.parametrize(("faulty", "told"), [(_wrong_numbers, "other numbers under a checksum"), (_raise, "IndexError")])
def test_a_reader_that_breaks_a_promise_is_noticed(
    faulty: Callable[[Checkpoint], Checkpoint], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def opened(path: Path, plain: Any = folders.opened) -> Checkpoint:
        nonlocal calls
        calls += 1
        return plain(path) if calls == 1 else faulty(plain(path))

    monkeypatch.setattr(folders, "opened", opened)
    assert any(told in each for each in fuzz("DTensor", 20, 3, tmp_path))


def test_changes_of_settings_change_one_thing_and_not_the_original() -> None:
    value = {"a": [1, 2, {"b": "x"}], "c": {"d": 4.5}}
    rng = random.Random(1)
    found = [otherwise(value, rng) for _ in range(300)]
    assert value == {"a": [1, 2, {"b": "x"}], "c": {"d": 4.5}}
    assert sum(each != value for each in found) > 270
    assert any(isinstance(each, dict) and "c" not in each for each in found)
