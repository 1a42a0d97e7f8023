"""NaN and Inf in tables and overviews: counted, never averaged away, told where nothing else is there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch2grid_core.measures import Distribution, NotFiniteCount

COLUMNS = ("NaN", "Inf")  # appended to a table where any of its tensors has some
FORMATS = dict.fromkeys(COLUMNS, ",d")


def honest(figure: float, count: NotFiniteCount) -> float:
    """A norm or mean of the finite weights as it is of all of them: NaN where one is NaN, Inf where one is Inf."""
    return math.nan if count.nan else math.inf if count.inf else figure


def columns_for(counts: Sequence[NotFiniteCount]) -> tuple[str, ...]:
    """The columns that a table of these tensors gets besides its own."""
    return COLUMNS if any(counts) else ()


def flag(count: NotFiniteCount, size: int) -> str:
    """What stands beside a tensor in an overview: ``all NaN``, ``3 NaN, 2 Inf``; empty where all is finite."""
    for number, what in ((count.nan, "NaN"), (count.inf, "Inf")):
        if size and number == size:
            return f"all {what}"
    return count.text


def flags_of(names: Sequence[str], found: Mapping[str, Distribution]) -> dict[int, str]:
    """``flag`` by place, for those of *names* that have any."""
    return {i: flag(found[name].not_finite, found[name].count) for i, name in enumerate(names) if found[name].not_finite}


def nothing_finite(count: NotFiniteCount, size: int, thing: str = "weight") -> str:
    """What stands where a picture of numbers would be: ``all 4,096 weights are NaN``."""
    if not size:
        return f"there is no {thing}"
    for number, what in ((count.nan, "NaN"), (count.inf, "Inf")):
        if number == size:
            return f"all {size:,} {thing}s are {what}" if size > 1 else f"the only {thing} is {what}"
    return f"no {thing} is finite: {count.text}"
