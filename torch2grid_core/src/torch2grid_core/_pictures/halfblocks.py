"""A small picture in a terminal: two pixels a character by half blocks in 24-bit colour, or shades without colour."""

from __future__ import annotations

import math

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._pictures.colors import paint
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.scale import ColorScale

_RESET = "\x1b[0m"
_SHADES = "·░▒▓█"  # from about nothing to the limit and beyond


def half_blocks(grid: Grid, scale: ColorScale, width: int, rows: int, color: bool, colormap: str | None = None) -> list[str]:
    """*grid* as at most *rows* lines of at most *width* characters, all of one length.

    With colour, a character is two pixels, one above the other, by ``▀`` with 24-bit ANSI colours; each line ends with a
    reset. Without, a character is one cell of about twice its width in height, by shade: ``·░▒▓█`` from 0 (or the low limit,
    where the scale is not diverging) to a limit, ``!`` for NaN or Inf, a space for no weight. Cells that do not fit are
    reduced further the way ``grid.reduce`` says; a grid smaller than the room is enlarged by a whole factor. A grid without
    cells gives no lines. Raises ``ValueError`` for no room, ``UsageError`` for an unknown map.
    """
    if width < 1 or rows < 1:
        raise ValueError(f"no room for a picture in {width}×{rows} characters")
    if not grid.values.size:
        return []
    small = _shrunk(grid, 2 * rows, width)
    factor = max(1, min(2 * rows // small.shape[0], width // small.shape[1]))
    small = Grid(_repeat(small.values, factor), _repeat(small.counts, factor), small.reduce)
    if not color:
        return _shaded(_shrunk_by(small, 2, 1), scale)
    return _lines(paint(small, scale, colormap))


def half_blocks_rgb(rgb: Array, width: int, rows: int) -> list[str]:
    """*rgb*, uint8 of shape (rows, columns, 3), as ``half_blocks`` draws with colour: groups of pixels become their mean.

    A picture without pixels gives no lines. Raises ``ValueError`` for no room.
    """
    if width < 1 or rows < 1:
        raise ValueError(f"no room for a picture in {width}×{rows} characters")
    if not rgb.size:
        return []
    step = max(math.ceil(rgb.shape[0] / (2 * rows)), math.ceil(rgb.shape[1] / width), 1)
    starts = (np.arange(0, rgb.shape[0], step), np.arange(0, rgb.shape[1], step))
    count = np.outer(np.diff(starts[0], append=rgb.shape[0]), np.diff(starts[1], append=rgb.shape[1]))
    small = np.rint(_grouped(np.add, rgb.astype(np.int64), starts) / count[:, :, None]).astype(np.uint8)
    return _lines(_repeat(small, max(1, min(2 * rows // small.shape[0], width // small.shape[1]))))


def _repeat(values: Array, factor: int) -> Array:
    return np.repeat(np.repeat(values, factor, axis=0), factor, axis=1)


def _lines(rgb: Array) -> list[str]:
    """Two rows of pixels a line; the last line of an odd number has an upper half only."""
    return [_colored(rgb[top], rgb[top + 1] if top + 1 < len(rgb) else None) for top in range(0, len(rgb), 2)]


def _colored(upper: Array, lower: Array | None) -> str:
    parts = []
    last = None
    for index, above in enumerate(upper.tolist()):
        below = None if lower is None else lower[index].tolist()
        if (above, below) != last:
            ground = "49" if below is None else "48;2;{};{};{}".format(*below)
            parts.append("\x1b[38;2;{};{};{};{}m".format(*above, ground))
            last = (above, below)
        parts.append("▀")
    return "".join(parts) + _RESET


def _shaded(grid: Grid, scale: ColorScale) -> list[str]:
    share = scale.fraction(np.where(np.isfinite(grid.values), grid.values, 0.0))
    strength = np.abs(share - 0.5) * 2 if scale.diverging else share
    level = np.clip(np.ceil(strength * (len(_SHADES) - 1) - 0.5), 0, len(_SHADES) - 1).astype(np.int64)
    shades = np.array(list(_SHADES))[level]
    shades[~np.isfinite(grid.values)] = "!"
    shades[grid.counts == 0] = " "
    return ["".join(line) for line in shades]


def _shrunk(grid: Grid, rows: int, columns: int) -> Grid:
    """At most *rows* × *columns* cells, square groups of cells made one."""
    step = max(math.ceil(grid.shape[0] / rows), math.ceil(grid.shape[1] / columns), 1)
    return _shrunk_by(grid, step, step)


def _shrunk_by(grid: Grid, high: int, wide: int) -> Grid:
    """Groups of *high* × *wide* cells made one by the grid's own reduction; NaN survives, empty cells weigh nothing."""
    if high == wide == 1:
        return grid
    starts = (np.arange(0, grid.shape[0], high), np.arange(0, grid.shape[1], wide))
    count = _grouped(np.add, grid.counts, starts)
    values, empty = grid.values.astype(np.float64), grid.counts == 0
    with np.errstate(invalid="ignore", over="ignore"):  # Inf − Inf is NaN: both have the same colour
        if grid.reduce == "min":
            reduced = _grouped(np.minimum, np.where(empty, np.inf, values), starts)
        elif grid.reduce == "max":
            reduced = _grouped(np.maximum, np.where(empty, -np.inf, values), starts)
        elif grid.reduce == "absmax":
            low = _grouped(np.minimum, np.where(empty, 0.0, values), starts)
            high_values = _grouped(np.maximum, np.where(empty, 0.0, values), starts)
            reduced = np.where(np.abs(low) > np.abs(high_values), low, high_values)
        elif grid.reduce == "rms":
            reduced = np.sqrt(_grouped(np.add, np.where(empty, 0.0, values**2 * grid.counts), starts) / np.maximum(count, 1))
        else:
            reduced = _grouped(np.add, np.where(empty, 0.0, values * grid.counts), starts) / np.maximum(count, 1)
    return Grid(np.where(count > 0, reduced, 0.0), count, grid.reduce)


def _grouped(how: np.ufunc, values: Array, starts: tuple[Array, Array]) -> Array:
    grouped: Array = how.reduceat(how.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    return grouped
