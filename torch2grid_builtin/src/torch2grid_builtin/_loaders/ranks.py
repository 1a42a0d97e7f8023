"""A folder of files that ``torch.save`` wrote on each rank, with the shards of ``DTensor`` or ``ShardedTensor`` that it has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.groups import optimizer_facts
from torch2grid_builtin._inert.hidden import read_strings
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.opened import Place
from torch2grid_builtin._inert.read import load_error, told
from torch2grid_builtin._inert.report import not_run, refusal
from torch2grid_builtin._inert.shards import MESH
from torch2grid_builtin._inert.walk import Found, collect
from torch2grid_builtin._loaders.joining import Tile, joined, tiles_of
from torch2grid_builtin._loaders.torch_zip import read_archive
from torch2grid_builtin._loaders.zip_archive import LOCAL
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import Skip, Source, find_parts, has_file
from torch2grid_core.text import visible

_RANK = re.compile(r"(?P<a>(?:.*[^a-zA-Z])?rank[._-]?)(?P<rank>\d{1,5})(?P<b>(?:\D.*)?)")
_NUMBER = re.compile(r"(?P<a>(?:.*\D)?)(?P<rank>\d{1,5})(?P<b>\D*)")  # where no name says rank, what is in the files has to
_ENDINGS = (".pt", ".pth", ".bin", ".ckpt")
_OPTIMIZER = re.compile(r"(?:^|[._-])optim", re.IGNORECASE)
_FLAT = re.compile(r"(?:^|[._])_?flat_param(?:$|[._])")  # of FSDP 1, which does not say where its pieces belong
_PARTIAL = "a partial sum of one rank, which the ranks add up"


class RankFiles(Loader):
    """A folder of PyTorch files, one of each rank, with shards of DTensors or ShardedTensors: one model."""

    name: ClassVar[str] = "ranks"

    def sniff(self, source: Source) -> int:
        return 2 if source.is_folder and self._names(source) else 0

    def _names(self, source: Source) -> list[str]:
        """The names of the files of all ranks; empty where there are no shards in the first one."""
        names = _ranks(source, _RANK)
        if names and self._places(source, names[0]):
            return names
        # Numbers may be those of steps: of ranks there are as many as the mesh has, and first and last hold other shards.
        names = _ranks(source, _NUMBER)
        places = self._places(source, names[0]) if names else {}
        ranks = max((place.ranks for place in places.values() if place is not None), default=0)
        return names if len(names) == ranks > 1 and self._places(source, names[-1]) != places else []

    def _places(self, source: Source, name: str) -> dict[str, Place | None]:
        try:
            return _read(source.child(name), Actions(), self.name)[0].places
        except LoadError:
            return {}

    def load(self, source: Source) -> Checkpoint:
        names = self._names(source)
        if not names:
            raise LoadError(source.shown, "is not a folder of rank files", "give the path of a checkpoint")
        actions = Actions()
        read = [_read(source.child(name), actions, self.name) for name in names]
        found = [each for each, _ in read]
        _check_count(source, found, len(names))
        tensors, skipped = _join(found, self.name)
        if not tensors:
            raise LoadError(source.shown, refusal("holds the files of ranks without tensors", actions))
        containers = {name: kind for each in reversed(found) for name, kind in each.containers.items()}
        parts, default = find_parts(tensors, containers)
        plain = sum(1 for name, tensor in tensors.items() if name not in found[0].places and tensor.size > 1)
        notes = [f"{plain} tensors that are not split are shown as {visible(names[0], 60)} has them"] if plain else []
        rest = [name for name in source.entries if name.endswith(_ENDINGS) and name not in names]
        notes += [f"beside the ranks: {', '.join(visible(name, 60) for name in rest[:6])}"] if rest else []
        return Checkpoint(
            tensors,
            source=source.shown,
            format=f"{len(names)} ranks of PyTorch zip",
            metadata=read[0][1],
            skipped=skipped,
            aliases={},
            parts=parts,
            default_part=default,
            not_run=not_run(actions),
            notes=notes,
        )


def _ranks(folder: Source, pattern: re.Pattern[str]) -> list[str]:
    """The names that *pattern* takes for files of ranks, from the first on; of several rows of such files, the model's."""
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for name in folder.entries:
        match = pattern.fullmatch(name)
        if match and name.endswith(_ENDINGS):
            key = match["a"], re.sub(r"\d+", "0", match["b"])
            rows.setdefault(key, {}).setdefault(int(match["rank"]), name)
    whole = [(key, row) for key, row in rows.items() if len(row) > 1 and 0 in row]
    chosen = [(key, row) for key, row in whole if not _OPTIMIZER.search(key[0])] or whole
    if len(chosen) != 1:
        return []
    _, row = chosen[0]
    return [row[rank] for rank in sorted(row) if has_file(folder, row[rank])]


def _read(source: Source, actions: Actions, by: str) -> tuple[Found, dict[str, str]]:
    """The tensors of one rank, and what its file states beside. Raises ``LoadError``."""
    if not source.head.startswith(LOCAL):
        raise LoadError(source.shown, "is the file of a rank that is not a zip archive of PyTorch")
    mine = Actions()
    read = read_archive(source, None, mine)
    try:
        read_strings(mine, read.work)
        found = collect(read.root, by, read.work)
        facts = {**told(read.root), **optimizer_facts(read.root, read.work)}
    except Malformed as error:
        raise load_error(source, error, mine) from error
    actions.merge(mine)
    return found, facts


def _check_count(folder: Source, found: Sequence[Found], count: int) -> None:
    ranks = max((place.ranks for each in found for place in each.places.values() if place is not None), default=0)
    if ranks > count:
        raise LoadError(folder.shown, f"holds the files of {count} of {ranks} ranks", "fetch those of the others, too")


def _join(found: Sequence[Found], by: str) -> tuple[dict[str, LazyTensor], list[Skip]]:
    """Whole tensors, in the order of the first rank's, and what is left out. Raises ``LoadError``."""
    tiles: dict[str, list[Tile]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    plain: dict[str, LazyTensor] = {}
    skipped = {skip.name: skip for each in reversed(found) for skip in each.skipped if skip.reason != MESH}
    for each in found:
        for name, tensor in each.tensors.items():
            if name not in each.places:
                plain.setdefault(name, tensor)
                continue
            place = each.places[name]
            if place is None:
                skipped[name] = Skip(name, _PARTIAL if "partial" in tensor.note else "a shard whose place is not known", by)
                continue
            base = name.removesuffix(f".{place.key}") if place.key else name
            if shapes.setdefault(base, place.shape) != place.shape:
                raise LoadError(base, "has one shape in one rank's file, and another in another's", "it is damaged")
            tiles.setdefault(base, []).extend(tiles_of(tensor, place))
    flat = next((name for name in plain if _FLAT.search(name)), None)
    if flat is not None:
        raise LoadError(flat, "is a flat parameter of FSDP, which does not say what it is made of", "save a full state dict")
    names = dict.fromkeys(name if name in tiles or name in plain else "" for each in found for name in each.tensors)
    names.update(dict.fromkeys(tiles))
    tensors = {}
    for name in filter(None, names):
        if name in tiles:
            tensors[name] = joined(name, shapes[name], tiles[name], _note(tiles[name]))
        elif name not in skipped:
            tensors[name] = plain[name]
    return tensors, [skip for name, skip in skipped.items() if name not in tensors]


def _note(tiles: Sequence[Tile]) -> str:
    count = len({begin for begin, tensor in tiles if tensor.size})
    return f"{count} shards" if count > 1 else ""
