"""A base with an adapter merged into it: which weight each pair changes, and the sum."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import ml_dtypes
import numpy as np

from torch2grid_builtin._adapters.pairs import Adapter, Pair, adapter_of
from torch2grid_builtin._adapters.product import Array, Scaled
from torch2grid_builtin._compare.match import Match, match, unique, unwrapped
from torch2grid_builtin._compare.two import MERGED
from torch2grid_core import Checkpoint, LazyTensor, UsageError
from torch2grid_core.sources import JointTensor, as_float, is_floating
from torch2grid_core.text import counted, visible

# What kohya writes before the names of modules, whose dots are underscores.
_FRONT = re.compile(r"lora_(unet|te\d?|transformer|prior_unet|prior_te|llm_adapter|dit)_|lora_")
_SAVED = re.compile(r"\.modules_to_save(\.[^.]+)?(?=\.)|\.original_module(?=\.)|\.base_layer(?=\.)")
_PEFT = "base_model.model."


class Bases:
    """The weights of a base by the names that adapters call them."""

    def __init__(self, base: Checkpoint) -> None:
        self.base = base
        # A model that PEFT wrapped calls what is below the adapter base_layer.
        self._bare = unique((unwrapped(name.removeprefix(_PEFT).replace(".base_layer.", ".")), name) for name in base)
        self._flat: Mapping[str, str] | None = None

    def of(self, pair: Pair, stored: Mapping[str, LazyTensor] | None = None) -> LazyTensor:
        """The weight that *pair* changes, in the shape of the change. Raises ``UsageError`` where there is none that fits.

        stored: weights that the adapter has beside their changes, which take the place of the base's.
        """
        name = self._name(pair)
        if name is None:
            raise UsageError(f"{self.base.source} has no weight {visible(pair.weight, 200)}, which the adapter changes")
        tensor = (stored or {}).get(name) or self.base[name]
        if tensor.shape == pair.shape and (is_floating(tensor.dtype)):
            return tensor
        alike = [length for length in tensor.shape if length != 1] == [length for length in pair.shape if length != 1]
        if alike and tensor.contiguous and is_floating(tensor.dtype):
            return replace(tensor, shape=pair.shape, strides=None, taken=None)
        what = f"{list(tensor.shape)} {tensor.dtype.name}"
        raise UsageError(
            f"{visible(name, 200)} of {self.base.source} is {what}, but the adapter's change is {list(pair.shape)}"
        )

    def _name(self, pair: Pair) -> str | None:
        if pair.flat:
            if self._flat is None:
                self._flat = unique(
                    (name.removesuffix(".weight").replace(".", "_"), name) for name in self.base if name.endswith(".weight")
                )
            return self._flat.get(_FRONT.sub("", pair.module, count=1)) or self._flat.get(pair.module)
        if pair.weight in self.base:
            return pair.weight
        return self.named(pair.weight)

    def named(self, name: str) -> str | None:
        """The base's name of the tensor *name*: the same, or the same but for wrappers and the component before all."""
        if name in self.base:
            return name
        return self._bare.get(unwrapped(name)) or self._bare.get(name.partition(".")[2])


def change_of(pair: Pair, weight: LazyTensor | None) -> LazyTensor:
    """The change of *weight* by *pair*; of DoRA, which needs it, W' − W."""
    if pair.magnitude is None or weight is None:
        return pair.tensor()
    joined = JointTensor.of(pair.name, {"base": weight, "delta": pair.tensor()}, _sum, np.float32)
    shape = pair.product.rows, pair.product.columns
    storage = Scaled(weight, joined, pair.magnitude, shape, pair.by_row, pair.product)
    return LazyTensor(pair.name, pair.shape, Scaled.dtype, storage, note=pair.note)


def _sum(parts: Mapping[str, Array]) -> Array:
    found: Array = as_float(parts["base"]).astype(np.float64) + parts["delta"]
    return found


@dataclass(frozen=True)
class Within:
    """base + delta, but for numbers that *merged* has within the rounding of the dtypes: these are its own.

    values: of the sum, the share of its size that rounding may change; deltas: the same of the change; least: in any case.
    """

    values: float
    deltas: float
    least: float

    def __call__(self, parts: Mapping[str, Array]) -> Array:
        delta, merged = parts["delta"].astype(np.float64), as_float(parts["merged"]).astype(np.float64)
        exact = as_float(parts["base"]).astype(np.float64) + delta
        allowed = self.values * np.maximum(np.abs(exact), np.abs(merged)) + self.deltas * np.abs(delta) + self.least
        same = (np.abs(merged - exact) <= allowed) | (np.isnan(merged) & np.isnan(exact)) | (merged == exact)
        found: Array = np.where(same, merged, exact)
        return found


@dataclass(frozen=True)
class Merged:
    """A base with an adapter. checkpoint: the sum, as far as the base has it. changes: name in the base → pair, weight."""

    checkpoint: Checkpoint
    base: Checkpoint
    adapter: Adapter
    changes: Mapping[str, tuple[Pair, LazyTensor]]

    def beside(self, other: Checkpoint) -> Checkpoint:
        """The sum to compare with *other*, which a library merged: what rounding may have done to it is no difference."""
        found: Match = match(self.checkpoint, other)
        tensors = dict(self.checkpoint.items())
        dtypes = set[str]()
        for each in found.pairs:
            name = each.a.name
            if name not in self.changes or each.reshaped or not is_floating(each.b.dtype):
                continue
            pair, weight = self.changes[name]
            members = {
                "base": weight,
                "delta": change_of(pair, weight),
                "merged": replace(each.b, shape=pair.shape, strides=None),
            }
            if each.b.shape != pair.shape and not each.b.contiguous:
                continue
            if each.b.shape == pair.shape:
                members["merged"] = each.b
            dtypes.add(max((weight.dtype, each.b.dtype), key=eps).name)
            dtype = _of_both(weight.dtype, each.b.dtype)
            joint = JointTensor.of(name, members, _within(pair, weight, each.b), dtype, note=pair.note)
            tensors[name] = LazyTensor(name, each.b.shape, dtype, joint.storage, note=pair.note)
        rounded = f", within the rounding of {' and '.join(sorted(dtypes))}" if dtypes else ""
        note = f"base + adapter ({counted(len(self.changes), 'weight')} changed) is compared{rounded}"
        return _made(tensors, self.base, self.checkpoint.source, note)


def _of_both(base: np.dtype[Any], merged: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that holds all numbers of both."""
    if base == merged:
        return base
    wider = min(base, merged, key=eps)
    return wider if wider.itemsize > 2 else np.dtype(np.float32)


def _within(pair: Pair, weight: LazyTensor, merged: LazyTensor) -> Within:
    """What rounding to the dtypes of a merge may change.

    The sum is rounded to the base's dtype, and once more where it is saved as another; the change may have been rounded to the
    coarsest of all before. Sums of products of float32 err by a share of the factors' norms. DoRA multiplies, too.
    """
    times = 1.0 if pair.magnitude is None else 4.0
    sums = {dtype.name: eps(dtype) for dtype in (weight.dtype, merged.dtype)}
    factors = [pair.left.dtype, pair.right.dtype, weight.dtype, merged.dtype]
    left, right = pair.product.factors()
    with np.errstate(all="ignore"):
        bound = abs(pair.scale) * np.linalg.norm(left, axis=1).max() * np.linalg.norm(right, axis=0).max()
    smallest = max(float(_finfo(dtype).smallest_subnormal) for dtype in (weight.dtype, merged.dtype))
    least = 4 * float(np.finfo(np.float32).eps) * float(bound if np.isfinite(bound) else 0.0) + smallest
    return Within(times * 0.501 * sum(sums.values()), times * max(map(eps, factors)), least)


def eps(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number of a floating dtype."""
    return float(_finfo(dtype).eps)


def _finfo(dtype: np.dtype[Any]) -> Any:
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def merge(base: Checkpoint, adapter: Checkpoint) -> Merged:
    """*base* with *adapter* merged into it; nothing is read but what describes the adapter.

    Raises ``UsageError`` where *adapter* is none, is not understood as a whole, or does not fit.
    """
    stored = adapter.stored
    found = adapter_of(stored)
    if found.left:
        reason, names = next(iter(found.left.items()))
        raise UsageError(f"{adapter.source} cannot be merged: {visible(names[0], 200)}: {reason}")
    if not found.pairs:
        raise UsageError(f"{adapter.source} is not an adapter: it has no pairs of low-rank matrices")
    named = {pair.adapter for pair in found.pairs if pair.adapter}
    if named:
        raise UsageError(f"{adapter.source} holds the adapters {', '.join(sorted(named))}; merge one of them")
    bases = Bases(base)
    tensors = dict(base.items())
    changes: dict[str, tuple[Pair, LazyTensor]] = {}
    whole = _whole(bases, stored, found.pairs)
    changed = {name: each.tensor for name, each in whole.items() if each.is_changed}
    for pair in _all(found.pairs, stored):
        weight = bases.of(pair, changed)
        if weight.name in changes:
            raise UsageError(f"{adapter.source} changes {visible(weight.name, 200)} of {base.source} twice")
        changes[weight.name] = pair, weight
        dtype = weight.dtype if weight.dtype.itemsize > 1 else np.dtype(np.float32)
        joint = JointTensor.of(weight.name, {"base": weight, "delta": change_of(pair, weight)}, _sum, dtype)
        shape = changed.get(weight.name, base[weight.name]).shape
        tensors[weight.name] = LazyTensor(weight.name, shape, dtype, joint.storage, note=f"merged: {pair.note}")
    for name, each in whole.items():
        if name not in changes:
            tensors[name] = each.tensor
        elif not each.is_changed:
            what = f"stores {visible(each.name, 200)} and also a change of it; it is unclear which of them is meant"
            raise UsageError(f"{adapter.source} {what}")
    label = f"{base.source} + {PurePath(adapter.source).name or 'adapter'}"
    return Merged(_made(tensors, base, label), base, found, changes)


def _all(pairs: Iterable[Pair], stored: Checkpoint) -> Iterator[Pair]:
    """*pairs*, and the changes of biases that stand beside them (``lora_bias``). Raises ``UsageError``."""
    for pair in pairs:
        yield pair
        if pair.bias:
            added = stored[pair.bias]
            if (
                added.ndim != 1
                or not added.contiguous
                or not is_floating(added.dtype)
                or pair.magnitude is not None
                or pair.flat
            ):
                raise UsageError(
                    f"{stored.source} cannot be merged: {visible(pair.bias, 200)} is not a change of a bias (lora_bias)"
                )
            yield pair.of_bias(added)


@dataclass(frozen=True)
class _Whole:
    """A tensor that an adapter stores whole, as the base calls it. name: as the adapter does."""

    name: str
    tensor: LazyTensor

    @property
    def is_changed(self) -> bool:
        """True where a change is added to it: PEFT stores the embeddings that it adapts, as tokens may have come in."""
        return self.name.endswith(".base_layer.weight")


def _whole(bases: Bases, stored: Checkpoint, pairs: Iterable[Pair]) -> dict[str, _Whole]:
    """What an adapter stores whole (heads, embeddings, norms, biases), by the name of the base's, whose place it takes.

    Raises ``UsageError``.
    """
    used = {name for pair in pairs for name in (*pair.stored, pair.bias)}
    found: dict[str, _Whole] = {}
    for name, tensor in stored.items():
        if name in used:
            continue
        known = bases.named(_SAVED.sub("", name).removeprefix(_PEFT))
        if known is None or tensor.ndim != bases.base[known].ndim or tensor.shape[1:] != bases.base[known].shape[1:]:
            raise UsageError(f"{stored.source} stores {visible(name, 200)}, for which the base has no tensor of its shape")
        found[known] = _Whole(name, replace(tensor, name=known))
    return found


def _made(tensors: Mapping[str, LazyTensor], base: Checkpoint, source: str, note: str = "") -> Checkpoint:
    metadata = {**base.metadata, **({MERGED: note} if note else {})}
    notes = [note] if note else []
    return Checkpoint(
        dict(tensors), source=source, format=base.format, metadata=metadata, skipped=base.skipped, notes=notes, aliases={}
    )
