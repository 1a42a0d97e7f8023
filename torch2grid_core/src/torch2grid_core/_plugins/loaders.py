"""Loaders as opening calls them: what goes wrong inside costs their plugin a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch2grid_core._errors import LoadError, PluginError
from torch2grid_core._guard import call
from torch2grid_core._plugins.record import Provided, describe_value

if TYPE_CHECKING:
    from torch2grid_core._data.action import Action
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

    def runs(self, source: Source) -> Sequence[Action]:
        """What the loader says that a reader of its format would run of *source*; nothing where it fails."""
        from torch2grid_core._data.action import Action

        try:
            loader = self._create()
            if not hasattr(loader, "runs"):
                return ()
            found = tuple(call(loader, loader.runs, source))
            wrong = [each for each in found if not isinstance(each, Action)]
            if wrong:
                raise self._provided.origin.error(f"runs returned {describe_value(wrong[0])}, not an Action")
            return found
        except LoadError:
            return ()
        except PluginError as error:
            self._provided.record.blame(error)
            return ()

    def _create(self) -> Any:
        if self._loader is None:
            self._loader = self._provided.create(self._options)
        return self._loader
