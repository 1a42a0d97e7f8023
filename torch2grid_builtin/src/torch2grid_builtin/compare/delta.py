"""What changed in one tensor: every figure from one pass over both versions together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin.compare.rank import Rank, rank_of
from torch2grid_core import JointTensor, LazyTensor, Measure, as_float, is_floating, matrix_shape

Array = np.ndarray[Any, Any]
A, B = "a", "b"  # the members of a pair's joint tensor

RANK_SIZE = 1 << 22  # weights of the largest matrix whose rank is looked for, unless asked otherwise
_PIECE = 1 << 15  # weights computed at once: three float64 arrays of them stay in the second-level cache
_LOOK = 64  # weights that mostly tell already that two chunks differ
_PLACES = 16  # rows and columns that are told one by one


@dataclass(frozen=True)
class Delta:
    """Δ = B − A of one tensor. Sums are float64; figures are about the weights that are finite in both.

    changed: weights with |Δ| above the tolerance, those that became or ceased to be NaN or Inf (*broken*) among them.
    squares_a, squares_b, squares: sums of the squares of A, B and Δ. largest: flat index of max |Δ|, with its two values.
    rows, columns: indices of the 2-D form's rows and columns that hold every change, ``None`` where there are more than 16.
    rounded: ``"B"`` where B is A rounded to B's dtype, ``"A"`` the other way round, empty where neither.
    """

    weights: int
    changed: int
    broken: int
    squares_a: float
    squares_b: float
    squares: float
    absmax: float
    largest: tuple[int, float, float] | None
    rows: tuple[int, ...] | None
    columns: tuple[int, ...] | None
    rounded: str
    rank: Rank | None

    @property
    def norm_a(self) -> float:
        """‖A‖, L2 over the finite weights."""
        return math.sqrt(self.squares_a)

    @property
    def norm_b(self) -> float:
        """‖B‖, L2 over the finite weights."""
        return math.sqrt(self.squares_b)

    @property
    def norm(self) -> float:
        """‖Δ‖."""
        return math.sqrt(self.squares)

    @property
    def relative(self) -> float:
        """‖Δ‖ / ‖A‖; Inf where A is zero and B is not."""
        if not self.squares:
            return 0.0
        return self.norm / self.norm_a if self.squares_a else math.inf

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between A and B as vectors, ``None`` where one is zero.

        Of 2⟨A, B⟩ = ‖A‖² + ‖B‖² − ‖Δ‖², which costs no pass of its own; to about 1e-15.
        """
        if not (self.squares_a and self.squares_b):
            return None
        if not self.squares:
            return 1.0
        dot = (self.squares_a + self.squares_b - self.squares) / 2
        return max(-1.0, min(1.0, dot / (self.norm_a * self.norm_b)))


@dataclass(frozen=True)
class DeltaOf(Measure):
    """The ``Delta`` of a joint tensor's members *a* and *b*. rank_size: the largest matrix whose rank is looked for."""

    a: str = A
    b: str = B
    tolerance: float = 0.0
    rank_size: int = RANK_SIZE

    def collector(self, tensor: LazyTensor) -> DeltaCollector:
        return DeltaCollector(self, tensor)


def difference(arrays: Mapping[str, Array]) -> Array:
    """B − A of the members *a* and *b*; see ``minus``."""
    return minus(arrays[B], arrays[A])


def minus(after: Array, before: Array) -> Array:
    """after − before, rounded once to float32 or float64; of complex numbers |after − before|."""
    if before.dtype.kind == "c" or after.dtype.kind == "c":
        return np.asarray(np.abs(after - before))
    with np.errstate(invalid="ignore", over="ignore"):  # Inf − Inf is NaN, and says so in the picture
        return np.asarray(as_float(after) - as_float(before))


def joint_pair(name: str, a: LazyTensor, b: LazyTensor) -> JointTensor:
    """Δ of two tensors of one shape under *name*, float32 where that holds both."""
    wide = any(each.dtype.itemsize > 4 or (each.dtype.kind in "iu" and each.dtype.itemsize > 2) for each in (a, b))
    return JointTensor.of(name, {A: a, B: b}, difference, np.float64 if wide else np.float32, note="Δ = B − A")


class DeltaCollector:
    """Collects a ``Delta`` while both versions stream past."""

    def __init__(self, need: DeltaOf, tensor: LazyTensor) -> None:
        self.need, self.shape = need, matrix_shape(tensor.shape)
        self.sums = np.zeros(3)
        self.changed = self.broken = self.seen = 0
        self.largest: tuple[float, int, float, float] | None = None
        self.rows: set[int] | None = set()
        self.columns: set[int] | None = set()
        self.rounded = {"A": True, "B": True}
        rows, columns = self.shape
        self.ranked = min(rows, columns) > 1 and tensor.size <= need.rank_size and tensor.dtype.kind != "c"
        self.delta: Array | None = None
        self.scratch = np.empty((3, _PIECE))

    def update(self, start: int, chunk: Any) -> None:
        before, after = chunk[self.need.a], chunk[self.need.b]
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
        np.abs(after - before, out=d) if complexes else np.subtract(b, a, out=d)
        squares = float(d @ d)
        broken: Array | None = None
        if not math.isfinite(squares) or not math.isfinite(square):
            broken = _break(before, after, a, b, d)
            square, squares = float(a @ a), float(d @ d)
        self.sums += (square, float(b @ b), squares)
        high = max(float(d.max()), -float(d.min()))
        if high > (self.largest[0] if self.largest else 0.0):
            index = int(np.abs(d).argmax())
            self.largest = (high, start + index, float(a[index]), float(b[index]))
        moved = np.abs(d) > self.need.tolerance if self.need.tolerance else d != 0
        if before.dtype == after.dtype and before.dtype.kind in "iu" and before.dtype.itemsize == 8 and not self.need.tolerance:
            moved = before != after  # float64 does not tell all of them apart
        if broken is not None:
            moved |= broken
            self.broken += int(np.count_nonzero(broken))
        count = int(np.count_nonzero(moved))
        self.changed += count
        if count:
            self._places(start, moved)
            if self.ranked:
                self._keep(start, d)

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
            self.delta = np.zeros(math.prod(self.shape), np.float32)
        self.delta[start : start + len(d)] = d

    def _look_rounded(self, before: Array, after: Array) -> None:
        """Whether one side is still the other, rounded: bit by bit."""
        for side, wide, narrow in (("B", before, after), ("A", after, before)):
            if self.rounded[side]:
                both = all(is_floating(each.dtype) for each in (wide, narrow))
                narrower = both and wide.dtype.itemsize >= narrow.dtype.itemsize
                with np.errstate(all="ignore"):
                    self.rounded[side] = narrower and np.array_equal(_bits(wide.astype(narrow.dtype)), _bits(narrow))

    def result(self) -> Delta:
        mixed = self.seen and self.rounded["A"] != self.rounded["B"]
        a, b, d = (float(each) for each in self.sums)
        largest = self.largest[0] if self.largest else 0.0
        rank = rank_of(self.delta.reshape(self.shape), largest) if self.delta is not None else None
        return Delta(
            weights=self.seen,
            changed=self.changed,
            broken=self.broken,
            squares_a=a,
            squares_b=b,
            squares=d,
            absmax=largest,
            largest=self.largest[1:] if self.largest else None,
            rows=None if self.rows is None else tuple(sorted(self.rows)),
            columns=None if self.columns is None else tuple(sorted(self.columns)),
            rounded=("B" if self.rounded["B"] else "A") if mixed else "",
            rank=rank,
        )


def _bits(array: Array) -> Array:
    """The array as unsigned integers of its width, for comparisons that know neither NaN nor −0."""
    width = array.dtype.itemsize
    return np.ascontiguousarray(array).view(f"u{width}" if width <= 8 else "u8")


def _break(before: Array, after: Array, a: Array, b: Array, d: Array) -> Array:
    """Where one side is NaN or Inf and the other is not the same; all weights that are not finite become 0 in place."""
    bad = ~(np.isfinite(a) & np.isfinite(b))
    x, y = as_float(before[bad]), as_float(after[bad])
    broken = np.zeros(len(a), bool)
    broken[bad] = ~((x == y) | (np.isnan(x) & np.isnan(y)))
    a[bad] = b[bad] = d[bad] = 0
    return broken
