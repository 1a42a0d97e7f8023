"""Folders that ``torch.distributed.checkpoint`` wrote: ``.metadata`` beside ``.distcp`` files.

Format: ``torch/distributed/checkpoint/filesystem.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

import numpy as np

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_pickles
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error, told
from torch2grid_builtin._inert.report import describe, not_run, refusal
from torch2grid_builtin._inert.torch_dtypes import DTYPES
from torch2grid_builtin._loaders.dcp_groups import Groups
from torch2grid_builtin._loaders.dcp_items import item, tensor_of, unpack
from torch2grid_builtin._loaders.dcp_metadata import Contents, Entry, read_metadata
from torch2grid_builtin._loaders.megatron import latest_iteration
from torch2grid_builtin._loaders.torch_zip import read_archive
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import BytesStorage, ContainerKind, Problem, Range, Skip, Source, find_parts, has_file, prepare
from torch2grid_core.text import visible

_SHARE = re.compile(r"__(\d+)_\d+\.distcp")
_BESIDE = ("meta.pt", "common.pt")  # Lightning's and Megatron-LM's: what is no tensor
_SMALL = 1 << 20  # bytes of an item that is told from others by its bytes
_SHORT = 8  # items of a list that is kept
_UNPACKED = 64 << 20  # bytes of an item that is no tensor
_TOLD = 50
_LISTED = 4
_HOSTILE = "it is hostile or damaged"


class DistributedCheckpoint(Loader):
    """A folder that torch.distributed.checkpoint wrote: .metadata, and the tensors in blocks in .distcp files."""

    name: ClassVar[str] = "dcp"

    def sniff(self, source: Source) -> int:
        return 2 if _place(source) is not None else 0

    def load(self, source: Source) -> Checkpoint:
        given = source
        source = _place(source) or source
        actions = Actions()
        index = source.child(".metadata")
        try:
            contents = read_metadata(Range(index), actions)
        except (Malformed, LoadError) as error:
            raise load_error(index, error, actions) from error
        try:
            files = _files(source, contents.files)
            problems: list[Problem] = []
            groups = Groups(contents.paths)
            facts = _read_rest(contents, files, actions, problems, groups)
            facts.update(_read_beside(source, actions, problems))
            tensors, skipped = _tensors(contents, files, self.name)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        problems += [Problem("a block of it is in no file", name) for name in contents.missing]
        if not tensors:
            raise LoadError(source.shown, refusal("is a distributed checkpoint that holds no tensors", actions))
        parts, default = find_parts(tensors, _containers(tensors, contents, groups))
        ranks = len({found[1] for name in contents.files if (found := _SHARE.fullmatch(name.rpartition("/")[2]))})
        skipped += [Skip(name, "a block of it is in no file", self.name) for name in contents.missing]
        return Checkpoint(
            tensors,
            source=given.shown,
            format=f"distributed checkpoint of {ranks} {'rank' if ranks == 1 else 'ranks'}",
            metadata=facts,
            skipped=skipped,
            aliases={},
            parts=parts,
            default_part=default,
            not_run=not_run(actions),
            problems=problems,
            notes=[*([] if source is given else [f"{visible(source.name, 60)} is shown"]), *_notes(source, contents)],
        )


def _place(folder: Source) -> Source | None:
    """The folder that holds the files: this one, or that of Megatron-LM's last iteration; ``None`` where there is none."""
    if not folder.is_folder:
        return None
    inside = folder if has_file(folder, ".metadata") else latest_iteration(folder)
    shares = inside is not None and any(map(_SHARE.fullmatch, inside.entries))
    return inside if inside is not None and shares and has_file(inside, ".metadata") else None


def _files(folder: Source, names: Iterable[str]) -> list[Source]:
    """The files *names* of the folder. Raises ``LoadError`` where one leaves it or is missing."""
    names = list(names)
    for name in names:
        windows, posix = PureWindowsPath(name), PurePosixPath(name)
        outside = windows.drive or windows.root or posix.is_absolute() or ".." in (*windows.parts, *posix.parts)
        if outside or "\0" in name or name in (".", ""):
            raise LoadError(folder.shown, f"names a file outside of it: {visible(name, 80)!r}", _HOSTILE)
    found, absent = [], []
    prepare(folder, names)
    for name in names:
        try:
            found.append(folder.child(name))
        except LoadError:
            absent.append(name)
    if absent:
        told = ", ".join(visible(name, 60) for name in absent[:_LISTED])
        told += f" and {len(absent) - _LISTED} more" if len(absent) > _LISTED else ""
        advice = "fetch it again" if len(absent) == 1 else "fetch them again"
        raise LoadError(folder.shown, f"is a distributed checkpoint that lacks {told}", advice)
    folders = [each.shown for each in found if each.is_folder]
    if folders:
        raise LoadError(folders[0], "is a folder where a file of a distributed checkpoint is expected")
    return found


def _tensors(contents: Contents, files: list[Source], by: str) -> tuple[dict[str, LazyTensor], list[Skip]]:
    """The tensors by name, and the entries that are none or cannot be read. Raises ``LoadError``."""
    tensors: dict[str, LazyTensor] = {}
    skipped = []
    sizes = np.array([file.size for file in files], np.int64)
    for entry in contents.entries:
        if entry.shape is None:
            continue
        behind = np.flatnonzero(entry.offset + entry.size > sizes[entry.file])
        if len(behind):
            file = files[int(entry.file[behind[0]])]
            told = f"has {file.size:,} bytes, and a block of {visible(entry.name, 80)} is said to end behind them"
            raise LoadError(file.shown, told, "it is cut short; fetch it again")
        if entry.dtype not in DTYPES:
            skipped.append(Skip(entry.name, f"dtype {visible(entry.dtype, 40) or 'unknown'} is not read", by))
            continue
        if not all(entry.shape):
            tensors[entry.name] = LazyTensor(entry.name, entry.shape, DTYPES[entry.dtype], BytesStorage(b""))
            continue
        try:
            tensors[entry.name] = tensor_of(entry, DTYPES[entry.dtype], files)
        except LoadError as error:
            raise LoadError(entry.name, error.reason, error.advice) from error
    return tensors, skipped


def _read_rest(
    contents: Contents, files: list[Source], actions: Actions, problems: list[Problem], groups: Groups
) -> dict[str, Any]:
    """What the entries that are no tensors state, those of a few words; *actions* gets what they would run: PyTorch unpickles
    each; *groups* the settings of optimizers. Equal ones, of which a state dict has thousands, are looked at once. Raises
    ``Malformed``."""
    facts: dict[str, Any] = {}
    seen: dict[bytes, Any] = {}
    work = Work(sum(int(entry.size.sum()) for entry in contents.entries if entry.shape is None))
    for entry in contents.entries:
        if entry.shape is not None:
            continue
        try:
            value = _value(entry, files, actions, work, seen)
        except LoadError as error:
            if work.left < 0:
                raise
            problems.append(Problem(f"cannot be read: {error.reason}", entry.name))
            continue
        if groups.is_setting(entry.name):
            groups.take(entry.name, value)
        elif type(value) in (str, int, float, bool) and len(facts) < _TOLD:
            facts[visible(entry.name, 100)] = visible(value[:1000], 200) if type(value) is str else describe(value)
    return {**facts, **groups.facts(work)}


def _value(entry: Entry, files: list[Source], actions: Actions, work: Work, seen: dict[bytes, Any]) -> Any:
    """The value of an entry that is no tensor. Raises ``LoadError``."""
    source = item(files[int(entry.file[0])], int(entry.offset[0]), int(entry.size[0]))
    key = b""
    if source.size <= _SMALL:
        import hashlib  # which is slow to import

        raw = source.read(0, source.size)
        key = hashlib.sha256(raw).digest()
        if key in seen:
            return seen[key]
    source = unpack(source, entry.packed, _UNPACKED)
    if source.head.startswith(b"PK\x03\x04"):
        value = read_archive(source, work, actions).root
    else:
        value = None
        read_pickles(BytesStorage(source.read(0, min(source.size, _UNPACKED))), 0, actions, work)
    if key:
        plain = type(value) in (str, int, float, bool) or (type(value) in (list, tuple) and len(value) <= _SHORT)
        seen[key] = value if plain else None
    return value


def _read_beside(folder: Source, actions: Actions, problems: list[Problem]) -> dict[str, Any]:
    """The facts in the file that some trainers write beside: epoch, step, hyperparameters."""
    facts: dict[str, Any] = {}
    for name in _BESIDE:
        if not has_file(folder, name):
            continue
        try:
            facts.update(told(read_archive(folder.child(name), None, actions).root))
        except LoadError as error:
            problems.append(Problem(f"{name} cannot be read: {error.reason}", severity="warning"))
    return facts


def _containers(tensors: Iterable[str], contents: Contents, groups: Groups) -> dict[str, ContainerKind]:
    """What held the tensors before their names were made flat: each mapping, by its full name."""
    found: dict[str, ContainerKind] = {"": "", **dict.fromkeys(groups.containers(tensors), "optimizer")}
    optimizers = {
        ".".join(map(str, path[: path.index("param_groups")])) for path in contents.paths.values() if "param_groups" in path
    }
    for name in tensors:
        path = contents.paths.get(name, (name,))
        if ".".join(map(str, path)) != name:
            continue
        for depth in range(1, min(len(path), 16)):
            inside = ".".join(map(str, path[:depth]))
            found.setdefault(inside, "optimizer" if inside in optimizers else "")
    return found


def _notes(folder: Source, contents: Contents) -> list[str]:
    used = {*contents.files, ".metadata", *_BESIDE}
    rest = [name for name in folder.entries if _SHARE.fullmatch(name) and name not in used]
    if not rest:
        return []
    listed = ", ".join(visible(name, 40) for name in rest[:_LISTED])
    return [f"its .metadata does not name {listed}" + (f" and {len(rest) - _LISTED} more" if len(rest) > _LISTED else "")]
