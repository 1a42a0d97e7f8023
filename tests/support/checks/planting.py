"""Defects as silent corruption leaves them, planted at random places into real networks, and whether the rules name them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.support.checks.defects import HEALTHY, manager, rules, save, source
from tests.support.corpus import cases

from torch2grid_core import check

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]

_CASES = ("healthy-llama", "healthy-bert", "healthy-vit", "healthy-whisper", "healthy-clip", "healthy-t5")
_LEAST = 512  # weights of a tensor that something is planted into


@dataclass(frozen=True)
class Planted:
    """What was planted: into *tensor*, the weights from *start* to *stop*. codes: of the rules that may name it."""

    tensor: str
    codes: tuple[str, ...]
    start: int = 0
    stop: int = 0
    axis: int | None = None  # of a unit, its dimension: *start* is its place there

    def is_named_by(self, found: Any, shape: tuple[int, ...]) -> bool:
        """True where a finding is of a rule for it, about its tensor, and at its place."""
        if found.code not in self.codes or found.tensor != self.tensor:
            return False
        if self.axis is not None:
            return found.index is not None and found.index[self.axis] == self.start
        if self.stop == 0 or found.code in ("T201", "T202", "T103"):  # whole layers, whole rows
            return True
        if found.index is None:
            return False
        flat = int(np.ravel_multi_index(found.index, shape))
        return self.start - 4 <= flat < self.stop  # neighbours may have the same values by chance


@functools.cache
def networks() -> tuple[str, ...]:
    """The names of real networks, ten where the corpus and the cases are there."""
    return (*HEALTHY, *(name for name in _CASES if cases(f"formats/{name}/ckpt").exists()))


@functools.cache
def network(name: str) -> Mapping[str, Array]:
    """The tensors of a real network; not to be changed in place."""
    path = source(name) if name in HEALTHY else cases(f"formats/{name}/ckpt")
    return {key: tensor.numpy() for key, tensor in manager().open(path).items()}


def findings(tensors: Mapping[str, Array], path: Any) -> list[Any]:
    """What all rules find in *tensors*, in a file that is written to *path*."""
    return list(
        check(manager().open(save(path, {name: np.ascontiguousarray(each) for name, each in tensors.items()})), rules())
    )


def matrices_of(tensors: Mapping[str, Array]) -> list[str]:
    """The tensors that single weights are planted into: matrices and kernels that hold more than a few numbers, no tables."""
    skipped = re.compile(r"pos|bias|mask|running|stft|mel|filter|token_type", re.IGNORECASE)
    return [
        name
        for name, each in tensors.items()
        if each.ndim >= 2
        and each.size >= _LEAST
        and each.dtype.kind == "f"
        and each.dtype.itemsize in (2, 4)
        and not skipped.search(name)
        and np.count_nonzero(each) > 0.9 * each.size
    ]


def _one(random: np.random.Generator, tensors: Tensors, names: list[str]) -> tuple[str, Array]:
    """One of *names* by chance, and its numbers, a copy that stands in *tensors* from now on and can be changed."""
    name = names[int(random.integers(len(names)))]
    tensors[name] = np.array(tensors[name])
    return name, tensors[name].reshape(-1)


def _place(random: np.random.Generator, size: int, length: int) -> tuple[int, int]:
    start = int(random.integers(size - length + 1))
    return start, start + length


def zero_run(random: np.random.Generator, tensors: Tensors) -> Planted:
    name, flat = _one(random, tensors, matrices_of(tensors))
    start, stop = _place(random, len(flat), int(random.integers(18, 65)))
    flat[start:stop] = 0
    return Planted(name, ("T108", "T201", "T103"), start, stop)


def equal_run(random: np.random.Generator, tensors: Tensors) -> Planted:
    name, flat = _one(random, tensors, matrices_of(tensors))
    start, stop = _place(random, len(flat), int(random.integers(18, 65)))
    flat[start:stop] = flat[start]
    return Planted(name, ("T108", "T104", "T202"), start, stop)


def zero_tail(random: np.random.Generator, tensors: Tensors) -> Planted:
    name, flat = _one(random, tensors, matrices_of(tensors))
    start = int(random.integers(len(flat) // 2, len(flat) - 18))
    flat[start:] = 0
    return Planted(name, ("T108", "T201", "T103"), start, len(flat))


def garbage(random: np.random.Generator, tensors: Tensors) -> Planted:
    """18 values of any size up to 52,256, as a damaged shard had them."""
    name, flat = _one(random, tensors, matrices_of(tensors))
    start, stop = _place(random, len(flat), 18)
    flat[start:stop] = (10 ** random.uniform(-2, np.log10(52256), 18) * random.choice([-1, 1], 18)).astype(flat.dtype)
    flat[start] = 52256
    return Planted(name, ("T109", "T105"), start, stop)


def other_bytes(random: np.random.Generator, tensors: Tensors) -> Planted:
    """Numbers of another type, 64 or more bytes: of float64 or float16 among float32, of float32 among float16."""
    name, flat = _one(random, tensors, [each for each in matrices_of(tensors) if tensors[each].size >= 2 * _LEAST])
    given = str(random.choice(["float64", "float16"] if flat.dtype.itemsize == 4 else ["float32"]))
    count = max(int(random.integers(64, max(len(flat) // 16, 65))), 64) * flat.dtype.itemsize // np.dtype(given).itemsize
    raw = random.normal(0, 0.02, count).astype(given).view(np.uint8)
    numbers = raw[: len(raw) // flat.dtype.itemsize * flat.dtype.itemsize].view(flat.dtype)
    start, stop = _place(random, len(flat), len(numbers))
    flat[start:stop] = numbers
    return Planted(name, ("T108", "T109", "T101", "T102", "T105"), start, stop)


def flipped(random: np.random.Generator, tensors: Tensors) -> Planted:
    """A bit of the exponent of one weight: of the flips that change it by more than its tensor's range."""
    name, flat = _one(random, tensors, matrices_of(tensors))
    wide = float(flat.max()) - float(flat.min())
    word = np.dtype(f"u{flat.dtype.itemsize}")
    low, high = (23, 31) if flat.dtype.itemsize == 4 else (10, 15)
    for _ in range(1000):
        place, bit = int(random.integers(len(flat))), int(random.integers(low, high))
        after = (flat[place : place + 1].view(word) ^ word.type(1 << bit)).view(flat.dtype)[0]
        if np.isfinite(after) and abs(float(after) - float(flat[place])) > wide:
            break
    flat[place] = after
    return Planted(name, ("T109", "T105"), place, place + 1)


def block_twice(random: np.random.Generator, tensors: Tensors) -> Planted:
    """A block that is written a second time elsewhere, an eighth of the tensor at most."""
    name, flat = _one(random, tensors, [each for each in matrices_of(tensors) if tensors[each].size >= 4 * _LEAST])
    length = int(random.integers(256, max(len(flat) // 8, 257)))
    source_place = int(random.integers(0, len(flat) // 2 - length))
    start, stop = _place(random, len(flat) - len(flat) // 2, length)
    start, stop = start + len(flat) // 2, stop + len(flat) // 2
    flat[start:stop] = flat[source_place : source_place + length].copy()
    return Planted(name, ("T110", "T202"), start - 4, stop)


def _units(tensors: Tensors, axis: int) -> list[str]:
    lookup = re.compile(r"emb|wte|wpe|shared|lm_head|head|decoder|output|proj_out|stft", re.IGNORECASE)
    return [
        name
        for name in matrices_of(tensors)
        if not lookup.search(name) and min(tensors[name].shape[0], tensors[name].size // tensors[name].shape[0]) >= 16
        if axis < 2 and tensors[name].shape[axis] >= 16
    ]


def _scaled(random: np.random.Generator, tensors: Tensors, axis: int) -> Planted:
    """A unit 50 times as large, of those whose norm is far beyond that of every other then."""
    for _ in range(1000):
        name, _ = _one(random, tensors, _units(tensors, axis))
        by_unit = np.moveaxis(tensors[name], axis, 0)
        norms = np.linalg.norm(by_unit.reshape(len(by_unit), -1).astype(np.float64), axis=1)
        unit = int(random.integers(len(by_unit)))
        if 50 * norms[unit] > (8, 15)[axis] * norms.max():
            break
    by_unit[unit] *= by_unit.dtype.type(50)
    return Planted(name, ("T204",), unit, axis=axis)


def row_scaled(random: np.random.Generator, tensors: Tensors) -> Planted:
    return _scaled(random, tensors, 0)


def column_scaled(random: np.random.Generator, tensors: Tensors) -> Planted:
    return _scaled(random, tensors, 1)


def siblings_of(tensors: Mapping[str, Array], least: int) -> list[list[str]]:
    """Matrices of the same name but for its numbers, and the same shape, *least* or more."""
    kinds: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name in matrices_of(tensors):
        if re.search(r"\.\d+\.", f".{name}"):
            kinds.setdefault((re.sub(r"\d+", "#", name), tensors[name].shape), []).append(name)
    return [each for each in kinds.values() if len(each) >= least]


def _with_layers(random: np.random.Generator, tensors: Tensors) -> None:
    """Eight layers beside the network, whose size grows with depth, where it has no four alike."""
    if not siblings_of(tensors, 4):
        for layer in range(8):
            size = 0.02 * (1 + 0.1 * layer)
            tensors[f"layers.{layer}.up_proj.weight"] = random.normal(0, size, (48, 32)).astype(np.float32)


def layer_scaled(random: np.random.Generator, tensors: Tensors) -> Planted:
    """A tensor of a layer, neither the first nor the last, ten times as large."""
    _with_layers(random, tensors)
    family = siblings_of(tensors, 4)
    names = sorted(family[int(random.integers(len(family)))], key=lambda name: [int(each) for each in re.findall(r"\d+", name)])
    name, flat = _one(random, tensors, names[1:-1])
    flat *= flat.dtype.type(10)
    return Planted(name, ("T205",))


def layer_copied(random: np.random.Generator, tensors: Tensors) -> Planted:
    _with_layers(random, tensors)
    family = siblings_of(tensors, 4)
    names = family[int(random.integers(len(family)))]
    one, other = random.choice(len(names), 2, replace=False)
    tensors[names[max(one, other)]] = np.array(tensors[names[min(one, other)]])
    return Planted(names[max(one, other)], ("T208",))


def rows_untrained(random: np.random.Generator, tensors: Tensors) -> Planted:
    """A fifth of the rows of an embedding as a normal initialisation leaves them, a tenth in size of the others."""
    table = random.standard_normal((256, 48)) * random.uniform(0.8, 1.2, (256, 1))
    rows = random.random(256) < 0.2
    table[rows] = 0.1 * random.standard_normal((int(rows.sum()), 48))
    tensors["embed_tokens.weight"] = table.astype(np.float32)
    return Planted("embed_tokens.weight", ("T206",), int(np.flatnonzero(rows)[0]), axis=0)


def gain(random: np.random.Generator, tensors: Tensors) -> Planted:
    for layer in range(6):
        tensors[f"blocks.{layer}.norm.weight"] = random.normal(1, 0.2, 48).astype(np.float32)
    layer, place = int(random.integers(6)), int(random.integers(48))
    name = f"blocks.{layer}.norm.weight"
    tensors[name][place] = 200
    return Planted(name, ("T207",), place, axis=0)


def average(random: np.random.Generator, tensors: Tensors) -> Planted:
    """The tensors twice, as a model and its average, which are the same."""
    own = dict(tensors)
    tensors.clear()
    tensors.update({f"model.{name}": each for name, each in own.items()})
    tensors.update({f"ema.{name}": np.array(each) for name, each in own.items()})
    return Planted("", ("T209",))


Plant = Callable[[np.random.Generator, Tensors], Planted]
KINDS: Mapping[str, Plant] = {
    "a run of zeros": zero_run,
    "a run of one number": equal_run,
    "a zeroed tail": zero_tail,
    "18 values up to 52,256": garbage,
    "bytes of another type": other_bytes,
    "a flipped exponent": flipped,
    "a block twice": block_twice,
    "a row × 50": row_scaled,
    "a column × 50": column_scaled,
    "a layer × 10": layer_scaled,
    "a layer that is another's copy": layer_copied,
    "untrained rows": rows_untrained,
    "a gain of 200": gain,
    "an average that is its model": average,
}


def suits(kind: str, name: str) -> bool:
    """True where the network *name* has what *kind* is planted into."""
    tensors = network(name)
    if kind in ("a row × 50", "a column × 50"):
        return bool(_units(dict(tensors), int("column" in kind)))
    if kind == "a block twice":
        return any(tensors[each].size >= 4 * _LEAST for each in matrices_of(tensors))
    return bool(matrices_of(tensors))


def plant(kind: str, name: str, seed: int) -> tuple[Tensors, Planted]:
    """The network *name* with *kind* planted by the numbers of *seed*."""
    tensors = dict(network(name))
    return tensors, KINDS[kind](np.random.default_rng(seed), tensors)


def is_found(tensors: Mapping[str, Array], planted: Planted, found: list[Any]) -> bool:
    """True where one of *found* names what was *planted*, where it is."""
    if not planted.tensor:
        return any(each.code in planted.codes for each in found)
    return any(planted.is_named_by(each, tensors[planted.tensor].shape) for each in found)
