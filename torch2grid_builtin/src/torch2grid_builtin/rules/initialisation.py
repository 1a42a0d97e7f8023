"""Weights that look as an initialisation left them, or of a size that none leaves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch2grid_builtin.rules.about import fan_in, is_matrix, weights
from torch2grid_core import Checkpoint, Distribution, Finding, LazyTensor, Rule, Run, Severity, Summary, is_floating

_SURE = 1024  # weights, from which chance does not imitate a distribution
_CLOSE = 0.02


@dataclass(frozen=True)
class Initialisation(Rule):
    """weights that look untrained, or badly scaled"""

    name: ClassVar[str] = "initialisation"
    code: ClassVar[str] = "T203"
    severity: ClassVar[Severity] = "warning"

    largest_gain: float = field(default=100.0, metadata={"help": "largest std·√(weights of a unit); usual ones are about 1"})
    least_gain: float = field(default=0.001, metadata={"help": "least std·√(weights of a unit)"})

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return {"summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        norms: list[tuple[LazyTensor, Distribution]] = []
        for tensor, summary in weights(checkpoint, results["summary"]):
            if not is_floating(tensor.dtype) or not summary.finite:
                continue
            if tensor.ndim == 1:
                norms.append((tensor, summary))
            elif is_matrix(tensor) and summary.std > 0:
                text = self._look(tensor, summary)
                if text:
                    yield Finding(text, tensor.name)
        if len(norms) > 1 and all(summary.min == summary.max == 1 for _, summary in norms):
            text = f"the weights of all {len(norms)} normalisations are exactly 1: they were never trained"
            yield Finding(text, norms[0][0].name)

    def _look(self, tensor: LazyTensor, summary: Distribution) -> str:
        gain = summary.std * math.sqrt(fan_in(tensor))
        if not self.least_gain <= gain <= self.largest_gain:
            size = "large" if gain > 1 else "small"
            return f"std {summary.std:.3g} is {gain:.3g}/√{fan_in(tensor)}, very {size} for {fan_in(tensor)} weights a unit"
        if summary.count < _SURE:
            return ""
        bound = 1 / math.sqrt(fan_in(tensor))
        if abs(summary.absmax / bound - 1) < _CLOSE and abs(summary.std * math.sqrt(3) / bound - 1) < _CLOSE:
            return f"uniform within ±1/√{fan_in(tensor)}, as torch.nn initialises it: it looks untrained"
        if "emb" in tensor.name.lower() and abs(summary.std - 1) < _CLOSE and abs(summary.mean) < _CLOSE:
            return "mean 0 and std 1, as torch.nn initialises an embedding: it looks untrained"
        return ""
