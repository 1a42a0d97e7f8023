"""From a source to a checkpoint: which loader opens it, what a file is that none of them opens, and gzip, unpacked."""

from __future__ import annotations

import atexit
import bz2
import contextlib
import lzma
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

from torch2grid_core._data.archives import LoaderLike, inside, kind_of, member_of, only_in
from torch2grid_core._data.checkpoint import Action, Checkpoint
from torch2grid_core._data.foreign import foreign_file
from torch2grid_core._data.guarded import guarded_source
from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.neighbours import (
    choose_model,
    in_order,
    is_beside,
    is_known_model,
    is_step,
    listed,
    remarks_on,
    shown_alone,
    spread_over,
)
from torch2grid_core._data.source import Source
from torch2grid_core._errors import LoadError, Torch2GridError, UsageError
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
GZIP = b"\x1f\x8b\x08"
_LENGTH_OF_ZFILE = slice(2, 21)  # a hexadecimal number


_LZMA_MEMORY = 64 << 20  # a header may state any size of dictionary


def _unpack_lzma(head: bytes, form: int) -> None:
    """As much of a stream as gives a byte: a reader may run what stands before the place where it breaks."""
    try:
        lzma.LZMADecompressor(form, memlimit=_LZMA_MEMORY).decompress(head, 1)
    except lzma.LZMAError as error:
        if "limit" not in str(error):
            raise


def _unpack_zfile(head: bytes) -> None:
    """A stream as joblib packed it before 0.10: the length as text, a blank from Python 2, and zlib's. Raises as zlib does."""
    try:
        int(head[_LENGTH_OF_ZFILE], 16)
    except ValueError as error:
        raise zlib.error("no length") from error
    zlib.decompressobj().decompress(head[_LENGTH_OF_ZFILE.stop :].removeprefix(b" "))


_PACKED: tuple[tuple[bytes, str, Callable[[bytes], object]], ...] = (  # what joblib, and others after it, unpack
    (b"\x1f\x8b", "gzip", lambda head: zlib.decompressobj(31).decompress(head)),
    (b"x", "zlib", lambda head: zlib.decompressobj().decompress(head)),
    (b"BZ", "bzip2", lambda head: bz2.BZ2Decompressor().decompress(head, 1)),
    (b"\xfd7zXZ", "xz", lambda head: _unpack_lzma(head, lzma.FORMAT_XZ)),
    (b"]\0", "lzma", lambda head: _unpack_lzma(head, lzma.FORMAT_ALONE)),
    (b'\x04"M\x18', "lz4", len),  # its four bytes alone say it: nothing here unpacks it
    (b"ZF", "joblib's z-file", _unpack_zfile),
)
ALWAYS = 256 << 20  # unpacked bytes that are accepted whatever the ratio
RATIO = 64  # unpacked bytes to packed bytes above that: weights hardly compress, even pruned ones stay below
_STEP = 1 << 20
_MEMBERS = 1000


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
        return _from(source, _load(read, force, loaders, [source]).with_notes(*remarks_on(source)))
    loader, beside = choose(source, loaders), ""
    if loader is None and source.is_folder:
        source, loader, beside = _only_checkpoint(source, loaders)
    lines, share = remarks_on(source)
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
    return _from(found, _load(source, loader, loaders, [found]).with_notes([*filter(None, [beside]), *lines], share))


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
    try:
        chosen, loader, beside = only_in(archive, loaders, choose, is_gzip)
        read = chosen
        if loader is None:
            read = unpacked(chosen)
            loader = choose(read, loaders)
            if loader is None:
                raise LoadError(chosen.shown, *looks_like(read))
        if inside(read, loader) is not None:
            raise LoadError(chosen.shown, "is an archive in an archive", "unpack the outer one first")
    except LoadError as error:
        found = [str(action) for action in _actions_of(loaders, outer)] if "not run: " not in error.reason else []
        if not found:
            raise
        raise LoadError(error.path, f"{error.reason}; not run: {', '.join(found[:_TOLD])}", error.advice) from error
    lines, share = remarks_on(chosen)
    loaded = _load(read, loader, loaders, [chosen, *outer])
    loaded.format = f"{loaded.format} in a {kind_of(archive)}"
    return _from(chosen, loaded.with_notes([*filter(None, [beside]), *lines], share))


def _from(source: Source, loaded: Checkpoint) -> Checkpoint:
    """The checkpoint *loaded*, which remembers *source*, whose neighbours a decoder may ask for."""
    loaded.opened_from = source
    return loaded


def _load(source: Source, by: LoaderLike, loaders: Sequence[LoaderLike], packed: Sequence[Source]) -> Checkpoint:
    """The checkpoint in *source*, with what readers of other formats would run of the same bytes: a file may be of two formats.

    packed: what *source* was unpacked from, or lies in: a reader of the file sees those bytes. Raises ``LoadError``,
    which names that, too.
    """

    def others() -> Iterator[Any]:
        yield from _actions_of([each for each in loaders if each.name != by.name], [source])
        yield from _actions_of(loaders, [each for each in packed if each is not source])

    @cache
    def asked() -> tuple[Action, ...]:  # which reads the end of the file: one row of it need not cost that
        known = set(own.not_run) if len(packed) > 1 else set()  # an archive's reader sees what is in it, too
        return tuple(each for each in dict.fromkeys((*packed_again(source), *others())) if each not in known)

    try:
        loaded = by.load(source)
    except LoadError as error:
        found = [str(action) for action in others()] if "not run: " not in error.reason else []
        if not found:
            raise
        raise LoadError(error.path, f"{error.reason}; not run: {', '.join(found[:_TOLD])}", error.advice) from error
    own = copy(loaded)
    loaded.not_run = lambda: (*asked(), *own.not_run)
    loaded.notes = lambda: (*([_PROGRAM] if asked() else []), *own.notes)
    return loaded


def _actions_of(loaders: Sequence[LoaderLike], sources: Sequence[Source]) -> Iterator[Any]:
    """What the loaders say that readers of their formats would run of each of *sources* that has bytes."""
    for source in dict.fromkeys(sources):
        for each in loaders:
            if not source.is_folder and hasattr(each, "runs"):
                yield from each.runs(source)


def packed_again(source: Source) -> Iterator[Action]:
    """That a source which a loader opens begins as a packed stream, too: other readers unpack it first, and read another file.

    The beginning of an honest file may look like one; its bytes do not unpack.
    """
    head = source.head
    for magic, name, unpack in _PACKED:
        if not head.startswith(magic):
            continue
        try:
            unpack(head)
        except (zlib.error, OSError, EOFError, lzma.LZMAError):
            continue
        yield Action("hold", f"a stream packed by {name}, which is not read", "")


def choose(source: Source, loaders: Sequence[LoaderLike]) -> LoaderLike | None:
    """The loader whose ``sniff`` is highest, ``None`` where all say 0. Raises ``UsageError`` for a tie.

    A loader whose ``sniff`` fails is out, unless no other claims the source: then its failure is raised.
    """
    claims: list[tuple[int, LoaderLike]] = []
    failure: Torch2GridError | None = None
    for loader in loaders:
        try:
            strength = loader.sniff(source)
        except Torch2GridError as error:
            failure = failure or error
            continue
        if strength > 0:
            claims.append((strength, loader))
    if not claims:
        if failure is not None:
            raise failure
        return None
    best = max(strength for strength, _ in claims)
    winners = [loader for strength, loader in claims if strength == best]
    if len(winners) > 1:
        names = " and ".join(sorted(loader.name for loader in winners))
        raise UsageError(f"{source.shown}: the loaders {names} both claim this file; say which with --loader NAME")
    return winners[0]


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
        raise LoadError(folder.shown, "is a folder without a checkpoint in it", "give the path of the checkpoint file")
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
        except LoadError:
            continue
    return found


def _holds_model(folder: Source, loaders: Sequence[LoaderLike]) -> bool:
    """True where a loader claims something in *folder* that trainers do not write beside a model."""
    for name in folder.entries[:_STEP_FILES]:
        try:
            if not is_beside(name) and choose(folder.child(name), loaders) is not None:
                return True
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


def is_gzip(source: Source) -> bool:
    """True where the content is one gzip stream."""
    return source.head.startswith(GZIP)


def unpacked(source: Source) -> Source:
    """A source of the unpacked bytes, which still shows the name of *source*. They are there until Python ends.

    On Linux the file that holds them never has a name, so that nothing is left however Python ends. Raises ``LoadError``
    where the stream is damaged (its CRC-32 and length are checked), unpacks to more than 64 times its size beyond 256 MiB, or
    does not fit on half of the free disk.
    """
    folder = ""
    stream: Any = None
    try:
        bound = min(max(ALWAYS, RATIO * source.size), shutil.disk_usage(tempfile.gettempdir()).free // 2)
        if sys.platform == "linux":
            stream = tempfile.TemporaryFile(prefix="torch2grid-")  # noqa: SIM115 - it is there as long as it is open
            target = Path(f"/proc/{os.getpid()}/fd/{stream.fileno()}")
        else:
            folder = tempfile.mkdtemp(prefix="torch2grid-")
            target = Path(folder) / "unpacked"
            stream = target.open("wb")
        _fill(stream, source, bound)
    except OSError as error:
        _remove(folder, stream)
        reason = f"cannot be unpacked to a temporary file: {error.strerror}"
        raise LoadError(source.shown, reason, "unpack it first") from error
    except BaseException:
        _remove(folder, stream)
        raise
    if folder:
        stream.close()
        atexit.register(_remove, folder, None, os.getpid())
    else:
        atexit.register(stream.close)  # until then it stays open
    return LocalSource(target, shown=source.shown)


def _fill(stream: Any, source: Source, bound: int) -> None:
    """Write the unpacked bytes of *source*. Raises ``LoadError`` where there are more than *bound*, ``OSError``."""
    done = 0
    for piece in _inflate(source):
        done += len(piece)
        if done > bound:
            raise LoadError(source.shown, f"unpacks from {source.size} to more than {bound} bytes", "unpack it first")
        stream.write(piece)
    stream.flush()


def _inflate(source: Source) -> Iterator[bytes]:
    damaged = LoadError(source.shown, "is a damaged gzip file", "fetch it again")
    unpacker, members = zlib.decompressobj(31), 1
    for offset in range(0, source.size, _STEP):
        pending = source.read(offset, min(_STEP, source.size - offset))
        while pending:
            if unpacker.eof:  # another member follows, or the padding that tapes and some tools leave
                pending = pending.lstrip(b"\0")
                if not pending:
                    break
                unpacker, members = zlib.decompressobj(31), members + 1
                if members > _MEMBERS:
                    raise LoadError(source.shown, "is a gzip file in thousands of pieces", "unpack it first")
            try:
                yield unpacker.decompress(pending, _STEP)
            except zlib.error as error:
                raise damaged from error
            pending = unpacker.unconsumed_tail or unpacker.unused_data
    while not unpacker.eof:
        rest = unpacker.decompress(b"", _STEP)
        if not rest:
            raise LoadError(source.shown, "is a gzip file that is cut short", "fetch it again")
        yield rest


def _remove(folder: str, stream: Any, owner: int | None = None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):  # what did not fit on the disk does not fit now
            stream.close()
    if folder and owner in (None, os.getpid()):
        shutil.rmtree(folder, ignore_errors=True)
