"""From a source to a checkpoint: which loader opens it, which file of a folder, and what a file is that none of them opens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

from torch2grid_core._data.archives import inside, kind_of, member_of, only_in
from torch2grid_core._data.checkpoint import Action, Checkpoint
from torch2grid_core._data.foreign import foreign_file
from torch2grid_core._data.guarded import guarded_source
from torch2grid_core._data.loaders import LoaderLike, choose
from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.neighbours import (
    choose_model,
    in_order,
    is_beside,
    is_known_model,
    is_step,
    listed,
    remarks_on,
    share_of,
    shown_alone,
    spread_over,
)
from torch2grid_core._data.packed import is_gzip, packed_again, unpacked
from torch2grid_core._data.source import Glance, Source
from torch2grid_core._errors import LoadError, UsageError, WrongAnswer
from torch2grid_core._text import visible

_PROGRAM = "another reader than its own takes the file for a program"
_SHOWN_FILES = 10
_TOLD = 3
_FOLDER_FILES = 10_000
_INNER_FOLDERS = 1000
_STEP_FILES = 200
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the weights themselves",
        "run `git lfs pull`, or download the file",
    ),
    (b"GGUF", "is a GGUF file of llama.cpp", "pip install torch2grid-gguf reads it"),
    *(  # a number in the file, whose bytes come the other way round: ggml, ggmf, ggjt
        (magic, "is a GGML file of llama.cpp", "use the safetensors files that it was made from")
        for magic in (b"lmgg", b"fmgg", b"tjgg", b"ggml")
    ),
    (b"\x89PNG", "is a PNG picture", "give the path of a checkpoint"),
    (b"\xff\xd8\xff", "is a JPEG picture", "give the path of a checkpoint"),
    (b"%PDF", "is a PDF document", "give the path of a checkpoint"),
    (b"7z\xbc\xaf", "is a 7z archive", "unpack it first"),
    (b"Rar!", "is a RAR archive", "unpack it first"),
    (b"BZh", "is compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it first"),
    (b"]\x00\x00", "is compressed with lzma", "unpack it first"),
    (b'\x04"M\x18', "is compressed with lz4", "unpack it first"),
    (b"\x1f\x8b", "is compressed with gzip, twice", "unpack it first"),
    (b"PK", "is a zip archive that no loader knows", "unpack it, if a checkpoint is inside"),
    (b"\x7fELF", "is a program", "give the path of a checkpoint"),
    (b"\x93NUMPY", "is a numpy array file", "install a loader for it"),
)


def open_checkpoint(path: str | Path | Source, loaders: Sequence[LoaderLike], force: LoaderLike | None = None) -> Checkpoint:
    """The checkpoint at *path*, or in a source: a file, a gzip-compressed one, a folder that holds one, or a live object.

    Every other loader than the one that opens it is asked what a reader of its format would run, when ``not_run`` or ``notes``
    of the checkpoint are asked for.

    The loader with the highest ``sniff`` opens it, or *force* whatever it is. Of the files in a folder it is the model that is
    opened, where names tell which that is; a note names the others. So does a note say that a file is one shard or rank of
    several. Raises ``LoadError`` where no loader knows the content (saying what it looks like) and for a folder of several
    models or of a distributed checkpoint, ``UsageError`` where two loaders claim it equally, and for an object that none knows.
    """
    source = guarded_source(path) if not isinstance(path, (str, Path)) else _local(path, loaders)
    if source.object is not None:
        of_object = force or choose(source, loaders)
        if of_object is None:
            what = type(source.object).__name__
            raise UsageError(f"a path, a module, a state dict or a Checkpoint is needed, not {what}")
        return of_object.load(source)
    if force is not None:
        read = unpacked(source) if is_gzip(source) and not force.sniff(source) else source
        held = inside(read, force)
        if held is not None:
            return _open_inside(held, loaders[1:] if loaders[0] is force else loaders, [read, source])
        return _from(source, _load(read, force, loaders, [source]))
    loader, beside = choose(source, loaders), ""
    if loader is None and source.is_folder:
        source, loader, beside = _only_checkpoint(source, loaders)
    found = source
    if loader is None and is_gzip(source):
        source = unpacked(source)
        loader = choose(source, loaders)
    if loader is None:
        reason, advice = looks_like(source)
        raise LoadError(source.shown, reason, advice)
    held = inside(source, loader)
    if held is not None:
        return _open_inside(held, loaders, [source, found]).with_notes([beside] if beside else [])
    return _from(found, _load(source, loader, loaders, [found]), beside)


def _local(path: str | Path, loaders: Sequence[LoaderLike]) -> Source:
    """The file at *path*, or what that names inside of an archive. Raises ``LoadError``."""
    try:
        return LocalSource(path)
    except LoadError:
        member = member_of(str(path), loaders)
        if member is None:
            raise
        return member


def _open_inside(archive: Source, loaders: Sequence[LoaderLike], outer: Sequence[Source]) -> Checkpoint:
    """The one checkpoint in *archive*, a folder. outer: the file that it is, as it is read and as it was packed."""
    with _naming(lambda: _actions_of(loaders, outer)):
        chosen, loader, beside = only_in(archive, loaders)
        read = chosen
        if loader is None:
            read = unpacked(chosen)
            loader = choose(read, loaders)
            if loader is None:
                raise LoadError(chosen.shown, *looks_like(read))
        if inside(read, loader) is not None:
            raise LoadError(chosen.shown, "is an archive in an archive", "unpack the outer one first")
    loaded = _load(read, loader, loaders, [chosen, *outer])
    loaded.format = f"{loaded.format} in a {kind_of(archive)}"
    return _from(chosen, loaded, beside)


def _from(source: Source, loaded: Checkpoint, beside: str = "") -> Checkpoint:
    """The checkpoint *loaded*, which remembers *source*, whose neighbours a decoder may ask for, and what it is a share of.

    beside: a line about what lies beside it.
    """
    share = share_of(source)
    found = loaded.with_notes([*filter(None, [beside]), *remarks_on(source, share)], str(share or ""))
    found.opened_from = source
    return found


def _load(source: Source, by: LoaderLike, loaders: Sequence[LoaderLike], packed: Sequence[Source]) -> Checkpoint:
    """The checkpoint in *source*, with what readers of other formats would run of the same bytes: a file may be of two formats.

    packed: what *source* was unpacked from, or lies in: a reader of the file sees those bytes. Raises ``LoadError``,
    which names that, too.
    """

    def others(look: Callable[[Source], Source] = lambda whole: whole) -> Iterator[Any]:
        yield from _actions_of([each for each in loaders if each.name != by.name], [look(source)])
        yield from _actions_of(loaders, [look(each) for each in packed if each is not source and not each.is_folder])

    def new(found: Iterable[Action]) -> tuple[Action, ...]:
        known = set(own.not_run) if len(packed) > 1 else set()  # an archive's reader sees what is in it, too
        return tuple(each for each in dict.fromkeys((*packed_again(source), *found)) if each not in known)

    @cache
    def asked() -> tuple[Action, ...]:  # which reads the end of the file, or all: one row of it need not cost that
        return new(others())

    @cache
    def glanced() -> tuple[Action, ...]:
        return new(others(Glance)) if not source.is_folder else ()

    with _naming(others):
        loaded = by.load(source)
    own = copy(loaded)
    loaded.not_run = lambda: (*asked(), *own.not_run)
    loaded._ask_notes(
        lambda: (*([_PROGRAM] if asked() else []), *own.notes),
        lambda: (*([_PROGRAM] if glanced() else []), *own.notes_at_a_glance),
    )
    return loaded


@contextmanager
def _naming(actions: Callable[[], Iterable[Any]]) -> Iterator[None]:
    """A ``LoadError`` of the block names *actions*, what other readers would run, unless it names some itself."""
    try:
        yield
    except LoadError as error:
        found = [str(action) for action in actions()] if "not run: " not in error.reason else []
        if not found:
            raise
        raise LoadError(error.path, f"{error.reason}; not run: {', '.join(found[:_TOLD])}", error.advice) from error


def _actions_of(loaders: Sequence[LoaderLike], sources: Sequence[Source]) -> Iterator[Any]:
    """What the loaders say that readers of their formats would run of each of *sources* that has bytes."""
    for source in dict.fromkeys(sources):
        for each in loaders:
            if not source.is_folder and hasattr(each, "runs"):
                yield from each.runs(source)


def _only_checkpoint(
    folder: Source, loaders: Sequence[LoaderLike], steps: bool = True
) -> tuple[Source, LoaderLike | None, str]:
    """The one model in *folder*, with its loader and a line about what lies beside it.

    It is a file; without any, the one gzip-compressed file, unclaimed yet; without these, the one folder that a loader claims,
    or, with *steps*, that of a step of a training. Files that trainers write beside a model are none where such a folder is.
    Raises ``LoadError`` where there is none, or more than one.
    """
    found: dict[str, tuple[Source, LoaderLike | None]] = {}
    packed: dict[str, tuple[Source, LoaderLike | None]] = {}
    folders: list[str] = []
    for name in folder.entries[:_FOLDER_FILES]:
        try:
            source = folder.child(name)
            if source.is_folder:
                folders.append(name)
                continue
            loader = choose(source, loaders)
        except WrongAnswer:
            raise
        except LoadError:
            continue  # a broken link, a pipe, a file that may not be read
        if loader is not None:
            found[name] = source, loader
        elif is_gzip(source):
            packed[name] = source, None
    chosen = choose_model(list(found))
    if chosen is None or not is_known_model(chosen[0]):
        distributed = spread_over(folder, list(found))
        if distributed is not None:
            raise distributed
    alone = not packed and all(map(is_beside, found))
    inside = _claimed_folders(folder, folders[:_INNER_FOLDERS], loaders, steps) if alone else {}
    models = [name for name in inside if not is_beside(name)] or ([] if found else list(inside))
    if len(models) == 1:
        return _only_folder(inside, models[0], list(found), loaders)
    if chosen is not None and not models:
        return *found[chosen[0]], chosen[1]
    found = {name: inside[name] for name in models} or found or packed
    if len(found) == 1:
        return *next(iter(found.values())), ""
    if not found:
        raise LoadError(folder.shown, "is a folder with no checkpoint in it", "give the path of the checkpoint file")
    names = ", ".join(visible(name, 60) for name in sorted(found, key=in_order)[:_SHOWN_FILES])
    more = f" and {len(found) - _SHOWN_FILES} more" if len(found) > _SHOWN_FILES else ""
    raise LoadError(folder.shown, f"is a folder of {len(found)} checkpoints: {names}{more}", "give the path of one of them")


def _only_folder(
    inside: dict[str, tuple[Source, LoaderLike | None]], name: str, files: Sequence[str], loaders: Sequence[LoaderLike]
) -> tuple[Source, LoaderLike | None, str]:
    """The folder *name* of those *inside*, or what it holds, and a line about the rest and *files*."""
    source, loader = inside[name]
    rest = sorted([*files, *(other for other in inside if other != name)], key=in_order)
    if loader is not None:
        return source, loader, shown_alone(name, rest)
    source, loader, line = _only_checkpoint(source, loaders, steps=False)
    if line:
        return source, loader, f"{visible(name, 60)}/{line}" + (f"; beside {visible(name, 60)}: {listed(rest)}" if rest else "")
    return source, loader, shown_alone(name, rest)


def _claimed_folders(
    folder: Source, names: Sequence[str], loaders: Sequence[LoaderLike], steps: bool
) -> dict[str, tuple[Source, LoaderLike | None]]:
    """Those of the folders *names* that are a checkpoint: one that was unpacked, or shards; with *steps*, without a loader,
    those that are named after a step and hold one.
    """
    found: dict[str, tuple[Source, LoaderLike | None]] = {}
    for name in names:
        try:
            source = folder.child(name)
            loader = choose(source, loaders)
            if loader is not None or (steps and is_step(name) and _holds_model(source, loaders)):
                found[name] = source, loader
        except WrongAnswer:
            raise
        except LoadError:
            continue
    return found


def _holds_model(folder: Source, loaders: Sequence[LoaderLike]) -> bool:
    """True where a loader claims something in *folder* that trainers do not write beside a model."""
    for name in folder.entries[:_STEP_FILES]:
        try:
            if not is_beside(name) and choose(folder.child(name), loaders) is not None:
                return True
        except WrongAnswer:
            raise
        except LoadError:
            continue
    return False


def looks_like(source: Source) -> tuple[str, str]:
    """What a file that no loader opens seems to be, and what to do about it, for a ``LoadError``."""
    head = source.head
    if not source.size:
        return "is empty", "fetch or save it again"
    for magic, reason, advice in _MAGIC:
        if head.startswith(magic):
            return reason, advice
    foreign = foreign_file(source)
    if foreign is not None:
        return foreign
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")):
        return "is a web page, probably what a failed download left", "download the file again"
    if start.startswith((b"{", b"[")):
        return "is JSON text without weights in it", "give the path of the checkpoint that belongs to it"
    if head[:1] == b"x" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0 and not _is_text(head):
        return "is compressed with zlib, as joblib compresses", "load it with joblib, and dump it again without compress"
    if not any(head):
        return "begins with nothing but zeros, as an aborted download leaves it", "fetch it again"
    if head[:1] in b"\x08\x0a" and source.name.lower().endswith(".onnx"):
        return "is not an ONNX model, whatever its name says, or a damaged one", "fetch it again"
    if b"PK\x03\x04" in head:
        return "has something in front of the zip archive in it", "save or fetch the checkpoint again"
    if source.size < 9:
        return f"has only {source.size} bytes, too few for a checkpoint", "fetch or save it again"
    if source.name.lower().endswith(".safetensors"):
        return "is not a safetensors file, whatever its name says", "fetch it again"
    if _is_text(head):
        return f"is text, not a checkpoint; it begins with {visible(head[:40].decode('utf-8', 'replace'))!r}", "check the path"
    return "is not a checkpoint of a known format", "give a file that torch.save or safetensors wrote"


def _is_text(head: bytes) -> bool:
    try:
        text = head[: len(head) - 4].decode("utf-8") if len(head) > 8 else head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and sum(char.isprintable() or char in "\r\n\t" for char in text) >= 0.98 * len(text)
