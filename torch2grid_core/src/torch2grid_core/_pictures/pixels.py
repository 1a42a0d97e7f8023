"""Grids as pixels: the colours of cells, half blocks for terminals, and PNG files."""

from __future__ import annotations

import math
import struct
import zlib
from fractions import Fraction
from functools import lru_cache

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._errors import UsageError
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.scale import ColorScale
from torch2grid_core._pictures.signals import Signals, signals_beside
from torch2grid_core._text import did_you_mean

# Anchors from negative to positive. Lightness falls evenly from the middle, blue against red-brown: both survive
# deuteranopia, and a print in grey still shows size.
_DIVERGING = (
    "#0b2559",
    "#1f4e9e",
    "#4d83c4",
    "#93b8de",
    "#d3e2f0",
    "#fbfbfa",
    "#f5d9c8",
    "#e5a585",
    "#c96a4a",
    "#9c2f26",
    "#5c0a16",
)
_SEQUENTIAL = ("#fbfbf0", "#d8efae", "#97d6a6", "#58b6ab", "#3590a8", "#2a6b9c", "#2c4683", "#231f51")
DIVERGING, SEQUENTIAL = "t2g_diverging", "t2g_sequential"
_OWN = {DIVERGING: _DIVERGING, SEQUENTIAL: _SEQUENTIAL}
LEVELS = 256
_SLAB = 1 << 16  # cells painted at a time: their intermediates stay in the cache, and memory flat
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KINDS = {3: 2, 4: 6}  # colour types of PNG by the channels of a pixel
_PNG_SLAB = 1 << 20  # bytes compressed at a time
_PNG_LEVEL = 1  # of zlib: above it, files of cells do not shrink, and take longer
_RESET = "\x1b[0m"
_SHADES = "·░▒▓█"  # from about nothing to the limit and beyond


@lru_cache(maxsize=32)
def colormap(name: str) -> Array:
    """Return the map *name* as uint8, (256, 3), read-only.

    Our own two need numpy alone. Any other name is looked up in matplotlib, if that is installed.

    Raises:
        UsageError: no map has this name.
    """
    if name in _OWN:
        anchors = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in _OWN[name]], dtype=np.float64)
        place = np.linspace(0, len(anchors) - 1, LEVELS)
        table = np.stack([np.interp(place, np.arange(len(anchors)), anchors[:, i]) for i in range(3)], axis=1)
        table = np.rint(table).astype(np.uint8)
    else:
        table = _from_matplotlib(name)
    table.setflags(write=False)
    return table


def _from_matplotlib(name: str) -> Array:
    try:
        from matplotlib import colormaps
    except ImportError:
        raise UsageError(f"unknown colour map {name!r}: matplotlib is not installed; valid: {', '.join(_OWN)}") from None
    if name not in colormaps:
        raise UsageError(f"unknown colour map {name!r}{did_you_mean(name, [*colormaps, *_OWN])}")
    shares = np.linspace(0, 1, LEVELS)
    table: Array = np.rint(np.asarray(colormaps[name](shares))[:, :3] * 255).astype(np.uint8)
    return table


def default_map(scale: ColorScale) -> str:
    """Return the name of the map for a scale when none is asked for: diverging about 0, else sequential."""
    return DIVERGING if scale.diverging else SEQUENTIAL


def signals(name: str, dark: bool = False) -> Signals:
    """Return the colours for values that have no place on the map *name*.

    Args:
        name: of the map.
        dark: for a dark background.

    Raises:
        UsageError: no map has this name.
    """
    return signals_beside(colormap(name), dark)


def paint(grid: Grid, scale: ColorScale, name: str | None = None, dark: bool = False) -> Array:
    """Return the grid in colours: uint8, (rows, columns, 3).

    A value takes level ``floor(256 · fraction)`` of its map, so a colour tells the value within 1/512 of the range. A cell
    beyond the limits, with NaN or ±Inf, or without a weight takes the colours that ``signals`` gives for the map.

    Args:
        grid: what is painted.
        scale: limits and shape of the colours.
        name: of the map; ``None`` for the default of the scale.
        dark: for a dark background.

    Raises:
        UsageError: no map has this name.
    """
    name = name or default_map(scale)
    table, marks = colormap(name), signals(name, dark)
    rows, columns = grid.shape
    rgb = np.empty((rows, columns, 3), dtype=np.uint8)
    slab = max(1, _SLAB // max(columns, 1))
    for start in range(0, rows, slab):
        part = slice(start, start + slab)
        _paint(grid.values[part], grid.counts[part], scale, table, marks, rgb[part])
    return rgb


def _paint(values: Array, counts: Array, scale: ColorScale, table: Array, marks: Signals, rgb: Array) -> None:
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", over="ignore"):
        level = np.clip(scale.fraction(np.where(finite, values, 0.0)) * LEVELS, 0, LEVELS - 1).astype(np.uint8)
        over, under = scale.above(values), scale.below(values)
    np.take(table, level, axis=0, out=rgb)
    rgb[over], rgb[under] = marks.over, marks.under
    rgb[~finite] = marks.not_finite
    rgb[counts == 0] = marks.empty


def half_blocks(grid: Grid, scale: ColorScale, width: int, rows: int, color: bool, colormap: str | None = None) -> list[str]:
    """Return *grid* as at most *rows* lines of at most *width* characters, all of one length.

    - With colour, a character is two pixels, one above the other, by ``▀`` with 24-bit ANSI colours. Each line ends with a
      reset.
    - Without colour, a character is one cell of about twice its width in height, by shade: ``·░▒▓█`` from 0 (or the low limit,
      if the scale is not diverging) to a limit, ``!`` for NaN or Inf, a space for no weight.

    Cells that do not fit are reduced further as ``grid.reduce`` says. A grid smaller than the room is enlarged by a whole
    factor. A grid without cells gives no lines.

    Raises:
        ValueError: there is no room.
        UsageError: no map has this name.
    """
    if width < 1 or rows < 1:
        raise ValueError(f"no room for a picture in {width}×{rows} characters")
    if not grid.values.size:
        return []
    small = _shrunk(grid, 2 * rows, width)
    factor = _enlarged(small.shape, width, rows)
    small = Grid(_repeat(small.values, factor), _repeat(small.counts, factor), small.reduce)
    if not color:
        return _shaded(_shrunk_by(small, 2, 1), scale)
    return _lines(paint(small, scale, colormap))


def character_cells(shape: tuple[int, int], width: int, rows: int) -> tuple[Fraction, Fraction]:
    """Return how many cells, (down, across), of a grid of *shape* a character of ``half_blocks`` stands for.

    A number below 1 means that a character is a part of one cell.

    Args:
        shape: of the grid, in cells.
        width: of the room that ``half_blocks`` is given.
        rows: of that room.
    """
    step = _step(shape, 2 * rows, width)
    factor = _enlarged((-(-shape[0] // step), -(-shape[1] // step)), width, rows)
    return Fraction(2 * step, factor), Fraction(step, factor)


def _enlarged(shape: tuple[int, int], width: int, rows: int) -> int:
    """By which whole factor a grid of *shape* that fits is drawn larger."""
    return max(1, min(2 * rows // shape[0], width // shape[1]))


def half_blocks_rgb(rgb: Array, width: int, rows: int) -> list[str]:
    """Return *rgb* as ``half_blocks`` draws with colour: groups of pixels become their mean.

    A picture without pixels gives no lines.

    Args:
        rgb: uint8, (rows, columns, 3).
        width: most characters per line.
        rows: most lines.

    Raises:
        ValueError: there is no room.
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
    step = _step(grid.shape, rows, columns)
    return _shrunk_by(grid, step, step)


def _step(shape: tuple[int, int], rows: int, columns: int) -> int:
    """The side of the square groups of cells of which a grid of *shape* has at most *rows* × *columns*."""
    return max(math.ceil(shape[0] / rows), math.ceil(shape[1] / columns), 1)


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


def encode_png(rgb: Array, title: str = "", dpi: int = 100) -> bytes:
    """Return *rgb* as a PNG file, the same bytes each time.

    Rows are not filtered: cells have few colours and no gradients, and are a third smaller, and faster, without.

    Args:
        rgb: uint8 (rows, columns, 3), or 4 with how much of each pixel is covered.
        title: kept in the file's ``Title``.
        dpi: pixels per inch, for programs that print.

    Raises:
        ValueError: another shape or dtype, or no pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] not in _PNG_KINDS or rgb.dtype != np.uint8 or not rgb.size:
        raise ValueError(f"pixels are uint8 of shape (rows, columns, 3 or 4), not {rgb.dtype} of {rgb.shape}")
    rows, columns, channels = rgb.shape
    meter = round(dpi / 0.0254)
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, _PNG_KINDS[channels], 0, 0, 0))]
    chunks.append(_chunk(b"pHYs", struct.pack(">IIB", meter, meter, 1)))
    if title:
        chunks.append(_chunk(b"iTXt", b"Title\x00\x00\x00\x00\x00" + title.encode("utf-8", "replace")))
    chunks.append(_chunk(b"IDAT", _compressed(rgb)))
    return b"".join([_PNG_SIGNATURE, *chunks, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _compressed(rgb: Array) -> bytes:
    rows, columns, channels = rgb.shape
    height = max(1, _PNG_SLAB // (channels * columns))
    buffer = np.zeros(
        (min(height, rows), 1 + channels * columns), dtype=np.uint8
    )  # each row begins with its filter, 0 for none
    packer = zlib.compressobj(_PNG_LEVEL)
    parts = []
    for start in range(0, rows, height):
        slab = rgb[start : start + height]
        buffer[: len(slab), 1:] = slab.reshape(len(slab), -1)
        parts.append(packer.compress(buffer[: len(slab)].data))
    return b"".join([*parts, packer.flush()])
