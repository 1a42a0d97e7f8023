"""Arrays that decoders keep for the next read: no more bytes than they may, which are counted as they come and go."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from torch2grid_builtin._decoders.codes import Recent


def array(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def test_what_was_asked_last_is_kept_and_what_is_too_much_goes() -> None:
    recent, read = Recent(100_000), []

    def of(key: int) -> np.ndarray:
        return recent.get(key, lambda: read.append(key) or array(30_000))

    for key in (0, 1, 2, 0, 3, 0, 1):
        of(key)
    assert read == [0, 1, 2, 3, 1]
    whole = recent.get("large", lambda: array(200_000))
    assert recent.get("large", lambda: array(0)) is whole


def test_arrays_of_few_bytes_do_not_pile_up() -> None:
    recent = Recent(1 << 20)
    for key in range(5000):
        recent.get(key, lambda: array(8))
    assert len(recent._arrays) <= 1024
    assert recent._bytes == sum(each.nbytes + 1024 for each in recent._arrays.values())


def test_a_key_that_two_threads_read_is_counted_once() -> None:
    recent = Recent(1 << 20)

    def slow() -> np.ndarray:
        time.sleep(0.05)
        return array(1000)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: recent.get("one", slow), range(4)))
    assert recent._bytes == 1000 + 1024
