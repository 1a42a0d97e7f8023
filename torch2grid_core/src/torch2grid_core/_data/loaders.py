"""What opening needs of a loader, and which of several opens a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from torch2grid_core._errors import Torch2GridError, UsageError

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.source import Source


class LoaderLike(Protocol):
    """What opening needs of a loader."""

    @property
    def name(self) -> str: ...

    def sniff(self, source: Source) -> int: ...

    def load(self, source: Source) -> Checkpoint: ...


def choose(source: Source, loaders: Sequence[LoaderLike]) -> LoaderLike | None:
    """The loader whose ``sniff`` is highest, ``None`` where all say 0. Raises ``UsageError`` for a tie.

    A loader whose ``sniff`` fails is out, unless no other claims the source: then its failure is raised.
    """
    claims: list[tuple[int, LoaderLike]] = []
    failure: Torch2GridError | None = None
    for loader in loaders:
        try:
            strength = loader.sniff(source)
        except Torch2GridError as error:
            failure = failure or error
            continue
        if strength > 0:
            claims.append((strength, loader))
    if not claims:
        if failure is not None:
            raise failure
        return None
    best = max(strength for strength, _ in claims)
    winners = [loader for strength, loader in claims if strength == best]
    if len(winners) > 1:
        names = " and ".join(sorted(loader.name for loader in winners))
        raise UsageError(f"{source.shown}: the loaders {names} both claim this file; say which with --loader NAME")
    return winners[0]
