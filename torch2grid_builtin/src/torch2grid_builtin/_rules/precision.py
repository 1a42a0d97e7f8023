"""Weights at the edges of their number type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._rules.about import own, share_text, size_text, weights, within
from torch2grid_core import Checkpoint, Finding, Rule, Settings, Severity
from torch2grid_core.measures import Summary, first_index
from torch2grid_core.sources import is_floating

# The least normal numbers; float8 is left out, whose subnormals are in ordinary use.
NORMAL = {
    "float64": float(np.finfo(np.float64).tiny),
    "float32": 2.0**-126,
    "bfloat16": 2.0**-126,
    "float16": 2.0**-14,
}
LEAST = 100  # weights; of fewer, a single one is a large share
SMALLEST = 5e-324
FLOAT16_MAX = 65504.0
FLOAT16_ZERO = 2.0**-25  # a smaller |weight| rounds to zero


@lru_cache(maxsize=64)
def _least_normal(dtype: np.dtype[Any]) -> float | None:
    return NORMAL.get(dtype.name)  # numpy spells a name anew each time


@dataclass(frozen=True)
class Subnormal(Rule):
    """a large share of subnormal weights, which have lost digits and are slow"""

    name: ClassVar[str] = "subnormal"
    code: ClassVar[str] = "T106"
    severity: ClassVar[Severity] = "warning"
    together: ClassVar[Mapping[str, str]] = {"": "hold many subnormal weights"}

    share: float = field(default=0.01, metadata={"help": "share of subnormal weights (0…1) from which a tensor is named"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {"summary": Summary(tuple(sorted(set(NORMAL.values()))), brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, summary in own(checkpoint, results["summary"]):
            least = _least_normal(tensor.dtype)
            if least is None or summary.count < LEAST:
                continue
            count = summary.near_zero(least) - summary.zeros
            if count and count >= self.share * summary.count:
                below = share_text(count, summary.count)
                index = first_index(tensor, within(SMALLEST, least))
                yield Finding(f"{below} are subnormal (0 < |weight| < {least:.3g})", tensor.name, index)


@dataclass(frozen=True)
class Float16Range(Rule):
    """weights that float16 cannot hold, or that it has cut off"""

    name: ClassVar[str] = "float16_range"
    code: ClassVar[str] = "T107"
    severity: ClassVar[Severity] = "warning"
    together: ClassVar[Mapping[str, str]] = {
        "^reaches": "reach ±65504, the largest float16: they were cut off when they were converted",
        "beyond float16": "hold weights beyond float16 (65504)",
        "would become": "hold weights that would become zero in float16",
    }

    share: float = field(
        default=0.05, metadata={"help": "share of weights (0…1) that would become zero from which a tensor is named"}
    )

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {"summary": Summary((FLOAT16_ZERO,), brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, summary in weights(checkpoint, results["summary"]):
            if not is_floating(tensor.dtype) or not summary.finite:
                continue
            stored = tensor.dtype == np.float16
            if summary.absmax > FLOAT16_MAX or (stored and summary.absmax == FLOAT16_MAX):
                index = first_index(tensor, within(FLOAT16_MAX))
                if stored:
                    yield Finding(
                        "reaches ±65504, the largest float16: it was cut off when it was converted", tensor.name, index
                    )
                else:
                    yield Finding(f"largest |weight| {size_text(summary.absmax)} is beyond float16 (65504)", tensor.name, index)
            lost = summary.near_zero(FLOAT16_ZERO) - summary.zeros
            if not stored and lost and lost >= self.share * summary.count:
                text = f"{share_text(lost, summary.count)} would become zero in float16 (|weight| < {FLOAT16_ZERO:.3g})"
                yield Finding(text, tensor.name)
