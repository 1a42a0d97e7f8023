"""Checkpoints of Megatron-LM, a folder for each rank: tensors that it splits are put together, by rules of names.

Format: ``megatron/core/tensor_parallel/layers.py``, ``megatron/training/checkpointing.py``. The files do not say along which
dimension a tensor is split: column-parallel layers split their output, row-parallel ones their input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_strings
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.opened import attributes
from torch2grid_builtin._inert.read import load_error, told
from torch2grid_builtin._inert.report import not_run, refusal
from torch2grid_builtin._inert.values import Pairs, Stub, text
from torch2grid_builtin._inert.walk import Found, collect
from torch2grid_builtin._loaders.joining import Tile, joined
from torch2grid_builtin._loaders.torch_zip import read_archive
from torch2grid_builtin._loaders.zip_archive import LOCAL
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import CheckedStorage, ContainerKind, Skip, Source, find_parts, has_file
from torch2grid_core.text import visible

_RANK = re.compile(r"mp_rank_(?P<tensor>\d{1,4})(?:_(?P<pipeline>\d{1,4}))?(?P<expert>_\d{1,4})?")
_ITERATION = re.compile(r"iter_\d{7,12}|release")
_FILES = ("model_optim_rng.pt", "model_rng.pt")
_LATEST = "latest_checkpointed_iteration.txt"
_LAYER = re.compile(
    r"(?P<before>(?:^|.*\.)(?:decoder|encoder|transformer|language_model\.\w+)\.layers\.)(?P<layer>\d+)(?P<after>\..*)"
)
_COLUMN = re.compile(
    r".*(?:word_embeddings|output_layer|lm_head|linear_qkv|linear_q_proj|linear_q_up_proj|linear_kv_up_proj|linear_fc1"
    r"|query_key_value|dense_h_to_4h|in_proj|linear_q|linear_kv|query|key_value)\.(?:weight|bias)"
    r"|.*\.experts\.linear_fc1\.(?:weight|bias)\d+|.*\.mixer\.(?:A_log|D|dt_bias|norm\.weight|conv1d\.(?:weight|bias))"
)
_ROW = re.compile(
    r".*(?:linear_proj|linear_fc2|attention\.dense|dense_4h_to_h|out_proj)\.weight|.*\.experts\.linear_fc2\.weight\d+"
)
_GATED = re.compile(r".*(?:linear_fc1|dense_h_to_4h)\.(?:weight|bias)\d*")
_MIXER = re.compile(r"(.*\.mixer\.)(in_proj|conv1d)\.(?:weight|bias)")
_WHOLE = re.compile(r".*(?:norm|router|position_embeddings|down_proj)\b.*|.*\.bias\d*|.*norm_(?:weight|bias)")
_CONVERT = "convert it with Megatron-LM's tools/checkpoint/convert.py, or give the path of one rank's file"
_WRONG = "it is damaged or incomplete"


class Megatron(Loader):
    """A folder that Megatron-LM wrote, with a folder for each rank of tensor and pipeline parallelism: one model."""

    name: ClassVar[str] = "megatron"

    def sniff(self, source: Source) -> int:
        place = _place(source) if source.is_folder else None
        return 2 if place is not None else 0

    def load(self, source: Source) -> Checkpoint:
        place = _place(source)
        if place is None:
            raise LoadError(source.shown, "is not a folder of Megatron-LM's ranks", "give the path of a checkpoint")
        actions = Actions()
        stages = [[_Rank(place, file, actions) for file in row] for row in _ranks(place)]
        try:
            tensors, containers, skipped = _join(stages, self.name)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        if not tensors:
            left = next((f"holds no weights that can be put together: {each.name} {each.reason}" for each in skipped), "")
            raise LoadError(source.shown, refusal(left or "holds no weights", actions), _CONVERT if left else "")
        parts, default = find_parts(tensors, containers)
        count = f"{len(stages[0])} tensor-parallel {'rank' if len(stages[0]) == 1 else 'ranks'}"
        count += f", {len(stages)} pipeline stages" if len(stages) > 1 else ""
        told = "ranks are put together by the names of their tensors: the note of each says how"
        notes = [told] if len(stages[0]) > 1 else []
        notes += [] if place is source else [f"{visible(place.name, 60)} is shown"]
        return Checkpoint(
            tensors,
            source=source.shown,
            format=f"Megatron-LM, {count}",
            metadata=stages[0][0].facts,
            skipped=skipped,
            aliases={},
            parts=parts,
            default_part=default,
            not_run=not_run(actions),
            notes=notes,
        )


def _place(folder: Source) -> Source | None:
    """The folder that holds those of the ranks: this one, or that of the last iteration."""
    if any(map(_RANK.fullmatch, folder.entries)):
        return folder if _has_model(folder) else None
    inside = latest_iteration(folder)
    return inside if inside is not None and _has_model(inside) else None


def latest_iteration(folder: Source) -> Source | None:
    """The folder of the last iteration in *folder*, as a file in it says; ``None`` where there is none."""
    if _LATEST not in folder.entries or not has_file(folder, _LATEST):
        return None
    try:
        latest = folder.child(_LATEST)
        stated = latest.read(0, latest.size).decode("ascii").strip() if latest.size <= 100 else ""
        name = stated if stated == "release" else f"iter_{int(stated):07d}"
        if not _ITERATION.fullmatch(name) or name not in folder.entries:
            return None
        inside = folder.child(name)
        return inside if inside.is_folder else None
    except (LoadError, ValueError):
        return None


def _has_model(folder: Source) -> bool:
    return any(_file(folder, name) for name in folder.entries if _RANK.fullmatch(name))


def _file(folder: Source, rank: str) -> str:
    """The path, below *folder*, of the file of the folder *rank*; empty where there is none."""
    return next((path for name in _FILES if has_file(folder, path := f"{rank}/{name}")), "")


def _ranks(folder: Source) -> list[list[Source]]:
    """The files of the ranks: for each stage of the pipeline, those of tensor parallelism. Raises ``LoadError``."""
    found: dict[int, dict[int, Source]] = {}
    for name in folder.entries:
        match = _RANK.fullmatch(name)
        if not match:
            continue
        if match["expert"]:
            raise LoadError(folder.shown, "is a checkpoint of Megatron-LM with expert parallelism", _CONVERT)
        path = _file(folder, name)
        if not path:
            raise LoadError(folder.shown, f"has no file of a model in {name}", "fetch it again")
        found.setdefault(int(match["pipeline"] or 0), {})[int(match["tensor"])] = folder.child(path)
    stages, width = sorted(found), max(len(row) for row in found.values())
    if stages != list(range(len(stages))) or any(sorted(row) != list(range(width)) for row in found.values()):
        raise LoadError(folder.shown, "is a checkpoint of Megatron-LM that lacks ranks", "fetch it again")
    return [[found[stage][rank] for rank in range(width)] for stage in stages]


class _Rank:
    """What one rank holds."""

    def __init__(self, place: Source, source: Source, actions: Actions) -> None:
        if not source.head.startswith(LOCAL):
            raise LoadError(source.shown, "is the file of a rank that is not a zip archive of PyTorch", _CONVERT)
        mine = Actions()
        read = read_archive(source, None, mine)
        try:
            read_strings(mine, read.work)
            self.found: Found = collect(read.root, Megatron.name, read.work)
            self.facts = told(read.root)
            arguments = read.root.get("args") if isinstance(read.root, Pairs) else None
            self.arguments: dict[str, Any] = attributes(arguments, read.work) if isinstance(arguments, Stub) else {}
        except Malformed as error:
            raise load_error(source, error, mine) from error
        actions.merge(mine)
        keys = [text(key) for key, _ in read.root.pairs] if isinstance(read.root, Pairs) else []
        if "model" not in keys:
            virtual = any(key is not None and re.fullmatch(r"model\d+", key) for key in keys)
            what = "a virtual pipeline" if virtual else "no model under the key 'model'"
            raise LoadError(place.shown, f"is a checkpoint of Megatron-LM with {what}", _CONVERT)

    @property
    def gated(self) -> bool:
        """True where the first half of an MLP's first layer is its gate, on every rank."""
        return self.arguments.get("swiglu") is True or self.arguments.get("gated_linear_unit") is True

    def model(self) -> dict[str, LazyTensor]:
        """The tensors of the model."""
        return {name: tensor for name, tensor in self.found.tensors.items() if name.startswith("model.")}


@dataclass(frozen=True)
class _Rule:
    """How the shares of ranks make up a tensor: along which dimension, ``None`` where all are alike, and what parts each has.

    parts: their lengths in a share; empty where it has one. Each part is put together apart.
    """

    axis: int | None
    parts: tuple[int, ...] = ()
    called: str = ""

    def note(self, count: int) -> str:
        """What is said of a tensor that is split."""
        told = f"{count} ranks side by side along dimension {self.axis}, by its name"
        return f"{told}, {self.called} apart" if self.parts else told


def _rule(name: str, share: LazyTensor, rank: _Rank) -> _Rule:
    """The rule for the tensor *name* of the whole model, of which *rank* has *share*. Raises ``LoadError``."""
    if _COLUMN.fullmatch(name):
        if rank.gated and _GATED.fullmatch(name):
            half, odd = divmod(share.shape[0], 2) if share.ndim else (0, 1)
            if odd:
                raise LoadError(name, "should hold gate and up, but cannot be cut in two", _CONVERT)
            return _Rule(0, (half, half), "gate and up")
        return _Rule(0, *_of_mamba(share, rank))
    return _Rule(1) if _ROW.fullmatch(name) else _Rule(None)


def _of_mamba(share: LazyTensor, rank: _Rank) -> tuple[tuple[int, ...], str]:
    """The parts of what a layer of Mamba projects its input to, and what they are called. Its neighbours tell their lengths.

    Format: ``megatron/core/ssm/mamba_mixer.py``: z, x, B, C and dt; of the convolution x, B and C.
    """
    match = _MIXER.fullmatch(share.name)
    out, heads = (rank.found.tensors.get(f"{match[1]}{end}") if match else None for end in ("out_proj.weight", "A_log"))
    if match is None or out is None or heads is None or out.ndim != 2 or not share.ndim:
        return (), ""
    inner = out.shape[1]
    whole = match[2] == "in_proj"
    states, odd = divmod(share.shape[0] - (2 * inner + heads.size if whole else inner), 2)
    if odd or states <= 0:
        return (), ""
    return (
        ((inner, inner, states, states, heads.size), "z, x, B, C and dt") if whole else ((inner, states, states), "x, B and C")
    )


def _join(stages: Sequence[Sequence[_Rank]], by: str) -> tuple[dict[str, LazyTensor], dict[str, ContainerKind], list[Skip]]:
    """The whole tensors, the containers that hold them, and what is left out. Raises ``LoadError``."""
    tensors: dict[str, LazyTensor] = {}
    containers: dict[str, ContainerKind] = {}
    skipped: list[Skip] = []
    before = 0
    for stage, row in enumerate(stages):
        first = row[0]
        layers = 0
        for name, tensor in first.model().items():
            full, layer = _renumbered(name, before)
            layers = max(layers, layer + 1)
            shares = [rank.found.tensors.get(name) for rank in row]
            if full in tensors:  # tied embeddings are in the first stage, and in the last
                continue
            found = _whole(full, tensor, shares, row) if len(row) > 1 else replace(tensor, name=full)
            if found is not None:
                tensors[full] = found
            else:
                skipped.append(Skip(full, "differs between ranks, and its name does not tell how it is split", by))
        before += layers
        for name, kind in first.found.containers.items():
            containers.setdefault(name, kind)
        for number, rank in enumerate(row):
            label = f"{number}" if len(stages) == 1 else f"{number}_{stage}"
            _take_rest(rank, label, len(row) * len(stages), tensors, containers)
        skipped += first.found.skipped
    return tensors, containers, skipped


def _take_rest(
    rank: _Rank, label: str, count: int, tensors: dict[str, LazyTensor], containers: dict[str, ContainerKind]
) -> None:
    """What a rank holds beside the model, such as the state of its optimizer: it stays the share of that rank."""
    for name, tensor in rank.found.tensors.items():
        if name.startswith("model."):
            continue
        key, _, rest = name.partition(".")
        full = name if count == 1 else f"{key}.rank{label}.{rest}" if rest else f"{key}.rank{label}"
        tensors.setdefault(full, replace(tensor, name=full))
        kind = rank.found.containers.get(key)
        if kind is not None and count > 1:
            containers.setdefault(key, "optimizer" if key == "optimizer" else kind)
            containers.setdefault(f"{key}.rank{label}", kind)


def _renumbered(name: str, before: int) -> tuple[str, int]:
    """The name with the layer's number in the whole model, and its number in this stage; −1 where it is of no layer."""
    match = _LAYER.fullmatch(name)
    if match is None or len(match["layer"]) > 6:
        return name, -1
    return f"{match['before']}{int(match['layer']) + before}{match['after']}", int(match["layer"])


def _is_one(shares: Sequence[LazyTensor]) -> bool:
    """True where all ranks hold the same numbers. Nothing is read where records of their own say so by their CRC-32."""
    first, storages = shares[0], [share.storage for share in shares]
    stated = [each.crc32 for each in storages if isinstance(each, CheckedStorage) and each.size == first.nbytes]
    if len(stated) == len(shares) and all(share.contiguous for share in shares):
        return len(set(stated)) == 1
    for share in shares[1:]:
        for (_, mine), (_, its) in zip(first.flat_chunks(), share.flat_chunks(), strict=True):
            if mine.tobytes() != its.tobytes():
                return False
    return True


def _whole(name: str, first: LazyTensor, shares: Sequence[LazyTensor | None], row: Sequence[_Rank]) -> LazyTensor | None:
    """The tensor that *shares* make up; ``None`` where nothing tells how. Raises ``LoadError`` where they cannot."""
    held = [share for share in shares if share is not None]
    if len(held) != len(row) or any(share.ndim != first.ndim or share.dtype != first.dtype for share in held):
        raise LoadError(name, "is missing in a rank, or differs between ranks in dtype or dimensions", _WRONG)
    rule = _rule(name, first, row[0])
    if rule.axis is None or rule.axis >= first.ndim:
        if any(share.shape != first.shape for share in held):
            raise LoadError(name, "differs in shape between ranks, and its name does not tell how it is split", _CONVERT)
        if _is_one(held):
            return replace(first, name=name, note=f"of {len(row)} ranks, the same on each")
        if not _WHOLE.fullmatch(name):
            return None
        told = "which differ, though by its name they do not: that of the first"
        return replace(first, name=name, note=f"of {len(row)} ranks, {told}")
    lengths = [share.shape[rule.axis] for share in held]
    if rule.parts and any(length != lengths[0] for length in lengths):
        raise LoadError(name, f"should hold {rule.called}, but differs in shape between ranks", _CONVERT)
    tiles: list[Tile] = []
    place, start = 0, 0
    for size in rule.parts or (0,):
        for share, length in zip(held, lengths, strict=True):
            index = [slice(None)] * share.ndim
            index[rule.axis] = slice(start, start + size) if rule.parts else slice(None)
            begin = [0] * share.ndim
            begin[rule.axis] = place
            tiles.append((tuple(begin), share.view(tuple(index))))
            place += size or length
        start += size
    shape = list(first.shape)
    shape[rule.axis] = place
    return joined(name, shape, tiles, rule.note(len(row)))
