"""A filter: which tensors are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch2grid_core import LazyTensor, TensorFilter


@dataclass(frozen=True)
class Dimensions(TensorFilter):
    """tensors of at least so many dimensions"""

    name = "dimensions"  # no annotation: with one, a dataclass would make it an option

    least: int = field(default=2, metadata={"help": "the fewest dimensions of a tensor that stays"})

    def keep(self, tensor: LazyTensor) -> bool:
        return tensor.ndim >= self.least
