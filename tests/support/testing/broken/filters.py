"""Filters: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.testing.broken.registry import breaks

from torch2grid_core import (
    Checkpoint,
    LazyTensor,
    TensorFilter,
)


@dataclass(frozen=True)
class GoodFilter(TensorFilter):
    """tensors with an e in their names"""

    name = "toy"
    letter: str = field(default="e", metadata={"help": "the letter"})

    def keep(self, tensor: LazyTensor) -> bool:
        return self.letter in tensor.name


@breaks("filter", "keep_answers")
class KeepsByCount(GoodFilter):
    """answers with a number"""

    def keep(self, tensor: LazyTensor) -> Any:
        return tensor.name.count("e")


@breaks("filter", "what_goes_is_recorded")
class DropsSilently(GoodFilter):
    """forgets to say what is gone"""

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint.select(name for name in checkpoint if "e" in name)


@breaks("filter", "inputs_stay")
class DropsInPlace(GoodFilter):
    """takes tensors out of the checkpoint that it was given"""

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        checkpoint._tensors.popitem()
        return checkpoint


@breaks("filter", "does_something")
class Empty(TensorFilter):
    """overrides nothing"""

    name = "toy"


@breaks("filter", "flag_sets_an_option")
class SetsNothing(GoodFilter):
    """its flag is for an option that there is not"""

    flag = "TEXT"
    flag_field = "word"


@breaks("filter", "something_is_chosen")
class KeepsAll(TensorFilter):
    """keeps whatever comes"""

    name = "toy"

    def keep(self, tensor: LazyTensor) -> bool:
        return True
