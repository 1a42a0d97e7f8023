"""What values stand next to each other: a need that finds runs, blocks that occur twice, and weights far beyond the others.

All of it costs about as much as the extremes of the weights: most weights are not looked at by themselves. A run of fifteen
holds a whole aligned block of eight, so one in eight is compared with its neighbour; and of a block that occurs twice, the
places chosen by the lowest bits of the values are the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import Chunk, Collector
from torch2grid_core.sources import bits_of, has_sizes

Array = np.ndarray[Any, Any]

BLOCK = 8  # weights: a run of 2·BLOCK − 1 holds an aligned block
TINY = 1e-7  # |weight| below which a run of different numbers is one of tiny ones
_MOST = 4096  # blocks of runs that are kept of one piece of a tensor
_SAMPLE = 4096  # weights
FAR = 64  # weights far beyond the others that are kept of a tensor
_BEYOND = 3.5  # 90 % quantiles of |w|, from which a weight is kept: six standard deviations of normal numbers
_FEW = 64  # weights of a sample, from which it has such a quantile
_ANCHOR = 77  # what the lowest bits of a value are where a window of it is kept
_WINDOWS = 1 << 22  # windows that are kept of one tensor: more are those of a few numbers, as of codes
_PAIRS = 512


@dataclass
class Seen:
    """What was seen of one tensor, by flat index.

    alike, tiny: the first indices of aligned blocks of ``BLOCK`` weights that are equal, and not zero; and that are all below
    ``TINY`` in size. sample: some thousand weights, float64. far, sizes: weights that were far beyond the sample of their
    piece, and their |w|, by size from the largest, the first ``FAR`` of them; next: the largest |w| of all others.
    pairs: (n, 2), pairs of places from which on the same numbers stand, in order. crowded: True where there were more of any
    than are kept.
    """

    alike: Array = field(default_factory=lambda: np.empty(0, np.int64))
    tiny: Array = field(default_factory=lambda: np.empty(0, np.int64))
    sample: Array = field(default_factory=lambda: np.empty(0))
    far: Array = field(default_factory=lambda: np.empty(0, np.int64))
    sizes: Array = field(default_factory=lambda: np.empty(0))
    next: float = 0.0
    pairs: Array = field(default_factory=lambda: np.empty((0, 2), np.int64))
    crowded: bool = False


@dataclass(frozen=True)
class Texture(Need[Seen]):
    """The ``Seen`` of a tensor; nothing of what is no floating number of 16 bits or more."""

    aligned: ClassVar[int] = 1 << 20  # bytes, as one chunk has: what is looked for in a chunk does not depend on the parts

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        (tensor,) = tensors.values()
        return _Texture(tensor)

    def collectors(self, tensors: Sequence[LazyTensor], stored: Array) -> Sequence[Collector]:
        found, starts, start = [_Texture(each) for each in tensors], list[int](), 0
        alike: dict[int, list[int]] = {}
        for place, each in enumerate(tensors):
            alike.setdefault(each.size, []).append(place)
            starts.append(start)
            start += each.size
        for size, places in alike.items():
            rows = np.stack([stored[starts[place] : starts[place] + size] for place in places])
            usual = _usual(found[places[0]], rows) if found[places[0]].looks else {}
            for row, place in enumerate(places):
                if row in usual:
                    found[place].seen = usual[row]
                else:
                    found[place].update(Chunk(tensors[place].name, 0, rows[row]))
        return found


class _Texture(Collector):
    def __init__(self, tensor: LazyTensor) -> None:
        width = tensor.dtype.itemsize
        self.looks = has_sizes(tensor.dtype) and tensor.size >= 2 * BLOCK
        self.native = tensor.dtype.newbyteorder("=")
        self.tiny_from = self.infinite = 0  # as ``chunk.sizes`` has them
        if self.looks:
            self.tiny_from, self.infinite = bits_of(np.array([TINY, np.inf], self.native)).tolist()
        self.step = max(tensor.size // _SAMPLE, 1) | 1  # odd, so that it does not go along a column
        # Of large tensors fewer places are chosen; a block of some hundred weights has one all the same.
        self.mask = 7 if tensor.size <= 1 << 14 else 31 if tensor.size <= 1 << 17 else 127 if tensor.size <= 1 << 20 else 255
        self.window = 16 // width if width < 8 else 4
        self.alike: list[Array] = []
        self.tiny: list[Array] = []
        self.sample: list[Array] = []
        self.far: list[Array] = []
        self.sizes: list[Array] = []
        self.next = 0.0
        self.places: list[Array] = []
        self.hashes: list[Array] = []
        self.kept = 0
        self.crowded = False
        self.seen: Seen | None = None  # of a small tensor that was seen together with others

    def update(self, chunk: Chunk) -> None:
        if not self.looks or not len(chunk.stored):
            return
        bits = bits_of(chunk.stored)
        with np.errstate(all="ignore"):
            self.sample.append(chunk.values[-chunk.start % self.step :: self.step].astype(np.float64))
            self._take_far(chunk)
        self._take_runs(chunk, bits)
        self._take_windows(chunk.start, bits)

    def _take_far(self, chunk: Chunk) -> None:
        """Keep the weights far beyond the others of this piece; one that lies low here and far beyond the tensor is none."""
        step = max(len(chunk.stored) // 512, 1) | 1
        sample = chunk.sizes[::step]
        sample = sample[(sample > 0) & (sample <= self.infinite)]  # of NaN, too, nothing is kept
        limit = 0.0
        if len(sample) >= _FEW:
            place = len(sample) * 9 // 10
            limit = _BEYOND * self._number(np.partition(sample, place)[place])
        largest = self._number(chunk.sizes.max())
        if largest <= limit:  # most pieces: this is all that they cost
            self.next = max(self.next, largest)
            return
        sizes = np.abs(chunk.values)
        sizes[~np.isfinite(sizes)] = 0
        places = np.flatnonzero(sizes > limit)
        if len(places) > FAR:
            places = places[np.argpartition(sizes[places], -FAR)[-FAR:]]
        self.far.append(chunk.start + places)
        self.sizes.append(sizes[places].astype(np.float64))
        sizes[places] = 0
        self.next = max(self.next, float(sizes.max()))

    def _number(self, size: Any) -> float:
        """The |w| that one of ``chunk.sizes`` stands for."""
        return float(size.reshape(1).view(self.native)[0])

    def _take_runs(self, chunk: Chunk, bits: Array) -> None:
        head = -chunk.start % BLOCK
        count = max(len(bits) - head, 0) // BLOCK
        if not count:
            return
        whole = slice(head, head + count * BLOCK)
        body, sizes = bits[whole].reshape(count, BLOCK), chunk.sizes[whole].reshape(count, BLOCK)
        words = body.view(np.uint64)
        alike = np.flatnonzero(words[:, 0] == words[:, 1])
        alike = alike[(body[alike] == body[alike, :1]).all(axis=1)]
        alike = alike[sizes[alike, 0] != 0]
        tiny = np.flatnonzero(sizes[:, 0] < self.tiny_from)
        tiny = tiny[(sizes[tiny] < self.tiny_from).all(axis=1)]
        for places, kept in ((alike, self.alike), (tiny, self.tiny)):
            if len(places):
                self.crowded = self.crowded or len(_starts(places)) > _MOST
                kept.append(chunk.start + head + places * BLOCK)

    def _take_windows(self, start: int, bits: Array) -> None:
        if self.kept > _WINDOWS or len(bits) < self.window:
            return
        places = _few_places((bits[: len(bits) - self.window + 1] & bits.dtype.type(self.mask)) == (_ANCHOR & self.mask))
        if not len(places):
            return
        windows = np.ndarray((len(bits) - self.window + 1, self.window), bits.dtype, bits, 0, 2 * bits.strides)[places]
        words = windows.view(np.uint64)
        hashes = _hashes(words, np.zeros(len(places), np.uint64))
        same = np.flatnonzero(words[:, 0] == words[:, 1])  # as it is where all weights are the same
        same = same[(windows[same] == windows[same, :1]).all(axis=1)]
        if len(same):
            places, hashes = np.delete(places, same), np.delete(hashes, same)
        self.kept += len(places)
        self.places.append(start + places)
        self.hashes.append(hashes)

    def merge(self, other: _Texture) -> None:
        self.next = max(self.next, other.next)
        for name in ("alike", "tiny", "sample", "far", "sizes", "places", "hashes"):
            getattr(self, name).extend(getattr(other, name))
        self.kept += other.kept
        self.crowded = self.crowded or other.crowded

    def result(self) -> Seen:
        if self.seen is not None:
            return self.seen
        alike, tiny = (np.sort(np.concatenate(each)) if each else np.empty(0, np.int64) for each in (self.alike, self.tiny))
        sample = np.concatenate(self.sample) if self.sample else np.empty(0)
        pairs, more = self._pairs()
        far, sizes, following = self._farthest()
        sample = np.sort(sample[np.isfinite(sample)])
        return Seen(alike, tiny, sample, far, sizes, following, pairs, self.crowded or more)

    def _farthest(self) -> tuple[Array, Array, float]:
        if not self.far:
            return np.empty(0, np.int64), np.empty(0), self.next
        far, sizes = np.concatenate(self.far), np.concatenate(self.sizes)
        order = np.lexsort((far, -sizes))
        rest = float(sizes[order[FAR]]) if len(order) > FAR else 0.0
        return far[order[:FAR]], sizes[order[:FAR]], max(self.next, rest)

    def _pairs(self) -> tuple[Array, bool]:
        if not self.places or self.kept > _WINDOWS:
            return np.empty((0, 2), np.int64), self.kept > _WINDOWS
        places, hashes = np.concatenate(self.places), np.concatenate(self.hashes)
        ordered = np.sort(hashes)
        if not (ordered[1:] == ordered[:-1]).any():
            return np.empty((0, 2), np.int64), False
        order = np.lexsort((places, hashes))
        places, hashes = places[order], hashes[order]
        again = np.flatnonzero(hashes[1:] == hashes[:-1])
        pairs = np.stack((places[again], places[again + 1]), axis=1)
        pairs = pairs[np.lexsort((pairs[:, 0], pairs[:, 1] - pairs[:, 0]))]
        return pairs[:_PAIRS], len(pairs) > _PAIRS


def _usual(one: _Texture, rows: Array) -> dict[int, Seen]:
    """What is seen of small tensors of one size, by number, of those *rows* in which nothing is remarkable.

    one: what would look at one of them. Whatever is not as in most tensors is left to it: numbers that are not finite, zeros
    in the sample, weights far beyond the others, runs, and places from which on the same numbers may stand.
    """
    bits, count = bits_of(rows), rows.shape[1]
    chunk = Chunk("", 0, rows.reshape(-1))
    sizes, values = chunk.sizes.reshape(rows.shape), chunk.values.reshape(rows.shape)
    largest = sizes.max(axis=1)
    sampled = sizes[:, :: max(count // 512, 1) | 1]
    if sampled.shape[1] < _FEW:
        return {}
    place = sampled.shape[1] * 9 // 10
    ninth = np.partition(sampled, place, axis=1)[:, place]
    with np.errstate(all="ignore"):
        limits = _BEYOND * ninth.view(one.native).astype(np.float64)
        largest_numbers = largest.view(one.native).astype(np.float64)
    usual = (largest < one.infinite) & (sampled.min(axis=1) > 0) & (largest_numbers <= limits)
    whole = count // BLOCK * BLOCK
    words = bits[:, :whole].reshape(len(rows), -1, BLOCK).view(np.uint64)
    usual &= ~(words[:, :, 0] == words[:, :, 1]).any(axis=1)
    usual &= ~(sizes[:, :whole:BLOCK] < one.tiny_from).any(axis=1)
    kept = np.flatnonzero(usual)
    usual[kept[_repeats(one, bits[kept])]] = False
    with np.errstate(all="ignore"):
        sample = np.sort(values[:, :: one.step].astype(np.float64), axis=1)
    return {row: Seen(sample=sample[row], next=float(largest_numbers[row])) for row in np.flatnonzero(usual).tolist()}


def _repeats(one: _Texture, bits: Array) -> Array:
    """Which of the rows of *bits* may hold a window twice that is looked at: all that do, and hardly another."""
    rows, places = np.nonzero((bits[:, : bits.shape[1] - one.window + 1] & bits.dtype.type(one.mask)) == (_ANCHOR & one.mask))
    windows = np.lib.stride_tricks.sliding_window_view(bits, one.window, axis=1)[rows, places]
    hashes = _hashes(windows.view(np.uint64), rows.astype(np.uint64))
    order = np.argsort(hashes, kind="stable")
    again = hashes[order[1:]] == hashes[order[:-1]]
    return np.unique(rows[order[1:][again]])


def _hashes(words: Array, begin: Array) -> Array:
    """A number for each row of *words*, 64 bits each, equal for equal rows that *begin* with the same number."""
    hashes = begin
    for each in words.T:
        hashes = (hashes ^ each) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _few_places(found: Array) -> Array:
    """Where *found*, 1-D, is true; quick where it seldom is: eight at a time are looked at first."""
    whole = len(found) // 8 * 8
    words = found[:whole].view(np.uint64)
    near = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[near].view(bool))
    rest = np.flatnonzero(found[whole:]) + whole
    places: Array = np.concatenate((near[inside >> 3] * 8 + (inside & 7), rest))
    return places


def _starts(places: Array) -> Array:
    """The places that follow no neighbour."""
    return np.flatnonzero(np.diff(places, prepend=-2) != 1)


def runs_of(blocks: Array) -> list[tuple[int, int]]:
    """Runs of weights, from and to, that aligned *blocks* without a gap are part of."""
    if not len(blocks):
        return []
    starts = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 2 * BLOCK) != BLOCK)
    ends = np.append(starts[1:], len(blocks)) - 1
    return [(int(blocks[start]), int(blocks[end]) + BLOCK) for start, end in zip(starts, ends, strict=True)]


class FlatTensor:
    """A tensor's numbers by flat index, read in pieces as they are asked for."""

    def __init__(self, tensor: LazyTensor) -> None:
        self.tensor, self.size = tensor, tensor.size
        self._whole: Array | None = None

    def part(self, start: int, stop: int) -> Array:
        """The stored numbers from *start* to *stop*."""
        if self._whole is None:
            self._whole = self.tensor.numpy().reshape(-1)
        return self._whole[max(start, 0) : min(stop, self.size)]

    def index(self, flat: int) -> tuple[int, ...]:
        """The index of the whole tensor's weight number *flat*."""
        found = tuple(int(each) for each in np.unravel_index(flat, self.tensor.shape))
        return found if self.tensor.taken is None else self.tensor.taken.index(found)
