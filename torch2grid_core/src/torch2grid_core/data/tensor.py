"""A tensor that has not been read yet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_core.data.storage import Storage, verify
from torch2grid_core.errors import LoadError, Torch2GridError

CHUNK_BYTES = 1 << 20  # fits the second-level cache of current machines beside the arrays computed from it

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LazyTensor:
    """A name, a shape and where the numbers are; nothing is read before a method is called.

    shape: lengths, outermost first; ``()`` is one number.
    dtype: of what reads return.
    offset: index of the first element in *storage*, in elements of *dtype*.
    strides: in elements, one per dimension; ``None`` is C order.
    note: how the numbers were stored, where that is not how they are returned (``"int8, dequantised"``).
    module_class: of the module that holds the tensor, as the file states it (``"torch.nn.modules.conv.Conv1d"``); empty where
    it does not, as in a state dict.

    Raises ``LoadError`` from every reading method when the bytes are not there. Picklable when *storage* is shippable.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    storage: Storage
    offset: int = 0
    strides: tuple[int, ...] | None = None
    note: str = ""
    module_class: str = ""

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor when read, ``size * dtype.itemsize``."""
        return self.size * self.dtype.itemsize

    @property
    def contiguous(self) -> bool:
        """True when the numbers lie in C order without gaps, so that any flat range is one read."""
        if self.strides is None or self.size <= 1:
            return True
        expected = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != expected:
                return False
            expected *= length
        return True

    @property
    def span(self) -> int:
        """Stored elements from the first to the last that the tensor reaches; ``size`` where it is contiguous."""
        if self.size == 0:
            return 0
        if self.strides is None:
            return self.size
        return 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))

    @property
    def repeats(self) -> bool:
        """True where it has more weights than the stored elements that it reaches: an expanded view."""
        return self.size > self.span

    def check(self) -> LazyTensor:
        """Itself, if the storage holds every element that shape, strides and offset reach. Raises ``LoadError``."""
        if self.strides is not None and len(self.strides) != len(self.shape):
            raise LoadError(self.name, f"{len(self.shape)} dimensions with {len(self.strides)} strides")
        if min((*self.shape, self.offset, *(self.strides or ())), default=0) < 0:
            raise LoadError(self.name, "a negative length, stride or offset")
        if self.size and (self.offset + self.span) * self.dtype.itemsize > self.storage.size:
            raise LoadError(
                self.name,
                f"needs {(self.offset + self.span) * self.dtype.itemsize} bytes of a storage of {self.storage.size}",
                "the file is cut short or wrong",
            )
        return self

    def distinct(self) -> LazyTensor:
        """The tensor without repetition: dimensions of stride 0 (an expanded view) have length 1.

        A view that repeats its elements in another way becomes the flat run of stored elements. For passes over the
        weights, and for pictures: an expanded view of 16 numbers may claim 2**40 weights.
        """
        if self.strides is None or self.size == 0:
            return self
        shape = tuple(1 if stride == 0 else length for length, stride in zip(self.shape, self.strides, strict=True))
        squeezed = replace(self, shape=shape)
        if squeezed.repeats:
            squeezed = replace(self, shape=(self.span,), strides=None)
        if squeezed.shape == self.shape:
            return self
        return replace(squeezed, note=", ".join(filter(None, (self.note, f"repeats to {list(self.shape)}"))))

    def chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """The weights as 1-D arrays of *dtype* in storage order, for passes that do not care about order.

        Each array is valid until the next one is asked for: the buffer is used again. An element that the tensor
        repeats (see ``distinct``) comes once.
        """
        tensor = self.distinct()
        if tensor.contiguous or _dense(tensor):
            yield from _contiguous_chunks(tensor, chunk_bytes)
        else:
            yield tensor.numpy().reshape(-1)

    def flat_chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, Array]]:
        """The weights as ``(start, 1-D array)`` in C order: the array holds flat indices *start* and on.

        The buffer is used again, as in ``chunks``. A tensor that is not contiguous is gathered in memory: one that repeats
        elements chunk by chunk, another at once.
        """
        if self.contiguous:
            start = 0
            for part in _contiguous_chunks(self, chunk_bytes):
                yield start, part
                start += len(part)
        elif self.repeats:
            whole, length = self.numpy(), max(chunk_bytes // self.dtype.itemsize, 1)
            for start in range(0, self.size, length):
                yield start, whole.flat[start : start + length]
        elif self.size:
            yield 0, np.ascontiguousarray(self.numpy()).reshape(-1)

    def numpy(self) -> Array:
        """The whole tensor as an array of *shape* and *dtype*; a view that repeats elements is a read-only view."""
        if not self.size:
            return self._empty()
        array = np.empty(self.span, dtype=self.dtype)
        _read(self, self.offset * self.dtype.itemsize, array)
        _verify(self)
        if self.contiguous or self.strides is None:
            return array[: self.size].reshape(self.shape)
        steps = tuple(stride * self.dtype.itemsize for stride in self.strides)
        # Not as_strided, which does not know float8_e5m2.
        view: Array = np.ndarray(self.shape, self.dtype, array.view(np.uint8).data, 0, steps)
        view.flags.writeable = False
        return view

    def _empty(self) -> Array:
        try:
            return np.empty(self.shape, dtype=self.dtype)
        except ValueError as error:  # a length of 0 beside one that no array can have
            raise LoadError(self.name, f"no array can have its shape {list(self.shape)}") from error


def _dense(tensor: LazyTensor) -> bool:
    """True for a permuted tensor that fills its span: storage order is as good as C order for an unordered pass."""
    return tensor.size == tensor.span and not _overlaps(tensor)


def _overlaps(tensor: LazyTensor) -> bool:
    reach = 1
    for length, stride in sorted(zip(tensor.shape, tensor.strides or (), strict=False), key=lambda pair: pair[1]):
        if length > 1:
            if stride < reach:
                return True
            reach = stride * (length - 1) + reach
    return False


def _contiguous_chunks(tensor: LazyTensor, chunk_bytes: int) -> Iterator[Array]:
    width = tensor.dtype.itemsize
    length = max(min(chunk_bytes // width, tensor.size), 1)
    buffer = np.empty(min(length, tensor.size), dtype=tensor.dtype)
    for first in range(0, tensor.size, length):
        part = buffer[: min(length, tensor.size - first)]
        _read(tensor, (tensor.offset + first) * width, part)
        if first + length >= tensor.size:
            _verify(tensor)  # before the last part is handed out: a damaged record never ends well
        yield part


def _read(tensor: LazyTensor, offset: int, target: Array) -> None:
    """Fill *target* from byte *offset* of the storage. Whatever a plugin's storage raises becomes a ``LoadError``."""
    with _reading(tensor):
        tensor.storage.read_into(offset, target.view(np.uint8).data)


def _verify(tensor: LazyTensor) -> None:
    with _reading(tensor):
        verify(tensor.storage)


@contextlib.contextmanager
def _reading(tensor: LazyTensor) -> Iterator[None]:
    try:
        yield
    except (Torch2GridError, MemoryError):
        raise
    except Exception as error:
        cls = type(tensor.storage)
        what = f"{type(error).__name__}: " + " ".join(str(error).split())
        raise LoadError(tensor.name, f"cannot be read: {cls.__module__}.{cls.__qualname__}: {what}") from error
