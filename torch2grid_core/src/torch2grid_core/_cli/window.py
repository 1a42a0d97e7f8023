"""A tensor as rows and columns of short texts, of which only a window is read, and what a pass over all of it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float, is_complex, is_floating
from torch2grid_core._data.tensor import FlatReader, LazyTensor
from torch2grid_core._pictures.numbers import number_texts
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._summary.largest import LargestWeights
from torch2grid_core._text import human_count, percentage, visible

AT_ONCE = 1 << 24  # weights that are measured without being asked to
_WIDTH, _WIDTH_COMPLEX = 9, 19  # columns of a number
_LARGEST = 10
_BLOCK = 1 << 18  # weights that are searched at once
_ACROSS = (10, 8, 5, 4, 2, 1)  # numbers of a vector in a row, the first that fits

Watch = Callable[[float], bool]  # takes the share that is done; False stops


class Stopped(Exception):
    """A pass was stopped by whoever watched it."""


class Sheet:
    """A tensor as *rows* × *columns* numbers: a row for each index of all dimensions but the last. shape: of the whole tensor.

    A vector is wrapped: *across* numbers are in a row. Nothing is read before ``texts`` or ``exact``, and little else than what
    they show. Indices that are shown are those of the whole tensor, also where the tensor is a part of one.
    """

    def __init__(self, tensor: LazyTensor, across: int = _ACROSS[0]) -> None:
        self.tensor = tensor
        self.width = _WIDTH_COMPLEX if is_complex(tensor.dtype) else _WIDTH
        self.wrapped = tensor.ndim == 1
        if not tensor.size:
            self.rows = self.columns = 0
        elif self.wrapped:
            self.columns = min(max(across, 1), tensor.size)
            self.rows = -(-tensor.size // self.columns)
        else:
            self.columns = tensor.shape[-1] if tensor.ndim else 1
            self.rows = math.prod(tensor.shape[:-1])
        taken = tensor.taken
        self._taken = taken if taken is not None and tuple(map(len, taken.ranges)) == tensor.shape else None
        self.shape = self._taken.shape if self._taken else tensor.shape
        places = self._taken.places if self._taken else tuple(map(range, tensor.shape))
        # The dimension of the whole tensor that runs along a row; its index stands above the columns.
        self._along = max((number for number, place in enumerate(places) if isinstance(place, range)), default=-1)
        self._range = places[self._along] if places else range(1)
        beside = [str(max(length - 1, 0)) for number, length in enumerate(self.shape) if self.wrapped or number != self._along]
        self.label_width = max(len(", ".join(beside)), 1)

    def across(self, room: int) -> int:
        """How many numbers fit beside the indices of the rows into *room* columns; at least 1."""
        return max((room - self.label_width) // (self.width + 1), 1)

    def place(self, row: int, column: int) -> int | None:
        """The flat index of the weight there; ``None`` behind the last of a vector."""
        flat = row * self.columns + column
        return flat if column < self.columns and flat < self.tensor.size else None

    def where(self, flat: int) -> tuple[int, int]:
        """Row and column of a weight."""
        return divmod(flat, max(self.columns, 1))

    def index(self, flat: int) -> tuple[int, ...]:
        """The index of a weight in the whole tensor."""
        own = tuple(int(each) for each in np.unravel_index(flat, self.tensor.shape)) if self.tensor.ndim else ()
        return self._taken.index(own) if self._taken else own

    def flat(self, index: Sequence[int]) -> int:
        """The weight that has *index*, of the whole tensor; dimensions that are left out are at their first.

        Raises ``IndexError`` where there is none.
        """
        places = self._taken.places if self._taken else tuple(map(range, self.shape))
        given = [each + length if each < 0 else each for each, length in zip(index, self.shape, strict=False)]
        own: list[int] = []
        fits = len(index) <= len(places)
        for number, place in enumerate(places):
            one = given[number] if number < len(given) else None
            if isinstance(place, int):
                fits &= one in (None, place)
            elif one is None:
                own.append(0)
            elif one in place:
                own.append(place.index(one))
            else:
                fits = False
        if not fits or not self.tensor.size:
            part = f", of which {self._taken} is open" if self._taken else ""
            shape = f"({', '.join(map(str, self.shape))}{',' * (len(self.shape) == 1)})"
            raise IndexError(f"no weight [{', '.join(map(str, index))}]: the shape is {shape}{part}")
        return int(np.ravel_multi_index(own, self.tensor.shape)) if own else 0

    def label(self, row: int) -> str:
        """The index beside a row: of a vector that of its first weight, else without the dimension along the row."""
        index = self.index(row * self.columns)
        return ", ".join(str(each) for number, each in enumerate(index) if self.wrapped or number != self._along)

    def head(self, column: int) -> str:
        """What stands above a column: the index along the row; of a vector how far that is from the first."""
        if not self.tensor.ndim:
            return ""
        assert isinstance(self._range, range)
        return f"+{column * self._range.step}" if self.wrapped else str(self._range[column])

    def read(self, top: int, bottom: int, left: int, right: int) -> list[Array]:
        """The numbers of the rows *top* to *bottom* in the columns *left* to *right*, an array for each row.

        Rows that follow one another are read together. Raises ``LoadError``.
        """
        bottom, right = min(bottom, self.rows), min(right, self.columns)
        if top >= bottom or left >= right:
            return []
        if not self.tensor.ndim:
            return [self.tensor[()].reshape(1)]
        if self.wrapped:
            found = self.tensor[top * self.columns : min(bottom * self.columns, self.tensor.size)]
            return [
                found[start + left : min(start + right, start + self.columns)] for start in range(0, len(found), self.columns)
            ]
        *outer, inner = self.tensor.shape[:-1]
        rows: list[Array] = []
        while top < bottom:
            lead, first = divmod(top, inner)
            last = min(inner, first + bottom - top)
            above = tuple(int(each) for each in np.unravel_index(lead, outer)) if outer else ()
            rows += [*self.tensor[(*above, slice(first, last), slice(left, right))]]
            top += last - first
        return rows

    def texts(self, top: int, bottom: int, left: int, right: int) -> list[list[str]]:
        """The same as texts of at most ``width`` columns. Raises ``LoadError``."""
        return [brief(row, self.width) for row in self.read(top, bottom, left, right)]

    def exact(self, flat: int) -> str:
        """The weight at a flat index, as the shortest text that is read back as the same number. Raises ``LoadError``."""
        return number_texts(self.tensor.read(flat, flat + 1))[0]


def brief(numbers: Array, width: int) -> list[str]:
    """*numbers*, 1-D, as texts of at most *width* columns: whole numbers as they are where they fit, others with 4 digits."""
    if numbers.dtype.kind in "biu" or not (is_floating(numbers.dtype) or is_complex(numbers.dtype)):
        texts = number_texts(numbers)
        return [text if len(text) <= width else _shortened(float(text), width) for text in texts]
    if is_complex(numbers.dtype):
        return [_shortened(each, width) for each in numbers.astype(np.complex128).tolist()]
    return [_shortened(each, width) for each in as_float(numbers).tolist()]


def _shortened(number: complex, width: int) -> str:
    for digits in (4, 3, 2, 1):
        text = f"{number:.{digits}g}"
        if len(text) <= width:
            return text
    return f"{text[: width - 1]}…"


@dataclass(frozen=True)
class Measured:
    """What a pass over a tensor found. distinct: the tensor whose flat indices *largest* has (see ``LazyTensor.distinct``)."""

    distribution: Distribution
    largest: LargestWeights
    distinct: LazyTensor


def measured(tensor: LazyTensor, threshold: float, watch: Watch = lambda share: True) -> Measured:
    """The figures of *tensor*, from one pass over it. threshold: below it a weight is near zero.

    Raises ``LoadError``, and ``Stopped`` where *watch* says so.
    """
    distinct = tensor.distinct()
    distribution, largest = Distribution((threshold,), brief=True), LargestWeights(_LARGEST)
    for start, numbers in distinct.flat_chunks():
        distribution.update(numbers)
        largest.update(start, as_float(numbers))
        if not watch(min((start + len(numbers)) / max(distinct.size, 1), 1.0)):
            raise Stopped
    return Measured(distribution.settle(), largest, distinct)


def own_place(found: Measured, tensor: LazyTensor, flat: int) -> int | None:
    """The flat index in *tensor* of a weight that has *flat* in its distinct one; ``None`` where they have no common index."""
    if found.distinct.shape == tensor.shape:
        return flat
    if found.distinct.ndim != tensor.ndim:
        return None
    return int(np.ravel_multi_index(np.unravel_index(flat, found.distinct.shape), tensor.shape))


def next_not_finite(tensor: LazyTensor, after: int, watch: Watch = lambda share: True) -> int | None:
    """The flat index of the first NaN or Inf behind the weight *after*; ``None`` where there is none.

    The search goes on at the beginning, and reads no further than it has to.
    Raises ``LoadError``, and ``Stopped`` where *watch* says so.
    """
    if tensor.dtype.kind in "biu":
        return None
    reader, looked, total = FlatReader(tensor.unchecked()), 0, max(tensor.size, 1)
    for start, stop in _turn(after + 1, tensor.size):
        numbers = np.empty(stop - start, tensor.dtype)
        reader.fill(start, numbers)
        lost = np.flatnonzero(~np.isfinite(as_float(numbers)))
        if len(lost):
            return start + int(lost[0])
        looked += stop - start
        if not watch(min(looked / total, 1.0)):
            raise Stopped
    return None


def _turn(start: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges from *start* to the end, then from the beginning to it."""
    for begin, end in ((start, size), (0, min(start, size))):
        for first in range(begin, end, _BLOCK):
            yield first, min(first + _BLOCK, end)


def about(tensor: LazyTensor) -> list[str]:
    """Shape, dtype, size, and what is noted of *tensor*."""
    shape = f"({', '.join(map(str, tensor.shape))}{',' if tensor.ndim == 1 else ''})" if tensor.ndim else "scalar"
    distinct = tensor.distinct()
    lines = [f"{shape} {tensor.dtype.name}", f"{human_count(distinct.size)} weight{'s' * (distinct.size != 1)}"]
    if tensor.taken is not None:
        lines.append(f"part {tensor.taken}")
    return [*lines, *([visible(distinct.note, 60)] if distinct.note else [])]


def figures(found: Measured, threshold: float) -> list[tuple[str, str]]:
    """The figures of a pass, each with its name."""
    all_of_it = found.distribution
    near = all_of_it.near_zero(threshold) / max(all_of_it.count, 1)
    numbers = [(name, f"{getattr(all_of_it, name):.4g}") for name in ("mean", "std", "min", "max")]
    return [
        *numbers,
        ("~zero", percentage(near)),
        ("NaN", f"{all_of_it.nan:,}"),
        ("Inf", f"{all_of_it.posinf + all_of_it.neginf:,}"),
    ]


def plain_lines(tensor: LazyTensor, first: int, columns: int, lines: int, threshold: float) -> list[str]:
    """*tensor* from the weight *first* on, as lines for a pipe: what it is, its figures where it is small, and a window.

    columns, lines: what there is room for. Raises ``LoadError``.
    """
    sheet = Sheet(tensor)
    if sheet.wrapped:
        sheet = Sheet(tensor, fitting_vector(sheet.across(columns)))
    told = [", ".join(about(tensor))]
    if 0 < tensor.size <= AT_ONCE:
        told.append(", ".join(f"{name} {text}" for name, text in figures(measured(tensor, threshold), threshold)))
    if not tensor.size:
        return [*told, "no numbers"]
    top, left = sheet.where(first)
    left = 0 if sheet.wrapped else left
    right = min(left + sheet.across(columns), sheet.columns)
    bottom = min(top + max(lines, 1), sheet.rows)
    width = sheet.label_width
    heads = [sheet.head(column) for column in range(left, right)]
    told.append(" " * width + "".join(f" {head:>{sheet.width}}" for head in heads).rstrip())
    for row, texts in enumerate(sheet.texts(top, bottom, left, right), top):
        told.append(f"{sheet.label(row):>{width}}" + "".join(f" {text:>{sheet.width}}" for text in texts))
    whole = bottom - top == sheet.rows and right - left == sheet.columns
    return told if whole else [*told, f"… {position(sheet, top, bottom, left, right)}"]


def position(sheet: Sheet, top: int, bottom: int, left: int, right: int) -> str:
    """What is shown, by indices of the whole tensor: ``rows 0–18 of 128256, columns 0–4 of 4096``."""
    if sheet.wrapped:
        last = min(bottom * sheet.columns, sheet.tensor.size) - 1
        first, last_index = (", ".join(map(str, sheet.index(flat))) for flat in (top * sheet.columns, last))
        return f"weights {first} to {last_index} of {sheet.tensor.size}"
    rows = f"rows {sheet.label(top)} to {sheet.label(bottom - 1)}" if bottom - top > 1 else f"row {sheet.label(top)}"
    heads = f"columns {sheet.head(left)} to {sheet.head(right - 1)}" if right - left > 1 else f"column {sheet.head(left)}"
    shape = sheet.shape
    return f"{rows}, {heads} of {'×'.join(map(str, shape))}" if shape else "a scalar"


def fitting_vector(room: int) -> int:
    """How many numbers of a vector stand in a row where *room* fit."""
    return room // 10 * 10 if room >= 20 else next(each for each in _ACROSS if each <= max(room, 1))
