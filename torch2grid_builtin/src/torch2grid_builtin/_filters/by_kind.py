"""Filters that look at types, roles and sizes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch2grid_core import Checkpoint, LazyTensor, Skip, TensorFilter
from torch2grid_core.sources import is_floating


@dataclass(frozen=True)
class WeightsOnly(TensorFilter):
    """tensors named weight: no biases, no running statistics"""

    name = "weights_only"

    def keep(self, tensor: LazyTensor) -> bool:
        last = tensor.name.rpartition(".")[2]
        return last == "weight" or last.startswith("weight_") or last.endswith("_weight")


@dataclass(frozen=True)
class Floating(TensorFilter):
    """tensors of a floating type"""

    name = "floating"

    def keep(self, tensor: LazyTensor) -> bool:
        return is_floating(tensor.dtype)


@dataclass(frozen=True)
class MinSize(TensorFilter):
    """tensors of at least so many weights"""

    name = "min_size"
    weights: int = field(default=2, metadata={"help": "the fewest weights of a tensor that stays"})

    def keep(self, tensor: LazyTensor) -> bool:
        return tensor.size >= self.weights


@dataclass(frozen=True)
class Largest(TensorFilter):
    """the largest tensors, in their order"""

    name = "largest"
    count: int = field(default=10, metadata={"help": "how many stay"})

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        by_size = sorted(checkpoint.values(), key=lambda tensor: -tensor.size)  # stable: the first of equals stays
        kept = {tensor.name for tensor in by_size[: self.count]}
        gone = [Skip(name, f"filter {self.name}", self.name) for name in checkpoint if name not in kept]
        return checkpoint.select(kept, skipped=gone)
