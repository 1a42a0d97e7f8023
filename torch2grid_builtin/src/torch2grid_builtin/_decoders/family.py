"""What the decoders have in common: finding stored tensors by their names, small values and settings, claims and notes."""

from __future__ import annotations

import json
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from torch2grid_builtin._decoders.codes import Plain
from torch2grid_builtin._decoders.numbers import Grid, Step, Weights
from torch2grid_core import Checkpoint, Decoder, LazyTensor
from torch2grid_core.sources import Storage, is_floating
from torch2grid_core.text import visible

_REASON = 200  # characters of what is said of a tensor: settings of the file may be in it
_SMALL = 1 << 16  # bytes of a tensor that describes another one
_GROUPS = (32, 64, 128, 256, 16, 512, 1024)


class NotDecoded(Exception):
    """Why codes stay as they are stored."""


@dataclass(frozen=True)
class Recipe:
    """A tensor that can be composed: its name, the stored ones that it is made of, the scheme, and its numbers."""

    name: str
    stored: tuple[str, ...]
    scheme: str
    shape: tuple[int, ...]
    storage: Storage


class Stored:
    """A checkpoint's tensors by the last component of their names, and what describes them."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._ends = frozenset([name.rpartition(".")[2] for name in checkpoint])
        self._modules: dict[str, list[str]] | None = None

    @property
    def ends(self) -> frozenset[str]:
        """The last components of all names."""
        return self._ends

    def modules(self, end: str) -> Sequence[str]:
        """Of the names that end so, what stands in front of that, with its dot."""
        if self._modules is None:
            self._modules = {}
            for name in self.checkpoint:
                front, dot, last = name.rpartition(".")
                self._modules.setdefault(last, []).append(front + dot)
        return self._modules.get(end, ())

    def get(self, name: str) -> LazyTensor | None:
        return self.checkpoint.get(name)

    def need(self, name: str) -> LazyTensor:
        """The tensor *name*. Raises ``NotDecoded``."""
        if name not in self.checkpoint:
            raise NotDecoded(f"{visible(name.rpartition('.')[2], 60)} is not here")
        return self.checkpoint[name]

    def here(self, *names: str) -> tuple[str, ...]:
        """Those of *names* that are stored."""
        return tuple(name for name in names if name in self.checkpoint)

    def values(self, name: str) -> Any:
        """All numbers of the small tensor *name*, checked. Raises ``NotDecoded``, ``LoadError``."""
        tensor = self.need(name)
        if tensor.nbytes > _SMALL:
            raise NotDecoded(f"{visible(name.rpartition('.')[2], 60)} is too large to describe a tensor")
        return np.asarray(tensor)

    def text(self, name: str) -> dict[str, Any]:
        """The JSON object whose bytes are the tensor *name*. Raises ``NotDecoded``."""
        values = self.values(name)
        try:
            found = json.loads(values.tobytes()) if values.dtype == np.uint8 else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise NotDecoded(f"{visible(name.rpartition('.')[2], 60)} is not a JSON object")
        return found

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """``config.json`` beside the checkpoint; empty where there is none, or it cannot be read."""
        return _json(self.checkpoint, "config.json")

    @cached_property
    def quantization(self) -> Mapping[str, Any]:
        """What the configuration says of quantisation."""
        found = self.config.get("quantization_config")
        if not isinstance(found, dict):
            found = self.config.get("quantization")
        if not isinstance(found, dict):
            found = _json(self.checkpoint, "quantize_config.json")
        return found


def _number(text: str) -> float:
    """A number of JSON, whole ones as integers: some writers say 4.0."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def _json(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    raw = checkpoint.beside(name)
    try:
        found = json.loads(raw, parse_float=_number) if raw else {}
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


_last: tuple[weakref.ref[Checkpoint], Stored] | None = None


def stored(checkpoint: Checkpoint) -> Stored:
    """The tensors of *checkpoint* by their names, which is computed once for all decoders."""
    global _last
    if _last is None or _last[0]() is not checkpoint:
        _last = (weakref.ref(checkpoint), Stored(checkpoint))
    return _last[1]


class Family(Decoder):
    """Decodes the formats of one library."""

    def __init__(self) -> None:
        self._found: tuple[weakref.ref[Checkpoint], list[Recipe], list[str]] | None = None

    def claims(self, checkpoint: Checkpoint) -> Mapping[str, Sequence[str]]:
        """Name of each weight → the codes, scales and zero points that are stored of it."""
        return {recipe.name: recipe.stored for recipe in self._recipes(checkpoint)[0]}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with the weights composed. A note says of what is not decoded why."""
        recipes, notes = self._recipes(checkpoint)
        tensors = [
            LazyTensor(each.name, each.shape, Weights.dtype, each.storage, note=visible(each.scheme, _REASON))
            for each in recipes
        ]
        if tensors:
            checkpoint = checkpoint.compose(tensors, {each.name: each.stored for each in recipes}, self.name)
        return checkpoint.with_notes(notes) if notes else checkpoint

    @abstractmethod
    def candidates(self, here: Stored) -> Iterable[tuple[str, Callable[[], Recipe | None]]]:
        """(name of a stored tensor, what makes a recipe of it or raises ``NotDecoded``)."""

    def _recipes(self, checkpoint: Checkpoint) -> tuple[list[Recipe], list[str]]:
        if self._found is not None and self._found[0]() is checkpoint:
            return self._found[1:]
        found: list[Recipe] = []
        left: dict[str, list[str]] = {}
        here = stored(checkpoint)
        for name, make in self.candidates(here):
            try:
                recipe = make()
                if recipe is not None:
                    if recipe.name in checkpoint and recipe.name not in recipe.stored:
                        raise NotDecoded("the file stores a tensor of the weight's name, too")
                    found.append(recipe)
            except NotDecoded as error:
                left.setdefault(str(error), []).append(name)
        notes = [self._note(reason, names) for reason, names in left.items()]
        self._found = (weakref.ref(checkpoint), found, notes)
        return found, notes

    def _note(self, reason: str, names: Sequence[str]) -> str:
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        what = f"{visible(names[0], 80)}{more}: {self.name} codes that are not decoded"
        return f"{what}: {visible(reason, _REASON)}; they are shown as stored"


# Building blocks.


def as_matrix(tensor: LazyTensor) -> LazyTensor:
    """*tensor* with its dimensions in front of the last one as rows. Raises ``NotDecoded`` where it does not lie so."""
    if tensor.ndim == 2:
        return tensor
    if not tensor.contiguous:
        raise NotDecoded("the codes do not lie in order")
    columns = tensor.shape[-1] if tensor.ndim else 1
    rows = tensor.size // columns if columns else 0
    return replace(tensor, shape=(rows, columns), strides=None, taken=None)


def as_bytes(tensor: LazyTensor) -> LazyTensor:
    """The bytes of a contiguous *tensor*, as one row. Raises ``NotDecoded``."""
    return replace_shape(viewed(tensor, np.dtype(np.uint8)), (1, tensor.nbytes))


def viewed(tensor: LazyTensor, dtype: np.dtype[Any]) -> LazyTensor:
    """The bytes of a contiguous *tensor* as numbers of *dtype*: the last dimension changes. Raises ``NotDecoded``."""
    if not tensor.contiguous:
        raise NotDecoded("the codes do not lie in order")
    start, length = tensor.offset * tensor.dtype.itemsize, (tensor.shape[-1] if tensor.ndim else 1) * tensor.dtype.itemsize
    if start % dtype.itemsize or length % dtype.itemsize:
        raise NotDecoded(f"codes of {tensor.dtype.name} that do not fill whole {dtype.name}")
    shape = (*tensor.shape[:-1], length // dtype.itemsize)
    return replace(tensor, shape=shape, dtype=dtype, offset=start // dtype.itemsize, strides=None, taken=None)


def is_number(tensor: LazyTensor) -> bool:
    """True for floating numbers of two bytes and more, which scales are."""
    return is_floating(tensor.dtype) and tensor.dtype.itemsize > 1


def is_exponent(tensor: LazyTensor) -> bool:
    """True for bytes that are exponents of two: the scales of the microscaling formats."""
    return tensor.dtype.name in ("uint8", "float8_e8m0fnu")


def ceil(count: int, by: int) -> int:
    return -(-count // by)


def block_grid(
    tensor: LazyTensor,
    shape: Sequence[int],
    block: tuple[int, int] | None = None,
    *,
    columns: LazyTensor | None = None,
    **how: Any,
) -> tuple[Grid, tuple[int, int]]:
    """The grid of a number for each block of a weight of *shape*, and the size of a block.

    tensor: (…, rows of blocks, columns of blocks), or one for each row, or one for all. block: what the configuration says,
    ``None`` for what follows from the shapes. Raises ``NotDecoded`` where they do not fit.
    """
    rows, width = shape[-2:] if len(shape) > 1 else (1, shape[0])
    if rows < 1 or width < 1:
        raise NotDecoded("no weights")
    if block is not None and min(block) < 1:
        block = None
    lead = tuple(shape[:-2])
    count = 1
    for length in lead:
        count *= length
    if tensor.size == 1:
        flat = replace(tensor, shape=(1, 1), strides=None, taken=None)
        return Grid(Plain(flat), (max(rows * count, 1), max(width, 1)), **how), (rows * count, width)
    stated = tensor.shape
    if stated == (*lead, rows) or (not lead and stated == (rows,)):
        stated = (*lead, rows, 1)
    elif lead and stated == lead:
        stated = (*lead, 1, 1)
    if len(stated) != len(lead) + 2 or stated[:-2] != lead:
        raise NotDecoded(f"scales of shape {list(tensor.shape)} for weights of shape {list(shape)}")
    down, across = stated[-2:]
    if block is None or (ceil(rows, block[0]), ceil(width, block[1])) != (down, across):
        block = usual_block(rows, down), usual_block(width, across)
        if columns is None and (ceil(rows, block[0]), ceil(width, block[1])) != (down, across):
            raise NotDecoded(f"scales of shape {list(tensor.shape)} for weights of shape {list(shape)}")
    flat = tensor if tensor.shape == stated and not lead else as_matrix(replace_shape(tensor, stated))
    inner = rows if lead and block[0] != 1 else 0
    return Grid(Plain(flat), block, inner=inner, columns=columns, **how), block


def usual_block(length: int, blocks: int) -> int:
    """The size of *blocks* blocks in *length*; the last one may be smaller: then it is the usual one that fits."""
    if blocks < 1:
        raise NotDecoded("no scales")
    if length % blocks == 0 and (length // blocks == 1 or length // blocks in _GROUPS or blocks == 1):
        return length // blocks
    for size in (128, 64, 32, 256, 512, 16):
        if ceil(length, size) == blocks:
            return size
    return ceil(length, blocks)


def replace_shape(tensor: LazyTensor, shape: Sequence[int]) -> LazyTensor:
    """*tensor* of another shape. Raises ``NotDecoded`` where it does not lie in order."""
    if tuple(shape) == tensor.shape:
        return tensor
    if not tensor.contiguous:
        raise NotDecoded("the scales do not lie in order")
    return replace(tensor, shape=tuple(shape), strides=None, taken=None)


def multiply(grid: Grid) -> Step:
    return Step("multiply", grid)


def subtract(grid: Grid) -> Step:
    return Step("subtract", grid)


def add(grid: Grid) -> Step:
    return Step("add", grid)


def block_text(block: tuple[int, int], shape: Sequence[int]) -> str:
    """``group 128``, ``a scale per row``, ``a scale per tensor``, ``blocks of 128×128``."""
    rows, columns = block
    if rows == 1:
        return "a scale per row" if columns >= shape[-1] else f"group {columns}"
    if columns >= shape[-1] and (len(shape) < 2 or rows >= shape[-2]):
        return "a scale per tensor"
    return f"blocks of {rows}×{columns}"
