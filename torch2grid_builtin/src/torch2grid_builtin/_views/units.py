"""Which tensors have units (neurons, filters, channels), and which of their units are dead."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from torch2grid_builtin._forms import has_all_units, stacked, stored_transposed
from torch2grid_builtin._views.convolutions import channel_names, is_transposed
from torch2grid_core import LazyTensor
from torch2grid_core.measures import DuplicateGroup, DuplicateUnits, NotFiniteCount, UnitProfile
from torch2grid_core.sources import is_complex, is_floating

_NORM = re.compile(r"norm|(^|[._])(ln|bn|gn|rms)(\d|[._]|$)", re.IGNORECASE)
_NORM_WEIGHTS = {"weight", "gamma", "scale"}
_NORM_SIBLINGS = ("running_mean", "bias", "beta")
# Parameters and buffers of two and more dimensions whose rows and columns are places or tables, not units.
_NOT_UNITS = re.compile(
    r"bias|^running_|mask|_ids$|token$|pos(ition(al)?)?_?emb|^pe$|relative_position|anchor|inv_freq|freqs|(cos|sin)_cached",
    re.IGNORECASE,
)

# Buffers that hold figures about data, of any size.
_FIGURES = re.compile(r"(^|_)(mean|var|std|sum|sqr|count|min|max|num_batches_tracked|n|numel|step)$", re.IGNORECASE)


def is_figure(name: str) -> bool:
    """True for the name of running statistics, sums and counters."""
    return bool(_FIGURES.search(name.rpartition(".")[2]))


def is_table(name: str) -> bool:
    """True for the name of a bias, a mask, indices or a table of positions: its rows and columns are no units."""
    return bool(_NOT_UNITS.search(name.rpartition(".")[2]))


def has_units(tensor: LazyTensor, names: Mapping[str, object]) -> bool:
    """True for weights whose dimension 0 counts units: matrices, kernels, and the 1-D weights of normalisation layers.

    names: all tensors of the checkpoint; a 1-D weight belongs to a normalisation where its module says so by its name
    or holds a bias or running statistics too. Biases, running statistics, masks and position tables have no units, nor
    have integers but int8, which are indices or packed numbers.
    """
    module, _, last = tensor.name.rpartition(".")
    number = is_floating(tensor.dtype) or is_complex(tensor.dtype) or tensor.dtype == np.int8
    if not number or not tensor.size or not tensor.ndim or not has_all_units(tensor.name, tensor.shape):
        return False
    if tensor.ndim == 1:
        prefix = f"{module}." if module else ""
        return last in _NORM_WEIGHTS and bool(
            _NORM.search(module) or any(f"{prefix}{sibling}" in names for sibling in _NORM_SIBLINGS)
        )
    return not is_table(tensor.name)


@dataclass(frozen=True)
class DeadUnits:
    """The dead and duplicate units of one tensor. outputs, inputs: how many units there are; dead_*: indices of those dead.

    groups: of living output units that repeat one another; ``None`` where they were not compared. not_finite: of all weights.
    """

    tensor: LazyTensor
    outputs: int
    inputs: int
    dead_outputs: tuple[int, ...]
    dead_inputs: tuple[int, ...]
    groups: tuple[DuplicateGroup, ...] | None = None
    not_finite: NotFiniteCount = field(default_factory=NotFiniteCount)

    @property
    def axes(self) -> tuple[int, int]:
        """The dimensions of the tensor that count output and input units."""
        return (1, 0) if turned(self.tensor) else (0, 1)

    @property
    def units(self) -> int:
        """Output and input units together."""
        return self.outputs + self.inputs

    @property
    def dead(self) -> int:
        """Dead output and input units together."""
        return len(self.dead_outputs) + len(self.dead_inputs)

    @property
    def repeated(self) -> int | None:
        """Output units that repeat an earlier one; ``None`` where they were not compared."""
        return None if self.groups is None else sum(len(group.units) - 1 for group in self.groups)

    @property
    def share(self) -> float:
        """Dead units among all, 0…1."""
        return self.dead / self.units if self.units else 0.0


def turned(tensor: LazyTensor) -> bool:
    """True where dimension 0 of *tensor* is known to count inputs."""
    whole = tensor.shape if tensor.taken is None else tensor.taken.shape
    if tensor.ndim != len(whole):
        return False
    return bool(stored_transposed(tensor.name, whole)) or (tensor.ndim > 2 and is_transposed(tensor))


def dead_units(tensor: LazyTensor, profile: UnitProfile, threshold: float) -> DeadUnits:
    """The units of *tensor* whose every |weight| is below *threshold*. A unit with a NaN is not dead, it is ill."""
    found: list[tuple[int, ...]] = []
    counts: list[int] = []
    sides = (profile.output_absmax, profile.input_absmax)
    for sizes in sides[::-1] if turned(tensor) and profile.input_absmax is not None else sides:
        known = np.empty(0) if sizes is None else sizes
        counts.append(len(known))
        found.append(tuple(np.flatnonzero(known < threshold).tolist()))
    return DeadUnits(tensor, counts[0], counts[1], found[0], found[1])


def with_duplicates(units: DeadUnits, found: DuplicateUnits) -> DeadUnits:
    """*units* with the duplicates that were *found* among those that are not dead."""
    if not found.compared or turned(units.tensor):  # what repeats along dimension 0 there is an input
        return units
    dead = set(units.dead_outputs)
    living = []
    for group in found.groups:
        kept = tuple(unit for unit in group.units if unit not in dead)
        if len(kept) > 1 and kept[0] == group.units[0]:
            living.append(replace(group, units=kept, equal=tuple(unit for unit in group.equal if unit not in dead)))
    return replace(units, groups=tuple(living))


@dataclass(frozen=True)
class Word:
    """What an index along a dimension counts: *one* or *several* of it."""

    one: str
    several: str = ""

    def of(self, indices: Sequence[int]) -> str:
        """``row 3``, ``rows 3–5, 9``."""
        name = self.one if len(indices) == 1 else self.several or f"{self.one}s"
        return f"{name} {ranges_text(tuple(indices))}"


_MATRIX = (Word("row"), Word("column"))
_TAPS = {1: ("tap",), 2: ("kernel row", "kernel column"), 3: ("kernel plane", "kernel row", "kernel column")}


def dimension_words(tensor: LazyTensor) -> tuple[Word, ...]:
    """What each dimension counts: rows, columns, channels, matrices of a stack; of a part, each of the whole tensor."""
    whole = tuple(tensor.shape) if tensor.taken is None else tensor.taken.shape
    plain = tuple(Word(f"dimension {axis}, index", f"dimension {axis}, indices") for axis in range(len(whole)))
    if len(whole) < 2:
        return (Word("index", "indices"),) * len(whole)
    if len(whole) == 2:
        return _MATRIX
    if stacked(tensor.name, whole) is not None:
        return (*((Word("matrix", "matrices"),) if len(whole) == 3 else plain[:-2]), *_MATRIX)
    if is_table(tensor.name) or len(whole) - 2 not in _TAPS:
        return plain
    return tuple(Word(name) for name in (*channel_names(tensor), *_TAPS[len(whole) - 2]))


def in_whole(tensor: LazyTensor, units: Sequence[int], axis: int = 0) -> tuple[int, ...]:
    """The indices of *units*, which are along *axis* of a part of a tensor (``--slice``), in the whole tensor."""
    dimensions = _dimensions(tensor)
    return tuple(dimensions[axis][0][unit] for unit in units) if axis < len(dimensions) else tuple(units)


def matrix_in_whole(tensor: LazyTensor, units: Sequence[int], axis: int) -> tuple[tuple[int, ...], int]:
    """The rows (*axis* 0) or columns (1) *units* of the 2-D form of a part, as those of the whole; how many that has of them.

    Of a part that lost a dimension, the whole is what it would be with all of the dimensions that are left.
    """
    dimensions = _dimensions(tensor)
    rows = dimensions[:1] if len(dimensions) > 1 else []
    along = dimensions[len(rows) :] if axis else rows
    own, whole = tuple(len(taken) for taken, _ in along), tuple(length for _, length in along)
    found = []
    for unit in units:
        index = np.unravel_index(unit, own) if own else ()
        place = [taken[int(each)] for each, (taken, _) in zip(index, along, strict=True)]
        found.append(int(np.ravel_multi_index(place, whole)) if whole else unit)
    return tuple(found), math.prod(whole)


def _dimensions(tensor: LazyTensor) -> list[tuple[range, int]]:
    """Of each dimension of *tensor*, which indices of the whole tensor it has, and how many there are."""
    part = tensor.taken
    if part is None or len(part.ranges) != tensor.ndim:
        return [(range(length), length) for length in tensor.shape]
    return [(place, length) for place, length in zip(part.places, part.shape, strict=True) if isinstance(place, range)]


def groups_in_whole(tensor: LazyTensor, groups: Sequence[DuplicateGroup]) -> tuple[DuplicateGroup, ...]:
    """The same of the units of *groups*."""
    return tuple(replace(each, units=in_whole(tensor, each.units), equal=in_whole(tensor, each.equal)) for each in groups)


def ranges_text(indices: tuple[int, ...], limit: int = 8) -> str:
    """``0, 3–5, 9``: neighbours joined, at most *limit* pieces and how many more there are."""
    pieces: list[list[int]] = []
    for index in indices:
        if pieces and index == pieces[-1][1] + 1:
            pieces[-1][1] = index
        else:
            pieces.append([index, index])
    text = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in pieces[:limit])
    more = sum(last - first + 1 for first, last in pieces[limit:])
    return f"{text}, and {more} more" if more else text


def groups_text(groups: Sequence[DuplicateGroup], limit: int = 4) -> str:
    """``4 = 0; 7–9 = 2; 11 ≈ 5``: which units repeat which, ``=`` weight for weight, ``≈`` nearly; at most *limit* groups."""
    pieces = []
    for group in groups[:limit]:
        near = tuple(unit for unit in group.units[1:] if unit not in set(group.equal))
        for units, sign in ((group.equal, "="), (near, "≈")):
            if units:
                pieces.append(f"{ranges_text(units, 4)} {sign} {group.units[0]}")
    text = "; ".join(pieces)
    more = len(groups) - limit
    return f"{text}; and {more} more group{'s' if more > 1 else ''}" if more > 0 else text
