"""What is odd about a checkpoint as a whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from torch2grid_builtin._codes import codes
from torch2grid_builtin._rules.siblings import kind_of
from torch2grid_core import Checkpoint, Finding, Rule, Settings, Severity
from torch2grid_core.sources import is_floating

_SIBLINGS = 3


class MixedDtypes(Rule):
    """more than one floating type in one checkpoint"""

    name: ClassVar[str] = "mixed_dtypes"
    code: ClassVar[str] = "T301"
    severity: ClassVar[Severity] = "note"

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        stored = codes(checkpoint)
        floating = {
            name: tensor.dtype.name
            for name, tensor in checkpoint.items()
            if is_floating(tensor.dtype) and name not in checkpoint.composed and name not in stored
        }
        counts = Counter(floating.values()).most_common()
        if len(counts) > 1:
            listed = ", ".join(f"{count:,} {dtype}" for dtype, count in counts)
            rarest = counts[-1][0]
            names = [name for name, dtype in floating.items() if dtype == rarest]
            text = f"tensors of {len(counts)} floating types: {listed}; this is the first {rarest}"
            yield from self._among_siblings(checkpoint, floating) or [Finding(text, names[0])]

    def _among_siblings(self, checkpoint: Checkpoint, floating: Mapping[str, str]) -> list[Finding]:
        """A warning where like tensors of three layers or more differ: no recipe of mixed precision does that."""
        kinds: dict[Any, dict[str, str]] = defaultdict(dict)
        for name, dtype in floating.items():
            kind, layer = kind_of(name)
            if layer >= 0:
                kinds[kind, checkpoint[name].shape][name] = dtype
        for members in kinds.values():
            (usual, count), *others = Counter(members.values()).most_common()
            if others and len(members) >= _SIBLINGS:
                rarest = others[-1][0]
                first = next(name for name, dtype in members.items() if dtype == rarest)
                text = f"is {rarest}, and {count:,} of its {len(members) - 1:,} siblings are {usual}"
                advice = "a conversion was interrupted, or a layer comes from another file"
                return [Finding(f"{text}: {advice}", first, severity="warning")]
        return []


class ZeroSize(Rule):
    """tensors without a single weight"""

    name: ClassVar[str] = "zero_size"
    code: ClassVar[str] = "T302"
    severity: ClassVar[Severity] = "warning"
    judges: ClassVar[Literal["values"]] = "values"
    together: ClassVar[Mapping[str, str]] = {"": "hold no weight"}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for name, tensor in checkpoint.items():
            if tensor.size == 0:
                yield Finding(f"shape {list(tensor.shape)} holds no weight", name)


class TiedWeights(Rule):
    """tensors that are views of one storage"""

    name: ClassVar[str] = "tied_weights"
    code: ClassVar[str] = "T303"
    severity: ClassVar[Severity] = "note"
    judges: ClassVar[Literal["file"]] = "file"
    together: ClassVar[Mapping[str, str]] = {"^shares": "share their weights with others", "^is a part": "are parts of others"}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for name, first in checkpoint.aliases.items():
            whole = checkpoint[name].size == checkpoint[first].size
            yield Finding(f"{'shares its weights with' if whole else 'is a part of'} {first}", name)


class NotRun(Rule):
    """names that the pickle imports or calls and that are not known to be harmless"""

    name: ClassVar[str] = "not_run"
    code: ClassVar[str] = "T304"
    judges: ClassVar[Literal["file"]] = "file"

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for action in checkpoint.not_run:
            yield Finding(f"{action.sentence}; it was not run", severity=action.severity)


class Inconsistent(Rule):
    """files of one checkpoint that disagree: an index and its shards"""

    name: ClassVar[str] = "inconsistent"
    code: ClassVar[str] = "T305"
    judges: ClassVar[Literal["file"]] = "file"

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for problem in checkpoint.problems:
            yield Finding(problem.message, problem.tensor, severity=problem.severity)
