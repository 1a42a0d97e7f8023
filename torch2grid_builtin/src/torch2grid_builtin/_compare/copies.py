"""Tensors that hold what another one holds, found by their weights where names do not say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from torch2grid_builtin._compare.delta import Delta
from torch2grid_builtin._compare.match import Match
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.text import visible

_HEAD = 4096  # weights that are compared before whole tensors are
_CLOSE = 1e-6

Moved = list[tuple[Literal["swapped", "holds"], str]]


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
            if name == own or candidate.dtype != tensor.dtype or candidate.size < 2 or tensor.repeats or candidate.repeats:
                continue
            if squares is not None and norm is not None and abs(squares - norm) > _CLOSE * max(squares, norm):
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


Entry = tuple[str, LazyTensor, float | None]  # a name, the tensor, and the sum of its squares where it is known


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
