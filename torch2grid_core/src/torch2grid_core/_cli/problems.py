"""What the summary line adds about a drawing run: NaN and Inf, and the tensors that a view passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch2grid_core._data.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch2grid_core._engine.seen import Seen, Shown
    from torch2grid_core._summary.not_finite import NotFiniteCount


def clauses(seen: Seen, checkpoint: Checkpoint) -> list[str]:
    """``NaN in 3 tensors (12 weights)``, ``Inf in 1 tensor (2 weights)``, ``conv: 3 of 8 tensors``; nothing where all is well.

    NaN and Inf are counted in the tensors that the views read, those tied to others once.
    """
    counts = {name: count for name, count in seen.not_finite.items() if name not in checkpoint.aliases}
    return [*_not_finite(counts), *filter(None, (_passed_over(each, checkpoint) for each in seen.shown))]


def _not_finite(counts: Mapping[str, NotFiniteCount]) -> Iterator[str]:
    for what, found in (
        ("NaN", [count.nan for count in counts.values() if count.nan]),
        ("Inf", [count.inf for count in counts.values() if count.inf]),
    ):
        if found:
            yield f"{what} in {_counted(len(found), 'tensor')} ({_counted(sum(found), 'weight')})"


def _passed_over(shown: Shown, checkpoint: Checkpoint) -> str:
    """How many of the tensors a view showed; empty where it showed all that hold weights, or does not tell.

    A view of other tensors than those of the checkpoint, as one of gradients, shows those that have the same names.
    """
    if shown.tensors is None:
        return ""
    ours = [name for name in checkpoint if name in shown.of]
    if not ours:  # names of its own: all that it is about is all there is to count
        number, total = len(shown.tensors & shown.of), len(shown.of)
        return f"{shown.view}: {number:,} of {_counted(total, 'tensor')}" if number < total else ""
    passed = {name for name in checkpoint if not {name, checkpoint.aliases.get(name, name)} & shown.tensors}
    if not any(checkpoint[name].size for name in passed):
        return ""
    return f"{shown.view}: {len(checkpoint) - len(passed):,} of {_counted(len(checkpoint), 'tensor')}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
