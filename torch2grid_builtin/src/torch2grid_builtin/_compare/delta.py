"""What changed in one tensor: every figure from one pass over both versions together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._compare.not_finite import NONE, NotFinite, Number, look_not_finite
from torch2grid_builtin._compare.rank import Rank, rank_of, rank_of_complex
from torch2grid_core import LazyTensor, Need
from torch2grid_core.grids import matrix_shape
from torch2grid_core.measures import Chunk, Collector
from torch2grid_core.sources import JointTensor, as_float, is_complex, is_floating

Array = np.ndarray[Any, Any]
A, B = "a", "b"  # the members of a pair's joint tensor

RANK_SIZE = 1 << 22  # weights of the largest matrix whose rank is looked for, unless asked otherwise
_PIECE = 1 << 15  # weights computed at once: three float64 arrays of them stay in the second-level cache
_LOOK = 64  # weights that mostly tell already that two chunks differ
_PLACES = 16  # rows and columns that are told one by one
_LEAST, _MOST = 1e-37, 3e38  # the largest |Δ| of a matrix whose rank is looked for: it is kept as float32


@dataclass(frozen=True)
class Delta:
    """Δ = B − A of one tensor. Sums are float64, over the weights that are finite in both.

    A figure is NaN where a weight is NaN or Inf in one of the two only, and where no weight is finite: no number says how far
    it is from 0.1 to NaN. ``of_finite`` has the figures of the other weights.

    changed: weights with |Δ| above the tolerance, those that are NaN or Inf in one only among them.
    squares_a, squares_b, squares: sums of the squares of A, B and Δ. largest: flat index of max |Δ|, with its two values.
    rows, columns: indices of the 2-D form's rows and columns that hold every change, ``None`` where there are more than 16.
    rounded: ``"B"`` where B is A rounded to B's dtype, ``"A"`` the other way round, empty where neither.
    """

    weights: int
    changed: int
    squares_a: float
    squares_b: float
    squares: float
    finite_absmax: float
    largest: tuple[int, Number, Number] | None
    rows: tuple[int, ...] | None
    columns: tuple[int, ...] | None
    rounded: str
    rank: Rank | None
    not_finite: NotFinite = field(default=NONE)

    @property
    def broken(self) -> int:
        """Weights that are NaN or Inf in one of the two, and not the same in the other."""
        return self.not_finite.changed

    @property
    def known(self) -> bool:
        """True where the figures are numbers."""
        return not self.broken and self.not_finite.both < max(self.weights, 1)

    def of_finite(self) -> Delta:
        """The same of the weights that are finite in both."""
        left = self.weights - self.broken
        return replace(self, weights=left, changed=self.changed - self.broken, not_finite=replace(self.not_finite, changed=0))

    def _figure(self, value: float) -> float:
        return value if self.known else math.nan

    @property
    def norm_a(self) -> float:
        """‖A‖, L2."""
        return self._figure(math.sqrt(self.squares_a))

    @property
    def norm_b(self) -> float:
        """‖B‖, L2."""
        return self._figure(math.sqrt(self.squares_b))

    @property
    def norm(self) -> float:
        """‖Δ‖."""
        return self._figure(math.sqrt(self.squares))

    @property
    def absmax(self) -> float:
        """The largest |Δ|."""
        return self._figure(self.finite_absmax)

    @property
    def relative(self) -> float:
        """‖Δ‖ / ‖A‖; Inf where A is zero and B is not."""
        if not self.squares:
            return self._figure(0.0)
        return self.norm / self.norm_a if self.squares_a else self._figure(math.inf)

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between A and B as vectors, ``None`` where one is zero.

        Of 2⟨A, B⟩ = ‖A‖² + ‖B‖² − ‖Δ‖², which costs no pass of its own; to about 1e-15. Of complex numbers it is that of their
        real and imaginary parts as one vector.
        """
        if not self.known:
            return math.nan
        if not (self.squares_a and self.squares_b):
            return None
        if not self.squares:
            return 1.0
        dot = (self.squares_a + self.squares_b - self.squares) / 2
        share = dot / (math.sqrt(self.squares_a) * math.sqrt(self.squares_b))
        return max(-1.0, min(1.0, share)) if math.isfinite(share) else math.nan


@dataclass(frozen=True)
class DeltaOf(Need[Delta]):
    """The ``Delta`` of a joint tensor's members *a* and *b*. rank_size: the largest matrix whose rank is looked for."""

    a: str = A
    b: str = B
    tolerance: float = 0.0
    rank_size: int = RANK_SIZE

    def collector(self, tensors: Mapping[str, LazyTensor]) -> DeltaCollector:
        (tensor,) = tensors.values()
        return DeltaCollector(self, tensor)


def difference(arrays: Mapping[str, Array]) -> Array:
    """B − A of the members *a* and *b*; see ``minus``."""
    return minus(arrays[B], arrays[A])


def minus(after: Array, before: Array) -> Array:
    """after − before, rounded once to float32 or float64; of complex numbers |after − before|."""
    with np.errstate(invalid="ignore", over="ignore"):  # Inf − Inf is NaN, and says so in the picture
        if before.dtype.kind == "c" or after.dtype.kind == "c":
            return np.asarray(np.abs(after - before))
        return np.asarray(as_float(after) - as_float(before))


def joint_pair(name: str, a: LazyTensor, b: LazyTensor) -> JointTensor:
    """Δ of two tensors of one shape under *name*, float32 where that holds both."""
    wide = any(each.dtype.itemsize > 4 or (each.dtype.kind in "iu" and each.dtype.itemsize > 2) for each in (a, b))
    return JointTensor.of(name, {A: a, B: b}, difference, np.float64 if wide else np.float32, note="Δ = B − A")


class DeltaCollector(Collector):
    """Collects a ``Delta`` while both versions stream past."""

    def __init__(self, need: DeltaOf, tensor: LazyTensor) -> None:
        self.need, self.shape = need, matrix_shape(tensor.shape)
        self.sums = np.zeros(3)
        self.changed = self.seen = 0
        self.not_finite = NONE
        self.largest: tuple[float, int, Number, Number] | None = None
        self.rows: set[int] | None = set()
        self.columns: set[int] | None = set()
        self.rounded = {"A": True, "B": True}
        rows, columns = self.shape
        self.ranked = min(rows, columns) > 1 and tensor.size <= need.rank_size
        self.delta: Array | None = None
        self.scratch = np.empty((3, _PIECE))

    def update(self, chunk: Chunk) -> None:
        start, before, after = chunk.start, chunk.members[self.need.a], chunk.members[self.need.b]
        self.seen += len(before)
        if before.dtype != after.dtype:
            self._look_rounded(before, after)
        equal = before.dtype == after.dtype and all(
            np.array_equal(_bits(before[:place]), _bits(after[:place])) for place in (_LOOK, len(before))
        )
        with np.errstate(all="ignore"):
            for first in range(0, len(before), _PIECE):
                self._piece(start + first, before[first : first + _PIECE], after[first : first + _PIECE], equal)

    def _piece(self, start: int, before: Array, after: Array, equal: bool) -> None:
        a, b, d = self.scratch[:, : len(before)]
        complexes = before.dtype.kind == "c" or after.dtype.kind == "c"
        a[:] = np.abs(before) if complexes else before
        square = float(a @ a)
        if equal and math.isfinite(square):
            self.sums[:2] += square
            return
        b[:] = np.abs(after) if complexes else after
        whole = not complexes and before.dtype == after.dtype and before.dtype.kind in "iu" and before.dtype.itemsize == 8
        if complexes:
            np.abs(after - before, out=d)
        elif whole:
            d[:] = _whole_difference(before, after)
        else:
            np.subtract(b, a, out=d)
        squares = float(d @ d)
        broken: Array | None = None
        if not math.isfinite(squares) or not math.isfinite(square):
            bad, broken, found = look_not_finite(start, before, after)
            self.not_finite = self.not_finite.with_more(found)
            a[bad] = b[bad] = d[bad] = 0
            square, squares = float(a @ a), float(d @ d)
        self.sums += (square, float(b @ b), squares)
        high = max(float(d.max()), -float(d.min()))
        if high > (self.largest[0] if self.largest else 0.0):
            index = int(np.abs(d).argmax())
            values = (complex(before[index]), complex(after[index])) if complexes else (float(a[index]), float(b[index]))
            self.largest = (high, start + index, *values)
        moved = np.abs(d) > self.need.tolerance if self.need.tolerance else d != 0
        if broken is not None:
            moved |= broken
        count = int(np.count_nonzero(moved))
        self.changed += count
        if count:
            self._places(start, moved)
            if self.ranked:
                self._keep(start, np.where(d != 0, after - before, 0) if complexes else d)

    def _places(self, start: int, moved: Array) -> None:
        """Remember the rows and the columns of what changed, as long as they are few."""
        if self.rows is None and self.columns is None:
            return
        rows, columns = np.divmod(np.flatnonzero(moved) + start, self.shape[1])
        for found, kept in ((rows, self.rows), (columns, self.columns)):
            if kept is not None:
                kept.update(np.unique(found)[: _PLACES + 1].tolist())
        self.rows = self.rows if self.rows is not None and len(self.rows) <= _PLACES else None
        self.columns = self.columns if self.columns is not None and len(self.columns) <= _PLACES else None

    def _keep(self, start: int, d: Array) -> None:
        if self.delta is None:
            self.delta = np.zeros(math.prod(self.shape), np.complex64 if d.dtype.kind == "c" else np.float32)
        self.delta[start : start + len(d)] = d

    def _look_rounded(self, before: Array, after: Array) -> None:
        """Whether one side is still the other, rounded: bit by bit, but for what NaN carries."""
        for side, wide, narrow in (("B", before, after), ("A", after, before)):
            if self.rounded[side]:
                kinds = [(is_floating(each.dtype), is_complex(each.dtype)) for each in (wide, narrow)]
                narrower = kinds[0] == kinds[1] != (False, False) and wide.dtype.itemsize >= narrow.dtype.itemsize
                with np.errstate(all="ignore"):
                    self.rounded[side] = narrower and _same(wide.astype(narrow.dtype), narrow)

    def result(self) -> Delta:
        mixed = self.seen and self.rounded["A"] != self.rounded["B"]
        a, b, d = (float(each) for each in self.sums)
        largest = self.largest[0] if self.largest else 0.0
        return Delta(
            weights=self.seen,
            changed=self.changed,
            squares_a=a,
            squares_b=b,
            squares=d,
            finite_absmax=largest,
            largest=self.largest[1:] if self.largest else None,
            rows=None if self.rows is None else tuple(sorted(self.rows)),
            columns=None if self.columns is None else tuple(sorted(self.columns)),
            rounded=("B" if self.rounded["B"] else "A") if mixed else "",
            rank=self._rank(largest),
            not_finite=self.not_finite,
        )

    def _rank(self, largest: float) -> Rank | None:
        """The rank of Δ; of what is beyond float32 there is none, nor where not every Δ is a number."""
        if self.delta is None or self.not_finite.changed or not _LEAST < largest < _MOST:
            return None
        matrix = self.delta.reshape(self.shape)
        return rank_of_complex(matrix, largest) if matrix.dtype.kind == "c" else rank_of(matrix, largest)


def _bits(array: Array) -> Array:
    """The array as unsigned integers of its width, for comparisons that know neither NaN nor −0."""
    width = array.dtype.itemsize
    return np.ascontiguousarray(array).view(f"u{width}" if width <= 8 else "u8")


def _same(one: Array, two: Array) -> bool:
    """Equal weight by weight; NaN is NaN, whatever else its bits say."""
    return np.array_equal(_bits(one), _bits(two)) or bool(((one == two) | (np.isnan(one) & np.isnan(two))).all())


def _whole_difference(before: Array, after: Array) -> Array:
    """after − before of 64-bit integers as float64, rounded once: their own float64 would not tell all of them apart."""
    up = after >= before
    size = np.where(up, after - before, before - after).view(np.uint64).astype(np.float64)
    return np.where(up, size, -size)
