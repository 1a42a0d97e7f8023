"""Weights that look as an initialisation left them, or of a size that none leaves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch2grid_builtin._rules.about import EXPLODED, fan_in, is_matrix, learned, times_text, usual_std
from torch2grid_core import Checkpoint, Finding, LazyTensor, Rule, Settings, Severity
from torch2grid_core.measures import Distribution, Summary
from torch2grid_core.sources import is_floating

_SURE = 1024  # weights, from which chance does not imitate a distribution
_CLOSE = 0.02


@dataclass(frozen=True)
class Initialisation(Rule):
    """weights that look untrained, or badly scaled"""

    name: ClassVar[str] = "initialisation"
    code: ClassVar[str] = "T203"
    severity: ClassVar[Severity] = "warning"
    together: ClassVar[Mapping[str, str]] = {
        "^uniform": "look untrained: uniform within ±1/√fan-in, as torch.nn initialises them",
        "^mean 0": "look untrained: mean 0 and std 1, as torch.nn initialises an embedding",
        "^std": "have an unusual std; the first: {first}",
    }

    largest_gain: float = field(default=100.0, metadata={"help": "largest std, in units of the usual 1/√fan-in"})
    least_gain: float = field(default=0.001, metadata={"help": "least std, in units of the usual 1/√fan-in"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {"summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        norms: list[tuple[LazyTensor, Distribution]] = []
        for tensor, summary in learned(checkpoint, results["summary"]):
            if not is_floating(tensor.dtype) or tensor.dtype.itemsize == 1 or not summary.finite:
                continue  # numbers of one byte are codes that a scale belongs to
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
        usual, name = usual_std(tensor)
        gain = summary.std / usual
        if gain > max(EXPLODED, self.largest_gain):
            return ""  # no matter of initialisation: the rule about exploded weights names it
        if gain > self.largest_gain:
            return f"std {summary.std:.3g}: {times_text(gain)} the usual {name}"
        if gain < self.least_gain:
            return f"std {summary.std:.3g}: {gain:.3g} times the usual {name}"
        if summary.count < _SURE:
            return ""
        bound = 1 / math.sqrt(fan_in(tensor))
        if abs(summary.absmax / bound - 1) < _CLOSE and abs(summary.std * math.sqrt(3) / bound - 1) < _CLOSE:
            return f"uniform within ±1/√{fan_in(tensor)}, as torch.nn initialises it: it looks untrained"
        if "emb" in tensor.name.lower() and abs(summary.std - 1) < _CLOSE and abs(summary.mean) < _CLOSE:
            return "mean 0 and std 1, as torch.nn initialises an embedding: it looks untrained"
        return ""
