"""What sticks out: single weights, rows and columns, and tensors that differ from the same ones of other layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from torch2grid_builtin._codes import codes
from torch2grid_builtin._compare.figures import (
    kind_across,
    kind_and_layer,
    layers_and_kinds,
    numbered,
    stem_and_leaf,
)
from torch2grid_builtin._forms import stacked
from torch2grid_builtin._rules.about import is_called_weight, is_mask, weights as weights_of
from torch2grid_builtin._views.convolutions import channel_names
from torch2grid_builtin._views.describing import formats_of, source_name
from torch2grid_builtin._views.robust import (
    limit,
    reach_of_units,
    spread_of_weights,
    z_of,
    z_of_siblings,
    z_of_units,
)
from torch2grid_builtin._views.stacks import Matrix, apart, joined, matrices
from torch2grid_builtin._views.units import in_whole, is_figure, is_table
from torch2grid_core import Checkpoint, LazyTensor, Page, Settings, View
from torch2grid_core.measures import Distribution, Largest, LargestWeights, Profile, Summary, UnitProfile
from torch2grid_core.pages import Bar, Heatmap, Table, Text
from torch2grid_core.sources import is_complex, is_floating
from torch2grid_core.text import visible

WEIGHTS = ("Layer Name", "Index", "Weight", "Spread", "z", "Limit", "Outlier")
UNITS = ("Layer Name", "Unit", "Index", "|Max|", "Norm", "Of median", "z", "Limit", "Outlier")
LAYERS = ("Layer Name", "Figure", "Value", "Median of siblings", "Siblings", "z", "Limit", "Outlier")
FORMATS = {
    **dict.fromkeys(("Weight", "Spread", "|Max|", "Norm", "Value", "Median of siblings"), ".4g"),
    **dict.fromkeys(("z", "Limit"), ",.1f"),
    "Of median": ",.2f",
    "Siblings": ",d",
}
_SIDE = 8  # of fewer rows or columns there is no telling which is usual
_UNITS = 16
_LOOSE = f"vectors and matrices of fewer than {_SIDE} rows or columns"
_OTHERS = "biases, statistics, tables and other tensors"
_SIBLINGS = 3
_NUMBERS = 4  # of those in a name, the first, by one of which tensors may be siblings
_FEW = 16  # weights of a tensor whose figures are compared with those of others
_BARS, _KINDS = 12, 30
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outliers(View):
    """Tables of the weights, rows, columns and layers that stick out most, and a page that shows them."""

    name = "outliers"
    uses_transformer = False

    count: int = field(default=20, metadata={"help": "lines of each table"})
    z: float = field(default=20.0, metadata={"help": "what sticks out by fewer robust spreads is no outlier"})

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")
        if not self.z > 0:
            raise ValueError("z must be above 0")

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        units = [name for name, tensor in checkpoint.items() if _is_matrix(tensor)]
        profile = apart(checkpoint, {"profile": Profile()}, units)
        return {**apart(checkpoint, {"summary": Summary()}), "largest": Largest(self.count), **profile}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        summaries: Mapping[str, Distribution] = {name: joined(results, "summary", name) for name in checkpoint}
        largest: Mapping[str, LargestWeights] = results["largest"]
        learned = [*_learned(checkpoint, summaries), *_integers(checkpoint, summaries)]
        lost = [each for name in _distinct(checkpoint) for each in _lost(checkpoint[name], largest[name])]
        judged = [tensor for tensor in learned if _is_matrix(tensor)]
        # Vectors have tails of any length: they are listed, and nothing of them is an outlier.
        others = [checkpoint[name] for name in _distinct(checkpoint) if not (judged and is_figure(name))]
        loose = [tensor for tensor in others if _is_real(tensor) and not (judged and _is_matrix(tensor))]
        found = [
            *self._weights([each for each in judged if _is_real(each)], summaries, largest, is_judged=True),
            *self._weights([each for each in judged if not _is_real(each)], summaries, largest, is_judged=True),
            *self._weights(loose, summaries, largest, is_judged=False),
        ]
        compared = [*learned, *(checkpoint[name] for name in _distinct(checkpoint) if _is_real(checkpoint[name]))]
        parts = {tensor.name: tuple(matrices(tensor)) for tensor in compared}
        matched = [part for tensor in judged for part in parts[tensor.name] if _is_matrix(part.tensor)]
        units = self._units([(part.tensor, part.of(results, "profile")) for part in matched])
        every = [part for own in parts.values() for part in own]
        layers = list(_layers(every, {tensor.name for tensor in learned}, results, self.z))
        units.sort(key=_by_ratio)
        unlike = sorted((each for each in layers if each.z), key=_by_z)
        found.sort(key=_by_size)
        room = max(self.count - len(lost), 0)
        weights = [*lost, *found[:room]]
        cut = any(each.outlier for each in found if each.rank == self.count)  # that tensor may have more of them
        text = f"Largest weights: {_beyond(found, room, self.z, lost, cut)}{_larger(found, room)}"
        text += _left_out(checkpoint, {each.name for each in (*judged, *loose)}, summaries)
        tables = (
            _table(WEIGHTS, weights, text),
            _table(UNITS, units[: self.count], f"Rows and columns: {_beyond(units, self.count, self.z)}"),
            _table(
                LAYERS,
                unlike[: self.count],
                f"Layers beside their siblings: {_beyond(layers, self.count, self.z, loose=_OTHERS)}",
            ),
        )
        title = run.title or f"Outliers of {source_name(checkpoint)}"
        about = {"tensors": list(checkpoint)}
        names = ("weights", "rows and columns", "layers")
        yield Page("outliers", title, tables, kind="table", about=about, panel_names=names)
        panels = (
            _map(layers, every, results, self.z),
            _bars(weights, "Largest weights", self.z),
            _bars(units, "Rows and columns", self.z),
        )
        yield Page("outliers_overview", title, panels, about=about, panel_names=(names[2], *names[:2]))

    def _weights(
        self,
        tensors: Sequence[LazyTensor],
        summaries: Mapping[str, Distribution],
        largest: Mapping[str, LargestWeights],
        is_judged: bool,
    ) -> list[_Found]:
        """The weights of *tensors* that are beyond z, or may be among the largest of the model."""
        found: list[_Found] = []
        largest_of_all = np.zeros(0)  # |w| of as many as are shown
        for tensor in tensors:
            summary, kept = summaries[tensor.name], largest[tensor.name]
            if not summary.finite or summary.min == summary.max:
                continue
            median, spread, reach = spread_of_weights(summary, len(tensors))
            beyond = limit(self.z, summary.finite)
            away = z_of(kept.values, median, spread)
            sizes = np.abs(kept.values)
            largest_of_all = -np.sort(-np.append(largest_of_all, sizes))[: self.count]
            largest_of_all = largest_of_all[largest_of_all > 0]
            least = largest_of_all[-1] if len(largest_of_all) else math.inf
            for rank in np.flatnonzero((np.abs(away) > beyond) | (sizes >= least)).tolist():
                index = _index(tensor, int(kept.indices[rank]))
                cells = (index, float(kept.values[rank]), spread)
                line = _Found(tensor.name, cells, float(away[rank]), beyond, index, rank=rank + 1, whole=not _is_real(tensor))
                # Whatever the tails of such tensors are, what is alone among equal numbers is in none.
                found.append(replace(line, judged=is_judged or not spread, tail=reach / spread if spread else 0.0))
        return found

    def _units(self, profiles: Sequence[tuple[LazyTensor, UnitProfile]]) -> list[_Found]:
        """The units of the tensors that are beyond z, or may be among the first of the model by their size."""
        found: list[_Found] = []
        highest = np.zeros(0)  # the ratios of as many as are shown
        for tensor, profile in profiles:
            least = float(highest[-1]) if len(highest) == self._shown else 0.0
            more = self._units_of(tensor, profile, least, len(profiles))
            highest = -np.sort(-np.append(highest, [each.ratio for each in more]))[: self._shown]
            found += more
        return found

    @property
    def _shown(self) -> int:
        """Of how many lines the first rows and columns are in the table or on the page."""
        return max(self.count, _BARS)

    def _units_of(self, tensor: LazyTensor, profile: UnitProfile, least: float, matrices: int) -> list[_Found]:
        """The units of one of so many *matrices* that are beyond z, or among its first by a ratio not below *least*."""
        found = []
        names = ("row", "column") if tensor.ndim == 2 else channel_names(tensor)
        sides = zip(
            names, (profile.output_absmax, profile.input_absmax), (profile.output_norm, profile.input_norm), strict=True
        )
        for axis, (name, absmax, norm) in enumerate(sides):
            if absmax is None or norm is None or len(absmax) < _UNITS:
                continue
            sizes = np.stack([absmax, norm])
            judged = [z_of_units(absmax), z_of_units(norm)]
            medians, scores = np.array([[median] for median, _ in judged]), np.stack([z for _, z in judged])
            ratios = np.where(np.isfinite(sizes) & (medians > 0), sizes / np.where(medians > 0, medians, 1.0), 0.0)
            beyond = limit(self.z, len(absmax))
            is_beyond = scores.max(axis=0) > beyond
            if not is_beyond.any() and ratios.max() < least:
                continue
            figures = np.where(is_beyond, scores.argmax(axis=0), ratios.argmax(axis=0))  # that which says more
            ratio = np.take_along_axis(ratios, figures[None], axis=0)[0]
            largest = np.argsort(-ratio, kind="stable")[: self._shown]
            # Of units that are alike none is large; and where half of them are 0, any other is, if it is the median of these.
            is_large = ((ratio > 1) | ((ratio > 0) & (2 * np.count_nonzero(absmax) <= len(absmax))))[largest]
            kept = np.union1d(np.flatnonzero(is_beyond), largest[is_large & (ratio[largest] >= least)])
            for place in kept.tolist():
                figure = int(figures[place])
                (unit,) = in_whole(tensor, (place,), axis)
                of_median = float(ratio[place]) if medians[figure, 0] else None
                cells = (name, unit, float(absmax[place]), float(norm[place]), of_median)
                line = _Found(tensor.name, cells, float(scores[figure, place]), beyond, f"{name} {unit}")
                found.append(replace(line, among=(sizes[figure], matrices)))
        return found


@dataclass(frozen=True)
class _Found:
    """One line: of *tensor*, what is known of it, how far it sticks out, and from where on it is an outlier.

    limit: the z asked for. place: what stands beside the name in a picture.
    note: how many NaN or Inf there are, of which the line has the first of *several*. rank: of a weight in its tensor, from 1.
    whole: of integers.
    judged: False for what is no outlier however far it sticks out: of tensors with long tails as a rule. tail, among: the z
    that others like it would reach by chance, or the sizes that tell it and of how many matrices.
    """

    tensor: str
    cells: tuple[Any, ...]
    z: float
    limit: float
    place: str = ""
    note: str = ""
    several: bool = False
    rank: int = 0
    whole: bool = False
    judged: bool = True
    tail: float = 0.0
    among: tuple[Array, int] | None = None

    @cached_property
    def reach(self) -> float:
        """The z that others like it would reach by chance."""
        return self.tail if self.among is None else reach_of_units(*self.among)

    @property
    def size(self) -> float:
        """|w| of a weight."""
        return abs(float(self.cells[1]))

    @property
    def ratio(self) -> float:
        """The size of a unit over the median of its kind, Inf where that is 0."""
        return math.inf if self.cells[4] is None else float(self.cells[4])

    @property
    def beyond(self) -> bool:
        return abs(self.z) > self.limit

    @property
    def is_tail(self) -> bool:
        """True for what sticks out less than others like it would by chance."""
        return self.judged and self.beyond and abs(self.z) <= self.reach

    @property
    def outlier(self) -> bool:
        return bool(self.note) or (self.judged and self.beyond and not self.is_tail)

    @property
    def row(self) -> tuple[Any, ...]:
        z = None if self.note else self.z
        limit = max(self.limit, self.reach) if self.judged and not self.note else None
        note = f"{self.note}, the first" if self.several else self.note
        return (self.tensor, *self.cells, z, limit, note or ("yes" if self.outlier else ""))


def _by_z(found: _Found) -> tuple[bool, bool, bool, float]:
    """Sorts layers: outliers, what else is beyond z, then weights before other tensors, by how far they stick out.

    Equal ones are in the order of the model.
    """
    return not found.outlier, not found.beyond, not found.judged, -abs(found.z)


def _by_ratio(found: _Found) -> tuple[bool, bool, float, float]:
    """Sorts units: outliers and what else is beyond z, by how far they stick out; then by the ratio to the median; by |max|."""
    return not found.outlier, not found.beyond, -found.z if found.beyond else -found.ratio, -found.cells[2]


def _by_size(found: _Found) -> tuple[bool, bool, bool, float, bool, float]:
    """Sorts weights: outliers and what else is beyond z, by how far they stick out; then matrices before vectors, by |w|.

    Integers come after other matrices: their size says nothing beside that of weights.
    """
    by_z = -abs(found.z) if found.beyond else 0.0
    return not found.outlier, not found.beyond, not found.judged, by_z, found.whole, -found.size


def _table(columns: tuple[str, ...], found: Sequence[_Found], title: str) -> Table:
    return Table(columns, tuple(each.row for each in found), title, formats_of(columns, FORMATS))


def _beyond(
    found: Sequence[_Found], shown: int, z: float, lost: Sequence[_Found] = (), cut: bool = False, loose: str = _LOOSE
) -> str:
    """How many outliers there are by what threshold, of which the first *shown* are listed.

    cut: there may be more. loose: what is not judged.
    """
    outliers, others = sum(each.outlier for each in found), sum(each.beyond and not each.judged for each in found)
    tails = sum(each.is_tail for each in found)
    if not found:
        text = "nothing to compare"
    elif any(each.judged for each in found):
        text = f"{'at least ' if cut else ''}{outliers or 'none'} beyond z = {z:g}"
        text += " and the tail of its tensor" if tails else ""
        if outliers > shown:
            text += f", the first {shown:,} of them here" if shown else ", not listed"
        text += f"; {tails:,} beyond z alone" if tails else ""
        text += f"; {others:,} in {loose}, not judged" if others else ""
    else:
        text = f"{loose} alone, not judged" + (f"; {others:,} beyond z = {z:g}" if others else "")
    return f"NaN or Inf; {text}" if lost else text


def _larger(found: Sequence[_Found], shown: int) -> str:
    """What the title tells of weights behind the first *shown* that are larger than one of these."""
    least = min((each.size for each in found[:shown]), default=math.inf)
    larger = [each for each in found[shown:] if each.size > least]
    if any(each.judged and not each.whole for each in larger):
        return "; larger ones that stick out less are not listed"
    kinds = {"matrices of integers" if each.judged else _LOOSE: None for each in larger}
    return f"; larger ones in {' and in '.join(kinds)}" if larger else ""


def _distinct(checkpoint: Checkpoint) -> Iterator[str]:
    """The names of the tensors, of tied ones the first."""
    return (name for name in checkpoint if name not in checkpoint.aliases)


def _is_real(tensor: LazyTensor) -> bool:
    return is_floating(tensor.dtype) or is_complex(tensor.dtype)


def _learned(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> list[LazyTensor]:
    return [tensor for tensor, _ in weights_of(checkpoint, summaries) if _is_real(tensor)]


def _integers(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> list[LazyTensor]:
    """Integer tensors that may be weights: int8 ones, and wider or unsigned ones that are called weights and are no codes.

    Of the others most are indices, counts, data, or several codes in one number. Masks and tables are none of any type.
    """
    found, stored = [], codes(checkpoint)
    for name in _distinct(checkpoint):
        tensor = checkpoint[name]
        if tensor.dtype.kind not in "iu" or is_figure(name) or is_table(name) or is_mask(tensor, summaries[name]):
            continue
        if tensor.dtype == np.int8 or (is_called_weight(tensor) and name not in stored):
            found.append(tensor)
    return found


def _left_out(checkpoint: Checkpoint, looked_at: Set[str], summaries: Mapping[str, Distribution]) -> str:
    """What the title tells of tensors whose weights are in no line of the first table, though they are many and unlike."""
    others = [name for name in _distinct(checkpoint) if name not in looked_at and not is_figure(name)]
    others = [name for name in others if checkpoint[name].size >= _FEW and summaries[name].min < summaries[name].max]
    kinds: dict[str, list[str]] = {}
    for name in others:
        few = checkpoint[name].dtype.kind in "iu" and not _is_matrix(checkpoint[name])
        kinds.setdefault(f"integers in {_LOOSE}" if few else "masks, tables, scales, indices, data or codes", []).append(name)
    return "".join(
        f"; left out as {kind}: {visible(names[0])}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}"
        for kind, names in kinds.items()
    )


def _is_matrix(tensor: LazyTensor) -> bool:
    """True for matrices, stacks of these, and kernels, with enough rows and columns for one of them to stick out."""
    if tensor.ndim < 2 or tensor.dtype == np.bool_:
        return False
    stack = stacked(tensor.name, tensor.shape)
    sides = (tensor.shape[0], math.prod(tensor.shape[1:])) if stack is None else (stack.rows, stack.columns)
    return min(sides) >= _SIDE


def _index(tensor: LazyTensor, flat: int) -> str:
    index: tuple[int, ...] = tuple(int(each) for each in np.unravel_index(flat, tensor.shape)) if tensor.ndim else ()
    return f"[{', '.join(map(str, index if tensor.taken is None else tensor.taken.index(index)))}]"


def _lost(tensor: LazyTensor, largest: LargestWeights) -> list[_Found]:
    """The first NaN and the first Inf of a tensor among those that were kept, each with how many there are."""
    found = []
    count = largest.not_finite
    for which, number, what in ((np.isnan, count.nan, "NaN"), (np.isinf, count.inf, "Inf")):
        if not number:
            continue
        places = np.flatnonzero(which(largest.lost_values))
        index = _index(tensor, int(largest.lost_indices[places[0]])) if len(places) else ""
        value = float(largest.lost_values[places[0]]) if len(places) else math.nan if what == "NaN" else math.inf
        line = _Found(tensor.name, (index, value, None), math.inf, 0.0, index, f"{number:,} {what}")
        found.append(replace(line, several=number > 1 and bool(index)))
    return found


def _siblings(parts: Sequence[Matrix]) -> Iterator[list[Matrix]]:
    """The *parts* in groups of one dtype and shape, whose names differ in the numbers of layers and experts.

    Those of no such group are siblings if their names differ in one number that is a part of a word.
    """
    left, by_word = list(parts), (partial(numbered, place=place) for place in range(_NUMBERS))
    kinds_of: list[Callable[[str], tuple[str, int | None]]] = [kind_across, *by_word]
    for kind_of in kinds_of:
        kinds: dict[tuple[str, bool, tuple[int, ...]], list[Matrix]] = {}
        for part in left:
            kind, layer = kind_of(part.owner)
            if layer is not None:
                kinds.setdefault((kind, _is_real(part.tensor), tuple(part.tensor.shape)), []).append(part)
        groups = [members for members in kinds.values() if len(members) >= _SIBLINGS]
        yield from groups
        grouped = {part.tensor.name for members in groups for part in members}
        left = [part for part in left if part.tensor.name not in grouped]


def _layers(parts: Sequence[Matrix], judged: Set[str], results: Mapping[str, Any], z: float) -> Iterator[_Found]:
    """Each tensor that has siblings, with the figure by which it differs most; matrices of a stack are siblings, too.

    judged: the tensors that may be outliers.
    """
    parts = [part for part in parts if part.tensor.size >= _FEW and part.of(results, "summary").finite]
    for group in _siblings(parts):
        members = [(part.tensor.name, part.of(results, "summary")) for part in group]
        found, shape = [summary for _, summary in members], group[0].tensor.shape
        noise = math.sqrt(24 / math.prod(shape)) / 3  # of the kurtosis of normal numbers, by ratio
        figures = {
            "std": ([each.std for each in found], 0.0, 0.0),
            "|max|": ([each.absmax for each in found], 0.0, 0.0),
            "kurtosis": ([each.kurtosis + 3 if each.std else 0.0 for each in found], noise, 3.0),
        }
        best: list[_Found | None] = [None] * len(members)
        for figure, (values, least, offset) in figures.items():
            median, scores = z_of_siblings(values, least)
            for place, ((name, _), value, score) in enumerate(zip(members, values, scores, strict=True)):
                before = best[place]
                if before is None or abs(score) > abs(before.z):
                    cells = (figure, value - offset, median - offset, len(members))
                    is_judged = group[place].owner in judged
                    best[place] = _Found(name, cells, score, limit(z, len(members)), figure, judged=is_judged)
        yield from filter(None, best)


def _kind_in_map(name: str) -> tuple[str, int | None]:
    kind, layer = kind_and_layer(name)
    return numbered(name) if layer is None else (kind, layer)


def _map(layers: Sequence[_Found], parts: Iterable[Matrix], results: Mapping[str, Any], z: float) -> Heatmap | Text:
    """Which layer sticks out in which kind: a row for each layer, a column for each kind, of experts one for each of them.

    What holds NaN or Inf is shown as that, also where it is nothing else.
    """
    kinds: dict[str, dict[int, str]] = {}
    strongest: dict[str, float] = {}
    for each in layers:
        kind, layer = _kind_in_map(each.tensor)
        if layer is not None:
            kinds.setdefault(kind, {})[layer] = each.tensor
            leaf = stem_and_leaf(kind)[1]
            strongest[leaf] = max(strongest.get(leaf, 0.0), abs(each.z))
    broken = [part.tensor.name for part in parts if part.of(results, "summary").not_finite]
    strongest.update({leaf: math.inf for name in broken if (leaf := stem_and_leaf(_kind_in_map(name)[0])[1]) in strongest})
    kept = set(sorted(strongest, key=lambda leaf: -strongest[leaf])[:_KINDS])
    shown = {kind: members for kind, members in kinds.items() if stem_and_leaf(kind)[1] in kept}
    figures = {each.tensor: max(min(each.z, 1e6), -1e6) for each in layers}
    for name in broken:
        kind, layer = _kind_in_map(name)
        if kind in shown and layer is not None:
            shown[kind][layer] = name
            figures[name] = math.nan
    lost = {name for name, figure in figures.items() if math.isnan(figure)}
    title = "Layers beside their siblings: z of the std, |max| or excess kurtosis that differs most"
    if len(kept) < len(strongest):
        title += f"; {len(strongest) - len(kept):,} columns that differ less are not shown"
    panel = layers_and_kinds(shown, figures, lost, "z", title, (-z, z))
    none = f"No tensor here has {_SIBLINGS - 1} or more siblings: the same name with other numbers, and its shape."
    return Text(none) if panel is None else panel


def _bars(found: Sequence[_Found], title: str, z: float) -> Bar | Text:
    shown = found[:_BARS]
    if not shown:
        return Text(f"{title}: none is larger than another, or no matrix and no kernel has {_SIDE} rows and columns or more.")
    labels = tuple(f"{visible(each.tensor)} {each.place}{_why_not(each)}".rstrip() for each in shown)
    values = np.array([each.cells[1] if each.note else abs(each.z) for each in shown], dtype=np.float64)
    flags = {place: each.note or "z = ∞" for place, each in enumerate(shown) if math.isinf(each.z)}
    return Bar(labels, values, title=title, ylabel="|z|", marks={"outlier": z}, flags=flags)


def _why_not(found: _Found) -> str:
    """Why what is beyond the mark is no outlier, nothing where it is one."""
    if not found.beyond or found.outlier:
        return ""
    return f" (limit {found.reach:,.0f})" if found.judged else " (not judged)"
