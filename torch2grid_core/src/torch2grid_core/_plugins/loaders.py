"""Loaders as opening calls them: what goes wrong inside costs their plugin a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch2grid_core._errors import PluginError
from torch2grid_core._guard import call
from torch2grid_core._plugins.record import Provided, describe_value

if TYPE_CHECKING:
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.source import Source


class GuardedLoader:
    """A loader whose failures cost its plugin a line: one that cannot sniff is passed over."""

    def __init__(self, provided: Provided, options: dict[str, str] | None = None) -> None:
        self.name, self._provided, self._options = provided.name, provided, options
        self.accepts: str = provided.facts.get("accepts", "bytes")
        self._loader: Any = None

    def sniff(self, source: Source) -> int:
        """What the loader says, 0 where it fails."""
        try:
            loader = self._create()
            found = call(loader, loader.sniff, source)
            if not isinstance(found, int) or not 0 <= found <= 2:
                raise self._provided.origin.error(f"sniff returned {describe_value(found)}, not 0, 1 or 2")
            return int(found)
        except PluginError as error:
            self._provided.record.blame(error)
            return 0

    def load(self, source: Source) -> Checkpoint:
        """The checkpoint. Raises ``LoadError``, or ``PluginError`` for anything else that the loader raises."""
        from torch2grid_core._data.checkpoint import Checkpoint
        from torch2grid_core._data.tensor import LazyTensor

        loader = self._create()
        checkpoint = call(loader, loader.load, source)
        if not isinstance(checkpoint, Checkpoint):
            raise self._provided.origin.error(f"load returned {type(checkpoint).__name__}, not a Checkpoint")
        for tensor in checkpoint.values():
            if not isinstance(tensor, LazyTensor):
                raise self._provided.origin.error(f"load: a tensor is {type(tensor).__name__}, not a LazyTensor")
        return checkpoint

    def _create(self) -> Any:
        if self._loader is None:
            self._loader = self._provided.create(self._options)
        return self._loader
