"""Tensors of one checkpoint that are the same numbers under several names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch2grid_core import Checkpoint


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
