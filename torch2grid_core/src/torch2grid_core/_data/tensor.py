"""A tensor that has not been read yet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.indexing import PartShape, Taken, places_of, repetition_text, shape_text, taken
from torch2grid_core._data.source import Range
from torch2grid_core._data.storage import (
    DerivedStorage,
    Storage,
    beneath,
    read_from,
    read_rows_from,
    unchecked,
    verify,
    wrong_parts,
)
from torch2grid_core._data.strided import block_length, c_strides, fill
from torch2grid_core._errors import LoadError
from torch2grid_core._guard import FILE_MODULE, PASSES, describe, describe_value, is_stamped, origin_of
from torch2grid_core._text import visible

CHUNK_BYTES = 1 << 20  # fits the second-level cache of current machines beside the arrays computed from it


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor that is read when a method asks for its numbers. It knows its name, its shape and where the numbers are.

    Every reading method raises ``LoadError`` when the bytes are not there. A tensor is picklable when its *storage* is
    shippable.

    Args:
        name: of the tensor.
        shape: lengths, outermost first; ``()`` is a scalar. The shape of a view is a ``PartShape``, which knows of what it is a
            part; so is that of an expanded view without its repetition (see ``distinct``).
        dtype: of what reads return.
        storage: where the bytes are.
        offset: index of the first element in *storage*, in elements of *dtype*.
        strides: in elements, one per dimension; ``None`` is C order.
        note: how the numbers were stored, where that is not how they are returned (``"int8, dequantised"``).
        module_class: class of the module that holds the tensor, as the file states it (``"torch.nn.modules.conv.Conv1d"``);
            empty where it does not, as in a state dict.
        taken: of a view (see ``view``), where it lies in the whole tensor; ``None`` for a whole tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    storage: Storage
    offset: int = 0
    strides: tuple[int, ...] | None = None
    note: str = ""
    module_class: str = ""
    taken: Taken | None = None

    def __repr__(self) -> str:
        part, whole = ("", "") if self.taken is None else (str(self.taken), f" of {shape_text(self.taken.shape)}")
        return f"<{type(self).__name__} {visible(self.name, 200)!r}{part}: {shape_text(self.shape)}{whole} {self.dtype.name}>"

    @property
    def size(self) -> int:
        """Number of weights, the product of the shape. The number that is counted and drawn is ``distinct().size``."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor when read, ``size * dtype.itemsize``."""
        return math.prod(self.shape) * self.dtype.itemsize

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
        """Number of stored elements from the first to the last that the tensor reaches; ``size`` where it is contiguous."""
        if self.strides is None or self.size == 0:
            return self.size
        return 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))

    @property
    def repeats(self) -> bool:
        """True where it has more weights than the stored elements that it reaches: an expanded view."""
        return self.size > self.span

    def check(self) -> LazyTensor:
        """Return the tensor itself, if the storage holds every element that it reaches.

        Raises:
            LoadError: shape, strides and offset reach beyond the storage.
        """
        if self.strides is not None and len(self.strides) != len(self.shape):
            raise LoadError(self.name, f"{len(self.shape)} dimensions with {len(self.strides)} strides")
        if min((*self.shape, self.offset, *(self.strides or ())), default=0) < 0:
            raise LoadError(self.name, "a negative length, stride or offset")
        needed = (self.offset + self.span) * self.dtype.itemsize
        if needed > self.storage.size and self.size:
            reason = f"needs {needed} bytes of a storage of {self.storage.size}"
            raise LoadError(self.name, reason, "the file is cut short or wrong; fetch it again")
        return self

    def distinct(self) -> LazyTensor:
        """Return the tensor without repetition: dimensions of stride 0 (an expanded view) have length 1.

        A view that repeats its elements in another way becomes the flat run of stored elements. This is the tensor that is
        counted, measured and drawn: an expanded view of 16 numbers may claim 2**40 weights. Its note says what is stored, and
        ``stated_shape`` of its shape is the shape of the view.
        """
        if self.strides is None or self.size == 0:
            return self
        shape = tuple(1 if stride == 0 else length for length, stride in zip(self.shape, self.strides, strict=True))
        part = self.taken
        if part is not None and shape != self.shape:
            lengths = iter(shape)
            part = Taken(part.shape, tuple(each[: next(lengths)] if isinstance(each, range) else each for each in part.places))
        squeezed = replace(self, shape=shape, taken=part)
        if squeezed.repeats:
            squeezed = replace(self, shape=(self.span,), strides=None, taken=None)
        if squeezed.shape == self.shape:
            return self
        note = ", ".join(filter(None, (self.note, repetition_text(squeezed.shape, self.shape))))
        return replace(squeezed, shape=PartShape(squeezed.shape, squeezed.taken, tuple(self.shape)), note=note)

    def view(self, index: Any) -> LazyTensor:
        """Return the part that *index* takes, as another tensor. Nothing is read.

        Args:
            index: numpy's basic indexing: integers, slices with steps of 1 or more, ``...``, or a tuple of these.

        Raises:
            IndexError: *index* leaves the shape, has more places than dimensions, or a step below 1.
            TypeError: *index* has something else in it.
        """
        places = places_of(index, self.shape)
        offset, shape, strides = self.offset, [], []
        own = c_strides(self.shape) if self.strides is None else self.strides
        for place, stride in zip(places, own, strict=True):
            if isinstance(place, range):
                shape.append(len(place))
                strides.append(stride * place.step)
                offset += place.start * stride if len(place) else 0
            else:
                offset += place * stride
        part = taken(places, self.shape, self.taken)
        lengths = tuple(shape) if part is None else PartShape(shape, part)
        found = replace(self, shape=lengths, offset=offset, strides=tuple(strides), taken=part)
        return replace(found, strides=None) if found.contiguous else found

    def __getitem__(self, index: Any) -> Array:
        """Return the weights that *index* takes (see ``view``), as an array of its own.

        Little else is read, and no checksum is checked.
        """
        return self.view(index).unchecked()._gathered()

    def read(self, start: int, stop: int) -> Array:
        """Return the weights with flat indices *start* to *stop* in C order, 1-D. No checksum is checked: passes do that.

        Raises:
            IndexError: the range is not inside the tensor.
        """
        if not 0 <= start <= stop <= self.size:
            raise IndexError(f"weights {start}–{stop} of {self.size} asked for")
        found = np.empty(stop - start, self.dtype)
        if start < stop:
            self.unchecked()._fill(start, found)
        return found

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a scalar has no length")
        return self.shape[0]

    def __bool__(self) -> bool:
        """True, of any shape: a tensor is not the same as its weights."""
        return True

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The whole tensor, for numpy: ``np.asarray(tensor)``."""
        if copy is False:
            raise ValueError("a tensor that is read from storage is always a copy")
        array = self.numpy() if dtype is None else self.numpy().astype(dtype, copy=False)
        return array.copy() if copy and not array.flags.writeable else array

    def chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """Yield the weights as 1-D arrays of *dtype* in storage order, for passes that do not care about order.

        Each array is valid until the next one is asked for, because the buffer is used again. An element that the tensor
        repeats (see ``distinct``) comes once. If the tensor is stored in blocks, they follow each other, each read once.
        """
        tensor = self.distinct()
        blocks = getattr(tensor.storage, "blocks", None)
        whole = tensor.contiguous and tensor.nbytes == tensor.storage.size
        if blocks is not None and whole and getattr(tensor.storage, "dtype", None) == tensor.dtype:
            yield from _block_chunks(tensor, blocks, chunk_bytes)
            return
        if not tensor.contiguous:
            stored = sorted(zip(tensor.strides or (), tensor.shape, strict=True), reverse=True)
            strides, shape = zip(*stored, strict=True)
            tensor = replace(tensor, shape=shape, strides=strides)
        for _, part in tensor.flat_chunks(chunk_bytes):
            yield part

    def flat_chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, Array]]:
        """Yield the weights as ``(start, 1-D array)`` in C order: the array holds the weights from flat index *start* on.

        All arrays but the last have ``chunk_bytes // dtype.itemsize`` weights. The buffer is used again, as in ``chunks``.
        """
        length = max(min(chunk_bytes // self.dtype.itemsize, self.size), 1)
        buffer, reader = np.empty(min(length, self.size), self.dtype), FlatReader(self)
        for start in range(0, self.size, length):
            part = buffer[: min(length, self.size - start)]
            reader.fill(start, part)
            if start + length >= self.size:
                _verify(self)  # before the last part is handed out: a damaged record never ends well
            yield start, part

    def numpy(self) -> Array:
        """Return the whole tensor as an array of *shape* and *dtype*.

        A view that turns or repeats elements is a read-only view.
        """
        if not self.size:
            return self._empty()
        if self.contiguous or self.span > self.size:
            found = self._gathered()
            _verify(self)
            return found
        array = np.empty(self.span, self.dtype)
        _read(self, self.offset * self.dtype.itemsize, array)
        _verify(self)
        steps = tuple(stride * self.dtype.itemsize for stride in self.strides or ())
        # Not as_strided, which does not know float8_e5m2.
        view: Array = np.ndarray(self.shape, self.dtype, array.view(np.uint8).data, 0, steps)
        view.flags.writeable = False
        return view

    def _gathered(self) -> Array:
        """The whole tensor as an array in C order; its checksum is not asked for."""
        found = self._empty()
        if found.size:
            self._fill(0, found.reshape(-1))
        return found

    def unchecked(self) -> LazyTensor:
        """Return the tensor over storage whose checksum is not checked, for random access."""
        storage = unchecked(self.storage)
        return self if storage is self.storage else replace(self, storage=storage)

    def _fill(self, start: int, out: Array) -> None:
        """Fill *out*, 1-D, with the weights from flat index *start* on."""
        if self.contiguous:
            _read(self, (self.offset + start) * self.dtype.itemsize, out)
        else:
            with reading(self):
                fill(self.storage, self.offset, self.shape, self.strides or (), start, out)

    def _empty(self) -> Array:
        try:
            return np.empty(self.shape, dtype=self.dtype)
        except ValueError as error:  # a length of 0 beside one that no array can have
            raise LoadError(self.name, f"no array can have its shape {list(self.shape)}") from error


def _block_chunks(tensor: LazyTensor, blocks: Callable[[], Iterable[LazyTensor]], chunk_bytes: int) -> Iterator[Array]:
    """The weights of all *blocks* of *tensor*, one block after the other, in arrays of *chunk_bytes* that they share."""
    buffer, filled = np.empty(max(min(chunk_bytes // tensor.dtype.itemsize, tensor.size), 1), tensor.dtype), 0
    with reading(tensor):
        each = iter(blocks())
    while True:
        with reading(tensor):
            block = next(each, None)
        if block is None:
            break
        reader, start = FlatReader(block), 0
        while start < block.size:
            part = buffer[filled : filled + block.size - start]
            reader.fill(start, part)
            start, filled = start + len(part), filled + len(part)
            if start == block.size:
                _verify(block)  # before its last weights are handed out
            if filled == len(buffer):
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]


def read_together(tensors: Sequence[LazyTensor]) -> Array:
    """The weights of contiguous *tensors* of one dtype, one after the other; those that lie so in a source are one read."""
    sizes = [tensor.nbytes for tensor in tensors]
    found = np.empty(sum(sizes) // tensors[0].dtype.itemsize, tensors[0].dtype)
    raw, start, stop = found.view(np.uint8).data, 0, 0  # of the bytes that the range *run*, which grows, stands for
    run: Range | None = None
    for tensor, size in zip(tensors, sizes, strict=True):
        storage = tensor.storage
        whole = storage if type(storage) is Range and storage.size == size else None
        if run is not None:
            if whole is not None and whole.source is run.source and whole.offset == run.offset + stop - start:
                stop += size
                continue
            _read_run(tensor, run, raw[start:stop])
        run, start, stop = whole, stop, stop + size
        if run is None:
            _read(tensor, tensor.offset * tensor.dtype.itemsize, found[start // tensor.dtype.itemsize :][: tensor.size])
            _verify(tensor)
    if run is not None:
        _read_run(tensors[-1], run, raw[start:stop])
    return found


def _read_run(tensor: LazyTensor, run: Range, target: memoryview) -> None:
    with reading(tensor):
        Range(run.source, run.offset, len(target)).read_into(0, target)


class FlatReader:
    """Reads flat ranges of *tensor*, best in rising order: what is not contiguous is gathered in blocks, of which one is kept.

    For any number of threads.
    """

    def __init__(self, tensor: LazyTensor) -> None:
        self.tensor = tensor
        self._length = block_length(tensor.shape, tensor.dtype.itemsize)
        self._kept = 0, np.empty(0, tensor.dtype)

    def fill(self, start: int, out: Array) -> None:
        """Fill *out*, 1-D, with the weights from flat index *start* on."""
        if self.tensor.contiguous:
            self.tensor._fill(start, out)
            return
        while len(out):
            first, block = self._kept
            if not first <= start < first + len(block):
                first = start // self._length * self._length
                block = np.empty(min(self._length, self.tensor.size - first), self.tensor.dtype)
                self.tensor._fill(first, block)
                self._kept = first, block
            part = block[start - first : start - first + len(out)]
            out[: len(part)] = part
            start, out = start + len(part), out[len(part) :]

    def fill_rows(self, start: int, step: int, out: Array) -> None:
        """Fill each row of *out*, 2-D in C order, with the weights from flat index *start* on, and each *step* on."""
        if not self.tensor.contiguous:
            for place, row in enumerate(out):
                self.fill(start + place * step, row)
            return
        width, raw, length = out.itemsize, out.reshape(-1).view(np.uint8).data, out.shape[1] * out.itemsize
        rows = [raw[place : place + length] for place in range(0, len(raw), length)]
        with reading(self.tensor):
            read_rows_from(self.tensor.storage, (self.tensor.offset + start) * width, step * width, rows)


def _read(tensor: LazyTensor, offset: int, target: Array) -> None:
    """Fill *target* from byte *offset* of the storage. Whatever a plugin's storage raises becomes a ``LoadError``."""
    with reading(tensor):
        read_from(tensor.storage, offset, target.view(np.uint8).data)


def _verify(tensor: LazyTensor) -> None:
    with reading(tensor):
        verify(tensor.storage)


@contextlib.contextmanager
def reading(tensor: LazyTensor) -> Iterator[None]:
    """Weights of *tensor* are read inside: what a plugin raises is a ``LoadError`` that names it and the tensor.

    Where a view or a rule computes the tensor, it is a ``PluginError``, which costs nobody else.
    """
    try:
        yield
    except PASSES:
        raise
    except BaseException as error:
        failed = _failed(tensor, error)
        module = type(failed).__module__
        place = "" if module.startswith(FILE_MODULE) else f"{module}."  # the name of its file stands beside it
        told = f"{place}{type(failed).__qualname__}: {describe(error)}"
        doing = "cannot be computed" if isinstance(failed, DerivedStorage) else "cannot be read"
        if not is_stamped(failed):
            raise LoadError(tensor.name, f"cannot be read: {told}") from error
        by = origin_of(failed)
        if by.kind in ("view", "rule"):
            raise by.error(f"{tensor.name} {doing}: {told}") from error
        reason = f"{doing}: {by.error(told)}"
        raise (LoadError(by.where, f"{tensor.name} {reason}") if by.where else LoadError(tensor.name, reason)) from error


def _failed(tensor: LazyTensor, error: BaseException) -> Storage:
    """The innermost storage beneath *tensor* that *error* came through, of those that compute or whose author is known.

    It is the outermost where it came through none.
    """
    held = {id(each): each for each in beneath(tensor.storage) if isinstance(each, DerivedStorage) or is_stamped(each)}
    found, trace = tensor.storage, error.__traceback__
    while trace is not None:
        found = held.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found


def wrong_tensor(tensor: Any) -> str:
    """What is wrong with *tensor*, which a plugin made: before something that reads it is blamed. Empty where nothing is."""
    if not isinstance(tensor, LazyTensor):
        return f"a tensor is {describe_value(tensor)}, not a LazyTensor"
    if not isinstance(tensor.name, str):
        return f"the name of a tensor is {describe_value(tensor.name)}, not a text"
    shape, dtype = tensor.shape, tensor.dtype
    plain = type(shape) is tuple and {*map(type, shape)} <= {int} and min(shape, default=0) >= 0
    if plain and isinstance(dtype, np.dtype) and type(tensor.storage) is Range:
        return ""  # what nearly all are, in a fifth of the time
    what = f"of {visible(tensor.name, 60)!r}"
    if not isinstance(shape, tuple) or not all(isinstance(each, Integral) and each >= 0 for each in shape):
        shown = str(shape)[:60] if isinstance(shape, (tuple, list)) else describe_value(shape)
        return f"the shape {what} is {shown}, not a tuple of whole numbers from 0 on"
    if not isinstance(dtype, np.dtype):
        return f"the dtype {what} is {describe_value(dtype)}, not a numpy dtype: np.dtype(np.float32)"
    if wrong := wrong_parts(tensor.storage):
        return wrong
    lacks = [name for name in ("size", "shippable", "read_into") if not _answers(tensor.storage, name)]
    return f"the storage {what} is {describe_value(tensor.storage)}, which lacks {', '.join(lacks)}" if lacks else ""


def _answers(storage: Any, name: str) -> bool:
    """True where *storage* has *name*. One that fails when it is asked has it, and says so where it is used."""
    try:
        return hasattr(storage, name)
    except PASSES:
        raise
    except BaseException:
        return True
