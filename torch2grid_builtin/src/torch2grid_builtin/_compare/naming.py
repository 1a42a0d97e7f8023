"""Two checkpoints under one set of names: by what a person states, and by what is known of the libraries that wrote them.

What is stored under other names, in another order, or together with others, is given to the comparison as tensors that are read
from what is stored: nothing is written, and nothing is read here but a few rows where no configuration says how long a head is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch2grid_builtin._compare.forming import Forming
from torch2grid_builtin._compare.forms import Form, Grouped, Index, Rotary, Rows, Transposed, Unfit, through
from torch2grid_builtin._compare.match import Match, Pair, computed_apart, match, shared_prefix
from torch2grid_builtin._compare.names_file import Named
from torch2grid_builtin._compare.sides import Part, Side, is_part
from torch2grid_core import Checkpoint, LazyTensor, UsageError
from torch2grid_core.text import counted, visible


@dataclass(frozen=True)
class Origin:
    """What a compared tensor is read from: the stored name, and the forms on the way."""

    stored: str
    forms: tuple[Form, ...] = ()

    @property
    def permuted(self) -> bool:
        """True where its rows are in another order than the stored ones."""
        return any(isinstance(form, Rotary) for form in self.forms)

    @property
    def turned(self) -> bool:
        return any(isinstance(form, Transposed) for form in self.forms)

    @property
    def part(self) -> bool:
        """True where the stored tensor holds others, too."""
        return any(isinstance(form, (Rows, Grouped, Index)) for form in self.forms)

    @property
    def said(self) -> str:
        """``layers.0.attention.wq.weight, rows of each head of 16 permuted``."""
        return ", ".join(filter(None, [visible(self.stored), self.how]))

    @property
    def how(self) -> str:
        """The forms in words."""
        return ", ".join(form.said for form in self.forms)


@dataclass(frozen=True)
class Translation:
    """Two checkpoints under one set of names.

    of_a, of_b: name in *a* or *b* → where it is from, of what is not as it is stored. stored: both as they were opened. said:
    which names were taken for which, and by what. head: rows of a head, where it mattered.
    """

    a: Checkpoint
    b: Checkpoint
    stored: tuple[Checkpoint, Checkpoint]
    of_a: Mapping[str, Origin] = field(default_factory=dict)
    of_b: Mapping[str, Origin] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    head: int | None = None


def origins_of(pair: Pair, translation: Translation | None) -> tuple[Origin, Origin]:
    """What both tensors of *pair* are read from."""
    one, two = (translation.of_a, translation.of_b) if translation is not None else ({}, {})
    return one.get(pair.a.name, Origin(pair.a.name)), two.get(pair.b.name, Origin(pair.b.name))


def matched(a: Checkpoint, b: Checkpoint, names: Sequence[Named] = ()) -> tuple[Match, Translation | None]:
    """What belongs together: by the names alone, else under one set of names.

    Raises ``UsageError`` where nothing of *names* is there, or two tensors would have one name.
    """
    found, translation = match(a, b), None
    if names or (found.only_a and found.only_b):
        translation = translated(a, b, found, names)
    if translation is not None:
        found = computed_apart(match(translation.a, translation.b))
    return found, translation


def translated(a: Checkpoint, b: Checkpoint, first: Match, names: Sequence[Named] = ()) -> Translation | None:
    """Both under one set of names; ``None`` where no rule finds anything.

    Args:
        first: what belongs together by name alone; only what is left over there is looked at.
        names: what a person states, before anything else.

    Raises:
        UsageError: nothing of *names* is there, or two tensors would have one name.
    """
    stated = _Stated(a, b, names) if names else None
    taken_a = {pair.a.name for pair in first.pairs}
    taken_b = {pair.b.name for pair in first.pairs}
    if stated is not None:
        for pair in first.pairs:  # what is stated goes before what the names alone say
            if pair.a.name in stated.one or pair.b.name in stated.two:
                taken_a.discard(pair.a.name)
                taken_b.discard(pair.b.name)
    one = Side(a, [name for name in a if name not in taken_a and not (stated and name in stated.one)])
    two = Side(b, [name for name in b if name not in taken_b and not (stated and name in stated.two)])
    found = _Found(one, two)
    found.match()
    if stated is not None:
        found.add_stated(stated)
    if not found.pairs:
        return None
    return found.result(stated)


class _Stated:
    """What a person states, read in the direction in which more of it is there. one, two: name in *a*, in *b* → the other."""

    def __init__(self, a: Checkpoint, b: Checkpoint, names: Sequence[Named]) -> None:
        ways = [_stated_of(here, names) for here in (a, b)]
        fits = [sum(new in there for new, _ in way.values()) for way, there in zip(ways, (b, a), strict=True)]
        self.back = fits[1] > fits[0]
        there, way = (a, ways[1]) if self.back else (b, ways[0])
        known = {old: (new, named) for old, (new, named) in way.items() if new in there}
        if not known:
            told = str(names[0])
            raise UsageError(
                f"{names[0].where.partition(':')[0]}: none of its pairs of names fits the two files; the first is {told}"
            )
        news = Counter(new for new, _ in known.values())
        twice = next((new for new, count in news.items() if count > 1), None)
        if twice is not None:
            olds = [old for old, (new, _) in known.items() if new == twice][:2]
            named = known[olds[1]][1]
            raise UsageError(f"{named.where}: {visible(olds[0])} and {visible(olds[1])} would both be {visible(twice)}")
        self.unused = [each for each in names if not any(named is each for _, named in known.values())]
        pairs = [(old, new) if not self.back else (new, old) for old, (new, _) in known.items()]
        self.one = dict(pairs)
        self.two = {second: first for first, second in pairs}
        self.how = {(old if not self.back else new): named.how for old, (new, named) in known.items()}
        self.said = f"{len(known):,} by {names[0].where.partition(':')[0]}"


def _stated_of(checkpoint: Checkpoint, names: Sequence[Named]) -> dict[str, tuple[str, Named]]:
    """Name → its new name and the line that says so; whole names before patterns."""
    whole = {each.old: each for each in names if isinstance(each.old, str)}
    patterns = [each for each in names if not isinstance(each.old, str)]
    found: dict[str, tuple[str, Named]] = {}
    for name in checkpoint:
        for each in (whole[name],) if name in whole else patterns:
            new = each.of(name)
            if new is not None:
                found[name] = (new, each)
                break
    return found


@dataclass(frozen=True)
class _Pair:
    origins: tuple[Origin, Origin]
    tensors: tuple[LazyTensor, LazyTensor]


class _Found:
    """Pieces of both sides that belong together. pairs: name of a pair → where both are from, and both tensors."""

    def __init__(self, one: Side, two: Side) -> None:
        self.one, self.two = one, two
        self.pairs: dict[str, _Pair] = {}
        self.by_map: set[str] = set()
        self.forming = Forming(one, two)
        self.notes: list[str] = []
        self.pieces: dict[str, dict[str, list[str]]] = {"a": {}, "b": {}}  # stored name → the pairs that are pieces of it

    def match(self) -> None:
        for side, other in ((self.one, self.two), (self.two, self.one)):
            left = {key: part.stored for key, part in side.parts.items() if key not in other.parts}
            prefix = shared_prefix(left, {key: part.stored for key, part in other.parts.items() if key not in side.parts})
            if prefix:
                side.rekeyed(prefix)
        common = self.forming.common = [key for key in self.two.parts if key in self.one.parts]
        if not any(self.one.parts[key].rule or self.two.parts[key].rule for key in common):
            return
        for key in common:
            self._add(key, self.one.parts[key], self.two.parts[key])
        self._rest()

    def _add(self, key: str, one: Part, two: Part) -> None:
        words = one.words, two.words
        if one.words[-1:] == two.words[-1:] == ("rotary",):  # both in pairs: there is nothing to do
            words = one.words[:-1], two.words[:-1]
        try:
            forms_a, a = self.forming.formed(self.one, one, words[0], self.two, two)
            forms_b, b = self.forming.formed(self.two, two, words[1], self.one, one)
        except Unfit as error:
            self.notes.append(f"{visible(key, 80)}: {error}")
            return
        if a.shape != b.shape and a.shape == b.shape[::-1] and ("expert" in one.words) != ("expert" in two.words):
            if "expert" in one.words:
                forms_a, a = (*forms_a, Transposed()), Transposed().of(a)
            else:
                forms_b, b = (*forms_b, Transposed()), Transposed().of(b)
        whole = [part.stored for part in (two, one) if not is_part(part.words)]
        name = whole[0] if whole else key
        if name in self.pairs:
            name = key
        clash = [name in side.checkpoint and name != part.stored for side, part in ((self.one, one), (self.two, two))]
        if name in self.pairs or any(clash):
            return
        self.pairs[name] = _Pair((Origin(one.stored, forms_a), Origin(two.stored, forms_b)), (a, b))
        if one.rule is not None or two.rule is not None:
            self.by_map.add(name)
        self.pieces["a"].setdefault(one.stored, []).append(name)
        self.pieces["b"].setdefault(two.stored, []).append(name)

    def _rest(self) -> None:
        """A stored tensor of which not all pieces have a partner is left over as a whole, and what it had is undone."""
        while True:
            gone = set()
            for place, (letter, side) in enumerate((("a", self.one), ("b", self.two))):
                pieces = Counter(part.stored for part in side.parts.values())
                for stored, names in self.pieces[letter].items():
                    expected = sum(math.prod(self.pairs[name].tensors[place].shape) for name in names)
                    if pieces[stored] != len(names) or expected != side.checkpoint[stored].size:
                        gone.update(names)
            if not gone:
                return
            for name in gone:
                for letter, origin in zip("ab", self.pairs.pop(name).origins, strict=True):
                    self.pieces[letter][origin.stored].remove(name)
                    if not self.pieces[letter][origin.stored]:
                        del self.pieces[letter][origin.stored]

    def add_stated(self, stated: _Stated) -> None:
        for first, second in stated.one.items():
            a, b = self.one.checkpoint[first], self.two.checkpoint[second]
            how, back = stated.how[first], stated.back
            forms: tuple[Form, ...] = ()
            try:
                if how == "transposed":
                    forms = (Transposed(),)
                elif how:
                    head = self.forming.head_of(self.two if back else self.one, a, b, how == "rotary back")
                    forms = (Rotary(head, how == "rotary back"),)
                a, b = (a, through(b, forms)) if back else (through(a, forms), b)
            except Unfit as error:
                raise UsageError(f"--names: {visible(first)}: {error}") from error
            self.pairs[second] = _Pair((Origin(first, () if back else forms), Origin(second, forms if back else ())), (a, b))

    # The two checkpoints.

    def result(self, stated: _Stated | None) -> Translation:
        sides = []
        for place, side in enumerate((self.one, self.two)):
            tensors: dict[str, LazyTensor] = {}
            origins: dict[str, Origin] = {}
            of: dict[str, list[str]] = {}
            for name, pair in self.pairs.items():
                of.setdefault(pair.origins[place].stored, []).append(name)
            for stored, tensor in side.checkpoint.items():
                for name in of.get(stored, ()):
                    origins[name] = self.pairs[name].origins[place]
                    tensors[name] = replace(self.pairs[name].tensors[place], name=name)
                if stored not in of:
                    clash = stored in self.pairs
                    if clash:
                        raise UsageError(
                            f"--names: {visible(stored)} is also the name of another tensor; give that one a new name, too"
                        )
                    tensors.setdefault(stored, tensor)
            sides.append((side.checkpoint.with_tensors(tensors), {n: o for n, o in origins.items() if o != Origin(n)}))
        whole = self.one.checkpoint, self.two.checkpoint
        return Translation(
            sides[0][0], sides[1][0], whole, sides[0][1], sides[1][1], tuple(self._said(stated)), self.forming.head
        )

    def _said(self, stated: _Stated | None) -> Iterable[str]:
        if stated is not None:
            yield stated.said
            if stated.unused:
                few = "; ".join(map(str, stated.unused[:3]))
                yield f"not in both files: {counted(len(stated.unused), 'line')} of it ({few})"
        if self.by_map:
            yield f"{len(self.by_map):,} by built-in maps: A has {self.one.called} names, B {self.two.called}"
        head, said = self.forming.head, self.forming.head_said
        if head is not None or said:
            yield f"{'heads' if head is None else f'heads of {head} rows'}: {said}"
        for note in self.notes[:3]:
            yield f"left as it is: {note}"
