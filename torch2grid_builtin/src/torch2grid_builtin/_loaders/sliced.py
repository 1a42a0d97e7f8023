"""Slices of tensors in several safetensors files, as ``torch.distributed.checkpoint`` saves them for Hugging Face.

Format: ``torch/distributed/checkpoint/hf_storage.py`` and ``_hf_utils.py``: the header says where each slice begins, and the
whole is as large as the slices reach.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.opened import integers
from torch2grid_builtin._loaders.joining import Tile, joined
from torch2grid_builtin._loaders.other_readers import run_by_others
from torch2grid_builtin._loaders.safetensors import SHARDING_BYTES, Safetensors
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import Source, has_file

_SLICED = re.compile(r"shard-(\d{5})-.+-\d{5}-of-\d{5}\.safetensors")
_WRONG = "it is damaged or hostile"


class SlicedSafetensors(Loader):
    """A folder of safetensors files that each hold a slice of the tensors, as torch.distributed.checkpoint saves them."""

    name: ClassVar[str] = "sliced-safetensors"

    def sniff(self, source: Source) -> int:
        return 2 if source.is_folder and _slices(source) else 0

    def load(self, source: Source) -> Checkpoint:
        names = _slices(source)
        files = {name: source.child(name) for name in names}
        work = Work(sum(each.size for each in files.values()))
        opened = {name: Safetensors().load(each, work) for name, each in files.items()}
        tiles: dict[str, list[Tile]] = {}
        for name, checkpoint in opened.items():
            stated = _offsets(files[name], checkpoint.metadata)
            for tensor in checkpoint.values():
                offsets = stated.get(tensor.name)
                begin = (0,) * tensor.ndim if offsets is None else integers(offsets)
                if begin is None or len(begin) != tensor.ndim:
                    raise LoadError(files[name].shown, f"states no place of {tensor.name}", _WRONG)
                tiles.setdefault(tensor.name, []).append((begin, tensor))
        tensors = {name: _whole(name, found) for name, found in tiles.items()}
        ranks = len({match[1] for each in names if (match := _SLICED.fullmatch(each))})
        return Checkpoint(
            tensors,
            source=source.shown,
            format=f"distributed checkpoint of {ranks} {'share' if ranks == 1 else 'shares'} in safetensors",
            skipped=[skip for checkpoint in opened.values() for skip in checkpoint.skipped],
            aliases={},
            not_run=lambda: dict.fromkeys(action for each in files.values() for action in run_by_others(each, work)),
        )


def _slices(folder: Source) -> list[str]:
    return [name for name in folder.entries if _SLICED.fullmatch(name) and has_file(folder, name)]


def _offsets(file: Source, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Tensor → where its slice begins, as the header of *file* states it. Raises ``LoadError``."""
    stated = metadata.get("DCP_SHARDING_INFO", "{}")
    try:
        info = json.loads(stated) if len(stated) <= SHARDING_BYTES else None
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise LoadError(file.shown, "does not state the places of its slices in a way that is known", _WRONG)
    return {name: each.get("saved_offsets") for name, each in info.items() if isinstance(each, dict)}


def _whole(name: str, tiles: list[Tile]) -> LazyTensor:
    if len({tensor.ndim for _, tensor in tiles}) > 1:
        raise LoadError(name, "has slices of different numbers of dimensions", _WRONG)
    reach = [[start + length for start, length in zip(begin, tensor.shape, strict=True)] for begin, tensor in tiles]
    shape = [max(each) for each in zip(*reach, strict=True)]
    return joined(name, shape, tiles, f"{len(tiles)} slices" if len(tiles) > 1 else "")
