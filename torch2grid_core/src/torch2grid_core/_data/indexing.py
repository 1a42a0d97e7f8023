"""numpy's basic indexing: as a person types it, dimension by dimension, and where what it took lies in the whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

Place = int | range  # of one dimension: the index that was taken of it, or the indices
_NUMBER = re.compile(r"[+-]?\d{1,18}")
_ALLOWED = "integers, slices such as 0:64 or ::2 (steps of 1 or more) and '...', with commas between"


@dataclass(frozen=True, slots=True)
class Taken:
    """Where a view lies in the tensor that it was taken of.

    Args:
        shape: of that tensor.
        places: for each of its dimensions, the one index, or the range of indices, that was taken.
    """

    shape: tuple[int, ...]
    places: tuple[int | range, ...]

    @property
    def ranges(self) -> tuple[range, ...]:
        """The indices that were taken of each dimension that is left, outermost first."""
        return tuple(each for each in self.places if isinstance(each, range))

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Which dimensions of the whole are left, outermost first."""
        return tuple(place for place, each in enumerate(self.places) if isinstance(each, range))

    @property
    def kept(self) -> tuple[range, ...]:
        """The indices that were taken of each dimension of the whole; one index for a dimension that is gone."""
        return tuple(each if isinstance(each, range) else range(each, each + 1) for each in self.places)

    def index(self, index: Sequence[int]) -> tuple[int, ...]:
        """Return the index in the whole tensor of a weight with *index* in the view; *index* itself if it does not fit."""
        if len(index) != len(self.ranges):
            return tuple(index)
        own = iter(index)
        return tuple(each[next(own)] if isinstance(each, range) else each for each in self.places)

    def __str__(self) -> str:
        return f"[{', '.join(map(_place_text, self.places, self.shape))}]"


class PartShape(tuple[int, ...]):
    """The shape of a part of a tensor: a tuple like any other shape, which knows what was taken of which whole.

    The kind of a tensor follows from the shape of the whole. The place of a picture's cell follows from what was taken.

    Attributes:
        repeated: for an expanded view without its repetition (``LazyTensor.distinct``), the shape that it has in the file.
    """

    taken: Taken | None
    repeated: tuple[int, ...] | None

    def __new__(cls, lengths: Iterable[int], taken: Taken | None, repeated: tuple[int, ...] | None = None) -> PartShape:
        made = super().__new__(cls, lengths)
        made.taken, made.repeated = taken, repeated
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return PartShape, (tuple(self), self.taken, self.repeated)


def taken_of(shape: tuple[int, ...]) -> Taken | None:
    """Return what *shape* is a part of; ``None`` for the shape of a whole tensor."""
    return shape.taken if isinstance(shape, PartShape) else None


def stated_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return *shape* as the file states it.

    If *shape* is what an expanded view stores, that is the shape of the view; else *shape* itself.
    """
    repeated = shape.repeated if isinstance(shape, PartShape) else None
    return shape if repeated is None else repeated


def shape_text(shape: tuple[int, ...]) -> str:
    """Return the stated shape as people write it: ``64×3×7×7``, ``scalar`` for ()."""
    return "×".join(map(str, stated_shape(shape))) if shape else "scalar"


def repetition_text(stored: tuple[int, ...], stated: tuple[int, ...]) -> str:
    """What the note of an expanded view says: ``64×1 stored, repeated to 64×64``."""
    return f"{shape_text(tuple(stored))} stored, repeated to {shape_text(stated)}"


def whole_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the whole tensor that *shape* is a part of, or is. It says what kind of tensor it is."""
    taken = taken_of(shape)
    return shape if taken is None else taken.shape


def kept_places(shape: tuple[int, ...]) -> tuple[range, ...]:
    """Return, for each dimension of the whole tensor, the indices of it that *shape* has."""
    taken = taken_of(shape)
    return tuple(map(range, shape)) if taken is None else taken.kept


def _place_text(place: Place, length: int) -> str:
    if isinstance(place, int):
        return str(place)
    if place == range(length):
        return ":"
    text = f"{place.start}:{min(place.stop, length)}"
    return text if place.step == 1 else f"{text}:{place.step}"


def places_of(index: Any, shape: Sequence[int]) -> tuple[Place, ...]:
    """What *index* takes of each dimension of *shape*. Raises ``IndexError``, ``TypeError`` (see ``LazyTensor.view``)."""
    found: list[Place] = []
    for each, length in zip(_per_dimension(index, len(shape)), shape, strict=True):
        if isinstance(each, slice):
            start, stop, step = each.indices(length)
            if step < 1:
                raise IndexError(f"a step of {step}: steps are 1 or more")
            found.append(range(start, max(start, stop), step))
        elif -length <= each < length:
            found.append(each % length)
        else:
            raise IndexError(f"index {each} in a dimension of length {length}")
    return tuple(found)


def taken(places: tuple[Place, ...], shape: tuple[int, ...], before: Taken | None) -> Taken | None:
    """Where *places* of *shape* lie in the whole tensor, of which that was *before*; ``None`` where they are all of it."""
    if before is not None and tuple(map(len, before.ranges)) == shape:
        own = iter(places)
        places = tuple(each if isinstance(each, int) else _within(each, next(own)) for each in before.places)
        shape = before.shape
    return None if all(each == range(length) for each, length in zip(places, shape, strict=True)) else Taken(shape, places)


def _within(whole: range, place: Place) -> Place:
    return whole[place] if isinstance(place, int) else whole[place.start : place.stop : place.step]


def _per_dimension(index: Any, ndim: int) -> list[int | slice]:
    """What *index* says of each of *ndim* dimensions. Raises ``IndexError``, ``TypeError``."""
    given: list[Any] = list(index) if isinstance(index, tuple) else [index]
    dots = [place for place, each in enumerate(given) if each is Ellipsis]
    if len(dots) > 1:
        raise IndexError("more than one '...'")
    if len(given) - len(dots) > ndim:
        raise IndexError(f"{len(given) - len(dots)} indices for {ndim} dimensions")
    rest: list[Any] = [slice(None)] * (ndim - len(given) + len(dots))
    place = dots[0] if dots else len(given)
    given[place : place + 1] = rest
    for each in given:
        if isinstance(each, bool) or not isinstance(each, (Integral, slice)):
            raise TypeError(f"an index of {type(each).__name__}: a tensor takes integers, slices and '...'")
    return [each if isinstance(each, slice) else int(each) for each in given]


def parse_index(given: Any) -> tuple[Any, ...]:
    """*given*, a text such as ``0:64, :`` or an index of Python, as a tuple of integers, slices and ``...``.

    Raises ``ValueError`` for anything else, and for a step below 1.
    """
    found = _of_text(given) if isinstance(given, str) else given if isinstance(given, tuple) else (given,)
    for each in found:
        if each is Ellipsis or (isinstance(each, Integral) and not isinstance(each, bool)):
            continue
        numbers = (each.start, each.stop, each.step) if isinstance(each, slice) else (each,)
        if not isinstance(each, slice) or any(type(number) not in (int, type(None)) for number in numbers):
            raise ValueError(f"{_brief(given)}: expected {_ALLOWED}")
        if each.step is not None and each.step < 1:
            raise ValueError(f"{_brief(given)}: a step of {each.step}; steps are 1 or more")
    if sum(each is Ellipsis for each in found) > 1:
        raise ValueError(f"{_brief(given)}: more than one '...'")
    if not found:
        raise ValueError(f"{_brief(given)} takes nothing; expected {_ALLOWED}")
    return found


def _of_text(text: str) -> tuple[Any, ...]:
    inner = text.strip()
    inner = inner[1:-1].strip() if inner.startswith("[") and inner.endswith("]") else inner
    pieces = [piece.strip() for piece in inner.removesuffix(",").split(",")]
    return tuple(_piece(piece, text) for piece in pieces)


def _piece(piece: str, text: str) -> Any:
    if piece in ("...", "…"):
        return ...
    numbers = [each.strip() for each in piece.split(":")]
    if len(numbers) > 3 or not all(_NUMBER.fullmatch(each) or (not each and len(numbers) > 1) for each in numbers):
        raise ValueError(f"{_brief(text)}: expected {_ALLOWED}")
    if len(numbers) == 1:
        return int(piece)
    return slice(*(int(each) if each else None for each in numbers))


def _brief(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:60]}…"


def index_text(index: tuple[Any, ...]) -> str:
    """An index as it is written: ``0:64, :``."""
    return ", ".join(map(_index_piece, index))


def _index_piece(each: Any) -> str:
    if each is Ellipsis:
        return "..."
    if not isinstance(each, slice):
        return str(int(each))
    start, stop = ("" if number is None else str(number) for number in (each.start, each.stop))
    return f"{start}:{stop}" + (f":{each.step}" if each.step not in (None, 1) else "")
