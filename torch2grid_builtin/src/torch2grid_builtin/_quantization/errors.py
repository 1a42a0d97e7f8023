"""The error of each scheme of quantisation, measured while the weights stream past: by tensor, row and block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from torch2grid_builtin._compare.quantised import decibels
from torch2grid_builtin._quantization.runs import PART, Run
from torch2grid_builtin._quantization.schemes import BFLOAT16, FLOAT16, SCHEMES, TENSOR, USUAL, Scheme
from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import Chunk, Collector, NotFiniteCount
from torch2grid_core.sources import as_float

Array = np.ndarray[Any, Any]

_UNITS = 1 << 17  # rows, or bands of these, whose errors are kept apart until they are summed up
_LONGEST = 1 << 25  # weights that may have to be held together
_SCANNED = 1 << 30  # weights from which on a tensor is not handed out in pieces, each of which looks for the largest |w|
_CELLS = 256  # of a side of a picture
_NARROWER = {"float16": (FLOAT16, np.dtype(np.float16)), "bfloat16": (BFLOAT16, np.dtype(ml_dtypes.bfloat16))}


@dataclass(frozen=True)
class Worst:
    """Where the relative error is largest. index: of the row, or of the first weight of the block."""

    relative: float
    index: tuple[int, ...]


@dataclass(frozen=True)
class SchemeError:
    """What a scheme costs. relative: ‖W − Q(W)‖/‖W‖; NaN where a weight is NaN or Inf. row, block: ``None`` where none is."""

    relative: float
    row: Worst | None
    block: Worst | None

    @property
    def decibels(self) -> float:
        """The ratio of signal to noise, 20 log₁₀ ‖W‖/‖W − Q(W)‖; Inf where nothing is lost."""
        return decibels(self.relative)


@dataclass(frozen=True)
class Narrowing:
    """What a narrower floating type would lose. over: weights that become Inf. zeroed: that become 0. relative: of the rest."""

    over: int
    zeroed: int
    relative: float


@dataclass(frozen=True)
class Picture:
    """The relative error of one scheme by place. values: NaN where all weights are zero. cell: (rows, columns) of weights."""

    values: Array
    cell: tuple[int, int]


@dataclass(frozen=True)
class QuantizationErrors:
    """Of one matrix: its rows and columns, ‖W‖, and by name what each scheme and each narrower type costs.

    picture: of the scheme of which that was asked for. beyond: finite weights that are Inf as float32, which *not_finite*
    counts. absmax: the largest |w| as float32.
    """

    shape: tuple[int, int]
    norm: float
    not_finite: NotFiniteCount
    schemes: Mapping[str, SchemeError]
    narrower: Mapping[str, Narrowing]
    picture: Picture | None = None
    beyond: int = 0
    absmax: float = 0.0


@dataclass(frozen=True)
class Quantization(Need[QuantizationErrors]):
    """The ``QuantizationErrors`` of a matrix, or of a kernel as one, its output channels rows.

    schemes: names of ``SCHEMES``. picture: one of these, or empty for none. Weights are taken as float32. For a scale of the
    whole tensor the largest |w| is looked for first, which reads it once more.
    """

    schemes: tuple[str, ...] = USUAL
    picture: str = ""

    counts_not_finite = True

    def merges(self, tensor: LazyTensor) -> bool:
        return tensor.size <= _SCANNED or not self._scans

    @property
    def _scans(self) -> bool:
        return any(_has_scale_of_tensor(SCHEMES[name]) for name in self.schemes)

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        (tensor,) = tensors.values()
        return _Errors(tensor, self.schemes, _absmax(tensor) if self._scans else math.nan, self.picture)

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        return {gathered.name: gathered.not_finite}


def fits(tensor: LazyTensor) -> bool:
    """True where a matrix can be measured: two rows and columns, and rows of which a few can be held."""
    rows, columns = _shape(tensor)
    return rows > 1 and columns > 1 and _line(rows, columns, True) * columns <= _LONGEST


def _shape(tensor: LazyTensor) -> tuple[int, int]:
    rows = int(tensor.shape[0]) if tensor.ndim else 0
    return rows, tensor.size // rows if rows else 0


def _line(rows: int, columns: int, flat: bool) -> int:
    """How many rows are taken together: with flat blocks so many that these end with them, of very many rows a band."""
    step = 64 // math.gcd(columns, 64) if flat else 1
    return step * max(-(-rows // (_UNITS * step)), 1) if rows > _UNITS else step


def _has_scale_of_tensor(scheme: Scheme) -> bool:
    return scheme.block == TENSOR or scheme.name == "nvfp4"


def _absmax(tensor: LazyTensor) -> float:
    """The largest |w|; NaN or Inf where one is."""
    largest = 0.0
    for _, stored in tensor.flat_chunks():
        values = as_float(stored)
        with np.errstate(all="ignore"):
            found = max(float(values.max()), -float(values.min()))
        largest = found if math.isnan(found) else max(largest, found)
        if math.isnan(largest):
            break
    with np.errstate(over="ignore"):
        return float(np.float32(largest))


@dataclass
class _Place:
    """The largest relative error so far: its square, and the flat index where the row or block begins."""

    square: float = -1.0
    start: int = 0

    def take(self, errors: Array, squares: Array, starts: Array) -> None:
        """*errors* are those of rows or blocks whose weights have *squares*; what is all zero has no relative error."""
        if len(errors):
            relative = np.divide(errors, squares, out=np.full(len(errors), -1.0), where=squares > 0)
            at = int(np.argmax(relative))
            self.merge(_Place(float(relative[at]), int(starts[at])))

    def merge(self, other: _Place) -> None:
        if (other.square, -other.start) > (self.square, -self.start):
            self.square, self.start = other.square, other.start


class _Cells:
    """Squared errors and weights of a scheme by place, in cells of whole blocks, at most ``_CELLS`` a side."""

    def __init__(self, rows: int, columns: int, scheme: Scheme) -> None:
        self.scheme = scheme
        per, each = -(-columns // PART), max(scheme.block // PART, 1)
        self.rows = -(-rows // _CELLS)
        self.parts = -(-per // (each * _CELLS)) * each
        shape = -(-rows // self.rows), -(-per // self.parts)
        self.errors, self.squares = np.zeros(shape), np.zeros(shape)

    def take(self, first: int, errors: Array, squares: Array) -> None:
        """Those of the parts of some rows, (rows, parts)."""
        bounds = np.arange(-first % self.rows, len(errors), self.rows)
        bounds = bounds if len(bounds) and not bounds[0] else np.append(0, bounds)
        across = np.arange(0, errors.shape[1], self.parts)
        low = first // self.rows
        for mine, its in ((self.errors, errors), (self.squares, squares)):
            mine[low : low + len(bounds)] += np.add.reduceat(np.add.reduceat(its, across, axis=1), bounds, axis=0)

    def merge(self, other: _Cells) -> None:
        self.errors += other.errors
        self.squares += other.squares

    def result(self) -> Picture:
        with np.errstate(all="ignore"):
            return Picture(np.sqrt(self.errors / self.squares), (self.rows, self.parts * PART))


@dataclass
class _Narrow:
    over: int = 0
    zeroed: int = 0


class _Errors(Collector):
    def __init__(self, tensor: LazyTensor, schemes: tuple[str, ...], absmax: float, picture: str = "") -> None:
        self.name, self.size = tensor.name, tensor.size
        self.rows, self.columns = _shape(tensor)
        self.schemes, self.absmax = schemes, absmax
        self.not_finite = NotFiniteCount()
        self.beyond, self.largest = 0, 0.0
        flat = any(SCHEMES[name].flat for name in schemes)
        self.line = _line(self.rows, self.columns, flat)
        self.band = self.line if self.rows > _UNITS else 1  # rows whose errors are summed up at once
        units = -(-self.rows // self.band)
        lossless = {"float16": ("float16",), "bfloat16": ("bfloat16",)}.get(tensor.dtype.name, ())
        small = tensor.dtype.itemsize == 1
        self.narrow = {name: _Narrow() for name in ("float16", "bfloat16") if name not in lossless and not small}
        self.lossless = [name for name in ("float16", "bfloat16") if name not in self.narrow]
        self.sums = np.zeros((1 + len(schemes) + len(self.narrow), units))
        self.worst_row = [_Place() for _ in schemes]
        self.worst_block = [_Place() for _ in schemes]
        self.picture = _Cells(self.rows, self.columns, SCHEMES[picture]) if picture else None
        self.parts: dict[int, list[tuple[int, Array]]] = {}  # of lines that were not seen whole

    def update(self, chunk: Chunk) -> None:
        values = chunk.values
        with np.errstate(all="ignore"):
            if values.dtype != np.float32:
                stored, values = values, values.astype(np.float32)
                if stored.dtype.itemsize > values.dtype.itemsize:
                    self.beyond += int(np.count_nonzero(np.isinf(values) & np.isfinite(stored)))
            self._split(chunk.start, values)

    def _split(self, start: int, values: Array) -> None:
        """Whole lines at once, and what is cut at either end kept until the rest is there."""
        length, stop = self.line * self.columns, start + len(values)
        first = -(-start // length) * length
        last = stop if stop == self.size else stop // length * length
        if first > last or first >= stop:
            self._keep(start, values)
            return
        if start < first:
            self._keep(start, values[: first - start])
        if first < last:
            self._take(first, values[first - start : last - start])
        if last < stop:
            self._keep(last, values[last - start :])

    def _keep(self, start: int, values: Array) -> None:
        length = self.line * self.columns
        place = start // length
        pieces = self.parts.setdefault(place, [])
        pieces.append((start, values.copy()))
        if sum(len(each) for _, each in pieces) == min(length, self.size - place * length):
            del self.parts[place]
            pieces.sort(key=lambda piece: piece[0])
            with np.errstate(all="ignore"):
                self._take(place * length, np.concatenate([each for _, each in pieces]))

    def merge(self, other: _Errors) -> None:
        self.not_finite = self.not_finite.merge(other.not_finite)
        self.beyond += other.beyond
        self.largest = max(self.largest, other.largest)
        self.sums += other.sums
        for mine, its in zip(self.worst_row + self.worst_block, other.worst_row + other.worst_block, strict=True):
            mine.merge(its)
        if self.picture is not None and other.picture is not None:
            self.picture.merge(other.picture)
        for name, narrow in other.narrow.items():
            self.narrow[name].over += narrow.over
            self.narrow[name].zeroed += narrow.zeroed
        for pieces in other.parts.values():
            for start, values in pieces:
                self._keep(start, values)

    def __getstate__(self) -> dict[str, Any]:
        """Of the sums, those between the first and the last unit that was seen: a piece of a large tensor sees few."""
        units = np.flatnonzero(self.sums.any(axis=0))
        start, stop = (int(units[0]), int(units[-1]) + 1) if len(units) else (0, 0)
        return {**vars(self), "sums": (start, self.sums[:, start:stop], self.sums.shape)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        start, part, shape = state["sums"]
        self.sums = np.zeros(shape)
        self.sums[:, start : start + part.shape[1]] = part

    def _take(self, start: int, values: Array) -> None:
        """Whole rows, from a line's beginning on."""
        run = Run(start // self.columns, values.reshape(-1, self.columns))
        self.not_finite = self.not_finite.merge(run.not_finite)
        self.largest = max(self.largest, float(run.absmax.max(initial=0.0)))
        row_squares = run.of_rows(run.squares)
        self._add(0, run.first, row_squares)
        starts = (run.first + np.arange(len(row_squares))) * self.columns
        for place, name in enumerate(self.schemes):
            found = run.cost(SCHEMES[name], self.absmax)
            self._add(1 + place, run.first, found.rows)
            self.worst_row[place].take(found.rows, row_squares, starts)
            self.worst_block[place].take(found.blocks, found.block_squares, found.starts)
            if self.picture is not None and self.picture.scheme.name == name:
                self.picture.take(run.first, found.parts.reshape(run.rows, -1), run.squares_of_parts)
        for place, (name, narrow) in enumerate(self.narrow.items(), 1 + len(self.schemes)):
            errors, over, zeroed = run.narrowed(*_NARROWER[name])
            self._add(place, run.first, run.of_rows(errors))
            narrow.over += over
            narrow.zeroed += zeroed

    def _add(self, place: int, first: int, of_rows: Array) -> None:
        if self.band > 1:
            of_rows = np.add.reduceat(of_rows, np.arange(0, len(of_rows), self.band))
        unit = first // self.band
        self.sums[place, unit : unit + len(of_rows)] += of_rows

    def result(self) -> QuantizationErrors:
        totals = self.sums.sum(axis=1)
        squares = float(totals[0])
        ill = bool(self.not_finite)

        def relative(total: float) -> float:
            if ill or math.isnan(total):
                return math.nan
            return math.sqrt(total / squares) if squares else 0.0

        schemes = {
            name: SchemeError(
                relative(float(totals[1 + place])),
                None if ill else self._worst(self.worst_row[place], True),
                None if ill else self._worst(self.worst_block[place], False),
            )
            for place, name in enumerate(self.schemes)
        }
        narrower = {name: Narrowing(0, 0, math.nan if ill else 0.0) for name in self.lossless}
        for place, (name, narrow) in enumerate(self.narrow.items(), 1 + len(self.schemes)):
            narrower[name] = Narrowing(narrow.over + self.beyond, narrow.zeroed, relative(float(totals[place])))
        norm = math.nan if ill else math.sqrt(squares)
        picture = None if self.picture is None else self.picture.result()
        shape = self.rows, self.columns
        ordered = dict(sorted(narrower.items()))
        return QuantizationErrors(shape, norm, self.not_finite, schemes, ordered, picture, self.beyond, self.largest)

    def _worst(self, place: _Place, row: bool) -> Worst | None:
        if place.square < 0:
            return None
        index = divmod(place.start, self.columns)
        return Worst(math.sqrt(place.square), index[:1] if row else index)
