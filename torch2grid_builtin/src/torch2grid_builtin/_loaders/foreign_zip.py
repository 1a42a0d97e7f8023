"""What a zip archive is that does not open: a share of a distributed checkpoint, an exported program, a model of Keras."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from torch2grid_builtin._loaders.zip_archive import LOCAL
from torch2grid_core import LoadError
from torch2grid_core.sources import Source, share_of

_LOCATOR, _END64 = struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")
_GATHER = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch {} model.pt"


def name_share(source: Source) -> LoadError:
    """The error for one file of a distributed checkpoint (``.distcp``)."""
    share = share_of(source)
    told = f" ({share})" if share else ""
    folder = os.path.dirname(source.shown) or "." if share else "FOLDER"
    return LoadError(
        source.shown,
        f"is a share of a distributed checkpoint{told}, with pieces of its tensors",
        f"make one file of its folder: {_GATHER.format(folder)}",
    )


def name_zip(source: Source, error: LoadError, names: Iterable[str] = ()) -> LoadError:
    """*error*, or a better one where the archive in *source*, with records of these *names*, is something that is known."""
    if not source.is_folder and _is_row_of_archives(source):
        return name_share(source)
    roots = {name.partition("/")[0] for name in names}
    root = f"{next(iter(roots))}/" if len(roots) == 1 else ""
    inside = {name.removeprefix(root) for name in names}
    if any("aotinductor/" in name for name in inside):
        reason, advice = "is a model that AOTInductor compiled (.pt2)", "give the checkpoint that it was compiled from"
    elif "archive_format" in inside or any(name.startswith("serialized_exported_program") for name in inside):
        reason = "is a program that torch.export saved (.pt2)"
        advice = "save its weights: torch.save(torch.export.load(PATH).state_dict, 'weights.pt')"
    elif "model.json" in inside and any(name.startswith(("tensors/", "code/", "attributes.pkl")) for name in inside):
        reason, advice = "is a TorchScript archive of PyTorch 1.0–1.3", "save it again with a newer PyTorch"
    elif "model.weights.h5" in inside:
        reason, advice = "is a model of Keras", "convert it to safetensors first"
    elif "MAR-INF/MANIFEST.json" in inside:
        reason, advice = "is an archive for TorchServe", "unpack it, and give the path of the checkpoint inside"
    else:
        return error
    return LoadError(source.shown, reason, advice)


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
