"""Tensors of one shape read side by side: a weight in two checkpoints, a weight with its gradient or optimizer state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.indexing import PartShape, repetition_text
from torch2grid_core._data.storage import DerivedStorage, Storage
from torch2grid_core._data.tensor import CHUNK_BYTES, FlatReader, LazyTensor, reading
from torch2grid_core._guard import not_run, returned, stamp_like

Combine = Callable[[Mapping[str, Array]], Array]

_LEAST = 1 << 14  # weights of a chunk: what many members at once are cut down to


class ComputedStorage(DerivedStorage):
    """Numbers of *dtype* that *combine* makes of those of *members*, range by range. None of them is kept.

    Members that are not contiguous are gathered in blocks.

    Args:
        members: name → tensor.
        combine: function of a mapping, member name → 1-D array of that member's dtype, all of one length, to the 1-D array of
            results. It must pickle: a module-level function, or an instance of a module-level class.
        dtype: of the results.
    """

    def __init__(self, members: Sequence[tuple[str, LazyTensor]], combine: Combine, dtype: np.dtype[Any]) -> None:
        self.members, self.combine, self.dtype = tuple(members), combine, dtype
        self._readers = [(name, FlatReader(tensor)) for name, tensor in self.members]

    def __reduce__(self) -> tuple[Any, ...]:
        origin = {name: each for name, each in vars(self).items() if name not in _OWN}  # who computes it
        return (type(self), (self.members, self.combine, self.dtype), origin)

    @property
    def parts(self) -> Sequence[Storage]:
        """The storages of the members."""
        return [tensor.storage for _, tensor in self.members]

    def over(self, parts: Sequence[Storage]) -> Storage:
        """Return the same for members with other storages."""
        members = [(name, replace(tensor, storage=part)) for (name, tensor), part in zip(self.members, parts, strict=True)]
        return type(self)(members, self.combine, self.dtype)

    def reads(self, offset: int, size: int) -> Iterator[tuple[Storage, int, int]]:
        """Yield what of the members is read with these bytes."""
        first, last = offset // self.dtype.itemsize, -(-(offset + size) // self.dtype.itemsize)
        for _, tensor in self.members:
            if tensor.contiguous:
                width = tensor.dtype.itemsize
                yield tensor.storage, (tensor.offset + first) * width, (last - first) * width

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.members[0][1].size * self.dtype.itemsize

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Compute bytes from *offset*, whole numbers of them. Raises ``LoadError`` if a member cannot be read."""
        first, count = offset // self.dtype.itemsize, len(buffer) // self.dtype.itemsize
        arrays = {name: np.empty(count, reader.tensor.dtype) for name, reader in self._readers}
        for name, reader in self._readers:
            reader.fill(first, arrays[name])
        with np.errstate(all="ignore"):  # beyond the range of the dtype is Inf
            np.frombuffer(buffer, self.dtype)[:] = combined(self.combine, arrays, self.dtype)


_OWN = ("members", "combine", "dtype", "_readers")


def combined(combine: Combine, arrays: Mapping[str, Array], dtype: np.dtype[Any]) -> Array:
    """What *combine* makes of *arrays*, to be taken for numbers of *dtype*. Raises ``TypeError`` for anything else."""
    found: Any = combine(arrays)
    if not isinstance(found, np.ndarray):
        wrong = not_run("combine", found) or returned("combine", found, f"a 1-D array of {dtype.name}")
        raise TypeError(wrong)
    if found.dtype != dtype and not np.can_cast(found.dtype, dtype, "same_kind"):
        raise TypeError(f"combine returned {found.dtype.name}, which is not {dtype.name}")
    shape = next(iter(arrays.values())).shape
    if found.shape != shape:
        raise TypeError(f"combine returned an array of shape {found.shape}, not {shape} as those that it was given")
    return found


@dataclass(frozen=True, repr=False)
class JointTensor(LazyTensor):
    """A tensor that is computed from others of its shape, its *members*, which a pass can read side by side.

    Whatever takes a ``LazyTensor`` gets the computed numbers. A view that wants the figures of a member asks with
    ``Of(member, need)``. A ``Need`` of your own sees the chunks of all members together. The engine reads each member once for
    all of them.
    """

    members: tuple[tuple[str, LazyTensor], ...] = ()
    combine: Combine | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, name: str, members: Mapping[str, LazyTensor], combine: Combine, dtype: Any = np.float32, note: str = ""
    ) -> JointTensor:
        """Return the tensor *name* that *combine* makes of *members* (see ``ComputedStorage``), which have one shape.

        Members that all repeat their elements in one way, as expanded views do, are joined as their ``distinct`` form. Where
        the members are the same part of tensors of several shapes, the joint tensor is that part of the last one.

        Raises:
            ValueError: there are no members, their shapes differ, or all repeat elements but not in one way. Their common shape
                could then be of any size, whatever is stored.
        """
        shapes = {tensor.shape for tensor in members.values()}
        if len(shapes) != 1:
            raise ValueError(f"{name}: members of shapes {sorted(shapes)}")
        shape, stated = shapes.pop(), None
        distinct = {member: tensor.distinct() for member, tensor in members.items()}
        if all(distinct[member] is not tensor for member, tensor in members.items()):
            ways = {
                (each.shape, members[member].strides if each.strides is None else None) for member, each in distinct.items()
            }
            if len(ways) != 1:
                raise ValueError(f"{name}: all of {', '.join(members)} repeat elements, each in a way of its own")
            stated, members, shape = tuple(shape), distinct, tuple(next(iter(distinct.values())).shape)
            note = ", ".join(filter(None, (note, repetition_text(shape, stated))))
        named = tuple(members.items())
        storage = ComputedStorage(named, combine, np.dtype(dtype))
        held = next((tensor.module_class for tensor in members.values() if tensor.module_class), "")
        parts = [tensor.taken for tensor in members.values()]
        part = parts[-1]
        if part is not None and not all(each is not None and each.places == part.places for each in parts):
            part = None
        shape = tuple(shape) if part is None and stated is None else PartShape(shape, part, stated)
        return cls(
            name, shape, np.dtype(dtype), storage, note=note, module_class=held, taken=part, members=named, combine=combine
        )

    def view(self, index: Any) -> LazyTensor:
        """Return the part that *index* takes, joint of the same parts of its members (see ``LazyTensor.view``)."""
        if self.combine is None:
            return super().view(index)
        members = tuple((name, tensor.view(index)) for name, tensor in self.members)
        storage = ComputedStorage(members, self.combine, self.dtype)
        stamp_like(storage, self.storage)
        first = members[0][1]
        return replace(self, shape=first.shape, storage=storage, taken=first.taken, members=members)

    def compute(self, chunks: Mapping[str, Array]) -> Array:
        """Return the joint tensor's own numbers for the members' *chunks*: 1-D, of its dtype."""
        assert self.combine is not None
        with reading(self), np.errstate(all="ignore"):
            return combined(self.combine, chunks, self.dtype).astype(self.dtype, copy=False)

    def lockstep(self) -> Iterator[tuple[int, dict[str, Array]]]:
        """Yield ``(start, member name → 1-D array)`` in C order: each array holds the weights from flat index *start* on.

        Arrays are of the members' dtypes and valid until the next ones are asked for. One file's bytes are read once.
        """
        widest = max(tensor.dtype.itemsize for _, tensor in self.members)
        # A quarter of a chunk each: the members and what is computed from them stay in the cache together.
        count = max(CHUNK_BYTES // (4 * widest) * 2 // max(len(self.members), 2), _LEAST)
        streams = [(name, tensor.flat_chunks(count * tensor.dtype.itemsize)) for name, tensor in self.members]
        for start in range(0, math.prod(self.shape), count):
            yield start, {name: next(stream)[1] for name, stream in streams}
