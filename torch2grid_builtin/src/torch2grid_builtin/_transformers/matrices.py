"""A matrix on a sheet: its 2-D form, cut into bands, and where its weights and the vectors at it go."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch2grid_builtin._forms import place_along
from torch2grid_core.grids import Block, Rect, Region, flat_run, matrix_shape, vector_columns
from torch2grid_core.sources import whole_shape

_KERNEL = 32  # the last dimension of a 1-D convolution is no longer; a longer one belongs to a stack of matrices
_Dim = tuple[int, Literal["down", "across"], int]  # length, direction, step


@dataclass(frozen=True)
class Form:
    """A tensor as rows × columns of weights. dims: how it gets there, in C order. tile: (high, wide) of a kernel."""

    rows: int
    columns: int
    dims: tuple[_Dim, ...]
    tile: tuple[int, int] = (1, 1)

    @property
    def is_line(self) -> bool:
        """True for what has no form but its order: a vector."""
        return min(self.rows, self.columns) <= 1


def _is_flat(shape: tuple[int, ...]) -> bool:
    """True for three dimensions of which the first two are rows of the 2-D form."""
    whole = whole_shape(shape)
    return len(whole) == 3 and whole[2] > _KERNEL


def form_of(shape: tuple[int, ...]) -> Form:
    """The 2-D form of a tensor: rows are output units, columns input units, kernels tiles of out × in.

    Of three dimensions of which the last is longer than any kernel's, the first two are rows: one matrix below the other. The
    kernel of a 3-D convolution is a tile of its planes side by side.
    *shape* has all dimensions of the whole tensor (see ``by_itself``).
    """
    if _is_flat(shape):
        shape = (shape[0] * shape[1], shape[2])
    if len(shape) in (3, 4, 5):
        out, inputs, *kernel = shape
        depth, high, wide = (1,) * (3 - len(kernel)) + tuple(kernel)
        dims: tuple[_Dim, ...] = (
            (out, "down", high),
            (inputs, "across", depth * wide),
            (depth, "across", wide),
            (high, "down", 1),
            (wide, "across", 1),
        )
        return Form(out * high, inputs * depth * wide, dims, (high, depth * wide))
    rows, columns = matrix_shape(shape)
    return Form(rows, columns, ((rows, "down", 1), (columns, "across", 1)))


def row_unit(shape: tuple[int, ...], unit: int) -> int:
    """The index in the whole tensor of a unit along the rows of ``form_of(shape)``."""
    return place_along(shape, 0, 2 if _is_flat(shape) else 1, unit)


def column_unit(shape: tuple[int, ...], unit: int) -> int:
    """The same of a unit along the columns."""
    if _is_flat(shape):
        return place_along(shape, 2, 3, unit)
    return place_along(shape, 1, 2 if len(shape) in (3, 4, 5) else len(shape), unit)


@dataclass(frozen=True)
class Cut:
    """How a form is cut and how large it is in cells of side×side weights.

    bands: how many; length: rows (or columns, where *wide*) of weights in each. height, width: of one band, in cells.
    """

    form: Form
    side: int
    bands: int
    length: int
    wide: bool
    height: int
    width: int


def cut(form: Form, side: int, wanted: int) -> Cut:
    """*form* in about *wanted* bands: whole rows of tiles, or columns where it is wider than high.

    Columns are cut only where they divide evenly; else there is one band. wanted: below 0, as many bands of rows whatever the
    form is.
    """
    if form.columns > form.rows and wanted > 0:
        length = form.dims[1][0]
        near = (
            [each for each in range(max(wanted * 2 // 3, 2), wanted * 3 // 2 + 1) if length % each == 0] if wanted > 1 else []
        )
        bands = min(near, key=lambda each: abs(each - wanted), default=1)
        if len([each for each in form.dims if each[0] > 1]) >= 5:  # a block has five dimensions, bands are one
            bands = 1
        width = form.columns // bands
        return Cut(form, side, bands, width, True, -(-form.rows // side), -(-width // side))
    length = -(-form.rows // (abs(wanted) * form.tile[0])) * form.tile[0]
    return Cut(form, side, -(-form.rows // length), length, False, -(-length // side), -(-form.columns // side))


def blocks_of(name: str, piece: Cut, row: int, column: int, pitch: int, start: int = 0) -> Iterator[Block]:
    """The blocks of a matrix whose first band begins at (row, column), in cells; *pitch* cells to the next band.

    start: flat index of its first weight in the tensor.
    """
    form, side = piece.form, piece.side
    top, left = row * side, column * side
    if piece.wide:
        (out, *_), (inputs, _, step), *rest = form.dims
        dims = [(out, "down", form.dims[0][2]), (piece.bands, "bands", 0), (inputs // piece.bands, "across", step), *rest]
        yield Block(name, start, top, left, _steps(dims, pitch * side))
        return
    units = piece.length // form.tile[0]  # output units in a band
    each = math.prod(length for length, _, _ in form.dims[1:])
    for band in range(piece.bands):
        count = min(units, form.dims[0][0] - band * units)
        dims = [(count, *form.dims[0][1:]), *form.dims[1:]]
        yield Block(name, start + band * units * each, top, left + band * pitch * side, _steps(dims, 0))


def _steps(dims: Sequence[tuple[int, str, int]], pitch: int) -> tuple[tuple[int, int, int], ...]:
    """Dimensions of a block, those of length 1 left out."""
    turned = [
        (length, {"down": step, "bands": pitch}.get(way, 0), step if way == "across" else 0) for length, way, step in dims
    ]
    return tuple(dim for dim in turned if dim[0] > 1) or ((1, 0, 1),)


def rects_of(piece: Cut, row: int, column: int, pitch: int) -> tuple[Rect, ...]:
    """The cells of each band of a matrix."""
    if piece.wide:
        return tuple((row + band * pitch, column, piece.height, piece.width) for band in range(piece.bands))
    lengths = [min(piece.length, piece.form.rows - band * piece.length) for band in range(piece.bands)]
    return tuple((row, column + band * pitch, -(-rows // piece.side), piece.width) for band, rows in enumerate(lengths))


def strip_beside(name: str, piece: Cut, row: int, column: int, pitch: int) -> tuple[tuple[Block, ...], Region]:
    """A vector of one weight for each output unit as a column of cells, each beside its unit, from (row, column) down.

    Beside kernels that are higher than a cell, weights follow one another without gaps. Goes on in the next band.
    """
    form, side = piece.form, piece.side
    step = form.tile[0] if form.tile[0] <= side else 1
    units = form.dims[0][0]
    each = units if piece.wide else piece.length // form.tile[0]
    blocks, rects = [], []
    for band, start in enumerate(range(0, units, each)):
        count, left = min(each, units - start), column + band * pitch
        blocks.append(Block(name, start, row * side, left * side, ((count, step, 0),)))
        rects.append((row, left, (count - 1) * step // side + 1, 1))
    return tuple(blocks), Region(name, tuple(rects))


def strip_above(name: str, piece: Cut, row: int, column: int, pitch: int) -> tuple[tuple[Block, ...], Region]:
    """A vector of one weight for each input unit as a row of cells above the matrix, each over its unit."""
    bands = piece.bands if piece.wide else 1
    count = piece.form.columns // bands
    dims = ((bands, pitch * piece.side, 0), (count, 0, 1))
    block = Block(name, 0, row * piece.side, column * piece.side, dims)
    rects = tuple((row + band * pitch, column, 1, piece.width) for band in range(bands))
    return (block,), Region(name, rects)


def line_box(size: int, side: int, longest: int) -> tuple[int, int]:
    """(height, width) in cells of a vector by itself: one row, each cell *side* weights; a long one is folded."""
    if -(-size // side) <= longest:
        return 1, -(-size // side)
    cells = -(-size // side**2)
    width = vector_columns(cells)
    return -(-cells // width), width


def line_at(name: str, size: int, side: int, longest: int, row: int, column: int) -> tuple[tuple[Block, ...], Region]:
    """A vector by itself at (row, column); see ``line_box``. Folded, a cell holds side·side consecutive weights."""
    height, width = line_box(size, side, longest)
    if -(-size // side) <= longest:
        block = Block(name, 0, row * side, column * side, ((size, 0, 1),))
        return (block,), Region(name, ((row, column, 1, width),))
    return flat_run(name, size, (row, column, height, width), cell=(side, side))
