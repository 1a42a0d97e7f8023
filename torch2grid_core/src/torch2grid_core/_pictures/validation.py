"""What panels and pages check of their fields when they are made. What can be read but once becomes a tuple or an array.

Every function raises ``ValueError`` for what does not fit, and says in *what* it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from numbers import Integral, Real
from typing import Any

import numpy as np

from torch2grid_core._array import Array

_PLAIN = {str, int, float, bool, type(None)}  # of a table's cells


def keep(panel: Any, **values: Any) -> None:
    """Set fields of a frozen *panel* to what was made of them."""
    for name, value in values.items():
        if value is not getattr(panel, name):
            object.__setattr__(panel, name, value)


def check_shape(what: str, values: Any, wanted: tuple[int, ...], of: str) -> None:
    """Check that *values* have the shape *wanted*, which *of* explains."""
    found = np.shape(values)
    if found != wanted:
        raise ValueError(f"{what} has the shape {found}, not {wanted}: {of}")


def items_of(what: str, values: Any, of: str) -> tuple[Any, ...]:
    """*values*, any iterable but a text, a mapping or a set, as a tuple. of: what they are, in the message."""
    if isinstance(values, tuple):
        return values
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or not isinstance(values, Iterable):
        raise ValueError(f"{what}: a sequence of {of} is needed, not {_told(values)}")
    return tuple(values)


def texts_of(what: str, values: Any) -> tuple[str, ...]:
    """*values*, an iterable of texts that is none itself, as a tuple."""
    found = items_of(what, values, "texts")
    other = next((each for each in found if not isinstance(each, str)), "")
    if not isinstance(other, str):
        raise ValueError(f"{what} are texts, and one is {str(other)[:40]!r}, which is of type {type(other).__name__}")
    return found


def check_text(**values: Any) -> None:
    """Check that each of *values*, by the names of their fields, is a text."""
    for name, value in values.items():
        if not isinstance(value, str):
            raise ValueError(f"the {name} is of type {type(value).__name__}, not a text")


def check_flag(**values: Any) -> None:
    """Check that each of *values*, by the names of their fields, is true or false."""
    for name, value in values.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} is {_told(value)}, not True or False")


def check_count(least: int = 0, **values: Any) -> None:
    """Check that each of *values*, by the names of their fields, is a whole number of *least* at least."""
    for name, value in values.items():
        if not isinstance(value, Integral) or int(value) < least:
            raise ValueError(f"{name} is {_told(value)}, not a whole number of {least} or more")


def check_type(what: str, value: Any, wanted: type) -> None:
    """Check that *value* is of the type *wanted*."""
    if not isinstance(value, wanted):
        raise ValueError(f"{what} is {_told(value)}, not a {wanted.__name__}")


def array_of(what: str, values: Any) -> Array:
    """*values*, an array or an iterable of numbers, as an array of real numbers. An array tells by its type."""
    if not isinstance(values, np.ndarray):
        if not hasattr(values, "__array__"):
            if isinstance(values, (str, bytes, Mapping, set, frozenset)) or not isinstance(values, Iterable):
                raise ValueError(f"{what}: an array of numbers is needed, not {_told(values)}")
            values = list(values)
        try:
            values = np.asarray(values)
        except ValueError as error:  # rows of unequal lengths
            raise ValueError(f"{what}: {error}") from None
    _check_numbers(what, values)
    found: Array = values.astype(np.float64) if values.dtype.kind == "O" else values
    return found


def series_of(what: str, one: str, series: Any, places: int, of: str) -> Mapping[str, Array]:
    """*series*, a mapping of names to a number for each of *places*, as one of arrays; itself where it is that already.

    what: all of them; one: each of them; of: why it has so many numbers.
    """
    check_type(what, series, Mapping)
    texts_of(f"{what}: names", tuple(series))
    found = {name: array_of(f"{one} {name!r}", values) for name, values in series.items()}
    for name, values in found.items():
        check_shape(f"{one} {name!r}", values, (places,), of)
    return found if any(values is not series[name] for name, values in found.items()) else series


def _check_numbers(what: str, values: Any) -> None:
    """Check that all *values* are real numbers."""
    found = np.asarray(values)
    kind = found.dtype.kind
    if kind == "O":
        right = all(isinstance(each, Real) for each in found.flat)
    else:  # kind V: bfloat16 and its like, which numpy itself does not have
        right = kind in "biuf" or (kind == "V" and found.dtype.names is None and np.can_cast(found.dtype, np.float64))
    if not right:
        raise ValueError(f"{what}: real numbers are needed, not {'texts' if kind in 'US' else found.dtype}")


def edges_of(edges: Any) -> Array:
    """*edges* of bars as an array of finite numbers that do not fall."""
    found = array_of("edges", edges)
    wide = found.astype(np.float64, copy=False)
    if not np.isfinite(wide).all() or (wide[1:] < wide[:-1]).any():
        raise ValueError("edges: finite numbers that do not decrease are needed")
    return found


def check_bend(bend: Any) -> None:
    """Check that *bend* is the half-width of something."""
    if not isinstance(bend, Real) or not 0 <= float(bend) < math.inf:
        raise ValueError(f"bend is a finite number from 0 on, not {str(bend)[:40]!r}")


def check_limits(low: Any, high: Any, kind: Any) -> None:
    """Check that *low* and *high* are the limits of a scale of colours, and *kind* its shape."""
    if not all(isinstance(each, Real) and math.isfinite(each) for each in (low, high)) or low > high:
        told = " and ".join(str(each)[:40] for each in (low, high))
        raise ValueError(f"the limits of the scale are {told}: two finite numbers are needed, the second not below the first")
    if kind not in ("linear", "asinh"):
        raise ValueError(f"the kind of the scale is {str(kind)[:40]!r}, neither linear nor asinh")


def ends_of(what: str, ends: Any) -> tuple[float, float]:
    """The two ends of an axis, checked: finite numbers, the second above the first."""
    found = items_of(what, ends, "numbers")
    if len(found) != 2 or not all(isinstance(each, Real) and math.isfinite(each) for each in found) or not found[0] < found[1]:
        raise ValueError(f"{what}: two finite numbers are needed, the second above the first, not {str(ends)[:40]}")
    return float(found[0]), float(found[1])


def check_marks(what: str, marks: Any) -> None:
    """Check that *marks* are numbers by name."""
    if not isinstance(marks, Mapping):
        raise ValueError(f"{what} are a {type(marks).__name__}, not a mapping of names to numbers")
    for name, value in marks.items():
        if not isinstance(name, str):
            raise ValueError(f"{what} are numbers by name, and one has the name {str(name)[:40]!r}, which is not a text")
        if not isinstance(value, Real):
            if np.ndim(value):
                raise ValueError(f"{what}: {name[:40]!r} is of {np.size(value):,} values, not a number")
            _check_numbers(f"{what}: {name[:40]!r}", value)


def check_named_texts(what: str, texts: Any) -> None:
    """Check that *texts* are a mapping of texts to texts."""
    if not isinstance(texts, Mapping):
        raise ValueError(f"{what} is {_told(texts)}, not a mapping of names to texts")
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError(f"{what} is texts by name, and one is {str(name)[:40]!r}: {str(text)[:40]!r}")


def check_flags(flags: Any, places: int) -> None:
    """Check that *flags* are texts by place, of so many *places*."""
    if not isinstance(flags, Mapping):
        raise ValueError(f"flags are a {type(flags).__name__}, not a mapping of places to texts")
    for place, text in flags.items():
        if not isinstance(place, Integral) or not 0 <= int(place) < places or not isinstance(text, str):
            one = f"{str(place)[:40]!r}: {str(text)[:40]!r}"
            raise ValueError(f"flags are texts by places from 0 to {places - 1}, and one is {one}")


def placed_texts(what: str, pairs: Any) -> tuple[tuple[float, str], ...]:
    """*pairs*, an iterable of (place, text), as a tuple."""
    found = tuple(
        each if type(each) is tuple else items_of(what, each, "(place, text)") for each in items_of(what, pairs, "pairs")
    )
    for each in found:
        if len(each) != 2 or not isinstance(each[0], Real) or not isinstance(each[1], str):
            raise ValueError(f"{what} are pairs of a place and a text, and one is {str(each)[:60]}")
    return found


def stretches(what: str, pairs: Any, length: int) -> tuple[tuple[int, range], ...]:
    """*pairs*, an iterable of (first cell, range of indices), as a tuple. length: of the side in cells."""
    found = tuple(
        each if type(each) is tuple else items_of(what, each, "(cell, range)") for each in items_of(what, pairs, "pairs")
    )
    for each in found:
        if len(each) != 2 or not isinstance(each[0], int) or not isinstance(each[1], range):
            raise ValueError(f"{what} are pairs of a cell and a range, and one is {str(each)[:60]}")
        if not 0 <= each[0] < length:
            raise ValueError(f"{what}: a stretch begins at cell {each[0]} of {length}")
    return found


def rows_of(rows: Any, columns: int) -> tuple[tuple[Any, ...], ...]:
    """The rows of a table with so many *columns* as tuples of plain values; scalars of numpy become Python's numbers."""
    rows = items_of("rows", rows, "rows")
    if {*map(type, rows)} - {tuple}:
        rows = tuple(items_of(f"row {place} of the table", row, "cells") for place, row in enumerate(rows))
    if {*map(len, rows)} - {columns}:
        place, row = next((place, row) for place, row in enumerate(rows) if len(row) != columns)
        raise ValueError(f"row {place} of the table has {len(row)} cells for {columns} columns")
    if {*map(type, chain.from_iterable(rows))} - _PLAIN:  # most tables are done here
        rows = tuple(tuple(_cell(place, cell) for cell in row) for place, row in enumerate(rows))
    return rows  # type: ignore[no-any-return]


def _cell(place: int, cell: Any) -> Any:
    if cell is None or isinstance(cell, (str, int, float)):
        return cell
    if np.ndim(cell) == 0 and not isinstance(cell, np.ndarray):
        if isinstance(cell, Integral):
            return int(cell)
        if isinstance(cell, np.bool_):
            return bool(cell)
        kind = np.asarray(cell).dtype.kind
        if isinstance(cell, Real) or kind in "fV":  # kind V: a scalar of bfloat16, say
            try:
                return float(cell)
            except (TypeError, ValueError, OverflowError):
                pass
    raise ValueError(f"row {place} of the table has a cell of type {type(cell).__name__}, which is neither a text nor a number")


def _told(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)[:40]
    return f"the text {value[:40]!r}" if isinstance(value, str) else f"of type {type(value).__name__}"
