"""A model in several files: by their index as Hugging Face's libraries write it, or by the numbers in their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._loaders.naming import tensor_name
from torch2grid_builtin._loaders.other_readers import run_by_others
from torch2grid_builtin._loaders.pickled import Pickled
from torch2grid_builtin._loaders.safetensors import Safetensors, prefetch_header
from torch2grid_builtin._loaders.torch_legacy import TorchLegacy
from torch2grid_builtin._loaders.torch_zip import TorchZip
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import Action, Problem, Skip, Source, has_file, prepare
from torch2grid_core.text import counted, visible

_INDEX_BYTES = 64 << 20
_STRUCTURE = 1_000_000  # commas and brackets of an index, each of which costs memory when parsed
_SHARDS = 100_000
_LOADERS = (Safetensors, TorchZip, TorchLegacy, Pickled)
_FORMS: dict[str, tuple[type[Loader], ...]] = {"zip": (TorchZip,), "pickle": (Pickled, TorchLegacy)}
_LISTED = 6
_INDEX = re.compile(r".+\.index(?:\.[\w-]+)?\.json")
_NUMBERED = re.compile(r"(?P<stem>.*[^\d])(?P<number>\d{4,6})-of-(?P<total>\d{4,6})(?P<ending>\.[\w.]+)")
_SLICED = re.compile(r"shard-\d{5}-.*")  # of torch.distributed.checkpoint: each holds slices of all tensors
# What Hugging Face's libraries look for, in this order.
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".index.json")


class Sharded(Loader):
    """A *.index.json and the shards that it names (safetensors or .bin), or the folder that holds them; shards without an index
    whose names are numbered, as in model-00001-of-00002.safetensors.
    """

    name: ClassVar[str] = "sharded"

    def sniff(self, source: Source) -> int:
        if source.is_folder:
            return 2 if _indices(source) or _numbered(source) else 0
        start = source.head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not start.startswith(b"{") or source.size > _INDEX_BYTES:
            return 0
        if _INDEX.fullmatch(source.name.lower()):
            return 2
        return 2 if b'"weight_map"' in source.read(0, source.size) else 0

    def load(self, source: Source) -> Checkpoint:
        folder = source
        if source.is_folder:
            name = _choose_index(source)
            if not name:
                return _join(source, source, _choose_numbered(source), None, {})
            source = source.child(name)
        weight_map, metadata = _index(source)
        shards = dict.fromkeys(weight_map.values())
        return _join(source, folder, shards, weight_map, metadata)


def _join(
    source: Source, folder: Source, shards: Iterable[str], weight_map: Mapping[str, str] | None, metadata: Mapping[str, Any]
) -> Checkpoint:
    """One checkpoint of the files *shards* beside *source*, or in it. weight_map: of the index, ``None`` without one."""
    place = source if source.is_folder else source.folder
    if place is None:
        raise LoadError(source.shown, "names shards that lie beside it, and its folder is not known", "give the folder")
    by_file = _open_all(source, place, list(shards))
    found = _Found()
    _take_named(found, by_file, weight_map or {})
    for file, checkpoint in by_file.items():
        _take_others(found, file, checkpoint, weight_map)
    if not found.tensors:
        raise LoadError(source.shown, "names no tensors", "give a checkpoint with weights")
    if weight_map is not None:
        _compare_sizes(found, by_file, metadata.get("total_size"))
    if folder.is_folder:
        used = {*by_file, source.name}
        rest = [name for name in folder.entries if name.endswith(_ENDINGS) and name not in used]
        found.notes += [f"beside the shards: {_listed(rest)}"] if rest else []
    kinds = sorted({checkpoint.format for checkpoint in by_file.values()})
    joined = Checkpoint(
        found.tensors,
        source=source.shown,
        format=f"{len(by_file)} {'shard' if len(by_file) == 1 else 'shards'} of {' and '.join(kinds)}",
        metadata={key: str(value)[:1000] for key, value in metadata.items()},
        skipped=found.skipped,
        notes=[*(f"{each.tensor}: {each.message}" if each.tensor else each.message for each in found.problems), *found.notes],
        not_run=_united(opened.not_run_at_hand for opened in by_file.values()),
        problems=found.problems,
        unverified=[each for opened in by_file.values() for each in opened.unverified],
        described={name: each for opened in by_file.values() for name, each in opened.described.items()},
    )
    joined.not_run = lambda: _united(opened.not_run for opened in by_file.values())
    return joined


def _united(actions: Iterable[Iterable[Action]]) -> list[Action]:
    """Those of all shards, each once, the most dangerous first."""
    return sorted(dict.fromkeys(chain.from_iterable(actions)), key=lambda each: each.severity)


@dataclass
class _Found:
    """What was found in all shards so far. placed: tensor → the shard that it was taken from."""

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def disagree(self, names: Sequence[str], one: str, many: str) -> None:
        """Note that index and shards disagree about *names*: *one* is said of a single tensor, *many* behind their number."""
        if len(names) == 1:
            self.problems.append(Problem(one, names[0]))
        elif names:
            self.problems.append(Problem(f"{len(names)} tensors {many}: {_listed(names)}"))


def _take_named(found: _Found, by_file: Mapping[str, Checkpoint], weight_map: Mapping[str, str]) -> None:
    """The tensors that the index names, in its order, each from its shard or, where that lacks it, from another."""
    left_out = {file: {skip.name: skip for skip in checkpoint.skipped} for file, checkpoint in by_file.items()}
    elsewhere: dict[str, str] | None = None
    phantoms: dict[str, list[str]] = {}
    moved: dict[tuple[str, str], list[str]] = {}
    for name, file in weight_map.items():
        if name in by_file[file]:
            found.tensors[name], found.placed[name] = by_file[file][name], file
        elif name in left_out[file]:
            found.skipped.append(left_out[file][name])
        else:
            if elsewhere is None:
                elsewhere = {each: other for other, checkpoint in reversed(list(by_file.items())) for each in checkpoint}
            other = elsewhere.get(name, "")
            if other:
                found.tensors[name], found.placed[name] = by_file[other][name], other
                moved.setdefault((file, other), []).append(name)
            else:
                phantoms.setdefault(file, []).append(name)
    for file, names in phantoms.items():
        label = visible(file, 60)
        found.disagree(
            names, f"the index places it in {label}, which lacks it", f"that the index places in {label} are not there"
        )
    for (file, other), names in moved.items():
        where = f"{visible(other, 60)}, not in {visible(file, 60)} as the index says"
        found.disagree(names, f"it is in {where}", f"are in {where}")


def _take_others(found: _Found, file: str, checkpoint: Checkpoint, weight_map: Mapping[str, str] | None) -> None:
    """What one shard holds that the index does not name, and what the loader of the shard noted."""
    label, named = visible(file, 60), weight_map or {}
    extra = [name for name in checkpoint if name not in named]
    for name in extra:
        if name in found.tensors:
            told = f"{label} holds {visible(name, 80)} that {visible(found.placed[name], 60)} holds too; the first is shown"
            found.notes.append(told)
            found.problems.append(Problem(f"{visible(found.placed[name], 60)} and {label} both hold it", name))
        else:
            found.tensors[name], found.placed[name] = checkpoint[name], file
    if weight_map is not None:
        found.disagree(extra, f"{label} holds it, and the index does not name it", f"of {label} are not named by the index")
        twice = sum(1 for name in checkpoint if name in named and found.placed.get(name, file) != file)
        if twice:
            found.notes.append(f"{label} holds {counted(twice, 'tensor')} that the index takes from another shard")
    found.skipped += [skip for skip in checkpoint.skipped if skip.name not in named]
    found.notes += [f"{label}: {note}" for note in checkpoint.notes]
    found.problems += [Problem(f"{label}: {each.message}", each.tensor, each.severity) for each in checkpoint.problems]


def _compare_sizes(found: _Found, by_file: Mapping[str, Checkpoint], stated: Any) -> None:
    """Warn where the index states another size of all tensors; tied ones may be counted once or each."""
    tensors = [tensor for checkpoint in by_file.values() for tensor in checkpoint.values()]
    if not isinstance(stated, (int, float)) or isinstance(stated, bool) or found.skipped or any(each.note for each in tensors):
        return  # what is stored in another way than it is read has another size
    sizes = [sum(tensor.nbytes for tensor in tensors)]
    sizes.append(
        sum(t.nbytes for checkpoint in by_file.values() for name, t in checkpoint.items() if name not in checkpoint.aliases)
    )
    if stated not in sizes:
        told = f"the index states a total_size of {stated:,.0f} bytes, the tensors of its shards have {sizes[0]:,}"
        found.problems.append(Problem(told, severity="warning"))


def _listed(names: Sequence[str]) -> str:
    told = ", ".join(visible(name, 80) for name in names[:_LISTED])
    return f"{told} and {len(names) - _LISTED} more" if len(names) > _LISTED else told


def _indices(folder: Source) -> list[str]:
    return [name for name in folder.entries if _INDEX.fullmatch(name) and has_file(folder, name)]


def _choose_index(folder: Source) -> str:
    """The index in *folder*, or an empty text; of several, the one that Hugging Face's libraries would take.

    Raises ``LoadError`` where these know none of them.
    """
    indices = _indices(folder)
    plain = [name for name in indices if name.endswith(".index.json")] or indices
    if len(plain) < 2:
        return plain[0] if plain else ""
    known = next((name for name in _INDICES if name in plain), "")
    stems = {name.removesuffix(".index.json").rpartition(".")[0] for name in plain}
    if known and stems <= {"model", "pytorch_model"}:
        return known
    told = _listed(plain)
    raise LoadError(folder.shown, f"is a folder of {len(plain)} checkpoints: {told}", "give the path of one")


def _numbered(folder: Source) -> dict[tuple[str, str, str], dict[int, str]]:
    """The files in *folder* that are numbered shards, by (stem, total, ending) and number.

    None where a model in one file lies there too, or where the first is of no format that shards have.
    """
    groups: dict[tuple[str, str, str], dict[int, str]] = {}
    if any(name in folder.entries for name in _SINGLE):
        return {}
    for name in folder.entries:
        found = _NUMBERED.fullmatch(name)
        if found is None or _SLICED.fullmatch(name) or not has_file(folder, name):
            continue
        if 1 < int(found["total"]) <= _SHARDS and int(found["number"]) <= int(found["total"]):
            groups.setdefault((found["stem"], found["total"], found["ending"]), {})[int(found["number"])] = name
    return {key: files for key, files in groups.items() if _is_shard(folder, files[min(files)])}


def _is_shard(folder: Source, name: str) -> bool:
    try:
        source = folder.child(name)
        return any(kind().sniff(source) for kind in _LOADERS)
    except LoadError:
        return False


def _choose_numbered(folder: Source) -> list[str]:
    """The names of the numbered shards in *folder*, all of them there. Raises ``LoadError``."""
    groups = _numbered(folder)
    if not groups:
        raise LoadError(folder.shown, "is a folder without an *.index.json and without shards", "give the path of a checkpoint")
    whole = {key: files for key, files in groups.items() if not _missing(key, files)}
    safe = {key: files for key, files in whole.items() if key[2] == ".safetensors"}
    for candidates in (whole, safe):
        if len(candidates) == 1:
            (files,) = candidates.values()
            return [files[number] for number in sorted(files)]
    if whole:
        told = _listed([files[min(files)] for files in whole.values()])
        raise LoadError(folder.shown, f"is a folder of {len(whole)} checkpoints: {told}", "give the path of one")
    key, files = next(iter(groups.items()))
    raise _absent(folder, folder, _missing(key, files), f"has {len(files)} of {int(key[1])} shards and lacks")


def _missing(key: tuple[str, str, str], files: Mapping[int, str]) -> list[str]:
    stem, total, ending = key
    width = len(_NUMBERED.fullmatch(next(iter(files.values())))["number"])  # type: ignore[index]
    first = 0 if 0 in files else 1
    return [
        f"{stem}{number:0{width}d}-of-{total}{ending}" for number in range(first, first + int(total)) if number not in files
    ]


def _absent(source: Source, place: Source, names: Sequence[str], what: str) -> LoadError:
    """The error for shards that are not there, which says where a download was broken off."""
    begun = []
    try:
        beside = set(place.entries)
    except LoadError:
        beside = set()
    for name in names[:_LISTED]:
        begun += [
            f"{name}{end}" for end in (".incomplete", ".part", ".crdownload", ".aria2", ".tmp") if f"{name}{end}" in beside
        ]
    one = len(names) == 1
    told = f"{what} {'the shard ' if one else f'{len(names)} shards '}{_listed(names)}"
    if not what.endswith("lacks"):
        told += f", which {'is' if one else 'are'} not there"
    if begun:
        told += f" ({_listed(begun)} {'is' if len(begun) == 1 else 'are'} what a broken download left)"
    return LoadError(source.shown, told, f"fetch {'it' if one else 'them'} again")


def _index(source: Source) -> tuple[dict[str, str], dict[str, Any]]:
    """The map of tensors to shards and the texts and numbers about an index. Raises ``LoadError``."""

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
    weight_map = {tensor_name(name, weight_map): str(PurePosixPath(file)) for name, file in weight_map.items()}  # ./a is a
    if len(set(weight_map.values())) > _SHARDS:
        raise wrong(f"names more than {_SHARDS} shards")
    metadata = index.get("metadata")
    told = metadata.items() if isinstance(metadata, dict) else ()
    return weight_map, {key: value for key, value in told if isinstance(value, (str, int, float))}


def _open_all(source: Source, place: Source, names: Sequence[str]) -> dict[str, Checkpoint]:
    """The files *names* in the folder *place*, opened. Raises ``LoadError`` where one leaves it or is missing."""
    for name in names:
        windows, posix = PureWindowsPath(name), PurePosixPath(name)
        outside = windows.drive or windows.root or posix.is_absolute() or ".." in (*windows.parts, *posix.parts)
        if outside or "\0" in name or name == ".":
            raise LoadError(
                source.shown, f"names a shard outside its folder: {visible(name, 80)!r}", "it is hostile or damaged"
            )
    sources: dict[str, Source] = {}
    absent = []
    prepare(place, names)
    for name in names:
        try:
            sources[name] = place.child(name)
        except LoadError:
            if name in place.entries:
                raise
            absent.append(name)
    if absent:
        raise _absent(source, place, absent, "names")
    for each in sources.values():
        prefetch_header(each)
    work = Work(sum(each.size for each in sources.values()))  # what all of them may cost together
    return {name: _open(each, work) for name, each in sources.items()}


def _open(source: Source, work: Work) -> Checkpoint:
    if source.is_folder:
        raise LoadError(source.shown, "is a folder where a shard is expected")
    best, loader = max(((kind().sniff(source), kind()) for kind in _LOADERS), key=lambda pair: pair[0])
    if best == 0:
        raise LoadError(source.shown, "is a shard that is neither safetensors nor a PyTorch file", "fetch it again")
    opened = loader.load(source, work)
    own = copy(opened)
    opened_as = next((form for form, kind in _FORMS.items() if isinstance(loader, kind)), "")
    opened.not_run = lambda: (*run_by_others(source, work, opened_as), *own.not_run)
    return opened
