"""Which tensors are drawn."""

from __future__ import annotations

from typing import ClassVar

from torch2grid_core._data.checkpoint import Checkpoint, Skip
from torch2grid_core._data.tensor import LazyTensor


class TensorFilter:
    """Keeps some tensors. Override ``keep`` for a choice tensor by tensor, or ``apply`` to see all of them at once.

    flag: a filter that sets it gets an option of its own, ``--NAME VALUE``, which sets its first dataclass field; the text
    is what ``--help`` shows for the value. Given twice, the values are joined by a comma.
    """

    name: ClassVar[str]
    flag: ClassVar[str] = ""

    def keep(self, tensor: LazyTensor) -> bool:
        """True for a tensor that stays."""
        return True

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with what stays; what goes is recorded in ``skipped`` with this filter's name."""
        dropped = [name for name, tensor in checkpoint.items() if not self.keep(tensor)]
        reasons = [Skip(name, f"filter {self.name}", self.name) for name in dropped]
        gone = set(dropped)
        return checkpoint.select((name for name in checkpoint if name not in gone), skipped=reasons)
