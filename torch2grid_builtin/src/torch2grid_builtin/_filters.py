"""Filters: by names, by positions, and by what a tensor is."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch2grid_core import Checkpoint, LazyTensor, TensorFilter, UsageError
from torch2grid_core.selection import matching, numbered
from torch2grid_core.sources import Skip, is_floating
from torch2grid_core.text import did_you_mean, visible

_COMPARED = 2000  # names, up to which the nearest is looked for


def _keep(checkpoint: Checkpoint, names: list[str], by: str) -> Checkpoint:
    kept = set(names)
    gone = [Skip(name, f"filter {by}", by) for name in checkpoint if name not in kept]
    return checkpoint.select(kept, skipped=gone)


def _patterns(text: str) -> list[str]:
    patterns = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not patterns:
        raise UsageError("a pattern is needed, such as 'encoder.*' or '*.weight'")
    return patterns


def _matched(checkpoint: Checkpoint, text: str) -> dict[str, list[str]]:
    """The names that each pattern of *text* matches."""
    names = list(checkpoint)
    return {pattern: matching(names, pattern) for pattern in _patterns(text)}


def _unmatched(checkpoint: Checkpoint, found: dict[str, list[str]], by: str) -> list[str]:
    """What to say of patterns that match no name, nor one that was left out before: one of several may be mistyped."""
    left_out = [each.name for each in checkpoint.skipped]
    nothing = [pattern for pattern, names in found.items() if not names and not matching(left_out, pattern)]
    return [f"--{by}: no tensor matches {visible(pattern, 80)!r}" for pattern in nothing]


@dataclass(frozen=True)
class Only(TensorFilter):
    """the tensors whose names match a pattern"""

    name = "only"
    flag = "GLOB"
    pattern: str = field(default="*", metadata={"help": "glob patterns, comma-separated: encoder.*,*.bias"})

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        found = _matched(checkpoint, self.pattern)
        if not any(found.values()):
            near = did_you_mean(self.pattern, checkpoint) if len(checkpoint) <= _COMPARED else ""
            told = near or "; 'torch2grid tree MODEL' lists the names"
            raise UsageError(f"{checkpoint.source}: no tensor matches {self.pattern!r}{told}")
        kept = _keep(checkpoint, [name for names in found.values() for name in names], self.name)
        return kept.with_notes(_unmatched(checkpoint, found, self.name))


@dataclass(frozen=True)
class SkipNames(TensorFilter):
    """all but the tensors whose names match a pattern"""

    name = "skip"
    flag = "GLOB"
    pattern: str = field(default="", metadata={"help": "glob patterns, comma-separated"})

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        found = _matched(checkpoint, self.pattern)
        dropped = {name for names in found.values() for name in names}
        kept = _keep(checkpoint, [name for name in checkpoint if name not in dropped], self.name)
        return kept.with_notes(_unmatched(checkpoint, found, self.name))


@dataclass(frozen=True)
class Positions(TensorFilter):
    """the tensors of these numbers in the menu and 'tree --flat'"""

    name = "tensors"
    flag = "1,3-5"
    listed_only = True
    positions: str = field(default="1", metadata={"help": "numbers and ranges: 1,3-5"})

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        return _keep(checkpoint, numbered(list(checkpoint), self.positions), self.name)


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
    listed_only = True
    count: int = field(default=10, metadata={"help": "how many stay"})

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        by_size = sorted(checkpoint.values(), key=lambda tensor: -tensor.size)  # stable: the first of equals stays
        return _keep(checkpoint, [tensor.name for tensor in by_size[: self.count]], self.name)
