"""Values that do not belong where they are: runs, strays, blocks that occur twice."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._rules.about import FEW, is_place_table, is_type_table, learned, share_text, size_text
from torch2grid_builtin._rules.texture import BLOCK, TINY, FlatTensor, Seen, Texture, runs_of
from torch2grid_builtin._rules.waves import Waves
from torch2grid_core import Checkpoint, Finding, LazyTensor, Need, Rule, Settings, Severity
from torch2grid_core.measures import Distribution, Summary
from torch2grid_core.sources import as_float, is_floating

_READ = 1 << 28  # weights of a tensor that is looked at once more
_LEAST = 64  # weights of a tensor in which a few can be told from the others
_RUN = 2 * BLOCK - 1
_FEW_RUNS = 4  # more of them are how the tensor is made: pruned blocks, masked kernels
_LEAST_PARTIAL = 4  # weights of a run that are no whole rows
_LIGHT_GAP, _AWAY = 1.7, 6.0  # times the next largest weight, and mean excesses away from it
_LIGHT = 0.27  # mean excess over a quantile, of that: 0.15 of normal numbers, 0.25 of Laplace's, more of long tails
_LARGE = 1 << 20  # weights of a matrix that may have super weights
_WRITES = re.compile(r"down_proj|c_proj|fc2|w2|o_proj|dense_4h_to_h|wo\b|output\.dense", re.IGNORECASE)
_SPARSE = 0.1  # share of zeros, from which a run of them is pruning
_TOLD = 4
_MANY = 4  # strays, from which their places say whether they are neighbours


def judged(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> Iterator[tuple[LazyTensor, Distribution]]:
    """The matrices and kernels whose single weights are judged: stored as floating numbers of 16 bits or more."""
    for tensor, summary in learned(checkpoint, summaries):
        if summary.finite and _has_texture(tensor, checkpoint):
            yield tensor, summary


def _has_texture(tensor: LazyTensor, checkpoint: Checkpoint) -> bool:
    plain = is_floating(tensor.dtype) and tensor.dtype.itemsize > 1 and tensor.name not in checkpoint.composed
    return plain and tensor.ndim >= 2 and tensor.shape[0] > 1 and tensor.size >= _LEAST


def _needs(checkpoint: Checkpoint) -> dict[str, Need[Any]]:
    names = [name for name, tensor in checkpoint.items() if _has_texture(tensor, checkpoint)]
    return {"summary": Summary(brief=True), "texture": Texture().about(names)}


def _told(tensor: LazyTensor, flat: int) -> str:
    index = tuple(int(each) for each in np.unravel_index(flat, tensor.shape))
    return f"[{', '.join(map(str, index if tensor.taken is None else tensor.taken.index(index)))}]"


def _index(tensor: LazyTensor, flat: int) -> tuple[int, ...]:
    return tuple(int(each) for each in np.unravel_index(flat, tensor.shape))


def _row(tensor: LazyTensor) -> int:
    """How many weights a row has; of small kernels, a filter."""
    return tensor.shape[-1] if tensor.ndim == 2 or tensor.shape[-1] >= BLOCK else tensor.size // tensor.shape[0]


def _in_rows(tensor: LazyTensor, *places: int) -> bool:
    """True where the flat indices *places* begin rows, or filters: then it is a matter of units."""
    return not any(place % _row(tensor) for place in places)


def _beside_rows(tensor: LazyTensor, start: int, stop: int) -> int:
    """How many weights from *start* to *stop* are left without the whole rows among them: a dead unit is no run."""
    width = _row(tensor)
    first, last = -(-start // width), stop // width
    return stop - start - max(last - first, 0) * width


def _is_of_columns(tensor: LazyTensor, holds: np.ndarray[Any, Any], start: int, stop: int) -> bool:
    """True where other rows hold the same in these columns: dead inputs, a masked kernel."""
    width = _row(tensor)
    columns = np.unique(np.arange(start, min(stop, start + width)) % width)
    rows = holds.reshape(-1, width)[:, columns]
    return len(rows) > 2 * (stop - start) // width + 4 and float(rows.mean()) > 0.2


def _extended(holds: np.ndarray[Any, Any], start: int, stop: int) -> tuple[int, int]:
    """The longest run from *start* and beyond either end for which *holds*."""
    before = np.flatnonzero(~holds[:start])
    after = np.flatnonzero(~holds[stop:])
    return int(before[-1]) + 1 if len(before) else 0, stop + int(after[0]) if len(after) else len(holds)


@dataclass(frozen=True)
class Runs(Rule):
    """neighbouring weights that are zero, equal or tiny, more than chance explains: a block that was not written"""

    name: ClassVar[str] = "runs"
    code: ClassVar[str] = "T108"
    together: ClassVar[Mapping[str, str]] = {
        "zero in a row": "hold runs of zeros that do not belong; the first: {first}",
        "": "hold runs of equal or tiny numbers that do not belong; the first: {first}",
    }

    chance: float = field(default=1e-9, metadata={"help": "a run is named where chance explains it less often than this"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _needs(checkpoint)

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, summary in judged(checkpoint, results["summary"]):
            seen: Seen = results["texture"][tensor.name]
            if seen.crowded or tensor.size > _READ or is_place_table(tensor) or summary.min == summary.max:
                continue
            if len(seen.tiny) + len(seen.alike):
                yield from self._of(tensor, summary, seen)

    def _of(self, tensor: LazyTensor, summary: Distribution, seen: Seen) -> Iterable[Finding]:
        runs = [*((run, False) for run in runs_of(seen.alike)), *((run, True) for run in runs_of(seen.tiny))]
        if len(runs) > 16 * _FEW_RUNS:
            return
        values = as_float(FlatTensor(tensor).part(0, tensor.size))
        found = []
        for (start, stop), tiny in sorted(runs):
            holds = np.abs(values) < TINY if tiny else values == values[start]
            first, last = _extended(holds, start, stop)
            if last - first >= _RUN and not _is_of_columns(tensor, holds, first, last):
                found.append((first, last, tiny, int(np.count_nonzero(holds))))
        found = sorted(set(found))
        if len(found) > _FEW_RUNS:
            return  # that is how the tensor is made
        inside = sum(last - first for first, last, _, _ in found)
        sizes = np.abs(values)
        if np.count_nonzero(sizes == 0) - inside > _SPARSE * tensor.size:
            return
        waves = None
        for first, last, tiny, count in found:
            share = max(count - inside, 1) / max(tensor.size - inside, 1)
            partial = _beside_rows(tensor, first, last)
            if partial < _LEAST_PARTIAL or share >= 1:
                continue  # whole rows are a matter of units
            expected = math.log(tensor.size) + partial * math.log(share)
            if expected > math.log(self.chance) or (tiny and not self._is_out_of_place(sizes, first, last)):
                continue
            what = self._what(values[first:last], tiny)
            waves = waves or Waves(tensor)
            if waves.explain(first, last):
                continue  # position 0 of a table of positions: the sine of it is 0, the cosine 1
            is_end = last == tensor.size and tensor.taken is None
            tail = f", to the end of {tensor.size:,} weights" if is_end else ""
            odds = f"chance below 1e{math.ceil(expected / math.log(10))}" if expected > -690 else "chance below 1e-300"
            text = f"{last - first:,} weights {what} in a row{tail} ({odds}): they were not written, or overwritten"
            yield Finding(f"{text}; compare with the original", tensor.name, _index(tensor, first))

    def _is_out_of_place(self, sizes: np.ndarray[Any, Any], first: int, last: int) -> bool:
        """True where the weights beside are of another size: of a tensor whose units fade away, the edge does not jump."""
        beside = np.concatenate((sizes[max(first - 64, 0) : first], sizes[last : last + 64]))
        beside = beside[np.isfinite(beside)]
        return bool(len(beside)) and float(np.median(beside)) > 1000 * TINY

    def _what(self, run: np.ndarray[Any, Any], tiny: bool) -> str:
        if not run.any():
            return "zero"
        return f"of {size_text(float(np.abs(run).max()))} and less" if tiny else f"of {float(run[0]):g}"


@dataclass(frozen=True)
class Strays(Rule):
    """single weights, or a few neighbours, far beyond all others of their tensor: flipped bits, bytes of something else"""

    name: ClassVar[str] = "strays"
    code: ClassVar[str] = "T109"
    together: ClassVar[Mapping[str, str]] = {"": "hold weights far beyond their others; the first: {first}"}

    spread: float = field(default=100.0, metadata={"help": "how many robust spreads a stray weight is away, at least"})
    gap: float = field(default=8.0, metadata={"help": "how many times the largest other weight it is, at least"})
    certain: float = field(default=100.0, metadata={"help": "how many times the largest other weight is an error"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _needs(checkpoint)

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, _ in judged(checkpoint, results["summary"]):
            seen: Seen = results["texture"][tensor.name]
            spread = robust_spread(seen.sample)
            if spread > 0 and len(seen.far):
                yield from self._of(tensor, seen, spread)

    def _of(self, tensor: LazyTensor, seen: Seen, spread: float) -> Iterable[Finding]:
        sizes = seen.sizes
        block = self._block(seen.far, sizes, spread)
        if block is not None:
            first, last, count = block
            text = (
                f"{share_text(count, last - first)} in a row from {_told(tensor, first)} are up to "
                f"{size_text(float(sizes[0]))}, {size_text(float(sizes[0]) / spread)} times the spread of the others"
            )
            yield Finding(f"{text}: bytes of something else; read it again", tensor.name, _index(tensor, first))
            return
        following = np.append(sizes[1:], seen.next)
        ratios = sizes / np.maximum(following, spread)
        cut = int(np.argmax(ratios)) + 1
        gap, least, rest = float(ratios[cut - 1]), float(sizes[cut - 1]), float(following[cut - 1])
        if not (gap >= self.gap and least > self.spread * spread) and not self._is_beyond_a_light_tail(
            tensor, seen.sample, least, rest
        ):
            return
        places = sorted(zip(seen.far[:cut].tolist(), sizes[:cut].tolist(), strict=True))
        listed = ", ".join(f"|{_told(tensor, place)}| = {value:.4g}" for place, value in places[:_TOLD])
        more = f" and {len(places) - _TOLD} more" if len(places) > _TOLD else ""
        severity: Severity = "error" if gap >= self.certain else "warning"
        verb = "is" if cut == 1 else "are"
        text = f"{share_text(cut, tensor.size)} {verb} {gap:.3g} times the largest other, or more: {listed}{more}"
        advice = "an exponent flipped" if severity == "error" else "a bit flipped, or training made one weight so large"
        yield Finding(f"{text}: {advice}; compare with the original", tensor.name, _index(tensor, places[0][0]), severity)

    def _is_beyond_a_light_tail(self, tensor: LazyTensor, sample: np.ndarray[Any, Any], least: float, rest: float) -> bool:
        """True where all weights but a few have a tail like that of normal or Laplace numbers, which does not reach to these.

        In such a tail the largest weight is away from the next as an exponential number is, of the mean excess over a high
        quantile or less. Of a large matrix that writes into the residual stream, one may be a super weight.
        """
        sizes = np.abs(sample)
        sizes = sizes[sizes <= rest]  # without those in question
        if tensor.size < 4 * _LEAST or len(sizes) < _LEAST or least < _LIGHT_GAP * rest:
            return False
        if np.count_nonzero(sizes) < 0.9 * len(sizes):
            return False  # of a pruned matrix, a few weights of a large column may be left
        if is_type_table(tensor) or (tensor.size >= _LARGE and _WRITES.search(tensor.name)):
            return False
        high = float(np.quantile(sizes, 0.99 if len(sizes) >= 4000 else 0.97))
        above = sizes[sizes > high]
        excess = max(float((above - high).mean()) if len(above) else 0.0, 0.1 * high)
        excess *= 1 + 1 / math.sqrt(max(len(above), 1))  # a standard error more, so that few of them do not make it small
        return high > 0 and excess <= _LIGHT * high and rest <= 2.5 * high and least - rest >= _AWAY * excess

    def _block(self, indices: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any], spread: float) -> tuple[int, int, int] | None:
        """From, to and how many strays are next to each other; ``None`` where they lie about, or along a row or a column."""
        for times in (1, 10, 100):  # where the tensor has a long tail of its own, the larger ones tell
            order = np.sort(indices[sizes > times * self.spread * spread])
            if len(order) < _MANY or sizes[0] < 10 * self.spread * spread:
                break
            groups = np.split(order, np.flatnonzero(np.diff(order) > FEW) + 1)
            group = max(groups, key=len)
            first, last = int(group[0]), int(group[-1]) + 1
            if len(group) >= max(_MANY, 0.9 * len(order)) and len(group) >= (last - first) / 4:
                return first, last, len(group)
        return None


def robust_spread(sample: np.ndarray[Any, Any]) -> float:
    """The largest of the quantiles of |w| at 50, 90 and 97 %, each in units of the same of a standard normal distribution."""
    if len(sample) < _LEAST // 2:
        return 0.0
    ordered = np.sort(np.abs(sample))
    shares = ((0.5, 0.6745), (0.9, 1.645), (0.97, 2.17))
    return max(_quantile(ordered, share) / usual for share, usual in shares)


def _quantile(ordered: np.ndarray[Any, Any], share: float) -> float:
    """As ``numpy.quantile`` of numbers in order, of which there are two or more; that takes ten times as long for a few."""
    place = share * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2)
    low, high = float(ordered[below]), float(ordered[below + 1])
    return low + (high - low) * (place - below)


@dataclass(frozen=True)
class RepeatedBlocks(Rule):
    """a block of weights that stands a second time in the same tensor, and is no row or filter"""

    name: ClassVar[str] = "repeated_block"
    code: ClassVar[str] = "T110"
    together: ClassVar[Mapping[str, str]] = {"": "hold a block of weights twice; the first: {first}"}

    least: int = field(default=32, metadata={"help": "weights of the shortest block that is named"})

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Any]:
        return _needs(checkpoint)

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        for tensor, _ in judged(checkpoint, results["summary"]):
            seen: Seen = results["texture"][tensor.name]
            if seen.crowded or not len(seen.pairs) or tensor.size > _READ or is_place_table(tensor):
                continue
            found = self._blocks(tensor, seen.pairs)
            if not 0 < len(found) <= _FEW_RUNS:
                continue
            waves = Waves(tensor)
            for source, target, length in found:
                if waves.explain(source, source + length) and waves.explain(target, target + length):
                    continue  # a table of rotations: twice the position has half the frequency's angle
                odds = "equal by chance less than once in 1e15 tensors"
                text = f"{length:,} weights repeat those from {_told(tensor, source)} on ({odds})"
                yield Finding(
                    f"{text}: a block was written twice; compare with the original", tensor.name, _index(tensor, target)
                )

    def _blocks(self, tensor: LazyTensor, pairs: np.ndarray[Any, Any]) -> list[tuple[int, int, int]]:
        flat = FlatTensor(tensor).part(0, tensor.size)
        bits = flat.view(f"u{flat.dtype.itemsize}")
        found: dict[tuple[int, int], int] = {}
        done: dict[int, int] = {}
        for source, target in pairs.tolist():
            shift = target - source
            if source < done.get(shift, 0):
                continue
            equal = bits[: len(bits) - shift] == bits[shift:]
            first, last = _extended(equal, source, source + 1)
            done[shift] = last
            length = min(last - first, shift)  # what repeats itself at once is one block each time
            if length < self.least or _in_rows(tensor, first, first + length, shift):
                continue
            if len(np.unique(bits[first : first + length])) >= max(length // 4, BLOCK):
                found[first, first + shift] = length
            if len(found) > _FEW_RUNS:
                break
        return [(source, target, length) for (source, target), length in found.items()]
