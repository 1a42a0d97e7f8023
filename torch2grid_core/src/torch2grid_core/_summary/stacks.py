"""Many small tensors at once: those of one shape as one array."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from torch2grid_core._array import Array


def stacks(shapes: Sequence[tuple[int, ...]], numbers: Array) -> Iterator[tuple[tuple[int, ...], list[int], Array]]:
    """Each of *shapes*, the places where it stands among them, and the numbers of these tensors, (tensors, weights).

    numbers: of all tensors, 1-D, one after the other.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    starts, start = [], 0
    for place, shape in enumerate(shapes):
        places.setdefault(shape, []).append(place)
        starts.append(start)
        start += math.prod(shape)
    for shape, own in places.items():
        size, first = math.prod(shape), starts[own[0]]
        if own[-1] - own[0] == len(own) - 1:  # they follow one another
            yield shape, own, numbers[first : first + len(own) * size].reshape(len(own), size)
        else:
            yield shape, own, np.stack([numbers[starts[place] : starts[place] + size] for place in own])
