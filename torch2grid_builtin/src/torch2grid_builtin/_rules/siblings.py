"""Units, layers and normalisations that stick out among their like: something scaled them, or they came from elsewhere."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._rules.about import is_one_weight, is_place_table, is_single_channel, is_vocabulary, learned, times_text
from torch2grid_builtin._views.convolutions import channel_names
from torch2grid_builtin._views.robust import limit, z_of_units
from torch2grid_builtin._views.stacks import Matrix, apart, joined, matrices
from torch2grid_builtin._views.units import in_whole, ranges_text
from torch2grid_core import Checkpoint, Finding, LazyTensor, Rule, Settings, Severity
from torch2grid_core.measures import Distribution, Profile, Summary, UnitProfile
from torch2grid_core.sources import is_floating

_UNITS = 16
_PER_UNIT = 8  # weights
_SIZE = 256  # weights, from which a std is known to a twentieth
_SIBLINGS = 4
_AGAIN = 2.0  # times the median: a unit that is so large in another layer, too, is an outlier dimension
_ENDS = 2.0  # times so far, by ratio, the first and the last layer may differ
_ALIKE = 0.04  # layers whose ln std differs by less are alike
_LOOKUP = re.compile(r"emb|wte|wpe|shared|lut", re.IGNORECASE)


def kind_of(name: str) -> tuple[str, int]:
    """The name without its numbers, and the first of these; −1 where it has none."""
    parts = name.split(".")
    numbers = [int(part) for part in parts if part.isdecimal() and len(part) < 10]
    return ".".join("*" if part.isdecimal() else part for part in parts), numbers[0] if numbers else -1


def _is_plain(tensor: LazyTensor) -> bool:
    return is_floating(tensor.dtype) and tensor.dtype.itemsize > 1


@dataclass(frozen=True)
class ScaledUnits(Rule):
    """a row, column or filter far larger than all others, and in this layer alone"""

    name: ClassVar[str] = "scaled_unit"
    code: ClassVar[str] = "T204"
    severity: ClassVar[Severity] = "warning"
    together: ClassVar[Mapping[str, str]] = {"": "have a unit far larger than all others; the first: {first}"}

    z: float = field(default=20.0, metadata={"help": "how many robust spreads the unit's norm sticks out, at least"})
    gap: float = field(default=3.0, metadata={"help": "how many times the norm of the next largest unit it is, at least"})
    certain: float = field(
        default=20.0, metadata={"help": "how many times the next largest is an error, where layers are alike"}
    )

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {**apart(checkpoint, {"profile": Profile()}), "summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        parts = [
            part
            for tensor, _ in learned(checkpoint, results["summary"])
            if tensor.ndim >= 2 and _is_plain(tensor) and not is_place_table(tensor) and not is_single_channel(tensor)
            for part in matrices(tensor)
        ]
        ratios: dict[tuple[str, int], list[tuple[str, np.ndarray[Any, Any]]]] = defaultdict(list)
        for part in parts:
            profile: UnitProfile = part.of(results, "profile")
            for axis, norms in enumerate((profile.output_norm, profile.input_norm)):
                if norms is not None and len(norms) >= _UNITS and part.tensor.size >= _PER_UNIT * len(norms):
                    median = float(np.median(norms))
                    if median > 0 and math.isfinite(median):
                        ratios["", len(norms)].append((part.tensor.name, norms / median))
                        self_kind = kind_of(part.owner)[0]
                        ratios[self_kind, axis].append((part.tensor.name, norms / median))
        for part in parts:
            if not is_vocabulary(part.tensor) and not _LOOKUP.search(part.owner):
                yield from self._of(part, part.of(results, "profile"), ratios)

    def _of(
        self, part: Matrix, profile: UnitProfile, ratios: Mapping[tuple[str, int], Sequence[tuple[str, np.ndarray[Any, Any]]]]
    ) -> Iterable[Finding]:
        tensor = part.tensor
        sides = zip((profile.output_norm, profile.input_norm), (profile.output_absmax, profile.input_absmax), strict=True)
        for axis, (norms, absmax) in enumerate(sides):
            if norms is None or absmax is None or len(norms) < _UNITS or tensor.size < _PER_UNIT * len(norms):
                continue
            if not np.isfinite(norms).all():
                continue
            unit = int(np.argmax(norms))
            second = float(np.partition(norms, -2)[-2])
            if not second > 0 or norms[unit] < self.gap * second:
                continue
            median = float(np.median(norms[norms > 0]))  # of a layer whose units are mostly dead, of those that live
            if z_of_units(norms[norms > 0])[1].max() < limit(self.z, len(norms)):
                continue
            with np.errstate(all="ignore"):
                peaks = absmax / norms  # of one large weight, that is 1
            if not peaks[unit] < 2 * float(np.nanmedian(peaks)):
                continue
            like = ratios[kind_of(part.owner)[0], axis]
            alike = sum(len(each) == len(norms) for _, each in like)
            again = max(_AGAIN, math.sqrt(norms[unit] / median))
            same, others = (
                sum(name != tensor.name and len(each) == len(norms) and each[unit] >= again for name, each in among)
                for among in (like, ratios["", len(norms)])
            )
            if same or others > max(1, 0.2 * len(ratios["", len(norms)])):
                continue  # an outlier dimension, which layers have in common
            if alike < _SIBLINGS and norms[unit] < (1 + axis) * 2 * self.gap * second:
                continue  # nothing says what is usual; and what a network reads may be of any size, its columns with it
            names = ("row", "column") if tensor.ndim == 2 else channel_names(tensor)
            (told,) = in_whole(tensor, (unit,), axis)
            severity: Severity = "error" if alike >= _SIBLINGS and norms[unit] > self.certain * second else "warning"
            text = (
                f"{part.where}{names[axis]} {told} has {times_text(float(norms[unit]) / median)} the usual norm, and "
                f"{float(norms[unit]) / second:.3g} times that of the next: it was scaled"
            )
            place = [0] * len(tensor.shape)
            place[axis] = unit
            index = (*part.index, *place) if part.index else tuple(place)
            yield Finding(f"{text}; compare with the original", part.owner, index, severity)


@dataclass(frozen=True)
class ScaledLayers(Rule):
    """a layer whose weights are of another size than those of its siblings"""

    name: ClassVar[str] = "scaled_layer"
    code: ClassVar[str] = "T205"
    severity: ClassVar[Severity] = "warning"
    together: ClassVar[Mapping[str, str]] = {"": "are of another size than their siblings; the first: {first}"}

    z: float = field(
        default=8.0, metadata={"help": "how many spreads of its siblings (of ln std) the nearest is away, at least"}
    )
    gap: float = field(default=1.8, metadata={"help": "how many times the nearest sibling's std it is, at least"})
    certain: float = field(default=30.0, metadata={"help": "how many times the nearest sibling's std is an error"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return apart(checkpoint, {"summary": Summary(brief=True)})

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        summaries = {name: joined(results, "summary", name) for name in checkpoint}
        kinds: dict[tuple[str, tuple[int, ...]], list[tuple[int, Matrix, Distribution]]] = defaultdict(list)
        for tensor, _ in learned(checkpoint, summaries):
            kind, layer = kind_of(tensor.name)
            if tensor.ndim < 2 or layer < 0 or tensor.size < _SIZE or not _is_plain(tensor) or is_place_table(tensor):
                continue
            for part in matrices(tensor):
                summary: Distribution = part.of(results, "summary")
                if summary.finite and summary.std > 0:
                    kinds[kind, part.tensor.shape].append((layer, part, summary))
        found = [each for members in kinds.values() if len(members) >= _SIBLINGS for each in self._of(members)]
        layers: dict[str, list[Finding]] = defaultdict(list)
        for each in found:
            layers[each.tensor].append(each)
        for name in checkpoint:
            yield from layers.get(name, ())

    def _of(self, members: Sequence[tuple[int, Matrix, Distribution]]) -> Iterable[Finding]:
        numbers = sorted({layer for layer, _, _ in members})
        logs = np.log(np.asarray([summary.std for _, _, summary in members]))
        odd = []
        for place, (layer, part, summary) in enumerate(members):
            others = np.delete(logs, place)
            away = float(np.min(np.abs(others - logs[place])))
            ends = len(numbers) > 1 and layer in (numbers[0], numbers[-1])
            least = max(math.log(self.gap), self.z * max(float(np.std(others)), _ALIKE)) * (_ENDS if ends else 1.0)
            if away > least and not (logs.min() < logs[place] < logs.max()) and not is_one_weight(summary):
                odd.append((part, summary, math.exp(away)))
        if len(odd) > 1:
            return  # a family of unlike tensors
        for part, summary, gap in odd:
            times = times_text(summary.std / math.exp(float(np.median(logs))))
            text = (
                f"{part.where}std {summary.std:.4g} is {times} the median of {len(members)} siblings, and {gap:.3g} times away"
            )
            faded = summary.std < math.exp(float(np.median(logs)))  # weight decay does that to what gets no gradient
            severity: Severity = "error" if gap > self.certain and not faded else "warning"
            cause = "it has decayed, was scaled" if faded else "it was scaled"
            advice = f"{cause}, or comes from elsewhere; compare with the original"
            yield Finding(f"{text} from the nearest: {advice}", part.owner, severity=severity)


@dataclass(frozen=True)
class UntrainedRows(Rule):
    """rows of an embedding that training has not reached, beside others that it has"""

    name: ClassVar[str] = "untrained_rows"
    code: ClassVar[str] = "T206"
    severity: ClassVar[Severity] = "warning"
    together: ClassVar[Mapping[str, str]] = {"": "have rows that were never trained; the first: {first}"}

    share: float = field(default=0.05, metadata={"help": "share of rows (0…1) from which they are named"})
    gap: float = field(default=1.5, metadata={"help": "how many times smaller than every other row they are, at least"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {**apart(checkpoint, {"profile": Profile()}), "summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, _ in learned(checkpoint, results["summary"]):
            if tensor.ndim != 2 or not is_vocabulary(tensor) or is_place_table(tensor) or not _is_plain(tensor):
                continue
            norms: np.ndarray[Any, Any] = results["profile"][tensor.name].output_norm
            rows = self._rows(norms, tensor.shape[1])
            if rows:
                told = ranges_text(in_whole(tensor, rows))
                scale = float(np.median(norms[list(rows)])) / math.sqrt(tensor.shape[1])
                other = float(np.median(np.delete(norms, list(rows)))) / math.sqrt(tensor.shape[1])
                text = (
                    f"{len(rows):,} of {len(norms):,} rows are of one size, RMS {scale:.3g}, the others of {other:.3g}: {told}"
                )
                advice = "they look untrained, tokens that the data never had"
                yield Finding(f"{text}: {advice}", tensor.name, (rows[0], 0))

    def _rows(self, norms: np.ndarray[Any, Any], width: int) -> tuple[int, ...]:
        known = np.flatnonzero(np.isfinite(norms) & (norms > 0))
        if len(known) < 32 or width < _UNITS:
            return ()
        order = known[np.argsort(norms[known], kind="stable")]
        logs = np.log(norms[order])
        gaps = np.diff(logs)
        cut = int(np.argmax(gaps)) + 1
        noise = 1 / math.sqrt(2 * width)  # of ln |row|, where it is as a normal initialisation left it
        few = min(cut, len(order) - cut) < max(self.share * len(norms), _PER_UNIT)
        alike = float(np.std(logs[:cut])) / noise  # rows that are all the same are no initialisation: padding
        if few or gaps[cut - 1] < max(math.log(self.gap), 3 * noise) or not 0.3 < alike < 1.5:
            return ()
        return tuple(sorted(order[:cut].tolist()))


@dataclass(frozen=True)
class Gains(Rule):
    """the gain of a normalisation far beyond those of all others"""

    name: ClassVar[str] = "gains"
    code: ClassVar[str] = "T207"
    severity: ClassVar[Severity] = "warning"
    together: ClassVar[Mapping[str, str]] = {"": "have a gain out of range; the first: {first}"}

    gap: float = field(default=10.0, metadata={"help": "how many times the largest gain of the other normalisations"})
    least: float = field(default=20.0, metadata={"help": "a smaller |gain| is in order"})
    certain: float = field(default=1000.0, metadata={"help": "how many times the largest other is an error"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return {"summary": Summary(brief=True)}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        found = learned(checkpoint, results["summary"])
        norms = [(tensor, summary) for tensor, summary in found if tensor.ndim == 1 and _is_plain(tensor) and summary.finite]
        if len(norms) < _SIBLINGS:
            return
        tensor, summary = max(norms, key=lambda pair: pair[1].absmax)
        other = max(each.absmax for one, each in norms if one is not tensor)
        if summary.absmax < self.least or not 0 < self.gap * other <= summary.absmax:
            return
        values = np.abs(tensor.numpy().astype(np.float64).reshape(-1))
        place = int(np.nanargmax(np.where(np.isfinite(values), values, np.nan)))
        times = summary.absmax / other
        severity: Severity = "error" if times > self.certain else "warning"
        text = f"a gain of {summary.absmax:.4g}, {times_text(times)} the largest of {len(norms) - 1:,} other normalisations"
        yield Finding(f"{text}: it left its range; compare with the original", tensor.name, (place,), severity)
