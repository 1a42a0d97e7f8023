"""numpy's own files. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import ClassVar

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_pickles, read_strings
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error
from torch2grid_builtin._inert.report import not_run, refusal
from torch2grid_builtin._inert.stream import part
from torch2grid_builtin._inert.values import fortran_strides, is_extended, numpy_dtype
from torch2grid_builtin._loaders.foreign_zip import refuse_program
from torch2grid_builtin._loaders.naming import tensor_name
from torch2grid_builtin._loaders.object_arrays import OBJECTS_LOOKED_AT, name_objects
from torch2grid_builtin._loaders.records import is_package
from torch2grid_builtin._loaders.refused_zip import PICKLES, read_refused_zip
from torch2grid_builtin._loaders.torch_zip import holds_pickle
from torch2grid_builtin._loaders.zip_archive import LOCAL, first_name, open_zip
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import ByteSwapped, Range, Skip, Source, Storage, unchecked, verify
from torch2grid_core.text import visible

MAGIC = b"\x93NUMPY"
_HEADER_BYTES = 1 << 16
_NO_OBJECTS = re.compile(r"[<>|=]?([SU]\d+|[mM]8(\[\w+\])?)")  # texts and times: no pickle stands in them


class Npy(Loader):
    """One numpy array (.npy)."""

    name: ClassVar[str] = "npy"

    def sniff(self, source: Source) -> int:
        return 2 if source.head.startswith(MAGIC) else 0

    def load(self, source: Source) -> Checkpoint:
        actions, storage = Actions(), Range(source)
        name = Path(Path(source.shown).name.removesuffix(".gz")).stem  # also where it was unpacked first
        found = read_array(storage, name or "array", source.shown, actions, Work(source.size))
        if isinstance(found, str):
            reason = refusal(f"holds no tensors: {found}", actions)
            raise LoadError(source.shown, reason, "save it as an array of numbers")
        left = found.storage.size - found.nbytes
        notes = [f"{left} bytes behind the array were not read"] if left else []
        return Checkpoint([found], source=source.shown, format="npy", notes=notes)


class Npz(Loader):
    """Numpy arrays in a zip archive (.npz), compressed or not."""

    name: ClassVar[str] = "npz"

    def sniff(self, source: Source) -> int:
        if not source.head.startswith(LOCAL):
            return 0
        begun = first_name(source).endswith(".npy")
        try:
            names = open_zip(source).entries
        except LoadError:
            return 2 if begun else 0
        arrays = sum(name.endswith(".npy") for name in names)
        if not begun and (not arrays or arrays != sum(not name.endswith("/") for name in names)):
            return 0
        return 1 if holds_pickle(names) or is_package(names) else 2  # which PyTorch would open

    def load(self, source: Source) -> Checkpoint:
        actions = Actions()
        try:
            return self._load(source, actions)
        except LoadError as error:
            if not actions:
                read_refused_zip(source, actions)
            raise load_error(source, error, actions) from error

    def _load(self, source: Source, actions: Actions) -> Checkpoint:
        archive, work = open_zip(source), Work(source.size)
        archive.of_arrays = True
        refuse_program(source, archive.entries)
        if len(archive.entries) > limits.ARRAYS:
            raise LoadError(source.shown, f"claims {len(archive.entries):,} arrays, more than any model has", "it is hostile")
        tensors: list[LazyTensor] = []
        skipped: list[Skip] = []
        keys = {name.removesuffix(".npy") for name in archive.entries}
        for name in archive.entries:
            storage = archive.storage(name)  # checks the record's own header, whatever it is
            if not name.endswith(".npy"):
                skipped.append(Skip(name, "not a numpy array", self.name))
                if _bytes(storage, 0, min(len(MAGIC), storage.size)) == MAGIC:  # numpy looks at the bytes, not at the name
                    read_array(storage, "array", source.shown, actions, work)
                elif name.lower().endswith(PICKLES):
                    _read_objects(storage, 0, source.shown, actions, work)
                continue
            found = read_array(storage, tensor_name(name.removesuffix(".npy"), keys), source.shown, actions, work)
            if isinstance(found, str):
                skipped.append(Skip(name, found, self.name))
            else:
                tensors.append(found)
        if not tensors:
            reason = f"{skipped[0].name}: {skipped[0].reason}" if skipped else "it is empty"
            raise LoadError(source.shown, f"holds no tensors: {reason}", "save it as arrays of numbers")
        return Checkpoint(tensors, source=source.shown, format="npz", skipped=skipped, not_run=not_run(actions))


def read_array(storage: Storage, name: str, path: str, actions: Actions, work: Work) -> LazyTensor | str:
    """The array in a .npy record, or why it is not read. Raises ``LoadError`` where the record lies.

    actions: gets what the pickle of an array of objects wants done. work: what looking at it may cost.
    """

    def wrong(reason: str) -> LoadError:
        return LoadError(path, f"array {visible(name, 60)!r} {reason}", "the file is cut short or damaged")

    peeked = unchecked(storage)  # a pass checks the record
    head = _bytes(peeked, 0, min(12, storage.size))
    if not head.startswith(MAGIC) or len(head) < 10:
        raise wrong("has no header of a numpy file")
    width = 2 if head[6] == 1 else 4
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if head[6] not in (1, 2, 3) or start > storage.size or start > _HEADER_BYTES:
        raise wrong("has a header that is longer than the file or than any header")
    raw = _bytes(peeked, 8 + width, start - 8 - width)
    header = _header(raw.decode("utf-8" if head[6] == 3 else "latin-1", "replace")) if raw.endswith(b"\n") else None
    if header is None:
        head = _bytes(peeked, 0, min(storage.size, start + OBJECTS_LOOKED_AT))  # numpy may read it, and load what follows
        raise wrong(name_objects("has a header that cannot be read", head))
    code, fortran, shape = header
    if any(length >= 2**63 for length in shape) or len(shape) > 64:
        raise wrong("has an impossible shape")
    order, plain = (code[0], code[1:]) if code is not None and code[:1] in tuple("<>|=") else ("", code or "")
    dtype = numpy_dtype(plain)
    if dtype is None and not _NO_OBJECTS.fullmatch(code or ""):
        _read_objects(storage, start, path, actions, work)
    if dtype is None or is_extended(dtype) or 0 in shape:
        verify(storage)  # no pass will, and what the header says may be the damage
    if code is None:
        return "a structured array, not plain numbers"
    if dtype is None:
        return "an array of Python objects" if plain[:1] == "O" else f"an array of dtype {visible(code, 30)}, not numbers"
    if is_extended(dtype):
        return f"numbers of {dtype.itemsize} bytes (extended precision)"
    count = math.prod(shape)
    if count * dtype.itemsize > storage.size - start:
        raise wrong(f"of shape {list(shape)} needs {count * dtype.itemsize} bytes, {storage.size - start} are there")
    data = part(storage, start, storage.size - start)
    if order == (">" if sys.byteorder == "little" else "<") and dtype.itemsize > 1:
        data = ByteSwapped(data, dtype.itemsize // (2 if dtype.kind == "c" else 1))
    return LazyTensor(name, shape, dtype, data, strides=fortran_strides(shape) if fortran and len(shape) > 1 else None)


def _read_objects(storage: Storage, start: int, path: str, actions: Actions, work: Work) -> None:
    """Look at the pickle from *start* on: numpy loads one wherever a dtype holds objects."""
    try:
        read_pickles(storage, start, actions, work)
        read_strings(actions, work)
    except Malformed as error:
        raise LoadError(path, refusal(error.reason, actions), error.advice) from error


# One entry of the header's dict. Read by hand: literal_eval compiles, and nothing of a file is compiled here.
_ENTRY = re.compile(
    r"""\s*(['"])(descr|fortran_order|shape)\1\s*:\s*('[^']*'|"[^"]*"|\[.*\]|True|False|\([\d\s,L]*\))\s*(,|$)"""
)


def _header(text: str) -> tuple[str | None, bool, tuple[int, ...]] | None:
    """The dtype code (``None`` for a structure), Fortran order and shape of a header, ``None`` where it is not one."""
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}")):
        return None
    body, place, found = body[1:-1].rstrip(), 0, {}
    while place < len(body):
        entry = _ENTRY.match(body, place)
        if entry is None:
            return None
        found[entry[2]], place = entry[3], entry.end()
    descr, order, shape = found.get("descr", ""), found.get("fortran_order"), found.get("shape", "")
    lengths = [length.strip().rstrip("L") for length in shape[1:-1].split(",") if length.strip()]
    if descr[:1] not in ("'", '"', "[") or order not in ("True", "False") or shape[:1] != "(":
        return None
    if not all(length.isdigit() and len(length) < 20 for length in lengths):
        return None
    return (None if descr[0] == "[" else descr[1:-1]), order == "True", tuple(map(int, lengths))


def _bytes(storage: Storage, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    if size:
        storage.read_into(offset, memoryview(buffer))
    return bytes(buffer)
