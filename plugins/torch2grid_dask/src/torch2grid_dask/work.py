"""What a worker does: it gets a function and its arguments as bytes, and answers the same way."""

from __future__ import annotations

import contextlib
import ctypes
import pickle
from concurrent.futures import BrokenExecutor
from functools import cache
from importlib.metadata import entry_points, version
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT = 256 << 20  # bytes that a worker keeps for the next arrays


@cache
def keep_memory() -> None:
    """Let glibc keep what was freed. Dask tells it to give everything back at once, and fresh pages cost more than the sums."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


@cache
def versions() -> dict[str, str]:
    """The versions of torch2grid and of its plugins, by distribution."""
    found = {each.dist.name: each.dist.version for each in entry_points(group="torch2grid") if each.dist is not None}
    return {**found, "torch2grid-core": version("torch2grid-core")}


def perform(work: bytes, wanted: dict[str, str]) -> bytes:
    """Call the function that *work* holds. Raises ``pickle.PicklingError`` for one that cannot be imported here,
    ``BrokenExecutor`` where a distribution has another version than is *wanted*, else what it raises.
    """
    keep_memory()
    for name, here in versions().items():
        if wanted.get(name, here) != here:  # whose digits may be others
            raise BrokenExecutor(f"a worker has {name} {here}, and this machine {wanted[name]}")
    try:
        function, arguments, named = pickle.loads(work)
    except (ImportError, AttributeError, pickle.UnpicklingError) as error:
        raise pickle.PicklingError(f"a worker cannot import it: {error}") from error
    return pickle.dumps(function(*arguments, **named), protocol=pickle.HIGHEST_PROTOCOL)


def answer(found: bytes) -> Any:
    """What ``perform`` returned."""
    return pickle.loads(found)
