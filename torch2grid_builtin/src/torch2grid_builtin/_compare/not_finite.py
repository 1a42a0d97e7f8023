"""NaN and Inf in one of two tensors, or in both: counted, never put into a sum."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Number = float | complex
Place = tuple[int, Number, Number]  # a flat index, with the values of A and B there


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


_COUNTS = ("nan_a", "nan_b", "nan_both", "inf_a", "inf_b", "inf_both", "turned", "changed")
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
    """A weight in words: six digits, ``NaN``, ``−Inf``; a complex one with both parts."""
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


def _count(where: Array) -> int:
    return int(np.count_nonzero(where))
