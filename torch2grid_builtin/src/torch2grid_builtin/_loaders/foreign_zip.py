"""What a zip archive is that does not open: a share of a distributed checkpoint, an exported program, a model of Keras."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection, Iterable

from torch2grid_builtin._loaders.zip_archive import LOCAL
from torch2grid_core import LoadError
from torch2grid_core.sources import Source, share_of

_LOCATOR, _END64 = struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_EXPORTED = re.compile(r"models/[^/]*\.json")
_MARKS = ("aotinductor/", "models/", "serialized_exported_program", "archive_format")  # of any program
_OLD_SCRIPT = ("is a TorchScript archive of PyTorch 1.0–1.3", "save it again with a newer PyTorch")
_EXPORT = "is a program that torch.export saved (.pt2)"
_GATHER = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch {} model.pt"


def name_share(source: Source) -> LoadError:
    """The error for one file of a distributed checkpoint (``.distcp``)."""
    share = share_of(source)
    told = f" ({share})" if share else ""
    folder = os.path.dirname(source.shown) or "." if share else "FOLDER"
    return LoadError(
        source.shown,
        f"is a share of a distributed checkpoint{told}, with pieces of its tensors",
        f"give its folder: {folder}" if share else "give its folder, with the .metadata in it",
    )


def name_zip(source: Source, error: LoadError, names: Iterable[str] = ()) -> LoadError:
    """*error*, or a better one where the archive in *source*, with records of these *names*, is something that is known."""
    if not source.is_folder and _is_row_of_archives(source):
        return name_share(source)
    names = list(names)
    program = _program(names)
    inside = _inside(names)
    if program is not None:
        reason, advice = program
    elif "model.json" in inside and any(name.startswith(("tensors/", "code/", "attributes.pkl")) for name in inside):
        reason, advice = _OLD_SCRIPT
    elif "model.weights.h5" in inside:
        told = "{w.path: w.numpy() for w in keras.saving.load_model(PATH).weights}"
        reason = "is a model of Keras (.keras)"
        advice = f"save its weights with safetensors: safetensors.numpy.save_file({told}, 'model.safetensors')"
    else:
        return error
    return LoadError(source.shown, reason, advice)


def refuse_program(source: Source, names: Iterable[str]) -> None:
    """Raise ``LoadError`` where PyTorch would load the archive in *source* as a program, whatever weights lie in it, too.

    names: of its records, as the directory spells them: a program is known by them, and its code is not judged.
    """
    program = _loaded(names)
    if program is not None and not source.is_folder:
        raise LoadError(source.shown, *program)


def program_in_archive(names: Iterable[str]) -> str | None:
    """What PyTorch would load an archive with records of these *names* as, where that is a program whose code is not judged."""
    program = _loaded(names)
    return program[0] if program is not None else None


def is_exported(names: Iterable[str]) -> bool:
    """True for the records of a program of ``torch.export`` and nothing else: no reader takes them for another's.

    names: of the records, as the directory spells them.
    """
    names = list(names)
    program = _program(names)
    if program is None or program[0] != _EXPORT:
        return False
    folded = [name.lower() for name in names]
    if any(name.partition("/")[2] == "model.json" or name.endswith(".npy") for name in folded):
        return False
    return not any(name.rpartition("/")[2] == "data.pkl" or name.endswith(".data/extern_modules") for name in folded)


def _loaded(names: Iterable[str]) -> tuple[str, str] | None:
    names = list(names)
    old = any(name.lower().partition("/")[2] == "model.json" for name in names)  # which it reads in place of data.pkl
    return _program(names) or (_OLD_SCRIPT if old else None)


def _inside(names: Iterable[str]) -> set[str]:
    """The names, and what they are without the first folder."""
    names = list(names)
    return {*names, *(name.partition("/")[2] for name in names)}


def _program(names: Collection[str]) -> tuple[str, str] | None:
    """What a program in an archive is, and what to do about it; ``None`` where the archive holds none."""
    written = "\n".join(names).lower()  # PyTorch does not tell capitals
    if not any(mark in written for mark in _MARKS):
        return None
    folded = {name.lower() for name in names}
    below = {name.partition("/")[2] for name in folded}  # it looks in the first folder, and its first versions in none
    inside = folded | below
    if any("aotinductor/" in name for name in inside):
        return "is a model that AOTInductor compiled (.pt2)", "give the checkpoint that it was compiled from"
    exported = any(_EXPORTED.fullmatch(name) for name in below)
    exported = exported or any(name.startswith("serialized_exported_program") for name in inside)
    if exported or "archive_format" in inside:
        return _EXPORT, "save its weights: torch.save(torch.export.load(PATH).state_dict, 'weights.pt')"
    return None


def _is_row_of_archives(source: Source) -> bool:
    """True for several archives one after the other, as PyTorch writes the tensors of a rank."""
    place = source.size - 22 - _LOCATOR.size
    if place < _END64.size or not source.head.startswith(LOCAL) or source.read(source.size - 22, 4) != b"PK\x05\x06":
        return False
    if source.read(place, 4) != b"PK\x06\x07":
        return False
    fields = _END64.unpack(source.read(place - _END64.size, _END64.size))
    start = place - _END64.size - fields[8] - fields[9]  # of the last one, whose places count from there
    if fields[0] != b"PK\x06\x06" or start < 22:
        return False
    return source.read(start - 22, 4) == b"PK\x05\x06" and source.read(start, 4) == LOCAL
