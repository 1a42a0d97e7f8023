"""What changed in one tensor: every figure from one pass over both versions together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._compare.equal import bits, roundings, same_bits
from torch2grid_builtin._forms import stacked
from torch2grid_builtin._spectra.singular import squared_norm
from torch2grid_core import LazyTensor, Need
from torch2grid_core.grids import matrix_shape
from torch2grid_core.measures import Chunk, Collector
from torch2grid_core.sources import JointTensor, as_float, is_complex, is_floating

Array = np.ndarray[Any, Any]
Number = int | float | complex
Place = tuple[int, Number, Number]  # a flat index, with the values of A and B there
A, B = "a", "b"  # the members of a pair's joint tensor

RANK_SIZE = 1 << 22  # weights of the largest matrix whose rank is looked for, unless asked otherwise
_PIECE = 1 << 15  # weights computed at once: three float64 arrays of them stay in the second-level cache
_LOOK = 64  # weights that mostly tell already that two chunks differ
_RUNS = 16  # of indices along a dimension in which weights changed
_LEAST, _MOST = 1e-37, 3e38  # the largest |Δ| of a matrix whose rank is looked for: it is kept as float32
# Of the rank of Δ.
_BLOCK, _STEPS = 8, 3  # 32 directions: LoRA of rank 16 and more is found whole
_SMALL = 96
_SHARE = 0.999
_TINY, _HUGE = 1e-12, 1e12  # between them a square is a float32
_COUNTS = ("nan_a", "nan_b", "nan_both", "inf_a", "inf_b", "inf_both", "turned", "changed")


@dataclass(frozen=True)
class NotFinite:
    """How many weights are NaN or Inf, and in which of the two.

    nan_a, nan_b: NaN in A only, in B only. inf_a, inf_b: Inf in one only. nan_both, inf_both: the same in both. turned: Inf in
    both, of another sign. changed: weights of which one is NaN or Inf and the other is not the same (a NaN that is Inf in the
    other counts for both). first: the first of these.
    """

    nan_a: int = 0
    nan_b: int = 0
    nan_both: int = 0
    inf_a: int = 0
    inf_b: int = 0
    inf_both: int = 0
    turned: int = 0
    changed: int = 0
    first: Place | None = None

    @property
    def both(self) -> int:
        """Weights that are NaN or Inf in both, and the same."""
        return self.nan_both + self.inf_both

    def with_more(self, other: NotFinite) -> NotFinite:
        """The two together, of which *other* comes later."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return NotFinite(**counts, first=self.first or other.first)

    def changes(self, weights: int = 0) -> list[str]:
        """What differs, in words: ``24 NaN in B only``; where it is each of *weights*, ``all 64 weights are NaN in B only``."""
        counted = (
            (self.nan_a, "NaN in A only"),
            (self.nan_b, "NaN in B only"),
            (self.inf_a, "Inf in A only"),
            (self.inf_b, "Inf in B only"),
            (self.turned, "Inf of the other sign"),
        )
        found = [(count, text) for count, text in counted if count]
        if len(found) == 1 and 1 < weights == self.changed:
            return [f"all {weights:,} weights are {found[0][1]}"]
        return [f"{count:,} {text}" for count, text in found]

    def kept(self) -> list[str]:
        """What both have at the same places: ``1 NaN in both``."""
        return [f"{count:,} {what} in both" for count, what in ((self.nan_both, "NaN"), (self.inf_both, "Inf")) if count]

    def as_json(self) -> dict[str, Any]:
        """The counts as plain data."""
        return {
            "nan": {"only_in_a": self.nan_a, "only_in_b": self.nan_b, "in_both": self.nan_both},
            "inf": {"only_in_a": self.inf_a, "only_in_b": self.inf_b, "in_both": self.inf_both, "of_other_sign": self.turned},
        }


NONE = NotFinite()


def look_not_finite(start: int, before: Array, after: Array) -> tuple[Array, Array, NotFinite]:
    """Where *before* or *after* is not finite, where of these they are not the same, both as bool, and the counts.

    start: the flat index of the first weight.
    """
    x, y = _plain(before), _plain(after)
    bad = ~(np.isfinite(x) & np.isfinite(y))
    x, y = x[bad], y[bad]
    nan_x, nan_y = np.isnan(x), np.isnan(y)
    inf_x, inf_y = np.isinf(x) & ~nan_x, np.isinf(y) & ~nan_y
    unlike = ~((x == y) | (nan_x & nan_y))
    broken = np.zeros(len(before), bool)
    broken[bad] = unlike
    first = None
    if unlike.any():
        place = int(np.flatnonzero(bad)[unlike.argmax()])
        first = (start + place, x[unlike.argmax()].item(), y[unlike.argmax()].item())
    found = NotFinite(
        nan_a=_count(nan_x & ~nan_y),
        nan_b=_count(nan_y & ~nan_x),
        nan_both=_count(nan_x & nan_y),
        inf_a=_count(inf_x & ~inf_y),
        inf_b=_count(inf_y & ~inf_x),
        inf_both=_count(inf_x & inf_y & ~unlike),
        turned=_count(inf_x & inf_y & unlike),
        changed=_count(unlike),
        first=first,
    )
    return bad, broken, found


def together(found: Iterable[NotFinite]) -> NotFinite:
    """The counts of several tensors; a place has no meaning there."""
    total = NONE
    for each in found:
        total = total.with_more(each)
    return NotFinite(**{name: getattr(total, name) for name in _COUNTS})


def value_text(value: Number) -> str:
    """A weight in words: six digits, of an integer all; ``NaN``, ``−Inf``; a complex one with both parts."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, complex):
        imaginary = value_text(value.imag)
        return f"{value_text(value.real)}{imaginary if imaginary.startswith(('-', '−')) else '+' + imaginary}j"
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "Inf" if value > 0 else "−Inf"
    return f"{value:.6g}"


def value_json(value: Number) -> Any:
    """A weight as plain data: a number, the texts ``NaN``, ``Infinity``, ``-Infinity``, or both parts of a complex one."""
    if isinstance(value, complex):
        return [value_json(value.real), value_json(value.imag)]
    if np.isfinite(value):
        return value
    return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain(values: Array) -> Array:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _number(one: Array) -> Number:
    """The weight of an array of one: an integer with all its digits."""
    number: Number = one.item() if one.dtype.kind in "iuc" else float(one[0])
    return number


def _count(where: Array) -> int:
    return int(np.count_nonzero(where))


@dataclass(frozen=True)
class Delta:
    """Δ = B − A of one tensor. Sums are float64, over the weights that are finite in both.

    A figure is NaN where a weight is NaN or Inf in one of the two only, and where no weight is finite: no number says how far
    it is from 0.1 to NaN. ``of_finite`` has the figures of the other weights.

    changed: weights with |Δ| above the tolerance, those that are NaN or Inf in one only among them.
    squares_a, squares_b, squares: sums of the squares of A, B and Δ. largest: flat index of max |Δ|, with its two values.
    places: for each dimension, the indices that hold every change, as runs of neighbours; ``None`` where these are over 16.
    rounded: ``"B"`` where B is A rounded to B's dtype, ``"A"`` the other way round, empty where neither. exact: the two are the
    same bit by bit, or one is the other rounded so; not where a 0 has the other sign.
    """

    weights: int
    changed: int
    squares_a: float
    squares_b: float
    squares: float
    finite_absmax: float
    largest: tuple[int, Number, Number] | None
    places: tuple[tuple[range, ...] | None, ...]
    rounded: str
    rank: Rank | None
    not_finite: NotFinite = field(default=NONE)
    exact: bool = True

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
        if _beyond_float(before.dtype) or _beyond_float(after.dtype):
            return _whole_difference(after, before)
        return np.asarray(as_float(after) - as_float(before))


def _beyond_float(dtype: np.dtype[Any]) -> bool:
    """True where float64 does not tell all numbers apart: integers of 64 bits."""
    return dtype.kind in "iu" and dtype.itemsize == 8


def _whole_difference(after: Array, before: Array) -> Array:
    """after − before as float64, where one of them is of 64-bit integers: of two integers, rounded once."""
    (high, low), (high_before, low_before) = _halves(after), _halves(before)
    return np.asarray((high - high_before) + (low - low_before))  # of integers, both brackets are exact


def _halves(values: Array) -> tuple[Array, Array]:
    """Two float64 arrays of which *values* is the sum: of 64-bit integers a multiple of 2³² and the rest, both exact."""
    if not _beyond_float(values.dtype):
        return values.astype(np.float64), np.zeros(values.shape)
    low = values & values.dtype.type(0xFFFFFFFF)
    return (values - low).astype(np.float64), low.astype(np.float64)


def joint_pair(name: str, a: LazyTensor, b: LazyTensor) -> JointTensor:
    """Δ of two tensors of one shape under *name*, float32 where that holds both."""
    wide = any(each.dtype.itemsize > 4 or (each.dtype.kind in "iu" and each.dtype.itemsize > 2) for each in (a, b))
    return JointTensor.of(name, {A: a, B: b}, difference, np.float64 if wide else np.float32, note="Δ = B − A")


class DeltaCollector(Collector):
    """Collects a ``Delta`` while both versions stream past."""

    def __init__(self, need: DeltaOf, tensor: LazyTensor) -> None:
        self.need, self.shape = need, tuple(tensor.shape)
        cuts = range(len(self.shape) + 1)
        self.cut = min(cuts, key=lambda cut: math.prod(self.shape[:cut]) + math.prod(self.shape[cut:]))
        self.sums = np.zeros(3)
        self.changed = self.seen = 0
        self.not_finite = NONE
        self.largest: tuple[float, int, Number, Number] | None = None
        self.rows, self.columns = (np.zeros(math.prod(part), bool) for part in (self.shape[: self.cut], self.shape[self.cut :]))
        self.rounded = {"A": True, "B": True}
        self.exact = self.alike = True  # alike: of kinds of which one can be the other rounded
        self.one = one_matrix(tensor)
        self.ranked = min(self.one) > 1 and tensor.size <= need.rank_size
        self.delta: Array | None = None
        self.scratch = np.empty((3, _PIECE))

    def update(self, chunk: Chunk) -> None:
        start, before, after = chunk.start, chunk.members[self.need.a], chunk.members[self.need.b]
        self.seen += len(before)
        if before.dtype != after.dtype:
            self._look_rounded(before, after)
            self.alike = bool(roundings(before.dtype, after.dtype))
        equal = before.dtype == after.dtype and all(
            np.array_equal(bits(before[:place]), bits(after[:place])) for place in (_LOOK, len(before))
        )
        if not equal and self.exact and before.dtype == after.dtype:
            self.exact = same_bits(before, after)
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
        if complexes:
            np.abs(after - before, out=d)
        elif _beyond_float(before.dtype) or _beyond_float(after.dtype):
            d[:] = _whole_difference(after, before)
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
            values = [each[index : index + 1] for each in (before, after)]
            if complexes:
                values = [each.astype(np.complex128) for each in values]
            self.largest = (high, start + index, _number(values[0]), _number(values[1]))
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
        """Mark what changed in the 2-D form of which the first dimensions, up to the cut, are rows and the others columns."""
        width = len(self.columns)
        row, column = divmod(start, width)
        first = min(width - column, len(moved)) if column else 0  # of a row that began before
        whole = (len(moved) - first) // width
        edge = first + whole * width
        if first:
            self.rows[row] |= moved[:first].any()
            self.columns[column : column + first] |= moved[:first]
            row += 1
        if whole:
            block = moved[first:edge].reshape(whole, width)
            self.rows[row : row + whole] |= block.any(axis=1)
            self.columns |= block.any(axis=0)
        if edge < len(moved):
            self.rows[row + whole] |= moved[edge:].any()
            self.columns[: len(moved) - edge] |= moved[edge:]

    def _runs(self, dimension: int) -> tuple[range, ...] | None:
        is_row = dimension < self.cut
        part, own = (self.shape[: self.cut], dimension) if is_row else (self.shape[self.cut :], dimension - self.cut)
        marks = (self.rows if is_row else self.columns).reshape(part)
        others = tuple(each for each in range(len(part)) if each != own)
        changed: Array = np.any(marks, axis=others, keepdims=True).reshape(-1)
        edges = np.flatnonzero(np.diff(changed.astype(np.int8), prepend=0, append=0)).tolist()
        runs = tuple(range(first, stop) for first, stop in zip(edges[::2], edges[1::2], strict=True))
        return runs if len(runs) <= _RUNS else None

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
                    self.rounded[side] = narrower and same_bits(wide.astype(narrow.dtype), narrow)

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
            places=tuple(self._runs(dimension) for dimension in range(len(self.shape))),
            rounded=("B" if self.rounded["B"] else "A") if mixed else "",
            rank=self._rank(largest),
            not_finite=self.not_finite,
            exact=self.exact and (self.rounded["A"] or self.rounded["B"] or not self.alike),
        )

    def _rank(self, largest: float) -> Rank | None:
        """The rank of Δ; of what is beyond float32 there is none, nor where not every Δ is a number.

        Of a stack of matrices, the largest that one of them has.
        """
        if self.delta is None or self.not_finite.changed or not _LEAST < largest < _MOST:
            return None
        matrices = self.delta.reshape(-1, *self.one)
        rank = rank_of_complex if matrices.dtype.kind == "c" else rank_of
        found = [rank(each, largest if len(matrices) == 1 else float(np.abs(each).max())) for each in matrices]
        ranks = [each for each in found if each is not None]
        if not ranks:
            return None
        directions = [each.directions for each in ranks]
        return Rank(max(each.stable for each in ranks), None if None in directions else max(filter(None, directions)))


def one_matrix(tensor: LazyTensor) -> tuple[int, int]:
    """Rows and columns of a tensor as a matrix, kernels flattened; of a stack of matrices, those of one."""
    stack = stacked(tensor.name, tensor.shape)
    return matrix_shape(tensor.shape) if stack is None else (stack.rows, stack.columns)


@dataclass(frozen=True)
class Rank:
    """stable: ‖Δ‖_F² / ‖Δ‖₂², at most the rank, and 1 where one direction is all; to 1 %. Of a stack of matrices, the largest.

    directions: the fewest singular directions that hold 99.9 % of ‖Δ‖_F², ``None`` where 32 do not.
    """

    stable: float
    directions: int | None


def rank_of(delta: Array, largest: float) -> Rank | None:
    """The rank of a float32 matrix whose largest |value| is *largest*; ``None`` for a matrix of zeros.

    Of a matrix with more than 96 rows and columns, directions come from block Krylov iteration (Musco & Musco, NeurIPS 2015)
    from 8 fixed random vectors, three steps: a dozen reads of the matrix. Where these directions do not tell the spectral norm
    yet, as they do not in noise, Lanczos' iteration goes on from the first of them: two reads a step, about 15 steps.
    """
    if not largest:
        return None
    matrix = delta
    if not _TINY < largest < _HUGE:
        matrix = (delta.astype(np.float64) / largest).astype(np.float32)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    whole = float(np.vdot(matrix, matrix))
    if min(matrix.shape) <= _SMALL:
        wide = matrix.astype(np.float64)
        values = np.linalg.eigvalsh(wide @ wide.T)[::-1]
        whole, norm = float(values.sum()), float(values[0])
    else:
        values, first = _krylov(matrix)
        norm, _ = squared_norm(matrix, first)
    held = np.cumsum(np.maximum(values, 0.0)) >= _SHARE * whole
    return Rank(max(whole / norm, 1.0), int(held.argmax()) + 1 if held.any() and whole else None)


def rank_of_complex(delta: Array, largest: float) -> Rank | None:
    """The same of a complex64 matrix X + iY, by [[X, −Y], [Y, X]], which has each singular value twice."""
    real, imaginary = delta.real, delta.imag
    found = rank_of(np.block([[real, -imaginary], [imaginary, real]]), largest)
    if found is None:
        return None
    return Rank(max(found.stable / 2, 1.0), None if found.directions is None else (found.directions + 1) // 2)


def _krylov(matrix: Array) -> tuple[Array, Array]:
    """The largest squared singular values, falling, of the span of 32 vectors; and the left vector of the first."""
    block = matrix @ np.random.default_rng(0).standard_normal((matrix.shape[1], _BLOCK), dtype=np.float32)
    blocks = [np.linalg.qr(block)[0]]
    for _ in range(_STEPS):
        blocks.append(np.linalg.qr(matrix @ (matrix.T @ blocks[-1]))[0])
    basis = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    inside = (basis.T @ matrix).astype(np.float64)
    values, vectors = np.linalg.eigh(inside @ inside.T)
    return values[::-1], basis @ vectors[:, -1].astype(np.float32)
