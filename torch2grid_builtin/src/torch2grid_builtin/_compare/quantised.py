"""A quantised model beside its original: Δ is the quantisation error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch2grid_builtin._compare.delta import Delta
from torch2grid_builtin._compare.match import Pair
from torch2grid_core import Checkpoint, LazyTensor

_DEQUANTISED = ", dequantised"  # what the note of a tensor says that its loader made of codes
_COMPOSED = ", of "  # what stands in a note between the scheme and the stored tensors


def decibels(relative: float) -> float:
    """The ratio of signal to noise of a relative error, −20 log₁₀ of it: Inf where nothing was lost."""
    if math.isnan(relative):
        return math.nan
    return -20 * math.log10(relative) if relative else math.inf


@dataclass(frozen=True)
class Quantised:
    """side: ``a`` or ``b``, which holds what was made of codes; schemes: name of a pair → the scheme, of such tensors."""

    side: str
    schemes: Mapping[str, str]

    def relative(self, delta: Delta) -> float:
        """‖Δ‖ relative to the original."""
        if self.side == "b" or not delta.squares:
            return delta.relative
        return delta.norm / delta.norm_b if delta.squares_b else math.inf

    def decibels(self, delta: Delta) -> float:
        """The ratio of signal to noise, 20 log₁₀ ‖original‖/‖Δ‖; Inf where nothing was lost."""
        return decibels(self.relative(delta))

    @property
    def said(self) -> str:
        """``B: int4, group 64``, or the most usual of several schemes and how many more there are."""
        often = Counter(self.schemes.values()).most_common()
        more = f" and {len(often) - 1} more" if len(often) > 1 else ""
        return f"{often[0][0]}{more}"


def quantised_of(
    pairs: Mapping[str, Pair], a: Checkpoint, b: Checkpoint, stored: Mapping[str, tuple[str, str]]
) -> Quantised | None:
    """The one of the two that was made of codes, where the other was not. stored: name of a pair → stored names in *a*, *b*."""
    schemes: dict[str, dict[str, str]] = {"a": {}, "b": {}}
    for name, pair in pairs.items():
        for side, checkpoint, tensor, own in zip("ab", (a, b), (pair.a, pair.b), stored[name], strict=True):
            scheme = _scheme(checkpoint, tensor, own)
            if scheme:
                schemes[side][name] = scheme
    for side, other in (("a", "b"), ("b", "a")):
        alone = {name: scheme for name, scheme in schemes[side].items() if name not in schemes[other]}
        if alone and len(alone) == len(schemes[side]) and not schemes[other]:
            return Quantised(side, alone)
    return None


def _scheme(checkpoint: Checkpoint, tensor: LazyTensor, own: str) -> str:
    stored = checkpoint.get(own)
    note = stored.note if stored is not None else tensor.note
    if own in checkpoint.composed:
        return note.partition(_COMPOSED)[0] or "quantised"
    scheme, found, _ = note.partition(_DEQUANTISED)
    return scheme if found else ""
