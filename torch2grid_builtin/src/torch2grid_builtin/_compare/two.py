"""Comparing two checkpoints: one pass over both, then the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from torch2grid_builtin._compare.delta import (
    RANK_SIZE,
    Delta,
    DeltaOf,
    joint_pair,
    one_matrix,
    together,
    value_json,
    value_text,
)
from torch2grid_builtin._compare.equal import equal, roundings
from torch2grid_builtin._compare.faults import Fault, faults_of, find_wrong, moved_wrong
from torch2grid_builtin._compare.match import Match, Pair, in_shape_of
from torch2grid_builtin._compare.names_file import Named
from torch2grid_builtin._compare.naming import Origin, Translation, matched, origins_of
from torch2grid_builtin._compare.order import Names
from torch2grid_builtin._compare.quantised import Quantised, quantised_of
from torch2grid_builtin._forms import fused_parts, stacked
from torch2grid_builtin._views.units import dimension_words
from torch2grid_core import Checkpoint, LazyTensor, Settings, View, draw
from torch2grid_core.pages import PageOrigin
from torch2grid_core.sources import JointTensor
from torch2grid_core.text import counted, percentage, shape_text, visible

Kind = Literal[
    "changed", "rounded", "bits", "dtype", "shape", "only_a", "only_b", "renamed", "swapped", "holds", "fault", "quantised"
]
MERGED = "torch2grid merged"  # in the metadata of a base with an adapter: how it is compared
_HEAD = 4096  # weights that are compared before whole tensors are
_SEVERAL = 16  # indices that are told where they are no neighbours
_CLOSE = 1e-6
_CLOSE_ROUNDED = 1e-2  # of squares, one of which is of rounded weights
Moved = list[tuple[Literal["swapped", "holds"], str]]
Entry = tuple[str, LazyTensor, float | None]  # a name, the tensor, and the sum of its squares where it is known


@dataclass(frozen=True)
class Tolerance:
    """What counts as a difference. tolerance: |Δ| up to it does not; ignore_dtype: nor does another dtype, nor rounding to it.

    rank_size: weights of the largest matrix whose rank is looked for.
    """

    tolerance: float = 0.0
    ignore_dtype: bool = False
    rank_size: int = RANK_SIZE

    @property
    def need(self) -> DeltaOf:
        """What the engine measures of each pair."""
        return DeltaOf(tolerance=self.tolerance, rank_size=self.rank_size)


class Comparing:
    """Two checkpoints, matched. joint: Δ of each pair that can be compared, with the two as members ``a`` and ``b``."""

    def __init__(self, a: Checkpoint, b: Checkpoint, names: Sequence[Named] = ()) -> None:
        """names: which tensor of one is which of the other, as a person states it.

        Raises:
            UsageError: nothing of *names* is there, or two tensors would have one name.
        """
        self.names = Names.of(a, b)
        self.origin = PageOrigin.of(a, b)
        self.stored = a, b
        self.match, self.translation = matched(a, b, names)
        self.a, self.b = (a, b) if self.translation is None else (self.translation.a, self.translation.b)
        pairs = {pair.name: pair for pair in self.match.pairs}
        origins = {name: origins_of(pair, self.translation) for name, pair in pairs.items()}
        stored = {name: (one.stored, two.stored) for name, (one, two) in origins.items()}
        self.quantised = quantised_of(pairs, *self.stored, stored)
        self.joint = _joint(self)

    def compare(
        self,
        settings: Tolerance,
        views: Sequence[View] = (),
        sink: Any = None,
        run: Settings | None = None,
        *,
        executor: Executor | None = None,
        prepare: Any = None,
    ) -> Comparison:
        """Read both once, hand the pages of *views* (over ``joint``) to *sink*, and say what differs."""
        statistics: dict[str, Delta] = {}
        if self.joint:
            options = {"prepare": prepare} if prepare is not None else {}
            pages = draw(
                self.joint,
                views,
                run,
                executor=executor,
                beside={"delta": settings.need},
                origin=self.origin,
                measured=lambda _, found: statistics.update(found),
                **options,
            )
            for page, view, made in pages:
                sink(page, view, made)
        deltas: dict[str, Delta] = {}
        for pair in self.match.pairs:
            found = statistics.get(self.match.twins.get(pair.name, pair.name))
            if found is not None:
                # Rows, columns and directions of weights in another order of dimensions are those of neither.
                deltas[pair.name] = replace(found, rank=None) if pair.reshaped and not _transposed(pair) else found
        return find_differences(self.a, self.b, self.match, deltas, settings, self.translation, self.quantised)


def _joint(comparing: Comparing) -> Checkpoint:
    """The joint tensors; of pairs that are the same numbers on both sides, the first."""
    tensors: list[JointTensor] = []
    for pair in comparing.match.pairs:
        if pair.name in comparing.match.twins:
            continue
        if pair.reshaped:
            seen = in_shape_of(pair)
            if seen is None:
                continue
            pair, _ = seen
        if pair.b.size:
            tensors.append(joint_pair(pair.name, pair.a, pair.b))
    source = f"{comparing.names.b} − {comparing.names.a}"
    place = {name: index for index, name in enumerate(comparing.b.in_file_order())}
    tensors.sort(key=lambda tensor: place.get(tensor.name, len(place)))
    joint = Checkpoint(tensors, source=source, format="Δ of two checkpoints", metadata=comparing.b.metadata, aliases={})
    return joint.ordered()


def _transposed(pair: Pair) -> bool:
    return pair.a.shape == pair.b.shape[::-1]


@dataclass(frozen=True)
class Difference:
    """One thing that differs. name: as in B (in A, where B lacks it); text: what it is, in words."""

    kind: Kind
    name: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """Everything that is known of two checkpoints. deltas: name of a pair → figures, of pairs with one number of weights.

    copies: leftover name → the tensor of its own checkpoint that holds the same weights, as a tied tensor that was saved twice.
    translation: what is compared under other names, or in another form, than it is stored. faults: what is wrong of several
    tensors at once. quantised: which of the two is the other, quantised.
    """

    a: Checkpoint
    b: Checkpoint
    match: Match
    deltas: Mapping[str, Delta]
    differences: tuple[Difference, ...]
    tolerance: float = 0.0
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    translation: Translation | None = None
    faults: tuple[Fault, ...] = ()
    quantised: Quantised | None = None

    @property
    def counted(self) -> tuple[str, ...]:
        """The pairs that were compared, without those that are part of another one on both sides."""
        return tuple(name for name in self.deltas if name not in self.match.covered)

    @property
    def tied(self) -> dict[str, str]:
        """Name that only one side has → the tensor there that it is another name, or a copy, of."""
        ties = {**self.match.tied, **self.copies}
        if self.translation is None:
            return ties
        one, two = self.translation.of_a, self.translation.of_b
        sides = {name: one if name in self.a else two for name in ties}
        return {name: sides[name].get(owner, Origin(owner)).stored for name, owner in ties.items()}

    def origins(self, name: str) -> tuple[Origin, Origin]:
        """What both tensors of a pair are read from."""
        return origins_of(self.pairs[name], self.translation)

    @property
    def same(self) -> bool:
        """True where nothing differs but names, and how the same weights are stored."""
        return not self.differences

    @property
    def moved(self) -> bool:
        """True where a weight changed: there is something to see in Δ."""
        return any(delta.changed for delta in self.deltas.values())


def find_differences(
    a: Checkpoint,
    b: Checkpoint,
    match: Match,
    deltas: Mapping[str, Delta],
    settings: Tolerance,
    translation: Translation | None = None,
    quantised: Quantised | None = None,
) -> Comparison:
    """Put together what a pass found. Reads the tensors again that may be copies of others, and no more."""
    tolerance, ignore_dtype = settings.tolerance, settings.ignore_dtype
    codes = quantised.schemes if quantised is not None else {}
    pairs = {pair.name: pair for pair in match.pairs}
    changed = {name for name, delta in deltas.items() if delta.changed}
    rounded = {name for name in changed if deltas[name].rounded and not deltas[name].broken}  # 1e6 that became Inf is more
    copies = Copies(a, b, match, deltas, changed - rounded - {*codes})
    wrong = [] if tolerance else find_wrong(pairs, deltas, changed - rounded - {*copies.moved, *codes}, translation)
    told = {each.name: each for each in wrong}
    comparable = {name for name, delta in deltas.items() if not delta.changed and not tolerance}
    found: list[Difference] = []
    for name, pair in pairs.items():
        if pair.reshaped:
            found.append(Difference("shape", name, _reshaped(pair, deltas.get(name))))
        if name in codes and name in changed and name not in match.twins:
            found.append(Difference("quantised", name, visible(codes[name])))
            continue
        if pair.a.dtype != pair.b.dtype and not ignore_dtype and name not in codes:
            found.append(Difference("dtype", name, f"{pair.a.dtype.name} → {pair.b.dtype.name}"))
        if name in copies.moved:
            found += [Difference(kind, name, text) for kind, text in copies.moved[name]]
        elif name in rounded:
            if not ignore_dtype:
                found.append(Difference("rounded", name, _rounded(pair, deltas[name])))
        elif name in told:
            found.append(Difference("fault", name, told[name].text))
        elif translation is not None and name in comparable and not deltas[name].exact:
            found.append(Difference("bits", name, "equal, but a zero has the other sign"))
        elif name in changed:
            owner = match.twins.get(name)
            text = describe(pair, deltas[name]) if owner is None else f"tied to {visible(owner)}, the same change"
            found.append(Difference("changed", name, text))
    found += [Difference("renamed", new, f"{visible(old)} of A, the same weights") for new, old in copies.renamed.items()]
    gone = {*copies.renamed.values(), *copies.renamed, *copies.twice}
    found += [Difference("only_a", each.name, _only(each, b)) for each in match.only_a if each.name not in gone]
    found += [Difference("only_b", each.name, _only(each, a)) for each in match.only_b if each.name not in gone]
    faults = faults_of([*wrong, *moved_wrong(copies.sources)], list(pairs))
    return Comparison(a, b, match, deltas, tuple(found), tolerance, pairs, copies.twice, translation, faults, quantised)


def describe(pair: Pair, delta: Delta) -> str:
    """What changed in one tensor, in a few words: one weight, a row, a few directions, or how much."""
    if pair.reshaped and (seen := in_shape_of(pair)) is not None:
        pair, _ = seen  # places are those of what was compared
    place = delta.not_finite.first or delta.largest
    notes = []
    if delta.broken and delta.rounded:
        notes.append(_rounded(pair, delta))
    if delta.changed == 1 and place is not None:
        return ", ".join([*notes, f"one weight: {_place_text(pair, place)}"])
    if delta.broken:
        notes += delta.not_finite.changes(delta.weights)
        if delta.not_finite.first is not None:
            notes.append(f"first {_place_text(pair, delta.not_finite.first)}")
    notes += _one_taken(pair.b)
    told, fewest = _confined(pair.b, delta)
    notes += told
    few = delta.rank.directions if delta.rank is not None else None
    if few is not None and 4 * few <= min(one_matrix(pair.b)) and (not told or few < fewest):
        hold = "1 direction holds" if few == 1 else f"{few} directions hold"
        each = "" if stacked(pair.b.name, pair.b.shape) is None else " of each matrix"
        notes.append(f"low rank: {hold} 99.9 % of Δ{each}")
    share = delta.changed / delta.weights
    if delta.broken < delta.weights:
        notes.append("every weight" if share == 1 else f"{counted(delta.changed, 'weight')} ({percentage(share, 3)})")
    finite = delta.of_finite()
    if delta.broken and finite.changed and np.isfinite(finite.relative):
        notes.append(f"‖Δ‖/‖A‖ {finite.relative:.3g} without them")
    return ", ".join(notes)


def _place_text(pair: Pair, one: tuple[int, Any, Any]) -> str:
    index, before, after = one
    place = ", ".join(map(str, _index(pair.b, index)))
    return f"[{place}] {value_text(before)} → {value_text(after)}"


def _index(tensor: LazyTensor, flat: int) -> list[int]:
    """The index of a weight of *tensor*, in the whole one where that is a part."""
    found = [int(each) for each in np.unravel_index(flat, tensor.shape)] if tensor.shape else []
    return found if tensor.taken is None else list(tensor.taken.index(found))


def _one_taken(tensor: LazyTensor) -> list[str]:
    """What a part is of the whole where it is one of several: ``row 321 of 1,000``, a channel, or a matrix of a stack."""
    if tensor.taken is None:
        return []
    words, whole = dimension_words(tensor), tensor.taken.shape
    singles = zip(words, tensor.taken.kept, whole, strict=True)
    return [f"{word.of(place)} of {length:,}" for word, place, length in singles if len(place) == 1 < length]


def _confined(tensor: LazyTensor, delta: Delta) -> tuple[list[str], int]:
    """Along which dimensions some indices hold every change, as ``row 321 of 1,000``, and how many the fewest of these are.

    The first such dimension may have several runs of them, others one; indices are of the whole tensor.
    """
    part = tensor.taken if tensor.taken is not None and len(tensor.taken.ranges) == tensor.ndim else None
    whole = tuple(tensor.shape) if part is None else part.shape
    left = [axis for axis in range(len(whole)) if part is None or isinstance(part.places[axis], range)]
    words, (fused, letters) = dimension_words(tensor), fused_parts(tensor.name, tensor.shape)
    found: list[str] = []
    fewest = tensor.size
    for own, (axis, runs) in enumerate(zip(left, delta.places, strict=True)):
        if runs is None or not 0 < (count := sum(map(len, runs))) < tensor.shape[own]:
            continue
        if len(runs) > 1 and (found or count > _SEVERAL):
            continue
        indices = [index for run in runs for index in run]
        places = indices if part is None else [part.ranges[own][index] for index in indices]
        text = f"{words[axis].of(places)} of {whole[axis]:,}"
        inside = [letter for letter, first, stop in letters if first <= indices[0] and indices[-1] < stop]
        found.append(f"{text} ({inside[0]})" if inside and own == fused else text)
        fewest = min(fewest, count)
    return found, fewest


def _rounded(pair: Pair, delta: Delta) -> str:
    side, dtype = ("B", pair.b.dtype) if delta.rounded == "B" else ("A", pair.a.dtype)
    return f"{side} is {'A' if side == 'B' else 'B'} rounded to {dtype.name}"


def _reshaped(pair: Pair, delta: Delta | None) -> str:
    text = f"{shape_text(pair.a.shape)} → {shape_text(pair.b.shape)}"
    how = in_shape_of(pair)
    if delta is None or how is None:
        return f"{text}, not compared"
    return f"{text}, {how[1]}, " + ("the same weights" if not delta.changed else "other weights")


def _only(tensor: LazyTensor, other: Checkpoint) -> str:
    """What a tensor is that only one side has, and why *other* has none of its name, where it says so."""
    facts = [f"{shape_text(tensor.shape)} {tensor.dtype.name}", *([visible(tensor.note)] if tensor.note else [])]
    facts += [f"not read of the other: {visible(skip.reason)}" for skip in other.skipped if skip.name == tensor.name][:1]
    return ", ".join(facts)


def totals(deltas: Mapping[str, Delta], counted: Sequence[str]) -> Delta:
    """All tensors named as one vector; places and ranks have no meaning there."""
    each = [deltas[name] for name in counted]
    return Delta(
        weights=sum(delta.weights for delta in each),
        changed=sum(delta.changed for delta in each),
        squares_a=sum(delta.squares_a for delta in each),
        squares_b=sum(delta.squares_b for delta in each),
        squares=sum(delta.squares for delta in each),
        finite_absmax=max((delta.finite_absmax for delta in each), default=0.0),
        largest=None,
        places=(),
        rounded="",
        rank=None,
        not_finite=together(delta.not_finite for delta in each),
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The report as plain data."""
    counted = comparison.counted
    total = totals(comparison.deltas, counted)
    said: dict[str, list[dict[str, str]]] = {}
    for each in comparison.differences:
        said.setdefault(each.name, []).append({"kind": each.kind, "text": each.text})
    tensors = []
    for name, pair in comparison.pairs.items():
        delta = comparison.deltas.get(name)
        origins = comparison.origins(name)
        tensors.append(
            {
                "name": name,
                **{f"name_in_{side}": each.stored for side, each in zip("ab", origins, strict=True) if each.stored != name},
                **{f"form_in_{side}": each.how for side, each in zip("ab", origins, strict=True) if each.forms},
                **({"tied_to": comparison.match.twins[name]} if name in comparison.match.twins else {}),
                "shape": list(pair.b.shape),
                **({"shape_in_a": list(pair.a.shape)} if pair.reshaped else {}),
                "dtype": pair.b.dtype.name,
                **({"dtype_in_a": pair.a.dtype.name} if pair.a.dtype != pair.b.dtype else {}),
                **(_figures(delta, pair) if delta else {}),
                **_quantised(comparison.quantised, name, delta),
                "differences": said.get(name, []),
            }
        )
    return {
        "format": "torch2grid compare 1",
        "a": comparison.a.source,
        "b": comparison.b.source,
        "same": comparison.same,
        "tolerance": comparison.tolerance,
        **({"merged": comparison.a.metadata[MERGED]} if MERGED in comparison.a.metadata else {}),
        "total": {"tensors": len(counted), **_sums(total)},
        "wrappers": dict(comparison.match.wrappers),
        "spellings": dict(comparison.match.spellings),
        "names": list(comparison.translation.said) if comparison.translation else [],
        "faults": [{"text": each.text, "tensors": list(each.tensors)} for each in comparison.faults],
        **({"quantised": comparison.quantised.side} if comparison.quantised else {}),
        "tied": comparison.tied,
        "not_compared": [{"name": each.name, "only_in": each.side, "why": each.why} for each in comparison.match.apart],
        "only_in_a": [each.name for each in comparison.match.only_a],
        "only_in_b": [each.name for each in comparison.match.only_b],
        "differences": [{"kind": each.kind, "name": each.name, "text": each.text} for each in comparison.differences],
        "tensors": tensors,
    }


def _quantised(quantised: Quantised | None, name: str, delta: Delta | None) -> dict[str, Any]:
    if quantised is None or delta is None or name not in quantised.schemes:
        return {}
    figures = {"relative_error": _number(quantised.relative(delta)), "snr_db": _number(quantised.decibels(delta))}
    return {"scheme": quantised.schemes[name], **figures}


def _number(value: float | None) -> float | None:
    return value if value is None or np.isfinite(value) else None  # JSON has neither NaN nor infinity


def _sums(delta: Delta) -> dict[str, Any]:
    figures = _changes(delta)
    if delta.broken:
        figures["of_finite"] = _changes(delta.of_finite())
    return {**figures, "nan_or_inf": delta.broken, **delta.not_finite.as_json()}


def _changes(delta: Delta) -> dict[str, Any]:
    return {
        "weights": delta.weights,
        "changed": delta.changed,
        "changed_share": delta.changed / delta.weights if delta.weights else 0.0,
        "relative_l2": _number(delta.relative),
        "cosine": _number(delta.cosine),
        "l2_a": _number(delta.norm_a),
        "l2_b": _number(delta.norm_b),
        "l2_delta": _number(delta.norm),
        "max_abs_delta": _number(delta.absmax),
    }


def _figures(delta: Delta, pair: Pair) -> dict[str, Any]:
    figures: dict[str, Any] = {**_sums(delta), "bit_equal": delta.exact and not (delta.changed and not delta.rounded)}
    for key, place in (("largest", delta.largest), ("first_nan_or_inf", delta.not_finite.first)):
        if place is not None:
            figures[key] = {"index": _index(pair.b, place[0]), "a": value_json(place[1]), "b": value_json(place[2])}
    if delta.rank is not None:
        figures["stable_rank"] = delta.rank.stable
        figures["directions"] = delta.rank.directions
    if delta.rounded:
        figures["rounded"] = delta.rounded
    return figures


class Copies:
    """What of two matched checkpoints holds the weights of something else.

    moved: name of a changed pair → what to say instead of "changed": B holds what another tensor of A held. renamed: name that
    only B has → name that only A has, of the same weights. twice: name that only one side has → the tensor of its own
    checkpoint of which it is a copy, as a format without sharing writes tied weights.

    Candidates have one shape and the same norm; their first weights are compared, then all of them. A tensor of one number
    throughout (zeros, ones) is nobody's copy.
    """

    def __init__(self, a: Checkpoint, b: Checkpoint, match: Match, deltas: Mapping[str, Delta], changed: set[str]) -> None:
        self._heads: dict[int, bytes | None] = {}
        self.moved = self._moved(match, deltas, changed)
        self.renamed = self._renamed(match)
        self.twice = self._twice(a, match.only_a, {pair.a.name: pair.a for pair in match.pairs})
        self.twice |= self._twice(b, match.only_b, {pair.b.name: pair.b for pair in match.pairs})

    def _moved(self, match: Match, deltas: Mapping[str, Delta], changed: set[str]) -> dict[str, Moved]:
        chosen = [
            (pair, deltas[pair.name])
            for pair in match.pairs
            if pair.name in changed and not pair.reshaped and pair.name not in match.twins
        ]
        before = _ByShape((pair.name, pair.a, delta.squares_a) for pair, delta in chosen)
        before.add((each.name, each, None) for each in match.only_a)
        held = {}
        for pair, delta in chosen:
            source = next(self._equal_to(pair.b, delta.squares_b, before, pair.name), None)
            if source is not None:
                held[pair.name] = source
        self.sources = held
        said: dict[str, Moved] = {}
        for name, source in held.items():
            if held.get(source) != name:
                said[name] = [("holds", f"holds what {visible(source)} of A held")]
            elif name < source:
                said[name] = [("swapped", f"swapped with {visible(source)}: each holds what the other held")]
            else:
                said[name] = []  # said once, by the other
        return said

    def _renamed(self, match: Match) -> dict[str, str]:
        """Each name once: of equal tensors, the first of A is the first of B."""
        left = _ByShape((each.name, each, None) for each in match.only_a)
        found: dict[str, str] = {}
        taken: set[str] = set()
        for tensor in match.only_b:
            source = next((name for name in self._equal_to(tensor, None, left) if name not in taken), None)
            if source is not None:
                found[tensor.name] = source
                taken.add(source)
        return found

    def _twice(self, side: Checkpoint, left: Iterable[LazyTensor], matched: Mapping[str, LazyTensor]) -> dict[str, str]:
        """Embeddings and heads lie outside the numbered layers; a copy of a numbered layer is a layer more, and differs."""
        renamed = {*self.renamed, *self.renamed.values()}
        chosen = [each for each in left if each.name not in renamed and _unnumbered(each)]
        if not chosen:
            return {}
        held = _ByShape((name, matched[name], None) for name in side if name in matched and _unnumbered(matched[name]))
        copies = {each.name: next(self._equal_to(each, None, held), None) for each in chosen}
        return {name: owner for name, owner in copies.items() if owner is not None}

    def _equal_to(self, tensor: LazyTensor, squares: float | None, among: _ByShape, own: str | None = None) -> Iterator[str]:
        """Names of those whose weights *tensor* holds, but for *own*."""
        for name, candidate, norm in among.of(tensor):
            if name == own or candidate.size < 2 or tensor.repeats or candidate.repeats:
                continue
            other_dtype = candidate.dtype != tensor.dtype
            if other_dtype and (own is None or not roundings(candidate.dtype, tensor.dtype)):
                continue
            close = _CLOSE_ROUNDED if other_dtype else _CLOSE
            if squares is not None and norm is not None and abs(squares - norm) > close * max(squares, norm):
                continue
            if other_dtype:
                if self._head(tensor) is not None and equal(candidate, tensor):
                    yield name
                continue
            head = self._head(tensor)
            if head is not None and head == self._head(candidate) and _equal(tensor, candidate):
                yield name

    def _head(self, tensor: LazyTensor) -> bytes | None:
        """The first weights as bytes; ``None`` where the tensor begins with one number only."""
        if id(tensor) not in self._heads:
            _, first = next(iter(tensor.flat_chunks(_HEAD * tensor.dtype.itemsize)))
            first = first[:_HEAD]
            data = first.tobytes()
            self._heads[id(tensor)] = None if data == data[: tensor.dtype.itemsize] * len(first) else data
        return self._heads[id(tensor)]


class _ByShape:
    def __init__(self, entries: Iterable[Entry]) -> None:
        self._found: dict[tuple[int, ...], list[Entry]] = {}
        self.add(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._found.setdefault(entry[1].shape, []).append(entry)

    def of(self, tensor: LazyTensor) -> list[Entry]:
        """Those of the shape of *tensor*."""
        return self._found.get(tensor.shape, [])


def _unnumbered(tensor: LazyTensor) -> bool:
    return tensor.ndim > 1 and not any(char.isdigit() for char in tensor.name)


def _equal(one: LazyTensor, two: LazyTensor) -> bool:
    chunks = zip(one.flat_chunks(), two.flat_chunks(), strict=True)
    return all(first.tobytes() == second.tobytes() for (_, first), (_, second) in chunks)
