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
def plugins() -> dict[str, tuple[str, str]]:
    """The version and the module of torch2grid and of each of its plugins, by distribution."""
    found = {
        each.dist.name: (each.dist.version, each.module) for each in entry_points(group="torch2grid") if each.dist is not None
    }
    return {**found, "torch2grid-core": (version("torch2grid-core"), "torch2grid_core")}


def perform(work: bytes, wanted: dict[str, tuple[str, str]]) -> bytes:
    """Call the function that *work* holds. Raises ``BrokenExecutor`` where a distribution is not what is *wanted*: of another
    version, or missing and needed; ``pickle.PicklingError`` for what else cannot be imported here, else what it raises.
    """
    keep_memory()
    here = plugins()
    for name, (theirs, _) in wanted.items():
        if name in here and here[name][0] != theirs:  # whose digits may be others
            raise BrokenExecutor(f"a worker has {name} {here[name][0]}, and this machine {theirs}")
    try:
        function, arguments, named = pickle.loads(work)
    except (ImportError, AttributeError, pickle.UnpicklingError) as error:
        missing = (getattr(error, "name", None) or "").partition(".")[0]
        for name, (theirs, module) in wanted.items():
            if name not in here and module.partition(".")[0] == missing:
                raise BrokenExecutor(f"a worker has no {name}, and this machine {theirs}; install it there") from error
        raise pickle.PicklingError(f"a worker cannot import it: {error}") from error
    return pickle.dumps(function(*arguments, **named), protocol=pickle.HIGHEST_PROTOCOL)


def answer(found: bytes) -> Any:
    """What ``perform`` returned."""
    return pickle.loads(found)
