"""Which tensor of one checkpoint is which of another: by name, the names that wrappers change, and nothing else.

What is matched otherwise than by its whole name is said. Values never decide what is matched; they only tell, afterwards,
that a tensor holds what another one held (``findings``). Nothing here depends on which of the two comes first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch2grid_core import Checkpoint, LazyTensor

Key = Callable[[str], str]
# Why tensors are left out of a comparison without making the two different, as the choosing of tensors says it.
NO_WEIGHTS = ("bookkeeping", "empty")
# What DistributedDataParallel, torch.compile, Lightning and training scripts put before the names of a model.
PREFIXES = ("module.", "_orig_mod.", "model.")
# Components that torch.compile, FSDP and activation checkpointing put anywhere.
INFIXES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# torch.nn.utils.parametrizations → what torch.nn.utils.weight_norm and spectral_norm wrote before.
_PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.([^.]+)\.(original0|original1|original|0\._u|0\._v)$")
_OLD = {"original0": "_g", "original1": "_v", "original": "_orig", "0._u": "_u", "0._v": "_v"}
# TensorFlow's words for the weight and bias of a normalisation, which old BERT checkpoints keep.
_NORMALISATION = re.compile(r"norm|(^|[._])(ln|bn)[_\d]*$", re.IGNORECASE)
_GREEK = {"gamma": "weight", "beta": "bias"}
# Tables of a rotary embedding, which some libraries save.
_COMPUTED = re.compile(r"(^|\.)(rope\.freqs|freqs_cis|rotary_emb\.inv_freq|rope_freqs\.weight)$")
_NEARLY_ALL = 0.9
_DEEPEST = 4  # components of a prefix that one side has and the other has not


@dataclass(frozen=True)
class Pair:
    """One tensor in both checkpoints. name: as in *b*, or as in the one that has a name of its own for tied weights."""

    name: str
    a: LazyTensor
    b: LazyTensor

    @property
    def renamed(self) -> bool:
        """True where the names differ."""
        return self.a.name != self.b.name

    @property
    def reshaped(self) -> bool:
        """True where the shapes differ."""
        return self.a.shape != self.b.shape


@dataclass(frozen=True)
class Apart:
    """Something that only one file has, and that makes no difference. side: ``a`` or ``b``; why: what it is."""

    name: str
    side: str
    why: str


@dataclass(frozen=True)
class Match:
    """What belongs together, and both sides' leftovers.

    wrappers: what was taken off names; spellings: what else the two call differently; both with the number of tensors.
    tied: leftover name → the tensor of its checkpoint that holds the same numbers, which the other has under that name alone.
    twins: name of a pair → the pair that is the same numbers on both sides, so that it is compared once. covered: pairs that
    are part of another pair on both sides, and counted with it; the twins among them. apart: counters and empty tensors.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[LazyTensor, ...]
    only_b: tuple[LazyTensor, ...]
    wrappers: Mapping[str, int] = field(default_factory=dict)
    spellings: Mapping[str, int] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    twins: Mapping[str, str] = field(default_factory=dict)
    covered: frozenset[str] = frozenset()
    apart: tuple[Apart, ...] = ()


def match(a: Checkpoint, b: Checkpoint) -> Match:
    """Pair the tensors of two checkpoints, in the order of *b*.

    Equal names belong together. Of what is left, names are equal once wrappers are taken off, once both are spelled as the
    older library does, or once the prefix is off that nearly all leftover names of one side share (a ``transformer.`` that one
    library writes and another does not). A name that would then belong to two stays unmatched. Last, names that one file
    states to be tied to a tensor that it keeps once belong to that tensor. Raises ``LoadError`` for a file that other readers
    take for another one.
    """
    a.check_readers()
    b.check_readers()
    found = _Found(a, b)
    for key in (unwrapped, spelled):
        found.add(found.by_key(key, key))
    strips = found.prefixes()
    found.add(
        [
            *(found.by_key(_Strip(strips[0]), spelled) if strips[0] else ()),
            *(found.by_key(spelled, _Strip(strips[1])) if strips[1] else ()),
        ]
    )
    ties = Ties(a), Ties(b)
    pairs = [_pair(name, a[found.of[name]], b[name]) for name in b if name in found.of]
    pairs += found.stated(*ties)
    taken_a, taken_b = {pair.a.name for pair in pairs}, {pair.b.name for pair in pairs}
    only_a = [a[name].distinct() for name in a if name not in taken_a]
    only_b = [b[name].distinct() for name in b if name not in taken_b]
    tied_a = ties[0].tied_to([each.name for each in only_a], taken_a)
    tied_b = ties[1].tied_to([each.name for each in only_b], taken_b)
    twins, covered = _repeated(pairs, *ties)
    return Match(
        tuple(pairs),
        tuple(each for each in only_a if each.name not in tied_a),
        tuple(each for each in only_b if each.name not in tied_b),
        dict(found.wrappers),
        dict(found.spellings),
        tied_a | tied_b,
        twins,
        frozenset(covered),
        tuple(_apart(a, b, strips)),
    )


class _Found:
    """The names matched so far. of: name in *b* → name in *a*."""

    def __init__(self, a: Checkpoint, b: Checkpoint) -> None:
        self.a, self.b = a, b
        self.of = {name: name for name in b if name in a}
        self.wrappers: Counter[str] = Counter()
        self.spellings: Counter[str] = Counter()

    def left(self) -> tuple[list[str], list[str]]:
        """The leftovers of *a* and of *b*."""
        taken = set(self.of.values())
        return [name for name in self.a if name not in taken], [name for name in self.b if name not in self.of]

    def by_key(self, key_a: Key, key_b: Key) -> list[tuple[str, str, str]]:
        """(name in *a*, name in *b*, key) of the leftovers with one key that is unique on both sides."""
        left_a, left_b = self.left()
        one, two = (unique((key(name), name) for name in left) for key, left in ((key_a, left_a), (key_b, left_b)))
        return [(one[key], two[key], key) for key in two if key in one]

    def add(self, found: Collection[tuple[str, str, str]]) -> None:
        """Take those in whose both names are in one match only, and say how they were matched."""
        same = {(one, two): key for one, two, key in found}
        firsts, seconds = Counter(one for one, _ in same), Counter(two for _, two in same)
        for (one, two), key in same.items():
            if firsts[one] == seconds[two] == 1:
                self.of[two] = one
                self._say(one, two, key)

    def _say(self, one: str, two: str, key: str) -> None:
        bare = unwrapped(one), unwrapped(two)
        for side, whole, name in (("A", one, bare[0]), ("B", two, bare[1])):
            if whole != name:
                self.wrappers[f"{_taken_off(whole, name)} in {side}"] += 1
        if bare[0] == bare[1]:
            return
        for side, name in (("A", bare[0]), ("B", bare[1])):
            if spelled(name) != key:  # a prefix is off, too
                self.wrappers[f"{_taken_off(spelled(name), key)} in {side}"] += 1
        ends = unlike(bare[0], bare[1])
        if spelled(bare[0]) != bare[0] or spelled(bare[1]) != bare[1]:
            self.spellings[f"{ends[0]} in A, {ends[1]} in B"] += 1

    def prefixes(self) -> tuple[str, str]:
        """What all the leftovers of *a*, and of *b*, begin with, and those of the other do not."""
        one, two = (unique((spelled(name), name) for name in left) for left in self.left())
        return shared_prefix(one, two), shared_prefix(two, one)

    def stated(self, ties_a: Ties, ties_b: Ties) -> list[Pair]:
        """Pairs of a leftover with the tensor that the other file states it to be."""
        left_a, left_b = self.left()
        back = {one: two for two, one in self.of.items()}
        pairs = []
        for name in left_b:
            kept = ties_a.stated.get(name)
            if kept is not None and not ties_b.same(back.get(kept), name):
                pairs.append(_pair(name, self.a[kept], self.b[name]))
                self.spellings[f"{name} in B, tied to {kept} in A"] += 1
        for name in left_a:
            kept = ties_b.stated.get(name)
            if kept is not None and not ties_a.same(self.of.get(kept), name):
                pairs.append(_pair(name, self.a[name], self.b[kept]))
                self.spellings[f"{name} in A, tied to {kept} in B"] += 1
        return pairs


@dataclass(frozen=True)
class _Strip:
    prefix: str

    def __call__(self, name: str) -> str:
        return spelled(name).removeprefix(self.prefix)


def _taken_off(whole: str, key: str) -> str:
    return whole[: -len(key)] if key and whole.endswith(key) else "wrappers inside names"


def _pair(name: str, a: LazyTensor, b: LazyTensor) -> Pair:
    """The two, without what both repeat. One that only one side repeats (an expanded view) is compared weight by weight."""
    bare_a, bare_b = a.distinct(), b.distinct()
    if a.shape == b.shape and (bare_a is a or bare_b is b):
        return Pair(name, a, b)
    return Pair(name, bare_a, bare_b)


def _repeated(pairs: Iterable[Pair], ties_a: Ties, ties_b: Ties) -> tuple[dict[str, str], set[str]]:
    """``Match.twins`` and ``Match.covered``."""
    pairs = list(pairs)
    by_names = {(pair.a.name, pair.b.name): pair.name for pair in pairs}
    seen: dict[object, str] = {}
    twins: dict[str, str] = {}
    covered: set[str] = set()
    for pair in pairs:
        key = (ties_a.place(pair.a.name), ties_b.place(pair.b.name))
        if key in seen:
            twins[pair.name] = seen[key]
            covered.add(pair.name)
        else:
            seen[key] = pair.name
            owner_a, owner_b = ties_a.owner(pair.a.name), ties_b.owner(pair.b.name)
            inside = by_names.get((owner_a, owner_b)) if owner_a is not None and owner_b is not None else None
            if inside is not None and inside not in twins:
                covered.add(pair.name)
    return twins, covered


def _apart(a: Checkpoint, b: Checkpoint, strips: tuple[str, str]) -> Iterable[Apart]:
    """What was left out of one side as no weights, and is not in the other under any name."""

    def keys(name: str, prefix: str) -> set[str]:
        return {name, unwrapped(name), spelled(name), _Strip(prefix)(name)}

    known = [
        {key for name in (*side, *(skip.name for skip in side.skipped)) for key in keys(name, prefix)}
        for side, prefix in zip((a, b), strips, strict=True)
    ]
    for side, own, prefix, others in (("a", a, strips[0], known[1]), ("b", b, strips[1], known[0])):
        for skip in own.skipped:
            if skip.reason in NO_WEIGHTS and not keys(skip.name, prefix) & others:
                yield Apart(skip.name, side, skip.reason)


def computed_apart(found: Match) -> Match:
    """The same, with the tables that a library computes from the configuration and only one file has as no difference."""
    sides = (("a", found.only_a, found.only_b), ("b", found.only_b, found.only_a))
    apart = [
        Apart(each.name, side, "computed from the configuration")
        for side, own, other in sides
        for each in own
        if _COMPUTED.search(each.name) and not any(_COMPUTED.search(name.name) for name in other)
    ]
    gone = {(each.side, each.name) for each in apart}
    return replace(
        found,
        only_a=tuple(each for each in found.only_a if ("a", each.name) not in gone),
        only_b=tuple(each for each in found.only_b if ("b", each.name) not in gone),
        apart=(*found.apart, *apart),
    )


def in_shape_of(pair: Pair) -> tuple[Pair, str] | None:
    """A reshaped pair with one seen in the shape of the other, and how; ``None`` where the numbers of weights differ.

    Matrices of swapped sides are taken as transposes (the same weights under another convention), anything else as the
    same weights in the same order.
    """
    a, b = pair.a, pair.b
    if a.size != b.size or not a.size:
        return None
    if a.ndim == 2 and b.shape == a.shape[::-1] and min(a.shape) > 1:
        strides = a.strides if a.strides is not None else (a.shape[1], 1)
        return replace(pair, a=replace(a, shape=tuple(b.shape), strides=strides[::-1], taken=None)), "transposed"
    if a.contiguous:
        return replace(pair, a=replace(a, shape=tuple(b.shape), strides=None, taken=None)), "reshaped"
    if b.contiguous:
        return replace(pair, b=replace(b, shape=tuple(a.shape), strides=None, taken=None)), "reshaped"
    return None


def unwrapped(name: str) -> str:
    """*name* without the components that wrappers add: ``module._orig_mod.fc.weight`` → ``fc.weight``."""
    parts = [part for part in name.split(".") if part not in INFIXES]
    name, place = ".".join(parts), 0
    while prefix := next((each for each in PREFIXES if name.startswith(each, place) and len(name) > place + len(each)), ""):
        place += len(prefix)
    return name[place:]


def spelled(name: str) -> str:
    """*name* unwrapped, as the older library spells it: ``fc.parametrizations.weight.original0`` → ``fc.weight_g``.

    ``gamma`` and ``beta`` of a normalisation are its ``weight`` and ``bias``.
    """
    name = unwrapped(name)
    if "parametrizations." in name:
        return _PARAMETRIZED.sub(lambda found: f"{found[1]}{found[2]}{_OLD[found[3]]}", name)
    module, dot, last = name.rpartition(".")
    return f"{module}.{_GREEK[last]}" if dot and last in _GREEK and _NORMALISATION.search(module) else name


def unlike(one: str, two: str) -> tuple[str, str]:
    """What is left of two names without the components that both begin with."""
    first, second = one.split("."), two.split(".")
    same = 0
    while same < min(len(first), len(second)) - 1 and first[same] == second[same]:
        same += 1
    return ".".join(first[same:]), ".".join(second[same:])


def unique(keyed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Key → name of what has a key of its own."""
    names: dict[str, list[str]] = {}
    for key, name in keyed:
        names.setdefault(key, []).append(name)
    return {key: each[0] for key, each in names.items() if len(each) == 1}


def shared_prefix(own: Mapping[str, str], other: Mapping[str, str]) -> str:
    """The prefix, with its dot, without which names of one side are names of the other; empty where there is none.

    own, other: leftovers of each side by key. Nearly all of one side must agree: nine of ten of *own* have the prefix, or nine
    of ten of *other* are found without it; two of them at least. Two prefixes that do this equally well are none.
    """
    fits: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    for key in own:
        parts = key.split(".", _DEEPEST)
        for count in range(1, len(parts)):
            prefix = ".".join(parts[:count]) + "."
            begun[prefix] += 1
            fits[prefix] += key[len(prefix) :] in other
    best = [(prefix, count) for prefix, count in fits.most_common(2) if count]
    if not best or (len(best) > 1 and best[0][1] == best[1][1]):
        return ""
    prefix, count = best[0]
    shared = begun[prefix] >= 2 and begun[prefix] >= _NEARLY_ALL * len(own)
    return prefix if shared or (count >= 2 and count >= _NEARLY_ALL * len(other)) else ""


class Ties:
    """What a checkpoint says about its own tensors: names of one storage, and names that a file states as metadata.

    safetensors keeps tied weights once; its ``save_model`` writes ``{left out: kept}`` into the metadata.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.stated: Mapping[str, str] = {
            name: kept
            for name, kept in checkpoint.metadata.items()
            if isinstance(kept, str) and kept in checkpoint and name not in checkpoint
        }

    def place(self, name: str) -> tuple[Any, ...]:
        """A key that is equal for two names of exactly the same numbers."""
        tensor = self.checkpoint[name]
        strides = None if tensor.contiguous else tensor.strides
        return self.owner(name) or name, tensor.offset, tensor.shape, strides

    def same(self, one: str | None, two: str) -> bool:
        """True where both names are exactly the same numbers."""
        return one is not None and self.place(one) == self.place(two)

    def owner(self, name: str) -> str | None:
        """The tensor that holds the numbers of *name* too; ``None`` where they are its own."""
        return self.checkpoint.aliases.get(name)

    def tied_to(self, names: Iterable[str], matched: set[str]) -> dict[str, str]:
        """Those of *names* whose numbers a *matched* tensor holds: name → that tensor."""
        places = {self.place(name): name for name in reversed(list(self.checkpoint)) if name in matched}
        found = {}
        for name in names:
            owner = self.owner(name)
            other = owner if owner in matched else places.get(self.place(name))
            if other is not None:
                found[name] = other
        return found
