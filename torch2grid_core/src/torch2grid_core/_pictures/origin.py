"""What a page is of: which checkpoint, which part of it, and when in a training that was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.parts import ALL
from torch2grid_core._data.steps import short_name, step_of


@dataclass(frozen=True)
class PageOrigin:
    """What a page is of. Its text comes from files: show it through ``visible``, and make names of files safe.

    Args:
        source: where the checkpoint was opened, as messages show it, without credentials; for a comparison or a series, the
            last one.
        sources: all of them, in their order.
        model: a short name for people: that of the file without its ending, or of the folder.
        metadata: what the checkpoint says of itself.
        part: which part of the file is shown; ``all`` for several, empty where it has none.
        step: of the training, as the metadata state it, else the name of the file; ``None`` where neither does.
    """

    source: str = ""
    sources: tuple[str, ...] = ()
    model: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    step: int | None = None

    @classmethod
    def of(cls, *checkpoints: Checkpoint) -> PageOrigin:
        """Return the origin of what is drawn of *checkpoints*, the first to the last. Nothing of them is read."""
        if not checkpoints:
            return cls()
        last = checkpoints[-1]
        parts = {part.name for part in last.part_of.values()}
        return cls(
            last.source,
            tuple(each.source for each in checkpoints),
            short_name(last.source) if last.source else "",
            {str(key): _plain(value) for key, value in last.metadata.items()},
            ALL if len(parts) > 1 else "".join(parts),
            step_of(last.source, last.metadata),
        )


def _plain(value: Any) -> Any:
    """*value* as it travels to workers and to files: of anything but numbers, texts and their containers, its type."""
    if value is None or type(value) in (str, int, float, bool, bytes):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value)) if isinstance(value, tuple) else [*map(_plain, value)]
    return f"<{type(value).__name__}>"
