"""Reductions: what becomes of the weights of one cell.

Sums are kept in float64; only the finished values become float32. A NaN weight makes its cell NaN in every reduction.
Finite weights never become infinite: what exceeds float32's range is drawn as its largest number. A finite float64
weight beyond ±1e140 counts as ±1e140 in ``mean`` and ``rms``, so that no sum overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.choices import Reduction

_HUGE = 1e140  # its square times any number of weights is a float64
_FLOAT32_MAX = np.finfo(np.float32).max


class Room:
    """Memory for as many numbers as weights are prepared at a time, used again and again while a run of them passes.

    It is not kept from run to run: there may be a thousand tensors whose cells wait for the end of a batch.
    """

    def __init__(self) -> None:
        self._numbers = np.empty(0)

    def like(self, values: Array, dtype: Any = np.float64) -> Array:
        """An array of the shape of *values*, of a *dtype* of at most eight bytes, with any numbers in it."""
        if len(self._numbers) < values.size:
            self._numbers = np.empty(values.size)
        found: Array = self._numbers.view(dtype)[: values.size].reshape(values.shape)
        return found


def _as_float64(values: Array, room: Room) -> Array:
    wide = room.like(values)
    if values.dtype == np.float64:
        np.clip(values, -_HUGE, _HUGE, out=wide)
        np.copyto(wide, values, where=np.isinf(values))
    else:
        np.copyto(wide, values)
    return wide


def _sizes(values: Array, room: Room) -> Array:
    return np.abs(values, out=room.like(values, values.dtype))


def _values(values: Array, room: Room) -> Array:
    return values


def _average(sums: Array, counts: Array) -> Array:
    return np.divide(sums, counts, out=sums, where=counts > 0)


def _root_mean(sums: Array, counts: Array) -> Array:
    return np.sqrt(_average(sums, counts), out=sums)


def _as_is(combined: Array, counts: Array) -> Array:
    return combined


@dataclass(frozen=True)
class Reducer:
    """prepare: weights → what *ufunc* combines, from *initial*, in the room where it is new; finish: combined,
    counts → values, in place.

    size: the value has no sign, it says how large weights are. squared: the squares of what is prepared are combined.
    """

    ufunc: np.ufunc
    initial: float
    prepare: Callable[[Array, Room], Array]
    finish: Callable[[Array, Array], Array] = _as_is
    size: bool = False
    squared: bool = False


REDUCERS: dict[str, Reducer] = {
    "mean": Reducer(np.add, 0.0, _as_float64, _average),
    "absmax": Reducer(np.maximum, 0.0, _sizes, size=True),
    "rms": Reducer(np.add, 0.0, _as_float64, _root_mean, size=True, squared=True),
    "min": Reducer(np.minimum, math.inf, _values),
    "max": Reducer(np.maximum, -math.inf, _values),
}
REDUCTIONS: tuple[str, ...] = get_args(Reduction)


def reduction(name: str) -> Reducer:
    """The reduction of that name. Raises ``ValueError`` for another."""
    if name not in REDUCERS:
        raise ValueError(f"unknown reduction {name!r}; valid: {', '.join(REDUCTIONS)}")
    return REDUCERS[name]


def prepared(reducers: Mapping[str, Reducer], values: Array, room: Room) -> Iterator[tuple[str, Reducer, Array]]:
    """What each of *reducers* combines of *values*; each array is valid until the next is asked for.

    Squares come last, since they may be left in the float64 that the mean is of, too.
    """
    wide: Array | None = None
    for name in sorted(reducers, key=lambda each: (reducers[each].squared, reducers[each].ufunc is np.add)):
        reducer = reducers[name]
        if reducer.ufunc is not np.add:
            yield name, reducer, reducer.prepare(values, room)
            continue
        wide = reducer.prepare(values, room) if wide is None else wide
        yield name, reducer, wide


def to_float32(values: Array) -> Array:
    """*values* as float32, finite numbers beyond its range as its largest; infinities and NaN stay."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
    lost = np.isinf(narrow)
    if lost.any():
        lost &= np.isfinite(values)
        narrow[lost] = np.copysign(_FLOAT32_MAX, values[lost])
    return narrow
