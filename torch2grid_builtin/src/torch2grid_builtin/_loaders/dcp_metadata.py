"""The ``.metadata`` of a distributed checkpoint: which block of which tensor lies where, as arrays.

Format: ``torch/distributed/checkpoint/metadata.py`` and ``filesystem.py``. It is a pickle, read by the machine that runs
nothing; a checkpoint of a thousand ranks has a million blocks in it, so that a block must not cost an object.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.constructors import CONSTRUCTORS
from torch2grid_builtin._inert.hidden import read_pickles, read_strings
from torch2grid_builtin._inert.interpreter import Interpreter
from torch2grid_builtin._inert.machine import Machine
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.stream import PickleStream
from torch2grid_builtin._inert.torch_dtypes import dtype_name
from torch2grid_builtin._inert.values import Built, Pairs, Stub
from torch2grid_core.sources import Storage

METADATA_BYTES = 512 << 20
_MEMORY = 1 << 40  # bytes: what it makes is let go of
_BLOCKS = 4_000_000
_FORGETTING = 200_000  # objects that the memo keeps before those are let go that pickles do not come back to
_MODULE, _FILES = "torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"
_OLDER = "torch.distributed._shard.sharded_tensor.metadata"
_WIDEST = 1 << 62


@dataclass
class Entry:
    """One name of the checkpoint, and its blocks, a row for each in every array.

    shape, dtype: of the tensor; ``None`` and empty for something else, which is one block. first, lengths: where a block begins
    in every dimension, and how long it is. file: which of the files. offset, size: in bytes of that file. packed: how the
    blocks are compressed, empty where they are not.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    first: Any
    lengths: Any
    file: Any
    offset: Any
    size: Any
    packed: str = ""


@dataclass
class Contents:
    """What ``.metadata`` states. paths: the keys that lead to each name, before names were made flat."""

    entries: list[Entry] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    paths: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # names of which a block is in no file


def read_metadata(storage: Storage, actions: Actions) -> Contents:
    """What the pickle in *storage* states. actions: gets what it wants done. Raises ``Malformed``."""
    if storage.size > METADATA_BYTES:
        raise Malformed(f"its .metadata has {storage.size:,} bytes; at most {METADATA_BYTES:,} are read")
    try:
        machine, root = _read(storage, actions, forgets=storage.size > limits.MEMO)  # a shorter one cannot fill the memo
    except _Forgotten:
        machine, root = _read(storage, actions, forgets=False)
    read_pickles(storage, machine.stream.tell(), actions, machine.work)
    read_strings(actions, machine.work)
    return _contents(machine, root)


def _read(storage: Storage, actions: Actions, forgets: bool) -> tuple[_Reader, Any]:
    work = limits.Work(storage.size)
    work.opcodes = max(work.opcodes, METADATA_BYTES)
    machine = _Reader(PickleStream(storage), {**CONSTRUCTORS, **_OWN}, work=work, actions=actions)
    machine.forgets = forgets
    return machine, machine.load()


class _Forgotten(Malformed):
    """The pickle comes back to an object that was let go."""


class _Memo(dict[int, Any]):
    """A memo that forgets: its length counts what was ever put in."""

    gone = 0

    def __len__(self) -> int:
        return super().__len__() + self.gone

    def __missing__(self, key: int) -> Any:
        if self.gone and key < len(self):
            raise _Forgotten("the .metadata is more entangled than any checkpoint's")
        raise KeyError(key)


class _Reader(Interpreter):
    """Reads the rows of blocks into arrays while the pickle goes by."""

    forgets = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.most_containers = self.most_tuples = 16 * _BLOCKS
        self.most_memory = _MEMORY
        # Of blocks in files: whose, where in it, in how many dimensions; and in which file, from where, how long, how packed.
        self.names: dict[str, int] = {}
        self.name, self.begins, self.dimensions, self.places = array("q"), array("q"), array("b"), array("q")
        self.paths: dict[str, int] = {}
        self.file, self.offset, self.size, self.packing = array("q"), array("q"), array("q"), array("q")
        self.packings: dict[str, int] = {"": 0}
        self.chunks = 0
        self._memo, self._newest, self._left = _Memo(), -1, 0

    def new_memo(self) -> dict[int, Any]:
        self._memo, self._newest, self._left = _Memo(), -1, 0
        if self.forgets:
            self.most_memo = 32 * _BLOCKS
            return self._memo
        return {}

    def tidy(self) -> None:
        memo = self._memo
        if not self.forgets or dict.__len__(memo) < self._left + _FORGETTING:
            return
        since = []
        for key in reversed(memo):
            if key <= self._newest:
                break
            since.append(key)
        self._newest = max(since, default=self._newest)
        for key in since:
            if type(memo[key]) in _PASSING:
                del memo[key]
                memo.gone += 1
        self._left = dict.__len__(memo)
        if self._left > limits.MEMO:
            raise Malformed("the .metadata makes more objects than any checkpoint's", "it is not a checkpoint")


class _Whole(Built):
    """What the pickle holds: the attributes of the one object."""

    __slots__ = ("found",)

    def build(self, machine: Machine, state: Any) -> None:
        self.found = _fields(state)


class _Chunk(Built):
    """Where a block of a tensor begins, and how long it is."""

    __slots__ = ("lengths", "offsets")

    def build(self, machine: Machine, state: Any) -> None:
        reader = cast(_Reader, machine)
        reader.chunks += 1
        if reader.chunks > _BLOCKS:
            raise Malformed(f"the .metadata describes more than {_BLOCKS:,} blocks", "it is not a checkpoint")
        found = _fields(state)
        self.offsets, self.lengths = _sizes(found.get("offsets")), _sizes(found.get("sizes"))


class _Tensor(Built):
    """The blocks of one tensor."""

    __slots__ = ("dtype", "first", "lengths", "shape")

    def build(self, machine: Machine, state: Any) -> None:
        found = _fields(state)
        chunks, properties = found.get("chunks"), found.get("properties")
        self.shape = _sizes(found.get("size"))
        self.dtype = getattr(properties, "dtype", "") if isinstance(properties, _Properties) else ""
        if type(chunks) is not list or not all(type(each) is _Chunk and hasattr(each, "offsets") for each in chunks):
            raise Malformed("a tensor whose blocks are not listed")
        dimensions = len(self.shape)
        if not all(len(each.offsets) == len(each.lengths) == dimensions for each in chunks):
            raise Malformed("a tensor with a block of another number of dimensions")
        flat = np.fromiter((number for each in chunks for number in each.offsets), np.int64, len(chunks) * dimensions)
        first = flat.reshape(len(chunks), dimensions)
        flat = np.fromiter((number for each in chunks for number in each.lengths), np.int64, len(chunks) * dimensions)
        self.lengths, self.first = flat.reshape(len(chunks), dimensions), first


class _Properties(Built):
    """The dtype of a tensor."""

    __slots__ = ("dtype",)

    def build(self, machine: Machine, state: Any) -> None:
        held = _fields(state).get("dtype") if isinstance(state, Pairs) else state[0] if type(state) is tuple and state else None
        self.dtype = dtype_name(held) or ""


class _Bytes(Built):
    """Something else than a tensor."""

    __slots__ = ()

    def build(self, machine: Machine, state: Any) -> None:
        """Nothing is known of it."""


class _Row(Built):
    """A row of the reader's arrays."""

    __slots__ = ("row",)
    row: int


class _Index(_Row):
    """Which block of which tensor."""

    __slots__ = ()

    def build(self, machine: Machine, state: Any) -> None:
        reader = cast(_Reader, machine)
        found = _fields(state)
        name, offset, number = found.get("fqn"), found.get("offset"), found.get("index")
        if type(name) is not str:
            raise Malformed("a block of a tensor without a name")
        if number is not None and type(number) is not int:  # it is hashed, whatever it is
            raise Malformed("a block of a tensor whose number is not valid")
        place = () if offset is None else _sizes(offset)
        self.row = len(reader.name)
        reader.name.append(reader.names.setdefault(name, len(reader.names)))
        reader.begins.append(len(reader.places))
        reader.dimensions.append(len(place))
        reader.places.extend(place)


class _Info(_Row):
    """Where a block lies."""

    __slots__ = ()

    def build(self, machine: Machine, state: Any) -> None:
        reader = cast(_Reader, machine)
        found = _fields(state)
        path, offset, size = found.get("relative_path"), found.get("offset"), found.get("length")
        packed = found.get("transform_descriptors")
        if type(path) is not str or type(offset) is not int or type(size) is not int:
            raise Malformed("a block without a place in a file")
        if not (0 <= offset < _WIDEST and 0 <= size < _WIDEST):
            raise Malformed("a block at a place that no file has")
        names: list[Any] = list(packed) if isinstance(packed, (list, tuple)) else [] if packed is None else [packed]
        if not all(type(each) is str and len(each) < 100 for each in names) or len(names) > 8:
            raise Malformed("a block that is packed in a way without a name")
        self.row = len(reader.file)
        reader.file.append(reader.paths.setdefault(path, len(reader.paths)))
        reader.offset.append(offset)
        reader.size.append(size)
        reader.packing.append(reader.packings.setdefault(" ".join(names), len(reader.packings)))


def _fields(state: Any) -> dict[str, Any]:
    """The attributes of a plain object."""
    if not isinstance(state, Pairs):
        raise Malformed("an object of the .metadata without attributes")
    return dict(state.pairs) if all(type(key) is str for key, _ in state.pairs) else {}


def _sizes(value: Any) -> tuple[int, ...]:
    if isinstance(value, Stub) and value.path == "torch.Size":
        value = value.args[0] if value.args else ()
    if type(value) not in (tuple, list) or len(value) > limits.DIMENSIONS:
        raise Malformed("a block whose place is not a tuple of integers")
    for each in value:
        if type(each) is not int or not 0 <= each < _WIDEST:
            raise Malformed("a block whose place is not a tuple of integers")
    return tuple(value)


def _maker(kind: type[Built]) -> Any:
    def make(machine: Machine, args: tuple[Any, ...]) -> Any:
        if args:
            raise Malformed(f"an object of the .metadata that is made of {len(args)} arguments")
        return kind()

    return make


_OWN: dict[tuple[str, str], Any] = {
    (_MODULE, "Metadata"): _maker(_Whole),
    (_MODULE, "ChunkStorageMetadata"): _maker(_Chunk),
    (_MODULE, "TensorStorageMetadata"): _maker(_Tensor),
    (_MODULE, "TensorProperties"): _maker(_Properties),
    (_OLDER, "TensorProperties"): _maker(_Properties),
    (_MODULE, "BytesStorageMetadata"): _maker(_Bytes),
    (_MODULE, "MetadataIndex"): _maker(_Index),
    (_FILES, "_StorageInfo"): _maker(_Info),
}
_PASSING = frozenset((tuple, Pairs, _Chunk, _Index, _Info))


def _contents(reader: _Reader, root: Any) -> Contents:
    """What the value of the pickle states."""
    if not isinstance(root, _Whole) or not hasattr(root, "found"):
        raise Malformed("its .metadata is not the index of a distributed checkpoint")
    found = root.found
    described, stored, planned = found.get("state_dict_metadata"), found.get("storage_data"), found.get("planner_data")
    if not isinstance(described, Pairs) or not isinstance(stored, Pairs):
        raise Malformed("its .metadata does not say where tensors lie")
    if not all(type(one) is _Index and type(other) is _Info for one, other in stored.pairs):
        raise Malformed("its .metadata does not say where tensors lie in a way that is known")
    contents = Contents(files=list(reader.paths))
    if isinstance(planned, Pairs):
        contents.paths = {key: path for key, path in planned.entries() if type(key) is str and type(path) is tuple}
    count = len(stored.pairs)
    try:
        index = np.fromiter((one.row for one, _ in stored.pairs), np.int64, count)
        info = np.fromiter((other.row for _, other in stored.pairs), np.int64, count)
    except AttributeError as error:
        raise Malformed("a block of its .metadata without a place") from error
    stored.pairs.clear()
    rows = _Rows(reader, index, info)
    packings = list(reader.packings)
    for name, about in described.entries():
        if type(name) is not str or not (isinstance(about, _Bytes) or (isinstance(about, _Tensor) and hasattr(about, "first"))):
            raise Malformed("an entry of its .metadata that is neither a tensor nor bytes")
        entry = rows.entry(name, about, packings)
        if entry is None:
            contents.missing.append(name)
        else:
            contents.entries.append(entry)
    return contents


class _Rows:
    """The rows of blocks in files, by name."""

    def __init__(self, reader: _Reader, index: Any, info: Any) -> None:
        self.names: Mapping[str, int] = reader.names
        name = np.frombuffer(reader.name, np.int64)[index] if len(index) else index
        order = np.argsort(name, kind="stable")
        self.index, self.info = index[order], info[order]
        self.ends = np.searchsorted(name[order], np.arange(len(reader.names) + 1))
        # An empty array has no buffer that numpy takes.
        self.begins, self.dimensions = np.array(reader.begins, np.int64), np.array(reader.dimensions, np.int64)
        self.places = np.array(reader.places, np.int64)
        self.of_file = [np.array(each, np.int64) for each in (reader.file, reader.offset, reader.size, reader.packing)]

    def entry(self, name: str, about: _Tensor | _Bytes, packings: list[str]) -> Entry | None:
        """The entry *name*, ``None`` where a block of it is in no file, or in two. Raises ``Malformed``."""
        at = self.names.get(name)
        mine = slice(0, 0) if at is None else slice(self.ends[at], self.ends[at + 1])
        index, info = self.index[mine], self.info[mine]
        shape, dtype = None, ""
        first = lengths = np.zeros((1, 0), np.int64)
        if isinstance(about, _Tensor):
            shape, dtype, first, lengths = about.shape, about.dtype, about.first, about.lengths
        if len(index) != len(first) or (shape is not None and (self.dimensions[index] != first.shape[1]).any()):
            return None
        if shape is not None and first.shape[1] and len(first):
            places = self.places[self.begins[index][:, None] + np.arange(first.shape[1])]
            ours, theirs = np.lexsort(first.T[::-1]), np.lexsort(places.T[::-1])
            if (first[ours] != places[theirs]).any():
                return None
            back = np.empty_like(ours)
            back[ours] = theirs
            info = info[back]
        file, offset, size, packing = (each[info] for each in self.of_file)
        if len(packing) and (packing != packing[0]).any():
            raise Malformed("a tensor whose blocks are packed in different ways")
        return Entry(name, shape, dtype, first, lengths, file, offset, size, packings[packing[0]] if len(packing) else "")
