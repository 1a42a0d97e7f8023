"""What differs, each thing said as what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from torch2grid_builtin._compare.copies import Copies
from torch2grid_builtin._compare.delta import Delta
from torch2grid_builtin._compare.match import Match, Pair, in_shape_of
from torch2grid_builtin._compare.not_finite import together, value_json, value_text
from torch2grid_builtin._views.describing import shape_text
from torch2grid_builtin._views.units import ranges_text
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.grids import matrix_shape
from torch2grid_core.text import visible

Kind = Literal["changed", "rounded", "dtype", "shape", "only_a", "only_b", "renamed", "swapped", "holds"]


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
    """

    a: Checkpoint
    b: Checkpoint
    match: Match
    deltas: Mapping[str, Delta]
    differences: tuple[Difference, ...]
    tolerance: float = 0.0
    pairs: Mapping[str, Pair] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)

    @property
    def counted(self) -> tuple[str, ...]:
        """The pairs that were compared, without those that are part of another one on both sides."""
        return tuple(name for name in self.deltas if name not in self.match.covered)

    @property
    def tied(self) -> dict[str, str]:
        """Name that only one side has → the tensor there that it is another name, or a copy, of."""
        return {**self.match.tied, **self.copies}

    @property
    def same(self) -> bool:
        """True where nothing differs but names that wrappers made."""
        return not self.differences


def find_differences(
    a: Checkpoint, b: Checkpoint, match: Match, deltas: Mapping[str, Delta], tolerance: float, ignore_dtype: bool
) -> Comparison:
    """Put together what a pass found. Reads the tensors again that may be copies of others, and no more."""
    pairs = {pair.name: pair for pair in match.pairs}
    changed = {name for name, delta in deltas.items() if delta.changed}
    rounded = {name for name in changed if deltas[name].rounded and not deltas[name].broken}  # 1e6 that became Inf is more
    copies = Copies(a, b, match, deltas, changed - rounded)
    found: list[Difference] = []
    for name, pair in pairs.items():
        if pair.reshaped:
            found.append(Difference("shape", name, _reshaped(pair, deltas.get(name))))
        if pair.a.dtype != pair.b.dtype and not ignore_dtype:
            found.append(Difference("dtype", name, f"{pair.a.dtype.name} → {pair.b.dtype.name}"))
        if name in copies.moved:
            found += [Difference(kind, name, text) for kind, text in copies.moved[name]]
        elif name in rounded:
            if not ignore_dtype:
                found.append(Difference("rounded", name, _rounded(pair, deltas[name])))
        elif name in changed:
            owner = match.twins.get(name)
            text = describe(pair, deltas[name]) if owner is None else f"tied to {visible(owner)}, the same change"
            found.append(Difference("changed", name, text))
    found += [Difference("renamed", new, f"{visible(old)} of A, the same weights") for new, old in copies.renamed.items()]
    gone = {*copies.renamed.values(), *copies.renamed, *copies.twice}
    found += [Difference("only_a", each.name, _only(each, b)) for each in match.only_a if each.name not in gone]
    found += [Difference("only_b", each.name, _only(each, a)) for each in match.only_b if each.name not in gone]
    return Comparison(a, b, match, deltas, tuple(found), tolerance, pairs, copies.twice)


def describe(pair: Pair, delta: Delta) -> str:
    """What changed in one tensor, in a few words: one weight, a row, a few directions, or how much."""
    rows, columns = matrix_shape(pair.b.shape)
    one = delta.not_finite.first or delta.largest
    notes = []
    if delta.broken and delta.rounded:
        notes.append(_rounded(pair, delta))
    if delta.changed == 1 and one is not None:
        return ", ".join([*notes, f"one weight: {_place_text(pair, one)}"])
    if delta.broken:
        notes += delta.not_finite.changes(delta.weights)
        if delta.not_finite.first is not None:
            notes.append(f"first {_place_text(pair, delta.not_finite.first)}")
    if rows > 1 and delta.rows is not None and len(delta.rows) < rows:
        notes.append(f"{'row' if len(delta.rows) == 1 else 'rows'} {ranges_text(delta.rows)} of {rows:,}")
    elif columns > 1 and delta.columns is not None and len(delta.columns) < columns:
        notes.append(f"{'column' if len(delta.columns) == 1 else 'columns'} {ranges_text(delta.columns)} of {columns:,}")
    elif delta.rank is not None and delta.rank.directions is not None and 4 * delta.rank.directions <= min(rows, columns):
        few = "1 direction holds" if delta.rank.directions == 1 else f"{delta.rank.directions} directions hold"
        notes.append(f"low rank: {few} 99.9 % of Δ")
    share = delta.changed / delta.weights
    if delta.broken < delta.weights:
        notes.append("every weight" if share == 1 else f"{delta.changed:,} weights ({share:.3%})")
    finite = delta.of_finite()
    if delta.broken and finite.changed and np.isfinite(finite.relative):
        notes.append(f"‖Δ‖/‖A‖ {finite.relative:.3g} without them")
    return ", ".join(notes)


def _place_text(pair: Pair, one: tuple[int, Any, Any]) -> str:
    index, before, after = one
    place = ", ".join(str(int(each)) for each in np.unravel_index(index, pair.b.shape)) if pair.b.shape else ""
    return f"[{place}] {value_text(before)} → {value_text(after)}"


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
        rows=None,
        columns=None,
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
        tensors.append(
            {
                "name": name,
                **({"name_in_a": pair.a.name} if pair.a.name != name else {}),
                **({"name_in_b": pair.b.name} if pair.b.name != name else {}),
                **({"tied_to": comparison.match.twins[name]} if name in comparison.match.twins else {}),
                "shape": list(pair.b.shape),
                **({"shape_in_a": list(pair.a.shape)} if pair.reshaped else {}),
                "dtype": pair.b.dtype.name,
                **({"dtype_in_a": pair.a.dtype.name} if pair.a.dtype != pair.b.dtype else {}),
                **(_figures(delta, pair) if delta else {}),
                "differences": said.get(name, []),
            }
        )
    return {
        "format": "torch2grid compare 1",
        "a": comparison.a.source,
        "b": comparison.b.source,
        "same": comparison.same,
        "tolerance": comparison.tolerance,
        "total": {"tensors": len(counted), **_sums(total)},
        "wrappers": dict(comparison.match.wrappers),
        "spellings": dict(comparison.match.spellings),
        "tied": comparison.tied,
        "not_compared": [{"name": each.name, "only_in": each.side, "why": each.why} for each in comparison.match.apart],
        "only_in_a": [each.name for each in comparison.match.only_a],
        "only_in_b": [each.name for each in comparison.match.only_b],
        "differences": [{"kind": each.kind, "name": each.name, "text": each.text} for each in comparison.differences],
        "tensors": tensors,
    }


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
    figures = _sums(delta)
    for key, place in (("largest", delta.largest), ("first_nan_or_inf", delta.not_finite.first)):
        if place is not None:
            index = [int(each) for each in np.unravel_index(place[0], pair.b.shape)]
            figures[key] = {"index": index, "a": value_json(place[1]), "b": value_json(place[2])}
    if delta.rank is not None:
        figures["stable_rank"] = delta.rank.stable
        figures["directions"] = delta.rank.directions
    if delta.rounded:
        figures["rounded"] = delta.rounded
    return figures
