"""Weights that no network can work with: NaN, Inf, nothing but zeros, one number throughout, far too large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin.rules.about import is_mask, is_matrix, is_number, own, share_text, weights, within
from torch2grid_core import Checkpoint, Finding, Rule, Run, Summary, first_index

_BRIEF = {"summary": Summary(brief=True)}


class NaN(Rule):
    """weights that are NaN"""

    name: ClassVar[str] = "nan"
    code: ClassVar[str] = "T101"

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        for tensor, summary in own(checkpoint, results["summary"]):
            if is_number(tensor) and summary.nan:
                verb = "is" if summary.nan == 1 else "are"
                text = f"{share_text(summary.nan, summary.count)} {verb} NaN"
                yield Finding(text, tensor.name, first_index(tensor, np.isnan))


class Inf(Rule):
    """weights that are infinite (−Inf in a mask is none)"""

    name: ClassVar[str] = "inf"
    code: ClassVar[str] = "T102"

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        for tensor, summary in own(checkpoint, results["summary"]):
            infinite = summary.posinf + summary.neginf
            if not is_number(tensor) or not infinite or (not summary.posinf and is_mask(tensor)):
                continue
            signs = f"{summary.posinf:,} +Inf, {summary.neginf:,} -Inf"
            text = f"{share_text(infinite, summary.count)} {'is' if infinite == 1 else 'are'} infinite ({signs})"
            yield Finding(text, tensor.name, first_index(tensor, np.isinf))


class AllZero(Rule):
    """weights that are nothing but zeros"""

    name: ClassVar[str] = "all_zero"
    code: ClassVar[str] = "T103"

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        for tensor, summary in weights(checkpoint, results["summary"]):
            if summary.count > 1 and summary.zeros == summary.count:
                yield Finding(f"all {summary.count:,} weights are zero", tensor.name)


class Constant(Rule):
    """matrices and kernels of one number throughout"""

    name: ClassVar[str] = "constant"
    code: ClassVar[str] = "T104"

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        for tensor, summary in weights(checkpoint, results["summary"]):
            whole = summary.finite == summary.count
            if is_matrix(tensor) and whole and summary.min == summary.max and summary.zeros != summary.count:
                yield Finding(f"all {summary.count:,} weights are {summary.min:g}", tensor.name)


@dataclass(frozen=True)
class Exploding(Rule):
    """weights larger than training leaves them"""

    name: ClassVar[str] = "exploding"
    code: ClassVar[str] = "T105"

    limit: float = field(default=1e4, metadata={"help": "largest |weight| of a healthy network"})

    def needs(self, checkpoint: Checkpoint, run: Run) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Run) -> Iterable[Finding]:
        for tensor, summary in weights(checkpoint, results["summary"]):
            if is_number(tensor) and summary.absmax > self.limit:
                largest = summary.absmax
                text = f"|max| is {largest:.4g}, above {self.limit:g} (the RMS is {summary.rms:.4g})"
                yield Finding(text, tensor.name, first_index(tensor, within(largest)))
