"""Flatten, with every weight as its place in the range from the smallest to the largest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_core.measures import Distribution

_Range = tuple[float, float]
_NO_WIDTH = 1e-300  # below it, the factor would not be a float64
_FAR = 1e140  # what the raster takes larger weights for


@dataclass(frozen=True)
class Normalized(Flatten):
    """All weights in order, scaled to [0, 1] between the smallest and the largest."""

    per: Literal["model", "tensor"] = field(
        default="model", metadata={"help": "whose smallest and largest weight become 0 and 1"}
    )

    name = "normalized"
    needs_summaries = True
    quantity = "share of range"

    def scale(self, summaries: Mapping[str, Distribution]) -> Mapping[str, tuple[float, float]] | None:
        """Finite extremes become 0 and 1. Where all finite weights are equal there is no range: they become 0.5.

        With ``rms`` and ``absmax``, which are sizes, a value is the size as a share of the range's width.
        """
        ranges = {name: (each.min, each.max) for name, each in summaries.items() if each.min <= each.max}
        if self.per == "model" and ranges:
            model = min(low for low, _ in ranges.values()), max(high for _, high in ranges.values())
            ranges = dict.fromkeys(ranges, model)
        return {name: _to_unit(each) for name, each in ranges.items()}


def _to_unit(extremes: _Range) -> tuple[float, float]:
    low, high = (min(max(each, -_FAR), _FAR) for each in extremes)
    width = high - low
    if width < _NO_WIDTH:
        return 0.0, 0.5
    return 1 / width, -low / width
