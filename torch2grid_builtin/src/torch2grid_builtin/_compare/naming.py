"""Two checkpoints under one set of names: by what a person states, and by what is known of the libraries that wrote them.

What is stored under other names, in another order, or together with others, is given to the comparison as tensors that are read
from what is stored: nothing is written, and nothing is read here but a few rows where no configuration says how long a head is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch2grid_builtin._compare.equal import equal
from torch2grid_builtin._compare.facts import facts_of
from torch2grid_builtin._compare.forms import Form, Grouped, Index, Rotary, Rows, Transposed, Unfit, through
from torch2grid_builtin._compare.maps import ANYWHERE, GROUPED, IN_TURN, MAPS, Map, Rule, filled, pattern
from torch2grid_builtin._compare.match import Match, Pair, shared_prefix, spelled
from torch2grid_builtin._compare.names_file import Named
from torch2grid_core import Checkpoint, LazyTensor, UsageError
from torch2grid_core.text import counted, visible

_EXPERTS = 1 << 14
_HEADS = (128, 64, 256, 96, 80, 32, 192, 112, 16)  # rows of a head that models have, the usual ones first
_TRIED = 32  # tensors of which one may tell
_LEAD = 64  # rows that are read, at least, to find out


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
    one = _Side(a, [name for name in a if name not in taken_a and not (stated and name in stated.one)])
    two = _Side(b, [name for name in b if name not in taken_b and not (stated and name in stated.two)])
    found = _Found(one, two)
    found.match()
    if stated is not None:
        found.add_stated(stated)
    if not found.pairs:
        return None
    return found.result(stated)


@dataclass(frozen=True)
class _Part:
    """A piece of a stored tensor: its common name, the words of its forms, and the rule."""

    key: str
    stored: str
    words: tuple[str, ...] = ()
    rule: Rule | None = None
    place: int = -1


class _Side:
    """The leftovers of one checkpoint, as pieces under common names."""

    def __init__(self, checkpoint: Checkpoint, left: Sequence[str]) -> None:
        self.checkpoint, self.left = checkpoint, left
        self.facts = facts_of(checkpoint)
        self.map = _map_of(checkpoint)
        self.pairs = self.map is not None and self.map.pairs(checkpoint.metadata)
        parts = [part for name in left for part in self._parts(name)]
        often = Counter(part.key for part in parts)
        self.parts = {part.key: part for part in parts if often[part.key] == 1}

    def _parts(self, name: str) -> Iterable[_Part]:
        tensor = self.checkpoint[name]
        bare = spelled(name)
        rules = (*(self.map.rules if self.map else ()), *ANYWHERE.rules)
        for rule in rules:
            match = pattern(rule.stored).match(bare)
            if match is None:
                continue
            held = {key: value for key, value in match.groupdict().items() if value is not None}
            for piece in rule.pieces:
                words = tuple(word for word in piece.forms if word != "rotary" or self.pairs)
                key = filled(piece.name, held)
                if "expert" not in words:
                    yield _Part(key, name, words, rule)
                elif tensor.ndim == 3 and tensor.shape[0] <= _EXPERTS:
                    for place in range(tensor.shape[0]):
                        yield _Part(key.replace("{e}", str(place)), name, words, rule, place)
            return
        yield _Part(bare, name)

    def rekeyed(self, prefix: str) -> None:
        """The same without *prefix*."""
        self.parts = {key.removeprefix(prefix): replace(part, key=key.removeprefix(prefix)) for key, part in self.parts.items()}

    @property
    def called(self) -> str:
        return self.map.said if self.map else ANYWHERE.said


def _map_of(checkpoint: Checkpoint) -> Map | None:
    """The map whose names a checkpoint has."""
    names = [spelled(name) for name in checkpoint]

    def has(what: str) -> bool:
        return bool(what) and any(pattern(what).match(name) for name in names)

    return next((each for each in MAPS if has(each.sign) and not has(each.without)), None)


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
            raise UsageError(f"{names[0].where.partition(':')[0]}: nothing of it is in both files, such as {told}")
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

    def __init__(self, one: _Side, two: _Side) -> None:
        self.one, self.two = one, two
        self.pairs: dict[str, _Pair] = {}
        self.by_map: set[str] = set()
        self.head: int | None = None
        self.head_said = ""
        self.notes: list[str] = []
        self._given_up = False
        self.common: list[str] = []
        self.pieces: dict[str, dict[str, list[str]]] = {"a": {}, "b": {}}  # stored name → the pairs that are pieces of it

    def match(self) -> None:
        for side, other in ((self.one, self.two), (self.two, self.one)):
            left = {key: part.stored for key, part in side.parts.items() if key not in other.parts}
            prefix = shared_prefix(left, {key: part.stored for key, part in other.parts.items() if key not in side.parts})
            if prefix:
                side.rekeyed(prefix)
        self.common = [key for key in self.two.parts if key in self.one.parts]
        if not any(self.one.parts[key].rule or self.two.parts[key].rule for key in self.common):
            return
        for key in self.common:
            self._add(key, self.one.parts[key], self.two.parts[key])
        self._rest()

    def _add(self, key: str, one: _Part, two: _Part) -> None:
        words = one.words, two.words
        if one.words[-1:] == two.words[-1:] == ("rotary",):  # both in pairs: there is nothing to do
            words = one.words[:-1], two.words[:-1]
        try:
            forms_a, a = self._formed(self.one, one, words[0], self.two, two)
            forms_b, b = self._formed(self.two, two, words[1], self.one, one)
        except Unfit as error:
            self.notes.append(f"{visible(key, 80)}: {error}")
            return
        if a.shape != b.shape and a.shape == b.shape[::-1] and ("expert" in one.words) != ("expert" in two.words):
            if "expert" in one.words:
                forms_a, a = (*forms_a, Transposed()), Transposed().of(a)
            else:
                forms_b, b = (*forms_b, Transposed()), Transposed().of(b)
        whole = [part.stored for part in (two, one) if not _is_part(part.words)]
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
                    forms = (
                        Rotary(self._head_of(self.two if back else self.one, a, b, how == "rotary back"), how == "rotary back"),
                    )
                a, b = (a, through(b, forms)) if back else (through(a, forms), b)
            except Unfit as error:
                raise UsageError(f"--names: {visible(first)}: {error}") from error
            self.pairs[second] = _Pair((Origin(first, () if back else forms), Origin(second, forms if back else ())), (a, b))

    # Forms.

    def _formed(
        self, side: _Side, part: _Part, words: Sequence[str], other: _Side, partner: _Part
    ) -> tuple[tuple[Form, ...], LazyTensor]:
        tensor = side.checkpoint[part.stored]
        if words and tensor.taken is not None:
            raise Unfit("a slice of a tensor is not put together otherwise")
        forms: tuple[Form, ...] = ()
        for word in words:
            try:
                form = self._form(word, tensor, side, part, other, partner)
            except Unfit:
                if word == "rotary":  # it is compared as it is, and differs
                    form = Rotary(2)
                else:
                    raise
            steps = form if isinstance(form, tuple) else (form,)
            tensor, forms = through(tensor, steps), (*forms, *steps)
        return forms, tensor

    def _form(
        self, word: str, tensor: LazyTensor, side: _Side, part: _Part, other: _Side, partner: _Part
    ) -> Form | tuple[Form, ...]:
        if word == "turned":
            return Transposed()
        if word == "expert":
            turned = self._turned(side, part)
            return (Index(part.place), Transposed()) if turned else Index(part.place)
        if word in ("gate", "up"):
            return self._half(word, tensor, side)
        if word in ("q", "k", "v"):
            return self._third(word, tensor, side, part, other)
        return Rotary(self._head_of(side, tensor, other.checkpoint[partner.stored], False))

    def _turned(self, side: _Side, part: _Part) -> bool:
        """Whether a stack has its matrices as [in, out]: of gate and up in one, told by the way back that belongs to it."""
        for one, two in (("gate_up_proj", "down_proj"), ("w13_weight", "w2_weight")):
            pair = (
                (part.stored, part.stored.replace(one, two))
                if one in part.stored
                else (part.stored.replace(two, one), part.stored)
            )
            if pair[0] != pair[1] and all(name in side.checkpoint for name in pair):
                gate, down = (side.checkpoint[name].shape for name in pair)
                if len(gate) == len(down) == 3:
                    return gate[1] == down[2] and gate[2] == 2 * down[1]
        return False

    def _half(self, word: str, tensor: LazyTensor, side: _Side) -> Form:
        rows = tensor.shape[0] if tensor.ndim else 0
        if rows % 2 or not rows:
            raise Unfit(f"{rows} rows are not gate and up")
        kinds = {each.kind for each in (self.one.facts, self.two.facts) if each}
        if kinds & {*IN_TURN}:
            return Rows(int(word == "up"), rows, rows, step=2)
        half = rows // 2
        return Rows(0, half, rows) if word == "gate" else Rows(half, rows, rows)

    def _third(self, word: str, tensor: LazyTensor, side: _Side, part: _Part, other: _Side) -> Form:
        rows = tensor.shape[0] if tensor.ndim else 0
        stated = [each for each in (side.facts, other.facts) if each is not None]
        facts = next((each for each in stated if each.rows == rows), None)
        kind = next((each.kind for each in stated if each.kind), "")
        grouped = kind in GROUPED if kind else bool(part.rule and part.rule.grouped)
        if grouped and not (facts is not None and facts.one_kv):
            if facts is None:
                raise Unfit(f"{rows} rows of q, k and v in groups, and no configuration that says how many heads")
            each = facts.heads // facts.kv_heads
            at = {"q": (0, each), "k": (each, each + 1), "v": (each + 1, each + 2)}[word]
            return Grouped(facts.kv_heads, each + 2, facts.head, *at)
        sizes = [facts.heads * facts.head, facts.kv_heads * facts.head] if facts else self._sizes(part, other, rows)
        ends = [0, sizes[0], sizes[0] + sizes[1], sizes[0] + 2 * sizes[1]]
        place = "qkv".index(word)
        return Rows(ends[place], ends[place + 1], rows)

    def _sizes(self, part: _Part, other: _Side, rows: int) -> list[int]:
        """Rows of q and of k, as the other file has them; a third each where it does not."""
        found = []
        for key, each in (self.one if other is self.two else self.two).parts.items():
            if each.stored == part.stored:
                partner = other.parts.get(key)
                if partner is not None and not _is_part(partner.words) and other.checkpoint[partner.stored].ndim:
                    found.append(other.checkpoint[partner.stored].shape[0])
        if len(found) == 3 and sum(found) == rows and found[1] == found[2]:
            return found[:2]
        if rows % 3:
            raise Unfit(f"{rows} rows of q, k and v, and no configuration that says how many heads")
        return [rows // 3, rows // 3]

    def _head_of(self, side: _Side, tensor: LazyTensor, partner: LazyTensor, back: bool) -> int:
        """Rows of a head: as it is stated; where nothing states it, that with which the two are the same."""
        rows = tensor.shape[0] if tensor.ndim else 0
        other = self.two if side is self.one else self.one
        for facts in (side.facts, other.facts):
            if facts is not None and facts.head % 2 == 0 and rows % facts.head == 0:
                self.head, self.head_said = facts.head, f"stated by {facts.said}"
                return facts.head
        if self.head is not None and rows % self.head == 0:
            return self.head
        fitting = heads_of(rows)
        if not fitting:
            raise Unfit(f"{rows} rows are no heads")
        if not self._given_up:
            self._given_up = True
            self._find_head([(tensor, partner, back)])
            if self.head is not None and rows % self.head == 0:
                return self.head
        self.head_said = "not known: nothing states it, and none of those tried fits"
        return fitting[0]

    def _find_head(self, tried: list[tuple[LazyTensor, LazyTensor, bool]]) -> None:
        """The length with which matrices in pairs are the same as their partners, from the first of which that is so."""
        for key in self.common:
            one, two = self.one.parts[key], self.two.parts[key]
            for side, part, other, partner in ((self.one, one, self.two, two), (self.two, two, self.one, one)):
                if part.words == ("rotary",) and not partner.words:
                    tried.append((side.checkpoint[part.stored], other.checkpoint[partner.stored], False))
        for tensor, partner_tensor, back in [each for each in tried if each[0].ndim > 1][:_TRIED]:
            if tensor.shape == partner_tensor.shape:
                fitting = heads_of(tensor.shape[0])
                found = [head for head in fitting if _fits(tensor, partner_tensor, head, back)]
                if len(found) == 1:  # of equal rows any length fits, and says nothing
                    self.head, self.head_said = found[0], "found by trying: nothing states it"
                    return

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
                            f"--names: {visible(stored)} is the name of another tensor, too; state what that one is"
                        )
                    tensors.setdefault(stored, tensor)
            sides.append((side.checkpoint.with_tensors(tensors), {n: o for n, o in origins.items() if o != Origin(n)}))
        whole = self.one.checkpoint, self.two.checkpoint
        return Translation(sides[0][0], sides[1][0], whole, sides[0][1], sides[1][1], tuple(self._said(stated)), self.head)

    def _said(self, stated: _Stated | None) -> Iterable[str]:
        if stated is not None:
            yield stated.said
            if stated.unused:
                few = "; ".join(map(str, stated.unused[:3]))
                yield f"not in both files: {counted(len(stated.unused), 'line')} of it ({few})"
        if self.by_map:
            yield f"{len(self.by_map):,} by built-in maps: A has {self.one.called} names, B {self.two.called}"
        if self.head is not None or self.head_said:
            yield f"{'heads' if self.head is None else f'heads of {self.head} rows'}: {self.head_said}"
        for note in self.notes[:3]:
            yield f"left as it is: {note}"


def _is_part(words: Sequence[str]) -> bool:
    return bool({*words} & {"q", "k", "v", "gate", "up", "expert"})


def heads_of(rows: int) -> list[int]:
    """Lengths that heads of so many rows can have, the usual ones first; of two rows, any order is the same."""
    every = [head for head in range(4, min(rows, 512) + 1, 2) if rows % head == 0]
    return [*(head for head in _HEADS if head in every), *(head for head in every if head not in _HEADS)]


def _fits(tensor: LazyTensor, partner: LazyTensor, head: int, back: bool) -> bool:
    """Whether the first heads are the same once they are permuted."""
    lead = slice(0, min(head * -(-_LEAD // head), tensor.shape[0]))
    return equal(Rotary(head, back).of(tensor.view(lead)), partner.view(lead))
