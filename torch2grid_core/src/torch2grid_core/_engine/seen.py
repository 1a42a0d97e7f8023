"""What a run saw on its way: NaN and Inf in what was read, and which tensors each view showed."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch2grid_core._summary.not_finite import NotFiniteCount


@dataclass(frozen=True)
class Shown:
    """What a view showed. tensors: names, as far as the view tells (see ``View``), else ``None``; of: all that it was about."""

    view: str
    tensors: frozenset[str] | None
    of: frozenset[str]

    def merge(self, other: Shown) -> Shown:
        """What the view showed in both of two runs."""
        known = None if self.tensors is None or other.tensors is None else self.tensors | other.tensors
        return Shown(self.view, known, self.of | other.of)


@dataclass
class Seen:
    """not_finite: by the name of each tensor that was read and holds any. shown: of each view that came to its end."""

    not_finite: dict[str, NotFiniteCount] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)

    def merge(self, other: Seen) -> None:
        """Take in what another run of the same file saw."""
        self.not_finite.update(other.not_finite)
        shown = {each.view: each for each in self.shown}
        for each in other.shown:
            shown[each.view] = shown[each.view].merge(each) if each.view in shown else each
        self.shown = list(shown.values())
