"""What differs, each thing said as what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from torch2grid_builtin.compare.delta import Delta
from torch2grid_builtin.compare.match import Match, Pair, in_shape_of
from torch2grid_builtin.views.describing import shape_text
from torch2grid_builtin.views.units import ranges_text
from torch2grid_core import Checkpoint, LazyTensor, matrix_shape, visible

Kind = Literal["changed", "rounded", "dtype", "shape", "only_a", "only_b", "renamed", "swapped", "holds"]
_HEAD = 4096  # weights that are compared before whole tensors are
_CLOSE = 1e-6


@dataclass(frozen=True)
class Difference:
    """One thing that differs. name: as in B (in A, where B lacks it); text: what it is, in words."""

    kind: Kind
    name: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """Everything that is known of two checkpoints. deltas: name in B → figures, of pairs with one number of weights."""

    a: Checkpoint
    b: Checkpoint
    match: Match
    deltas: Mapping[str, Delta]
    differences: tuple[Difference, ...]
    tolerance: float = 0.0
    pairs: Mapping[str, Pair] = field(default_factory=dict)

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
    rounded = {name for name in changed if deltas[name].rounded}
    copies = _Copies(match, deltas, changed - rounded)
    found: list[Difference] = []
    for name, pair in pairs.items():
        if name in copies.said:
            found += copies.said[name]
            continue
        if pair.reshaped:
            found.append(Difference("shape", name, _reshaped(pair, deltas.get(name))))
        if pair.a.dtype != pair.b.dtype and not ignore_dtype:
            found.append(Difference("dtype", name, f"{pair.a.dtype.name} → {pair.b.dtype.name}"))
        if name in rounded:
            if not ignore_dtype:
                side, dtype = ("B", pair.b.dtype) if deltas[name].rounded == "B" else ("A", pair.a.dtype)
                other = "A" if side == "B" else "B"
                found.append(Difference("rounded", name, f"{side} is {other} rounded to {dtype.name}"))
        elif name in changed:
            found.append(Difference("changed", name, describe(pair, deltas[name])))
    found += copies.renamed
    found += [Difference("only_a", each.name, _tensor(each)) for each in match.only_a if each.name not in copies.gone]
    found += [Difference("only_b", each.name, _tensor(each)) for each in match.only_b if each.name not in copies.gone]
    return Comparison(a, b, match, deltas, tuple(found), tolerance, pairs)


def describe(pair: Pair, delta: Delta) -> str:
    """What changed in one tensor, in a few words: one weight, a row, a few directions, or how much."""
    rows, columns = matrix_shape(pair.b.shape)
    if delta.changed == 1 and delta.largest is not None and not delta.broken:
        index, before, after = delta.largest
        place = ", ".join(str(int(each)) for each in np.unravel_index(index, pair.b.shape)) if pair.b.shape else ""
        return f"one weight: [{place}] {before:.6g} → {after:.6g}"
    notes = []
    if delta.broken:
        notes.append(f"{delta.broken:,} became, or were, NaN or Inf")
    if rows > 1 and delta.rows is not None and len(delta.rows) < rows:
        notes.append(f"{'row' if len(delta.rows) == 1 else 'rows'} {ranges_text(delta.rows)} of {rows:,}")
    elif columns > 1 and delta.columns is not None and len(delta.columns) < columns:
        notes.append(f"{'column' if len(delta.columns) == 1 else 'columns'} {ranges_text(delta.columns)} of {columns:,}")
    elif delta.rank is not None and delta.rank.directions is not None and 4 * delta.rank.directions <= min(rows, columns):
        notes.append(f"low rank: {delta.rank.directions} directions hold 99.9 % of Δ")
    share = delta.changed / delta.weights
    notes.append("every weight" if share == 1 else f"{delta.changed:,} weights ({share:.3%})")
    return ", ".join(notes)


def _reshaped(pair: Pair, delta: Delta | None) -> str:
    text = f"{shape_text(pair.a.shape)} → {shape_text(pair.b.shape)}"
    how = in_shape_of(pair)
    if delta is None or how is None:
        return f"{text}, not compared"
    return f"{text}, {how[1]}, " + ("the same weights" if not delta.changed else "other weights")


def _tensor(tensor: LazyTensor) -> str:
    text = f"{shape_text(tensor.shape)} {tensor.dtype.name}"
    return f"{text}, {visible(tensor.note)}" if tensor.note else text


class _Copies:
    """Tensors of B that hold what another tensor of A held. said: name in B → what to say instead of "changed".

    Candidates have one shape and the same norm; their first weights are compared, then all of them. A tensor of one number
    throughout (zeros, ones) is nobody's copy.
    """

    def __init__(self, match: Match, deltas: Mapping[str, Delta], changed: set[str]) -> None:
        self.said: dict[str, list[Difference]] = {}
        self.renamed: list[Difference] = []
        self.gone: set[str] = set()
        self._heads: dict[int, bytes | None] = {}
        pairs = {pair.name: pair for pair in match.pairs if pair.name in changed and not pair.reshaped}
        sources = [(pair.name, pair.a, deltas[name].squares_a) for name, pair in pairs.items()]
        extra = [(each.name, each, None) for each in match.only_a]
        self._by_shape: dict[tuple[int, ...], list[tuple[str, LazyTensor, float | None]]] = {}
        for entry in [*sources, *extra]:
            self._by_shape.setdefault(entry[1].shape, []).append(entry)
        held = {name: self._source(pair.b, deltas[name].squares_b, name) for name, pair in pairs.items()}
        for name, source in held.items():
            if source is None:
                continue
            if held.get(source) == name:
                if name < source:
                    text = f"swapped with {visible(source)}: each holds what the other held"
                    self.said[name] = [Difference("swapped", name, text)]
                else:
                    self.said[name] = []  # said once, by the other
            else:
                self.said[name] = [Difference("holds", name, f"holds what {visible(source)} of A held")]
        for tensor in match.only_b:
            source = self._source(tensor, None, "")
            if source is not None and source not in self.gone and any(each.name == source for each in match.only_a):
                self.renamed.append(Difference("renamed", tensor.name, f"{visible(source)} of A, the same weights"))
                self.gone |= {tensor.name, source}

    def _source(self, tensor: LazyTensor, squares: float | None, own: str) -> str | None:
        """The tensor of A whose weights *tensor* of B holds, other than its own."""
        for name, candidate, norm in self._by_shape.get(tensor.shape, ()):
            if name == own or candidate.dtype != tensor.dtype or candidate.size < 2:
                continue
            if squares is not None and norm is not None and abs(squares - norm) > _CLOSE * max(squares, norm):
                continue
            head = self._head(tensor)
            if head is not None and head == self._head(candidate) and _equal(tensor, candidate):
                return name
        return None

    def _head(self, tensor: LazyTensor) -> bytes | None:
        """The first weights as bytes; ``None`` where the tensor begins with one number only."""
        if id(tensor) not in self._heads:
            _, first = next(iter(tensor.flat_chunks(_HEAD * tensor.dtype.itemsize)))
            first = first[:_HEAD]
            data = first.tobytes()
            self._heads[id(tensor)] = None if data == data[: tensor.dtype.itemsize] * len(first) else data
        return self._heads[id(tensor)]


def _equal(one: LazyTensor, two: LazyTensor) -> bool:
    if one.contiguous and two.contiguous:
        chunks = zip(one.flat_chunks(), two.flat_chunks(), strict=True)
        return all(first.tobytes() == second.tobytes() for (_, first), (_, second) in chunks)
    if one.contiguous:
        one, two = two, one
    ((_, whole),) = one.flat_chunks()  # what is not contiguous comes in one piece
    return all(whole[start : start + len(part)].tobytes() == part.tobytes() for start, part in two.flat_chunks())


def totals(deltas: Mapping[str, Delta], counted: Sequence[str]) -> Delta:
    """All tensors named as one vector; places and ranks have no meaning there."""
    each = [deltas[name] for name in counted]
    best = max(each, key=lambda delta: delta.absmax, default=None)
    return Delta(
        weights=sum(delta.weights for delta in each),
        changed=sum(delta.changed for delta in each),
        broken=sum(delta.broken for delta in each),
        squares_a=sum(delta.squares_a for delta in each),
        squares_b=sum(delta.squares_b for delta in each),
        squares=sum(delta.squares for delta in each),
        absmax=best.absmax if best else 0.0,
        largest=None,
        rows=None,
        columns=None,
        rounded="",
        rank=None,
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The report as plain data."""
    counted = [name for name in comparison.deltas if name not in comparison.b.aliases]
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
                **({"name_in_a": pair.a.name} if pair.renamed else {}),
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
        "tied": dict(comparison.match.tied),
        "only_in_a": [each.name for each in comparison.match.only_a],
        "only_in_b": [each.name for each in comparison.match.only_b],
        "differences": [{"kind": each.kind, "name": each.name, "text": each.text} for each in comparison.differences],
        "tensors": tensors,
    }


def _number(value: float | None) -> float | None:
    return value if value is None or np.isfinite(value) else None  # JSON has no infinity


def _sums(delta: Delta) -> dict[str, Any]:
    return {
        "weights": delta.weights,
        "changed": delta.changed,
        "changed_share": delta.changed / delta.weights if delta.weights else 0.0,
        "relative_l2": _number(delta.relative),
        "cosine": delta.cosine,
        "l2_a": _number(delta.norm_a),
        "l2_b": _number(delta.norm_b),
        "l2_delta": _number(delta.norm),
        "max_abs_delta": _number(delta.absmax),
        "nan_or_inf": delta.broken,
    }


def _figures(delta: Delta, pair: Pair) -> dict[str, Any]:
    figures = _sums(delta)
    if delta.largest is not None:
        index, before, after = delta.largest
        place = [int(each) for each in np.unravel_index(index, pair.b.shape)]
        figures["largest"] = {"index": place, "a": _number(before), "b": _number(after)}
    if delta.rank is not None:
        figures["stable_rank"] = delta.rank.stable
        figures["directions"] = delta.rank.directions
    if delta.rounded:
        figures["rounded"] = delta.rounded
    return figures
