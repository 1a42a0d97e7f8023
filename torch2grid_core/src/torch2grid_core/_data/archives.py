"""Archives of files: the one checkpoint in an archive, and the path of one of several."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch2grid_core._data.loaders import LoaderLike, choose
from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.neighbours import choose_model
from torch2grid_core._data.packed import is_gzip, unpacked
from torch2grid_core._errors import LoadError, Torch2GridError
from torch2grid_core._text import visible

if TYPE_CHECKING:
    from torch2grid_core._data.source import Source

_FILES = 10_000  # and folders of an archive, each of which is looked at
_DEPTH = 32
_LISTED = 10


def inside(source: Source, loader: LoaderLike) -> Source | None:
    """The folder that the archive *source* is to its loader; ``None`` where it is no archive. Raises ``LoadError``."""
    look: Callable[[Source], Source | None] | None = getattr(loader, "inside", None)
    return look(source) if look is not None else None


def kind_of(archive: Source) -> str:
    """What an archive is called."""
    return str(getattr(archive, "kind", "") or "archive")


def only_in(archive: Source, loaders: Sequence[LoaderLike]) -> tuple[Source, LoaderLike | None, str]:
    """The one checkpoint in *archive*, at any depth, with its loader and a line about what lies beside it.

    It has no loader where it is packed. Of files in one folder the model is the one, as names tell. Raises ``LoadError`` where
    there is none, or more than one.
    """
    found: dict[str, tuple[Source, LoaderLike | None]] = {}
    packed: dict[str, tuple[Source, LoaderLike | None]] = {}
    waiting: list[tuple[str, Source]] = [("", archive)]
    files = looked = 0
    while waiting:
        place, here = waiting.pop(0)
        loader = choose(here, loaders)
        if loader is not None:
            found[place or "."] = here, loader
            continue
        for name in here.entries:
            looked += 1
            if looked > _FILES:
                reason = f"of more than {_FILES:,} files and folders"
                raise _error(archive, reason, "unpack it, and give the path of the checkpoint")
            each = here.child(name)
            path = f"{place}/{name}" if place else name
            if each.is_folder:
                if path.count("/") < _DEPTH:
                    waiting.append((path, each))
                continue
            files += 1
            loader = choose(each, loaders)
            if loader is not None:
                found[path] = each, loader
            elif is_gzip(each):
                packed[path] = each, None
    found = found or packed
    chosen, beside = _model(list(found))
    if chosen:
        return *found[chosen], beside
    if not found:
        told = {0: "it holds no files", 1: "its only file is not one"}.get(files, f"none of its {files} files is one")
        raise LoadError(archive.shown, f"is a {kind_of(archive)} without a checkpoint: {told}", "give the path of a checkpoint")
    names = ", ".join(visible(name, 60) for name in list(found)[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    example = visible(f"{archive.shown}/{next(iter(found))}", 200)
    raise _error(archive, f"of {len(found)} checkpoints: {names}{more}", f"give the path of one of them: {example}")


def _error(archive: Source, reason: str, advice: str) -> LoadError:
    return LoadError(archive.shown, f"is a {kind_of(archive)} {reason}", advice)


def _model(paths: Sequence[str]) -> tuple[str, str]:
    """Of the checkpoints in an archive the model, and a line about the others; both empty where names do not tell."""
    if len(paths) == 1:
        return paths[0], ""
    folders = {path.rpartition("/")[0] for path in paths}
    told = choose_model([path.rpartition("/")[2] for path in paths]) if len(folders) == 1 else None
    if told is None:
        return "", ""
    (folder,) = folders
    return (f"{folder}/{told[0]}" if folder else told[0]), told[1]


def member_of(path: str, loaders: Sequence[LoaderLike]) -> Source | None:
    """What ``ARCHIVE/inner/path`` names; ``None`` where no file on the way is an archive. Raises ``LoadError``.

    Such a path names nothing to the system: it is looked at only where it leads to no file.
    """
    above = next((each for each in Path(path).parents if os.path.lexists(each)), None)
    if above is None or not above.is_file():
        return None
    try:
        source: Any = LocalSource(above)
        loader = choose(source, loaders)
        if loader is None and is_gzip(source):
            source = unpacked(source)
            loader = choose(source, loaders)
        held = inside(source, loader) if loader is not None else None
    except Torch2GridError:
        return None
    return None if held is None else held.child(Path(path).relative_to(above).as_posix())
