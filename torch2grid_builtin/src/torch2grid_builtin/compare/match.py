"""Which tensor of one checkpoint is which of another: by name, the names that wrappers change, and nothing else.

What is matched otherwise than by its whole name is said. Values never decide what is matched; they only tell, afterwards,
that a tensor holds what another one held (``findings``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch2grid_core import Checkpoint, LazyTensor

# What DistributedDataParallel, torch.compile, Lightning and training scripts put before the names of a model.
PREFIXES = ("module.", "_orig_mod.", "model.")
# Components that torch.compile, FSDP and activation checkpointing put anywhere.
INFIXES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

Key = Callable[[str], str]


@dataclass(frozen=True)
class Pair:
    """One tensor in both checkpoints. name: as in *b*; renamed: the names differ."""

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
class Match:
    """What belongs together. wrappers: what was taken off names, and from how many; both sides' leftovers by name.

    tied: leftover name → the tensor that it is tied to in its checkpoint, which the other has under that name alone.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[LazyTensor, ...]
    only_b: tuple[LazyTensor, ...]
    wrappers: Mapping[str, int] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)


def unwrapped(name: str) -> str:
    """*name* without the components that wrappers add: ``module._orig_mod.fc.weight`` → ``fc.weight``."""
    parts = [part for part in name.split(".") if part not in INFIXES]
    name, place = ".".join(parts), 0
    while prefix := next((each for each in PREFIXES if name.startswith(each, place) and len(name) > place + len(each)), ""):
        place += len(prefix)
    return name[place:]


def match(a: Checkpoint, b: Checkpoint) -> Match:
    """Pair the tensors of two checkpoints, in the order of *b*.

    Equal names belong together. Of what is left, names are equal once wrappers are taken off, or once a first component
    that nearly all leftover names of one side share is (a ``transformer.`` that one library writes and another does not). A
    name that would then belong to two stays unmatched.
    """
    found = {name: name for name in b if name in a}
    wrappers: Counter[str] = Counter()
    _by_key(a, b, found, unwrapped, unwrapped, wrappers)
    for side in (a, b):
        prefix = _shared_prefix([name for name in side if name not in (found if side is b else found.values())])
        if prefix:
            strip = _Strip(prefix)
            _by_key(a, b, found, strip if side is a else unwrapped, strip if side is b else unwrapped, wrappers)
    pairs = tuple(Pair(name, a[found[name]].distinct(), b[name].distinct()) for name in b if name in found)
    taken = set(found.values())
    only_a = [a[name].distinct() for name in a if name not in taken]
    only_b = [b[name].distinct() for name in b if name not in found]
    tied = _tied(a, only_a, taken) | _tied(b, only_b, set(found))
    return Match(
        pairs,
        tuple(each for each in only_a if each.name not in tied),
        tuple(each for each in only_b if each.name not in tied),
        dict(wrappers),
        tied,
    )


@dataclass(frozen=True)
class _Strip:
    prefix: str

    def __call__(self, name: str) -> str:
        name = unwrapped(name)
        return name[len(self.prefix) :] if name.startswith(self.prefix) else name


def _by_key(a: Checkpoint, b: Checkpoint, found: dict[str, str], key_a: Key, key_b: Key, wrappers: Counter[str]) -> None:
    """Add to *found* (name in *b* → name in *a*) the leftovers with one key, where that is unique on both sides."""
    taken = set(found.values())
    left = _unique((key_a(name), name) for name in a if name not in taken)
    right = _unique((key_b(name), name) for name in b if name not in found)
    for key, name in right.items():
        if key in left:
            found[name] = left[key]
            for side, whole in (("A", left[key]), ("B", name)):
                if whole != key:
                    wrappers[f"{_difference(whole, key)} in {side}"] += 1


def _unique(keyed: Iterable[tuple[str, str]]) -> dict[str, str]:
    names: dict[str, list[str]] = {}
    for key, name in keyed:
        names.setdefault(key, []).append(name)
    return {key: each[0] for key, each in names.items() if len(each) == 1}


def _difference(whole: str, key: str) -> str:
    return whole[: -len(key)] if key and whole.endswith(key) else "wrappers inside names"


def _shared_prefix(names: Sequence[str]) -> str:
    """The first component, with its dot, that at least nine of ten *names* begin with; of two names at least."""
    firsts = Counter(unwrapped(name).partition(".")[0] for name in names if "." in unwrapped(name))
    if not firsts:
        return ""
    first, count = firsts.most_common(1)[0]
    return f"{first}." if count >= 2 and count >= 0.9 * len(names) else ""


def _tied(side: Checkpoint, left: Sequence[LazyTensor], matched: set[str]) -> dict[str, str]:
    """Leftovers that are only a second name of a tensor that the other checkpoint has."""
    owners = {each.name: side.aliases.get(each.name) for each in left}
    return {name: owner for name, owner in owners.items() if owner in matched}


def in_shape_of(pair: Pair) -> tuple[Pair, str] | None:
    """A reshaped pair with *a* seen in the shape of *b*, and how; ``None`` where the numbers of weights differ.

    Matrices of swapped sides are taken as transposes (the same weights under another convention), anything else as the
    same weights in the same order.
    """
    a, b = pair.a, pair.b
    if a.size != b.size or not a.size:
        return None
    if a.ndim == 2 and b.shape == a.shape[::-1] and min(a.shape) > 1:
        strides = a.strides if a.strides is not None else (a.shape[1], 1)
        return replace(pair, a=replace(a, shape=b.shape, strides=strides[::-1])), "transposed"
    if not a.contiguous:
        return None
    return replace(pair, a=replace(a, shape=b.shape, strides=None)), "reshaped"
