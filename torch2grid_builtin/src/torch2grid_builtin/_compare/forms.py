"""How one library stores a tensor that another stores otherwise: turned, in another order of rows, as a part of a larger one.

A form takes a stored tensor and gives one that is read from it range by range: a view where strides say enough, else numbers
that are gathered as they are asked for. No form loses or makes up a weight: each is an order of the weights, or one part of a
tensor whose other parts are forms, too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_core import LazyTensor
from torch2grid_core.sources import ComputedStorage

Array = np.ndarray[Any, Any]
_OF = "of"


class Unfit(Exception):
    """Why a tensor has not the shape that a form is about."""


class Form(ABC):
    """A way from what is stored to what it is compared as."""

    @abstractmethod
    def of(self, tensor: LazyTensor) -> LazyTensor:
        """*tensor* in this form. Raises ``Unfit``."""

    @property
    @abstractmethod
    def said(self) -> str:
        """In words, for the table."""


def through(tensor: LazyTensor, forms: Sequence[Form]) -> LazyTensor:
    """*tensor* in one form after the other. Raises ``Unfit``."""
    for form in forms:
        tensor = form.of(tensor)
    return tensor


@dataclass(frozen=True)
class Rotary(Form):
    """Rows of each head, from pairs that rotate together, side by side, to halves; *back*: from halves to pairs.

    head: rows of a head. A vector is permuted as a column would be.
    """

    head: int
    back: bool = False

    def of(self, tensor: LazyTensor) -> LazyTensor:
        if not tensor.ndim or self.head < 2 or self.head % 2 or tensor.shape[0] % self.head:
            rows = tensor.shape[0] if tensor.ndim else 0
            raise Unfit(f"{rows} rows are not a whole number of heads of {self.head}")
        inner = (2, self.head // 2) if self.back else (self.head // 2, 2)
        cut = split(tensor, (tensor.shape[0] // self.head, *inner))
        return gathered(ordered(cut, (0, 2, 1, *range(3, cut.ndim))), tensor.shape)

    @property
    def said(self) -> str:
        return f"rows of each head of {self.head} permuted"


@dataclass(frozen=True)
class Transposed(Form):
    """The last two dimensions exchanged."""

    def of(self, tensor: LazyTensor) -> LazyTensor:
        if tensor.ndim < 2:
            raise Unfit(f"{tensor.ndim} dimensions are not transposed")
        return ordered(tensor, (*range(tensor.ndim - 2), tensor.ndim - 1, tensor.ndim - 2))

    @property
    def said(self) -> str:
        return "transposed"


@dataclass(frozen=True)
class Rows(Form):
    """Rows *first* to *last* of dimension *axis*, of which there are *total*; *step*: every so many of them."""

    first: int
    last: int
    total: int
    axis: int = 0
    step: int = 1

    def of(self, tensor: LazyTensor) -> LazyTensor:
        axis = self.axis % max(tensor.ndim, 1)
        if tensor.ndim <= axis or tensor.shape[axis] != self.total:
            raise Unfit(f"shape {list(tensor.shape)} has not {self.total} along dimension {self.axis}")
        index = (*(slice(None) for _ in range(axis)), slice(self.first, self.last, self.step))
        return replace(tensor.view(index), taken=None)

    @property
    def said(self) -> str:
        what = "rows" if self.axis == 0 else "columns"
        every = "every second of " if self.step == 2 else ""
        return f"{every}{what} {self.first}–{self.last - 1} of {self.total}"


@dataclass(frozen=True)
class Grouped(Form):
    """Heads *first* to *last* of the *per* heads of each of *groups* groups, each of *head* rows."""

    groups: int
    per: int
    head: int
    first: int
    last: int

    def of(self, tensor: LazyTensor) -> LazyTensor:
        if not tensor.ndim or tensor.shape[0] != self.groups * self.per * self.head:
            raise Unfit(f"shape {list(tensor.shape)} is not of {self.groups} groups of {self.per} heads of {self.head}")
        part = split(tensor, (self.groups, self.per, self.head)).view((slice(None), slice(self.first, self.last)))
        rows = self.groups * (self.last - self.first) * self.head
        return gathered(replace(part, taken=None), (rows, *tensor.shape[1:]))

    @property
    def said(self) -> str:
        heads = f"head {self.first}" if self.last == self.first + 1 else f"heads {self.first}–{self.last - 1}"
        return f"{heads} of each group of {self.per}"


@dataclass(frozen=True)
class Index(Form):
    """One of the tensors that are stacked along the first dimension."""

    place: int

    def of(self, tensor: LazyTensor) -> LazyTensor:
        if tensor.ndim < 2 or self.place >= tensor.shape[0]:
            raise Unfit(f"shape {list(tensor.shape)} is not a stack of more than {self.place}")
        return replace(tensor.view(self.place), taken=None)

    @property
    def said(self) -> str:
        return f"number {self.place} of the stack"


def split(tensor: LazyTensor, lengths: Sequence[int]) -> LazyTensor:
    """*tensor* with its first dimension as several; *lengths* multiply to its length."""
    if math.prod(lengths) != tensor.shape[0]:
        raise Unfit(f"{tensor.shape[0]} rows are not {' × '.join(map(str, lengths))}")
    own = _strides(tensor)
    inner = [own[0] * math.prod(lengths[place + 1 :]) for place in range(len(lengths))]
    return _as(tensor, (*lengths, *tensor.shape[1:]), (*inner, *own[1:]))


def ordered(tensor: LazyTensor, axes: Sequence[int]) -> LazyTensor:
    """*tensor* with its dimensions in another order."""
    own = _strides(tensor)
    return _as(tensor, tuple(tensor.shape[axis] for axis in axes), tuple(own[axis] for axis in axes))


def gathered(tensor: LazyTensor, shape: Sequence[int]) -> LazyTensor:
    """The weights of *tensor* in C order under another shape; gathered when they are read, where no strides say it."""
    if tensor.contiguous:
        return _as(tensor, tuple(shape), None)
    storage = ComputedStorage([(_OF, tensor)], _same, tensor.dtype)
    return replace(_as(tensor, tuple(shape), None), storage=storage, offset=0)


def _same(arrays: Mapping[str, Array]) -> Array:
    return arrays[_OF]


def _as(tensor: LazyTensor, shape: tuple[int, ...], strides: tuple[int, ...] | None) -> LazyTensor:
    found = replace(tensor, shape=shape, strides=strides, taken=None)
    return replace(found, strides=None) if found.contiguous else found


def _strides(tensor: LazyTensor) -> tuple[int, ...]:
    if tensor.strides is not None:
        return tensor.strides
    return tuple(math.prod(tensor.shape[axis + 1 :]) for axis in range(tensor.ndim))
