"""Checkpoints of DeepSpeed's ZeRO: the float32 weights that ``zero_to_fp32.py`` gathers, without gathering them.

Format: ``deepspeed/utils/zero_to_fp32.py``. Stages 1 and 2 keep each group of parameters as one flat tensor, cut in as many
pieces as there are ranks; stage 3 cuts each parameter, padded to a multiple of that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_strings
from torch2grid_builtin._inert.limits import NAMES
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.opened import integers
from torch2grid_builtin._inert.read import load_error, told
from torch2grid_builtin._inert.report import not_run, refusal
from torch2grid_builtin._inert.values import Pairs, Stub, Tensor, text
from torch2grid_builtin._inert.walk import collect
from torch2grid_builtin._loaders.joining import Row, flat
from torch2grid_builtin._loaders.torch_zip import read_archive
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import Skip, Source, find_parts, has_file
from torch2grid_core.text import visible

_OPTIMIZER = re.compile(r"(?P<before>.*)zero_pp_rank_(?P<rank>\d+)_mp_rank_(?P<mp>\d+)_optim_states\.pt")
_MODEL = re.compile(r"(?:zero_pp_rank_(?P<rank>\d+)_)?mp_rank_(?P<mp>\d+)(?:_\d+)*_model_states\.pt")
_EXPERT = re.compile(r"(?:layer_.*)?expert_\d+_mp_rank_\d+.*\.pt")
_STEP = re.compile(r"[\w.-]{1,200}")
_WRONG = "it is damaged or incomplete"
_GATHER = "gather it with the zero_to_fp32.py that lies beside it: python zero_to_fp32.py . OUTPUT"


class DeepSpeed(Loader):
    """A folder that DeepSpeed wrote, of ZeRO stages 1 to 3: the float32 weights, whole."""

    name: ClassVar[str] = "deepspeed"

    def sniff(self, source: Source) -> int:
        if not source.is_folder:
            return 0
        place = _place(source)
        return 2 if place is not None and all(_files(place)) else 0

    def load(self, source: Source) -> Checkpoint:
        place = _place(source)
        optimizers, models = _files(place) if place is not None else ([], [])
        if place is None or not optimizers or not models:
            raise LoadError(source.shown, "is not a checkpoint of DeepSpeed's ZeRO", "give the path of a checkpoint")
        actions = Actions()
        try:
            states = [_State(place.child(name), actions) for name in models]
            parts = [_Partition(place.child(name), actions) for name in optimizers]
            tensors, stage = _weights(place, states, parts)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        if not tensors:
            raise LoadError(source.shown, refusal("holds no weights", actions))
        aliases = {one: other for one, other in states[0].shared if other in tensors and one in tensors}
        found, default = find_parts(tensors)
        count = len(parts)
        skipped = [Skip("optimizer", f"optimizer state of {count} ranks, in flat tensors", self.name)]
        return Checkpoint(
            tensors,
            source=source.shown,
            format=f"DeepSpeed ZeRO {stage} of {count} {'rank' if count == 1 else 'ranks'}",
            metadata=states[0].facts,
            skipped=skipped,
            aliases=aliases,
            parts=found,
            default_part=default,
            not_run=not_run(actions),
            notes=[] if place is source else [f"{visible(place.name, 60)} is shown"],
        )


def _place(folder: Source) -> Source | None:
    """The folder that holds the files: this one, or that which its ``latest`` names."""
    if any(map(_OPTIMIZER.fullmatch, folder.entries)):
        return folder
    if "latest" not in folder.entries or not has_file(folder, "latest"):
        return None
    try:
        latest = folder.child("latest")
        name = latest.read(0, latest.size).decode("utf-8").strip() if latest.size <= 1000 else ""
        if _STEP.fullmatch(name) and name not in (".", "..") and name in folder.entries:
            inside = folder.child(name)
            return inside if inside.is_folder and any(map(_OPTIMIZER.fullmatch, inside.entries)) else None
    except (LoadError, UnicodeDecodeError):
        pass
    return None


def _files(folder: Source) -> tuple[list[str], list[str]]:
    """The names of the files of the optimizer and of the model, rank by rank."""
    optimizers = [match for name in folder.entries if (match := _OPTIMIZER.fullmatch(name))]
    models = [match for name in folder.entries if (match := _MODEL.fullmatch(name))]
    if len({match["mp"] for match in optimizers}) > 1 or len({match["mp"] for match in models}) > 1:
        raise LoadError(folder.shown, "is a checkpoint of DeepSpeed that splits its tensors in two ways", _GATHER)
    if any(_EXPERT.fullmatch(name) for name in folder.entries):
        raise LoadError(folder.shown, "is a checkpoint of DeepSpeed whose experts have files of their own", _GATHER)
    if len({match["before"] for match in optimizers}) > 1:
        raise LoadError(folder.shown, "holds two checkpoints of DeepSpeed, one in bfloat16", "keep the files of one")
    optimizers.sort(key=lambda match: int(match["rank"]))
    models.sort(key=lambda match: int(match["rank"] or 0))
    return [match[0] for match in optimizers], [match[0] for match in models]


def _read(source: Source, actions: Actions) -> tuple[Pairs, Any]:
    """The mapping in the file *source*, and the work that is left. Raises ``LoadError``, ``Malformed``."""
    mine = Actions()
    read = read_archive(source, None, mine)
    try:
        read_strings(mine, read.work)
    except Malformed as error:
        raise load_error(source, error, mine) from error
    actions.merge(mine)
    if not isinstance(read.root, Pairs):
        raise LoadError(source.shown, "is a file of DeepSpeed that holds no mapping", _WRONG)
    return read.root, read.work


class _State:
    """What one file of model states says: buffers, and the shapes of the parameters."""

    def __init__(self, source: Source, actions: Actions) -> None:
        root, work = _read(source, actions)
        self.facts = told(root)
        groups = root.get("param_shapes")
        if not isinstance(groups, list) or not all(isinstance(each, Pairs) for each in groups):
            raise LoadError(source.shown, "does not state the shapes of its parameters", _GATHER)
        self.groups = [dict(_shapes(each, source)) for each in groups]
        frozen = root.get("frozen_param_shapes")
        self.frozen = dict(_shapes(frozen, source)) if isinstance(frozen, Pairs) else {}
        fragments = root.get("frozen_param_fragments")
        self.fragments = dict(_tensors(fragments)) if isinstance(fragments, Pairs) else {}
        names = root.get("buffer_names")
        buffers = {text(each) for each in names} if isinstance(names, list) else set()
        module = root.get("module")
        found = collect(module, DeepSpeed.name, work).tensors if isinstance(module, Pairs) else {}
        self.buffers = {name: tensor for name, tensor in found.items() if name in buffers}
        shared = root.get("shared_params")
        pairs = shared.entries() if isinstance(shared, Pairs) else ()
        named = [(text(one), text(other)) for one, other in pairs]
        self.shared = [(one, other) for one, other in named if one is not None and other is not None]


class _Partition:
    """What one rank keeps of the float32 weights."""

    def __init__(self, source: Source, actions: Actions) -> None:
        root, _ = _read(source, actions)
        state = root.get("optimizer_state_dict")
        if not isinstance(state, Pairs):
            raise LoadError(source.shown, "holds no state of DeepSpeed's optimizer", _WRONG)
        stage = state.get("zero_stage")
        stage = stage.args[0] if isinstance(stage, Stub) and stage.args else stage
        if type(stage) is not int or not 1 <= stage <= 3:
            raise LoadError(source.shown, "does not say which stage of ZeRO it is of", _GATHER)
        self.stage = stage
        counts = state.get("partition_count")
        stated = counts if isinstance(counts, list) else [counts]
        self.count = max((each for each in stated if type(each) is int), default=0)
        groups = state.get("fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups")
        if not isinstance(groups, list):
            raise LoadError(source.shown, "holds no float32 weights", _GATHER)
        self.groups = [_flat_tensor(each, source) for each in groups]
        paddings = state.get("param_alignment_paddings")
        self.paddings: list[tuple[int, ...]] | None = None
        if isinstance(paddings, list):
            self.paddings = [each for each in map(integers, paddings) if each is not None]


def _flat_tensor(value: Any, source: Source) -> LazyTensor:
    lazy = value.lazy if isinstance(value, Tensor) else None
    if lazy is None:
        raise LoadError(source.shown, "holds a group of weights that is not a tensor", _WRONG)
    if lazy.ndim != 1:
        raise LoadError(source.shown, f"holds a group of weights of {lazy.ndim} dimensions where a flat one belongs", _WRONG)
    return lazy


def _shapes(mapping: Pairs, source: Source) -> Iterator[tuple[str, tuple[int, ...]]]:
    for key, value in mapping.entries():
        name, shape = text(key), integers(value)
        if name is None or shape is None or math.prod(shape) >= 1 << 62:
            raise LoadError(source.shown, "states a shape that is not valid", _WRONG)
        yield name, shape


def _tensors(mapping: Pairs) -> Iterator[tuple[str, LazyTensor]]:
    for key, value in mapping.entries():
        name = text(key)
        if name is not None and isinstance(value, Tensor) and value.lazy is not None:
            yield name, value.lazy


def _weights(folder: Source, states: Sequence[_State], parts: Sequence[_Partition]) -> tuple[dict[str, LazyTensor], int]:
    """The float32 weights by name, and the stage of ZeRO. Raises ``LoadError`` where ranks are missing or disagree."""
    stage, count = parts[0].stage, parts[0].count
    if any((part.stage, part.count) != (stage, count) for part in parts):
        raise LoadError(folder.shown, "holds files of several runs: their ranks disagree", "keep those of one")
    if count != len(parts):
        raise LoadError(folder.shown, f"holds the optimizer states of {len(parts)} of {count} ranks", "fetch all of them")
    if len({len(part.groups) for part in parts}) > 1:
        raise LoadError(folder.shown, "holds ranks with different groups of weights", _WRONG)
    first, note = states[0], f"ZeRO {stage}, {count} ranks"
    tensors: dict[str, LazyTensor] = dict(first.buffers)
    for name, shape in first.frozen.items():
        tensors[name] = _frozen(name, shape, states, stage, note)
    made = _partitioned(first, parts, note) if stage == 3 else _grouped(folder, first, parts, note)
    for tensor in made:
        tensors[tensor.name] = tensor
        if len(tensors) > NAMES:
            raise LoadError(folder.shown, f"states more than {NAMES:,} tensors", _WRONG)
    for one, other in first.shared:
        if other in tensors:
            tensors[one] = replace(tensors[other], name=one)
    return tensors, stage


def _frozen(name: str, shape: tuple[int, ...], states: Sequence[_State], stage: int, note: str) -> LazyTensor:
    """A parameter that is not trained: whole in the first file, of stage 3 cut among all ranks."""
    pieces = [state.fragments[name] for state in (states if stage == 3 else states[:1]) if name in state.fragments]
    return flat(name, shape, _first(Row([_flattened(each) for each in pieces]), math.prod(shape)), note)


def _first(row: Row, count: int) -> list[LazyTensor]:
    return row.between(0, count)


def _flattened(tensor: LazyTensor) -> LazyTensor:
    if not tensor.contiguous:
        raise LoadError(tensor.name, "is a piece of a frozen parameter that lies in storage with gaps", _GATHER)
    return replace(tensor, shape=(tensor.size,), strides=None)


def _grouped(folder: Source, state: _State, parts: Sequence[_Partition], note: str) -> Iterator[LazyTensor]:
    """Stages 1 and 2: the parameters of a group lie one after the other in the ranks' pieces of it."""
    if len(state.groups) > len(parts[0].groups):
        raise LoadError(folder.shown, "holds fewer groups of weights than of shapes", _WRONG)
    for index, shapes in enumerate(state.groups):
        row, place = Row([part.groups[index] for part in parts]), 0
        stated = parts[0].paddings
        paddings: Iterable[int] = stated[index] if stated is not None and index < len(stated) else ()
        padding = list(paddings) or [0] * len(shapes)
        if len(padding) != len(shapes):
            raise LoadError(folder.shown, "states paddings of other parameters than there are", _WRONG)
        for (name, shape), gap in zip(shapes.items(), padding, strict=True):
            count = math.prod(shape)
            yield flat(name, shape, row.between(place, place + count), note)
            place += count + gap
        step = 2 * len(parts)
        if -(-place // step) != -(-row.size // step):  # as zero_to_fp32 checks it
            raise LoadError(folder.shown, f"holds {row.size:,} weights of a group of {place:,}", _WRONG)


def _partitioned(state: _State, parts: Sequence[_Partition], note: str) -> Iterator[LazyTensor]:
    """Stage 3: every rank has an equal piece of each parameter, the last ones padded."""
    rows = [Row(part.groups) for part in parts]
    place = 0
    for name, shape in (item for shapes in state.groups for item in shapes.items()):
        count = math.prod(shape)
        piece = -(-count // len(parts))
        found = [each for row in rows for each in row.between(place, place + piece)]
        yield flat(name, shape, _first(Row(found), count), note)
        place += piece
