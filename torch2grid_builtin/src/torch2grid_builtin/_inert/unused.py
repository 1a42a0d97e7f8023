"""How much of the storages in a file no tensor uses: a small view of a large tensor is saved with all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from torch2grid_core import LazyTensor

_LEAST = 1024  # bytes that nobody would miss
_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def unused_note(tensors: Collection[LazyTensor]) -> str:
    """``3 of 400 MB of its storages are used: …`` where less than half is, else an empty text."""
    if _well_used(tensors):
        return ""
    by_storage: dict[Any, tuple[int, list[tuple[int, int, int]]]] = {}
    for tensor in tensors:
        width = tensor.dtype.itemsize
        key = _identity(tensor.storage)
        _, uses = by_storage.setdefault(key, (tensor.storage.size, []))
        if tensor.size:
            first = tensor.offset * width
            uses.append((first, first + tensor.span * width, min(tensor.size, tensor.span) * width))
    total = sum(size for size, _ in by_storage.values())
    used = sum(_covered(uses) for _, uses in by_storage.values())
    if 2 * used >= total or total - used < _LEAST:
        return ""
    (few, unit), (all_of_it, whole) = _measure(used, total), _measure(total, total)
    told = few if unit == whole else f"{few} {unit}"
    return f"{told} of {all_of_it} {whole} of its storages are used: the rest is saved with it, and no tensor shows it"


def _well_used(tensors: Iterable[LazyTensor]) -> bool:
    """True where the largest tensor of each storage shows already that half is used, as in nearly every file."""
    largest: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for tensor in tensors:
        key = id(tensor.storage)
        sizes[key] = tensor.storage.size
        stored = tensor.size if tensor.strides is None else min(tensor.size, tensor.span)
        largest[key] = max(largest.get(key, 0), stored * tensor.dtype.itemsize)
    return 2 * sum(largest.values()) >= sum(sizes.values())


def _measure(size: int, beside: int) -> tuple[str, str]:
    """*size* bytes and their unit: that of *beside* where that is not too large for it."""
    for unit, name in _UNITS:
        if beside >= unit and 10 * size >= unit:
            return f"{size / unit:.3g}", name
    return str(size), "bytes"


def _covered(uses: list[tuple[int, int, int]]) -> int:
    """Bytes that uses (first, behind the last, how many between) have together; no more than lie between."""
    covered, start, end, count = 0, 0, 0, 0
    for first, last, size in sorted(uses):
        if first >= end:
            covered += min(count, end - start)
            start, end, count = first, last, size
        else:
            end, count = max(end, last), count + size
    return covered + min(count, end - start)


def _identity(storage: Any) -> Any:
    try:
        hash(storage)
    except TypeError:
        return id(storage)
    return storage
