"""Layers and averages that are another's copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._rules.about import learned
from torch2grid_builtin._rules.siblings import kind_of
from torch2grid_core import Checkpoint, Finding, LazyTensor, Rule, Settings, Severity
from torch2grid_core.measures import Distribution, Summary
from torch2grid_core.sources import is_floating

_SIZE = 64  # weights, from which no two of them are equal by chance
_SIBLINGS = 3

Print = tuple[int, int, float, float, float, float]


def _print(summary: Distribution) -> Print:
    """What is equal for equal tensors, and hardly for others: enough to decide which are worth reading again."""
    return summary.count, summary.zeros, summary.min, summary.max, summary.mean, summary.l2


def equal_tensors(one: LazyTensor, other: LazyTensor) -> bool:
    """True where both have the same numbers in the same shape and dtype."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    pairs = zip(one.flat_chunks(), other.flat_chunks(), strict=True)
    return all(bool(np.array_equal(mine.view(np.uint8), others.view(np.uint8))) for (_, mine), (_, others) in pairs)


def _endings(name: str) -> Iterable[str]:
    """The name, and without up to three of its first components: an average is often saved without the ``model`` before."""
    parts = name.split(".")
    return (".".join(parts[first:]) for first in range(min(len(parts), 4)))


def _compared(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> Iterable[tuple[LazyTensor, Distribution]]:
    """Matrices and kernels of many numbers."""
    for tensor, summary in learned(checkpoint, summaries):
        if tensor.ndim >= 2 and tensor.size >= _SIZE and is_floating(tensor.dtype) and summary.min < summary.max:
            yield tensor, summary


@dataclass(frozen=True)
class CopiedLayers(Rule):
    """layers that repeat another layer weight for weight, where their siblings do not"""

    name: ClassVar[str] = "copied_layer"
    code: ClassVar[str] = "T208"
    together: ClassVar[Mapping[str, str]] = {"": "repeat those of another layer; the first: {first}"}

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {"summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        kinds: dict[tuple[str, tuple[int, ...]], list[tuple[LazyTensor, Distribution]]] = defaultdict(list)
        for tensor, summary in _compared(checkpoint, results["summary"]):
            kind, layer = kind_of(tensor.name)
            if layer >= 0:
                kinds[kind, tensor.shape].append((tensor, summary))
        copies: dict[str, str] = {}
        many: set[str] = set()  # of modules that are shared in pairs, or of a network that was made deeper by its own layers
        for members in kinds.values():
            if len(members) >= _SIBLINGS:
                found = self._of(members)
                copies.update(found)
                many.update(found if len(found) > max(len(members) // 4, 1) else ())
        same: dict[tuple[str, str], bool] = {}
        for name in checkpoint:
            if name not in copies:
                continue
            source = copies[name]
            pair = _layers_of(name, source)
            if pair not in same:
                same[pair] = _is_whole(*pair, checkpoint, results["summary"])
            text = f"every weight is that of {source} (by chance less than once in 1e30 tensors), and its siblings are not"
            severity: Severity = "warning" if same[pair] or name in many else "error"
            advice = "one was written in the other's place, or copied"
            if same[pair]:
                advice = "all of the layer is the other's: it was written in its place, or the network was made deeper with it"
            yield Finding(f"{text}: {advice}", name, severity=severity)

    def _of(self, members: Sequence[tuple[LazyTensor, Distribution]]) -> dict[str, str]:
        """Each of *members* that is an earlier one's copy, and that one."""
        prints: dict[Print, list[LazyTensor]] = defaultdict(list)
        for tensor, summary in members:
            prints[_print(summary)].append(tensor)
        if len(prints) == 1:
            return {}  # all are one module, saved several times, or as they began
        return {each.name: first.name for first, *others in prints.values() for each in others if equal_tensors(first, each)}


def _layers_of(name: str, other: str) -> tuple[str, str]:
    """Both names up to the first number that they differ in, and a dot: ``layers.3.`` and ``layers.5.``."""
    mine, theirs = name.split("."), other.split(".")
    stop = next(place for place, pair in enumerate(zip(mine, theirs, strict=True), start=1) if len({*pair}) > 1)
    return ".".join(mine[:stop]) + ".", ".".join(theirs[:stop]) + "."


def _is_whole(copy: str, source: str, checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> bool:
    """True where each tensor of the layer *copy* is that of *source*: what makes a network deeper copies layers as a whole.

    What writes one tensor in another's place leaves the others of the layer as they were.
    """
    own = [name for name in checkpoint if name.startswith(copy)]
    pairs = [(name, source + name.removeprefix(copy)) for name in own]
    alike = len(pairs) > 1 and all(name in summaries and other in summaries for name, other in pairs)
    alike = alike and all(_print(summaries[name]) == _print(summaries[other]) for name, other in pairs)
    return alike and all(equal_tensors(checkpoint[name], checkpoint[other]) for name, other in pairs)


@dataclass(frozen=True)
class AverageIsModel(Rule):
    """an average (EMA) or another copy of the model that equals it"""

    name: ClassVar[str] = "average"
    code: ClassVar[str] = "T209"
    severity: ClassVar[Severity] = "warning"

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {"summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        found = {tensor.name: summary for tensor, summary in _compared(checkpoint, results["summary"])}
        models = [part for part in checkpoint.parts if part.kind == "model"]
        for copy in (part for part in checkpoint.parts if part.kind == "copy"):
            for model in models:
                own: dict[str, str] = {}
                for name in filter(found.__contains__, model.names):
                    for ending in _endings(model.shown(name)):
                        own.setdefault(ending, name)
                pairs = [(own[copy.shown(name)], name) for name in copy.names if name in found and copy.shown(name) in own]
                same = len(pairs) >= 2 and all(_print(found[one]) == _print(found[other]) for one, other in pairs)
                if same and all(equal_tensors(checkpoint[one], checkpoint[other]) for one, other in pairs):
                    text = f"all {len(pairs):,} matrices of {copy.name} are those of {model.name}, weight for weight"
                    yield Finding(f"{text}: either nothing was averaged, or one of them was saved twice", pairs[0][1])
