"""A model in several files, and their index as Hugging Face's libraries write it: ``{"weight_map": {name: file}}``."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from torch2grid_builtin.loaders.pickled import Pickled
from torch2grid_builtin.loaders.safetensors import Safetensors
from torch2grid_builtin.loaders.torch_legacy import TorchLegacy
from torch2grid_builtin.loaders.torch_zip import TorchZip
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError, Skip, Source, visible

_INDEX_BYTES = 200 << 20
_STRUCTURE = 3_000_000  # commas and brackets of an index, each of which costs memory when parsed
_SHARDS = 100_000
_LOADERS = (Safetensors, TorchZip, TorchLegacy, Pickled)


class Sharded(Loader):
    """A *.index.json and the shards that it names (safetensors or .bin), or the folder that holds them."""

    name: ClassVar[str] = "sharded"

    def sniff(self, source: Source) -> int:
        if source.is_folder:
            return 2 if _indices(source) else 0
        start = source.head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not start.startswith(b"{") or source.size > _INDEX_BYTES:
            return 0
        if source.shown.lower().endswith(".index.json"):
            return 2
        return 2 if b'"weight_map"' in source.read(0, source.size) else 0

    def load(self, source: Source) -> Checkpoint:
        if source.is_folder:
            indices = _indices(source)
            if not indices:
                raise LoadError(source.shown, "is a folder without an *.index.json", "give the path of a checkpoint")
            if len(indices) > 1:
                names = ", ".join(visible(name, 60) for name in indices)
                raise LoadError(source.shown, f"is a folder of {len(indices)} checkpoints: {names}", "give the path of one")
            source = Source(source.path / indices[0], shown=str(Path(source.shown) / indices[0]))
        weight_map, metadata = _index(source)
        shards = [_Shard(source, name) for name in dict.fromkeys(weight_map.values())]
        tensors: dict[str, LazyTensor] = {}
        skipped: list[Skip] = []
        notes: list[str] = []
        not_run: list[str] = []
        by_file = {shard.name: shard.open() for shard in shards}
        left_out = {file: {skip.name: skip for skip in checkpoint.skipped} for file, checkpoint in by_file.items()}
        placed: dict[str, str] = {}  # where the tensors that the index does not name were found
        for name, file in weight_map.items():
            if name not in by_file[file]:
                skip = left_out[file].get(name)
                if skip is None:
                    raise LoadError(
                        source.shown,
                        f"names tensor {visible(name, 80)!r} in {visible(file, 60)}, which lacks it",
                        "fetch both again",
                    )
                skipped.append(skip)
                continue
            tensors[name] = by_file[file][name]
        for file, checkpoint in by_file.items():
            not_run += checkpoint.not_run
            extra = [name for name in checkpoint if name not in weight_map]
            for name in extra:
                if name in tensors:
                    both = f"{visible(file, 60)} holds {visible(name, 80)} that {visible(placed[name], 60)} holds too"
                    notes.append(f"{both}, and the index names neither; the first is shown")
                else:
                    tensors[name], placed[name] = checkpoint[name], file
            skipped += [skip for skip in checkpoint.skipped if skip.name not in weight_map]
            notes += [f"{visible(file, 60)}: {note}" for note in checkpoint.notes]
            if extra:
                notes.append(f"{visible(file, 60)} holds {len(extra)} tensors that the index does not name; they are shown too")
            elsewhere = sum(1 for name in checkpoint if weight_map.get(name, file) != file)
            if elsewhere:
                notes.append(f"{visible(file, 60)} holds {elsewhere} tensors that the index takes from another shard")
        if not tensors:
            raise LoadError(source.shown, "names no tensors", "give a checkpoint with weights")
        kinds = sorted({checkpoint.format for checkpoint in by_file.values()})
        return Checkpoint(
            tensors,
            source=source.shown,
            format=f"{len(shards)} {'shard' if len(shards) == 1 else 'shards'} of {' and '.join(kinds)}",
            metadata=metadata,
            skipped=skipped,
            notes=notes,
            not_run=list(dict.fromkeys(not_run)),
            unread=[each for checkpoint in by_file.values() for each in checkpoint.unread],
        )


def _indices(folder: Source) -> list[str]:
    return [name for name in folder.entries if name.endswith(".index.json") and (folder.path / name).is_file()]


def _index(source: Source) -> tuple[dict[str, str], dict[str, str]]:
    """The map of tensors to shards and the text metadata of an index. Raises ``LoadError``."""

    def wrong(reason: str) -> LoadError:
        return LoadError(source.shown, reason, "the index is damaged; fetch it again")

    if source.size > _INDEX_BYTES:
        raise wrong(f"is an index of {source.size} bytes")
    raw = source.read(0, source.size)
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > _STRUCTURE:
        raise wrong("names more tensors than any model has")
    try:
        index: Any = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise wrong("is not JSON") from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise wrong("has no weight_map")
    if not all(isinstance(file, str) for file in weight_map.values()):
        raise wrong("names a shard by something else than text")
    weight_map = {name: str(PurePosixPath(file)) for name, file in weight_map.items()}  # ./a is a
    if len(set(weight_map.values())) > _SHARDS:
        raise wrong(f"names more than {_SHARDS} shards")
    metadata = index.get("metadata")
    told = metadata.items() if isinstance(metadata, dict) else ()
    return weight_map, {key: str(value)[:1000] for key, value in told if isinstance(value, (str, int, float))}


class _Shard:
    """One file that an index names. Raises ``LoadError`` for a name that leaves the folder."""

    def __init__(self, index: Source, name: str) -> None:
        windows, posix = PureWindowsPath(name), PurePosixPath(name)
        outside = windows.drive or windows.root or posix.is_absolute() or ".." in (*windows.parts, *posix.parts)
        if outside or "\0" in name or name == ".":
            raise LoadError(index.shown, f"names a shard outside its folder: {visible(name, 80)!r}", "it is hostile or damaged")
        self.name = name
        self.index = index

    def open(self) -> Checkpoint:
        source = Source(self.index.path.parent / self.name, shown=str(Path(self.index.shown).parent / self.name))
        if source.is_folder:
            raise LoadError(source.shown, "is a folder where a shard is expected")
        best, loader = max(((kind().sniff(source), kind()) for kind in _LOADERS), key=lambda pair: pair[0])
        if best == 0:
            raise LoadError(source.shown, "is a shard that is neither safetensors nor a PyTorch file", "fetch it again")
        return loader.load(source)
