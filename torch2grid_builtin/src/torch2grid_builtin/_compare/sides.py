"""The names of one checkpoint as pieces under common names, by the map of the library that wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch2grid_builtin._compare.facts import facts_of
from torch2grid_builtin._compare.maps import ANYWHERE, MAPS, Map, Rule, filled, pattern
from torch2grid_builtin._compare.match import spelled
from torch2grid_core import Checkpoint

_EXPERTS = 1 << 14


@dataclass(frozen=True)
class Part:
    """A piece of a stored tensor: its common name, the words of its forms, and the rule."""

    key: str
    stored: str
    words: tuple[str, ...] = ()
    rule: Rule | None = None
    place: int = -1


class Side:
    """The leftovers of one checkpoint, as pieces under common names."""

    def __init__(self, checkpoint: Checkpoint, left: Sequence[str]) -> None:
        self.checkpoint, self.left = checkpoint, left
        self.facts = facts_of(checkpoint)
        self.map = _map_of(checkpoint)
        self.pairs = self.map is not None and self.map.pairs(checkpoint.metadata)
        parts = [part for name in left for part in self._parts(name)]
        often = Counter(part.key for part in parts)
        self.parts = {part.key: part for part in parts if often[part.key] == 1}

    def _parts(self, name: str) -> Iterable[Part]:
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
                    yield Part(key, name, words, rule)
                elif tensor.ndim == 3 and tensor.shape[0] <= _EXPERTS:
                    for place in range(tensor.shape[0]):
                        yield Part(key.replace("{e}", str(place)), name, words, rule, place)
            return
        yield Part(bare, name)

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


def is_part(words: Sequence[str]) -> bool:
    """True where the stored tensor holds others than the piece with these words, too."""
    return bool({*words} & {"q", "k", "v", "gate", "up", "expert"})
