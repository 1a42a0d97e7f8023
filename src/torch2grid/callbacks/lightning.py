"""Lightning: ``Trainer(…, plugins=[CheckSaved(stop=True)])``. A callback would hear of a checkpoint before it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch2grid.callbacks._saved import Saved

try:
    from lightning.pytorch.plugins.io import TorchCheckpointIO
except ImportError:
    from pytorch_lightning.plugins.io import TorchCheckpointIO

if TYPE_CHECKING:
    from torch2grid._checking import CheckResult

__all__ = ["CheckSaved"]


class CheckSaved(TorchCheckpointIO):  # type: ignore[misc]  # lightning has no types where it is not installed
    """Saves each checkpoint as Lightning does, and checks it. See ``Saved`` for the arguments."""

    def __init__(self, stop: bool = False, found: Callable[[str, CheckResult], object] | None = None, **options: Any) -> None:
        super().__init__()
        self._saved = Saved(stop, found, **options)

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Save *checkpoint* at *path*, and check what is there then."""
        super().save_checkpoint(checkpoint, path, storage_options)
        self._saved(path)
