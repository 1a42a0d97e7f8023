"""A panel of the numbers themselves, each with its index."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import is_floating
from torch2grid_core._pictures.page import Cell, Table
from torch2grid_core._pictures.validation import check_text, check_type, items_of, keep

_AT_ONCE = 1 << 16  # numbers that become text together


@dataclass(frozen=True, eq=False)
class Numbers:
    """The numbers of a tensor, or of a part of one.

    Args:
        values: of the dtype of the tensor, in its shape.
        indices: for each dimension, the indices that are written beside it; empty: from 0 upwards.
        title: of the panel.
        dimensions: which dimensions of the whole tensor these are, of a part that has fewer; empty: from 0 upwards.

    Raises:
        ValueError: the indices do not have the lengths of the sides, there are not as many *dimensions*, or *values* is not an
            array of numbers.
    """

    values: Array
    indices: tuple[range, ...] = ()
    title: str = ""
    dimensions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_type("values", self.values, np.ndarray)
        if self.values.dtype.kind not in "biufcV" or self.values.dtype.names is not None:
            raise ValueError(f"values: numbers are needed, not {self.values.dtype}")
        check_text(title=self.title)
        keep(self, indices=items_of("indices", self.indices, "ranges"))
        for each in self.indices:
            check_type("one of the indices", each, range)
        if not self.indices:
            object.__setattr__(self, "indices", tuple(map(range, self.values.shape)))
        if tuple(map(len, self.indices)) != self.values.shape:
            raise ValueError(f"indices of lengths {[*map(len, self.indices)]} for numbers of shape {list(self.values.shape)}")
        keep(self, dimensions=items_of("dimensions", self.dimensions, "dimensions"))
        for dimension in self.dimensions:
            check_type("one of the dimensions", dimension, int)
        if self.dimensions and len(self.dimensions) != self.values.ndim:
            raise ValueError(f"{len(self.dimensions)} dimensions for numbers of shape {list(self.values.shape)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a line: the indices, then the numbers along the last dimension."""
        if self.values.ndim < 2:
            return ("index", "value") if self.values.ndim else ("value",)
        sides = self.dimensions or range(self.values.ndim)
        is_matrix = self.values.ndim == 2 and tuple(sides) == (0, 1)
        heads = ("row",) if is_matrix else tuple(f"dimension {each}" for each in sides[:-1])
        return (*heads, *map(str, self.indices[-1]))

    def lines(self) -> Iterator[tuple[tuple[int, ...], list[str]]]:
        """Yield each line: its indices, and its numbers as the shortest texts that are read back as the same numbers."""
        if self.values.ndim == 0:
            yield (), number_texts(self.values.reshape(1))
            return
        *leading, last = self.indices
        if not leading:
            for start in range(0, len(last), _AT_ONCE):
                texts = number_texts(self.values[start : start + _AT_ONCE])
                yield from (((index,), [text]) for index, text in zip(last[start:], texts, strict=False))
            return
        rows = self.values.reshape(math.prod(map(len, leading)), len(last))
        for place, index in enumerate(itertools.product(*leading)):
            yield index, number_texts(rows[place])

    def as_table(self) -> Table:
        rows = tuple((*index, *map(self._cell, texts)) for index, texts in self.lines())
        return Table(self.columns, rows, self.title)

    def _cell(self, text: str) -> Cell:
        if is_floating(self.values.dtype):
            return float(text)
        return int(text) if self.values.dtype.kind in "iu" else text


def number_texts(values: Array) -> list[str]:
    """Numbers, 1-D, as the shortest texts that are read back as the same numbers of their dtype; ``nan``, ``inf``, ``-inf``."""
    dtype = values.dtype
    if dtype.kind in "biu" or dtype in (np.dtype(np.float64), np.dtype(np.complex128)):
        return list(map(str, values.tolist()))
    if (
        dtype.kind in "fc"
        and dtype.name.startswith(("float", "complex"))
        and dtype.itemsize in (2, 4, 8)
        and dtype.type.__module__ == "numpy"
    ):
        return [str(text) for text in values.astype(np.str_).tolist()]
    wide = values.astype(np.float32)
    if not is_floating(dtype):
        return [str(int(each)) for each in wide.tolist()]
    texts = [""] * len(wide)
    left = np.arange(len(wide))
    for digits in range(1, 10):  # none of these dtypes needs more
        tried = [f"{each:.{digits}g}" for each in wide[left].tolist()]
        with np.errstate(all="ignore"):
            back = np.array(tried, dtype=np.float64).astype(np.float32).astype(dtype).astype(np.float32)
        same = (back == wide[left]) | np.isnan(wide[left])
        for place, text in itertools.compress(zip(left.tolist(), tried, strict=True), same.tolist()):
            texts[place] = str(float(text))
        left = left[~same]
        if not len(left):
            break
    return texts
