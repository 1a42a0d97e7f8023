"""Colours for what is no place on a colour map: beyond the limits, not a number, no weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from torch2grid_core._array import Array

# Far from each other, and from both default maps but for one, for colour-blind eyes too.
OVER: tuple[int, int, int] = (255, 140, 0)
UNDER: tuple[int, int, int] = (0, 190, 160)
NOT_FINITE: tuple[int, int, int] = (255, 0, 220)
EMPTY: tuple[int, int, int] = (196, 196, 196)
_EMPTY_DARK: tuple[int, int, int] = (58, 62, 68)

_APART, _EMPTY_APART = 0.085, 0.045  # of Oklab, in which a difference that is just seen is about 0.02
_EACH_OTHER = 0.6  # what a distance between two of these counts, beside one to the map
_CUBE = np.array(list(product(range(0, 256, 51), repeat=3)))

# Ottosson (2020), "A perceptual color space for image processing": linear sRGB to cone responses, and their cube roots to Lab.
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@dataclass(frozen=True)
class Signals:
    """The colours, 0…255, of cells above and below the limits, of NaN and ±Inf, and of no weight."""

    over: tuple[int, int, int] = OVER
    under: tuple[int, int, int] = UNDER
    not_finite: tuple[int, int, int] = NOT_FINITE
    empty: tuple[int, int, int] = EMPTY


def signals_beside(table: Array, dark: bool = False) -> Signals:
    """Colours that stand out from a map, uint8 (n, 3), and from each other: the usual ones, where they do.

    dark: on a dark ground, where no weight is dark, too.
    """
    return _signals(np.ascontiguousarray(table, np.uint8).tobytes(), dark)


@lru_cache(maxsize=64)
def _signals(table: bytes, dark: bool) -> Signals:
    taken = [_lab(np.frombuffer(table, np.uint8).reshape(-1, 3))]
    found: list[tuple[int, int, int]] = []
    usual = (NOT_FINITE, OVER, UNDER, _EMPTY_DARK if dark else EMPTY)
    for color, least in zip(usual, (_APART, _APART, _APART, _EMPTY_APART), strict=True):
        if _room(np.array([color]), taken)[0] < least:
            red, green, blue = _CUBE[int(_room(_CUBE, taken).argmax())].tolist()
            color = red, green, blue
        found.append(color)
        taken.append(_lab(np.array([color])))
    not_finite, over, under, empty = found
    return Signals(over, under, not_finite, empty)


def color_distance(color: tuple[int, int, int], others: Array) -> float:
    """How far *color* is from the nearest of *others*, 0…255 of shape (n, 3), in Oklab: black and white are 1 apart."""
    return float(_room(np.array([color]), [_lab(np.asarray(others))])[0])


def _room(colors: Array, taken: list[Array]) -> Array:
    """The distance of each colour to the nearest of the map, ``taken[0]``, and of the others, which counts less."""
    lab = _lab(colors)[:, None]
    to_map, *rest = (np.sqrt(((lab - other[None]) ** 2).sum(axis=-1)).min(axis=1) for other in taken)
    return np.asarray(np.minimum.reduce([to_map, *(each * _EACH_OTHER for each in rest)]))


def _lab(colors: Array) -> Array:
    share = np.asarray(colors, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _CONES.T) @ _LAB.T)
