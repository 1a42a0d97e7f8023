"""What checkpoints are called beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from torch2grid_core import Checkpoint
from torch2grid_core.text import visible


@dataclass(frozen=True)
class Names:
    """What pictures call the two checkpoints."""

    a: str
    b: str

    @classmethod
    def of(cls, a: Checkpoint, b: Checkpoint) -> Names:
        """The short names of two."""
        return cls(*short_names([a.source, b.source]))


def short_names(sources: Sequence[str]) -> list[str]:
    """The last part of each path, or more of them until all are different; three at most."""
    parts = [PurePath(source).parts or (source or "model",) for source in sources]
    for count in (1, 2, 3):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return [visible(name, 60) for name in names]
