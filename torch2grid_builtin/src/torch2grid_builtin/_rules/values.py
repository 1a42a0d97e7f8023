"""Weights that no network can work with: NaN, Inf, nothing but zeros, one number throughout, far too large."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from torch2grid_builtin._codes import codes
from torch2grid_builtin._rules.about import (
    EXPLODED,
    FEW,
    begins_at_zero,
    fan_in,
    is_called_weight,
    is_fill,
    is_mask,
    is_matrix,
    is_number,
    is_one_weight,
    is_record,
    is_single_channel,
    is_type_table,
    learned,
    own,
    share_text,
    size_text,
    times_text,
    usual_std,
    weights,
    within,
)
from torch2grid_core import Checkpoint, Finding, LazyTensor, Rule, Settings, Severity
from torch2grid_core.measures import Distribution, Summary, first_index

_BIAS = re.compile(r"(^|_)(bias|beta|b\d?)(_|$)", re.IGNORECASE)
_LEAST_EXPLODED = 100.0  # |weight|: below, a std out of proportion is a matter of the layer
_BRIEF = {"summary": Summary(brief=True)}


class NaN(Rule):
    """weights that are NaN"""

    name: ClassVar[str] = "nan"
    code: ClassVar[str] = "T101"
    judges: ClassVar[Literal["values"]] = "values"
    together: ClassVar[Mapping[str, str]] = {"^all |^1 of 1 ": "are all NaN", "": "hold NaN"}

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, summary in own(checkpoint, results["summary"]):
            if is_number(tensor) and summary.nan and not _is_code(checkpoint, tensor):
                text = f"{_all_or(summary.nan, summary.count)} NaN"
                yield Finding(text, tensor.name, first_index(tensor, np.isnan))


class Inf(Rule):
    """weights that are infinite (−Inf in a mask is none)"""

    name: ClassVar[str] = "inf"
    code: ClassVar[str] = "T102"
    judges: ClassVar[Literal["values"]] = "values"
    together: ClassVar[Mapping[str, str]] = {"^all |^1 of 1 ": "are all infinite", "": "hold infinite weights"}

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, summary in own(checkpoint, results["summary"]):
            infinite = summary.posinf + summary.neginf
            if not is_number(tensor) or not infinite or is_record(tensor) or _is_code(checkpoint, tensor):
                continue
            if not summary.posinf and is_mask(tensor, summary):
                continue
            signs = f"{summary.posinf:,} +Inf, {summary.neginf:,} -Inf"
            text = f"{_all_or(infinite, summary.count)} infinite ({signs})"
            yield Finding(text, tensor.name, first_index(tensor, np.isinf))


def _is_code(checkpoint: Checkpoint, tensor: LazyTensor) -> bool:
    """True for codes and scales of one byte, of which one that reads as NaN may be a code like any other."""
    return tensor.dtype.itemsize == 1 and tensor.name in codes(checkpoint)


def _all_or(count: int, of: int) -> str:
    """``all 16 weights are``, ``2 of 16 weights are``, ``1 of 16 weights is``."""
    if count == of > 1:
        return f"all {of:,} weights are"
    return f"{share_text(count, of)} {'is' if count == 1 else 'are'}"


class AllZero(Rule):
    """weights that are nothing but zeros"""

    name: ClassVar[str] = "all_zero"
    code: ClassVar[str] = "T103"
    together: ClassVar[Mapping[str, str]] = {"begin": "are all zero, as they begin", "": "are all zero"}

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        found = list(learned(checkpoint, results["summary"]))
        around_zero = _norms_around_zero(found)
        gates = _zero_norms_of_every_layer(found)
        for tensor, summary in found:
            if summary.count < 2 or summary.zeros != summary.count or is_type_table(tensor):
                continue
            text = f"all {summary.count:,} weights are zero"
            begins = begins_at_zero(tensor) or (tensor.ndim == 1 and (around_zero or tensor.name in gates))
            if begins:
                text = f"{text}, as they begin: training has not reached them"
            certain = not begins and (tensor.ndim == 1 or is_matrix(tensor) or is_called_weight(tensor))
            yield Finding(text, tensor.name, severity="error" if certain else "warning")


def _norms_around_zero(found: Iterable[tuple[LazyTensor, Distribution]]) -> bool:
    """True where normalisations multiply with 1 + weight, as Gemma's do: most that are not zero have a mean near 0."""
    norms = [summary for tensor, summary in found if tensor.ndim == 1 and summary.finite and summary.zeros < summary.count]
    return sum(abs(summary.mean) < 0.5 for summary in norms) > len(norms) / 2


def _zero_norms_of_every_layer(found: Iterable[tuple[LazyTensor, Distribution]]) -> set[str]:
    """Normalisations that are zero in each of two like layers or more: residual branches that begin closed (``bn3``)."""
    like: dict[str, list[tuple[str, bool]]] = {}
    for tensor, summary in found:
        if tensor.ndim == 1:
            kind = ".".join("#" if part.isdecimal() else part for part in tensor.name.split("."))
            like.setdefault(kind, []).append((tensor.name, summary.zeros == summary.count))
    whole = (layers for layers in like.values() if len(layers) > 1 and all(zero for _, zero in layers))
    some = {name for layers in whole for name, _ in layers}
    return some if len(some) < sum(map(len, like.values())) else set()  # all of a network are no gates


class Constant(Rule):
    """matrices and kernels of one number throughout"""

    name: ClassVar[str] = "constant"
    code: ClassVar[str] = "T104"
    together: ClassVar[Mapping[str, str]] = {"": "hold one number throughout; the first: {first}"}

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, summary in learned(checkpoint, results["summary"]):
            whole = summary.finite == summary.count
            if is_matrix(tensor) and whole and summary.min == summary.max and summary.zeros != summary.count:
                average = is_single_channel(tensor) and math.isclose(summary.min * fan_in(tensor), 1, rel_tol=1e-2)
                certain = is_called_weight(tensor) and not average
                severity: Severity = "error" if certain else "warning"
                yield Finding(f"all {summary.count:,} weights are {summary.min:g}", tensor.name, severity=severity)


@dataclass(frozen=True)
class Exploding(Rule):
    """weights and biases larger than training leaves them"""

    name: ClassVar[str] = "exploding"
    code: ClassVar[str] = "T105"
    together: ClassVar[Mapping[str, str]] = {
        "exploded": "exploded; the first: {first}",
        "": "hold numbers that are too large; the first: {first}",
    }

    limit: float = field(default=1e4, metadata={"help": "largest |weight| of a healthy network"})
    gain: float = field(default=EXPLODED, metadata={"help": "largest std of healthy weights, in units of the usual 1/√fan-in"})
    bias: float = field(default=1e3, metadata={"help": "largest |bias| of a healthy network"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _BRIEF

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        large = dict(self._weights(checkpoint, results["summary"]))
        large.update(self._biases(checkpoint, results["summary"]))
        for name in checkpoint:
            if name in large:
                yield large[name]

    def _weights(self, checkpoint: Checkpoint, summaries: Mapping[str, Any]) -> Iterable[tuple[str, Finding]]:
        for tensor, summary in weights(checkpoint, summaries):
            if not is_number(tensor) or not summary.finite:
                continue
            usual, name = usual_std(tensor)
            times = summary.std / usual
            text = f"largest |weight| {size_text(summary.absmax)}"
            if times > self.gain and _spreads(tensor, summary):
                text = f"{text}, std {summary.std:.3g}: {times_text(times)} the usual {name}; the weights exploded"
            elif summary.absmax > self.limit:
                text = f"{text}, above {size_text(self.limit)} (RMS {summary.rms:.4g})"
            else:
                continue
            yield tensor.name, Finding(text, tensor.name, first_index(tensor, within(summary.absmax)))

    def _biases(self, checkpoint: Checkpoint, summaries: Mapping[str, Any]) -> Iterable[tuple[str, Finding]]:
        stored = codes(checkpoint)
        biases = [pair for pair in own(checkpoint, summaries) if is_bias(pair[0]) and pair[1].finite]
        biases = [pair for pair in biases if pair[0].name not in stored]
        for place, (tensor, summary) in enumerate(biases):
            if not summary.absmax > self.bias or is_fill(summary):
                continue
            same = summary.count > 1 and summary.min == summary.max
            like = [other for each, other in biases if each is not tensor and _kind(each) == _kind(tensor)]
            middle = float(np.median([other.absmax for other in like])) if like else math.nan
            text = f"largest |bias| {size_text(summary.absmax)}, above {size_text(self.bias)}"
            if same:
                text = f"all {summary.count:,} biases are {size_text(summary.min)}, above {size_text(self.bias)} in size"
            if middle > 0 and summary.absmax > 10 * middle:
                text = f"{text}: {times_text(summary.absmax / middle)} that of its like in other layers"
            # The last layer of a network that predicts large numbers, and a few units, may need a large bias.
            wanted = not like and not same and (place == len(biases) - 1 or summary.count < FEW)
            index = first_index(tensor, within(summary.absmax))
            text = text if wanted else f"{text}; the biases exploded"
            yield tensor.name, Finding(text, tensor.name, index, "warning" if wanted else None)


def is_bias(tensor: LazyTensor) -> bool:
    """True for a vector of biases, of which there is one for each unit."""
    last = tensor.name.rpartition(".")[2]
    return tensor.ndim == 1 and is_number(tensor) and bool(_BIAS.search(last))


def _kind(tensor: LazyTensor) -> tuple[str, tuple[int, ...]]:
    """Equal for the same bias of like layers: the name without its numbers, and the shape."""
    return re.sub(r"\d+", "#", tensor.name), tensor.shape


def _spreads(tensor: LazyTensor, summary: Distribution) -> bool:
    """True for a matrix whose std says something: no codes of one byte, which a scale belongs to, and not one large weight."""
    is_large = summary.absmax > _LEAST_EXPLODED and not is_one_weight(summary)
    return is_large and is_matrix(tensor) and tensor.dtype.itemsize > 1
