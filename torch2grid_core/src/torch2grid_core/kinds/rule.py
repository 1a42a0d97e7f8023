"""What ``torch2grid check`` looks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.needs import Need
from torch2grid_core.run import Run


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found. tensor: its name, empty for the whole file; index: of the weight, where there is one."""

    message: str
    tensor: str = ""
    index: tuple[int, ...] | None = None


class Rule(ABC):
    """Finds one defect. code: short and stable (``T101``); severity: what ``--fail-on`` compares with."""

    name: ClassVar[str]
    code: ClassVar[str]
    severity: ClassVar[Literal["error", "warning"]] = "error"

    def needs(self, tensor: LazyTensor, run: Run) -> Mapping[str, Need]:
        """What the rule wants of each tensor, as a view does."""
        return {}

    @abstractmethod
    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Mapping[str, Any]]) -> Iterable[Finding]:
        """The findings. results: tensor name → the results of ``needs`` under its keys."""
