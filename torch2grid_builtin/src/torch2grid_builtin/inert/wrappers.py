"""Objects that wrap tensors, seen through: what stands in them for the parameter, under which name, and what is plumbing.

Formats: ``torch/distributed/tensor/_api.py``, ``torch/distributed/_shard/sharded_tensor/api.py``,
``torch/nested/_internal/nested_tensor.py``, ``torch/utils/mkldnn.py``; packed ones are in ``packed.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch2grid_builtin.inert import limits
from torch2grid_builtin.inert.packed import HERE, class_name, layer_fields, script_fields
from torch2grid_builtin.inert.values import (
    TENSOR,
    Bag,
    Global,
    NumpyArray,
    Pairs,
    StorageRef,
    Stub,
    Tensor,
    key_text,
    state_halves,
)
from torch2grid_core import LazyTensor

if TYPE_CHECKING:
    from torch2grid_builtin.inert.limits import Work
    from torch2grid_builtin.inert.machine import Machine

MESH = "ranks of a device mesh"
NESTED = "structure of a nested tensor"
_LEAVES = (Tensor, NumpyArray, StorageRef)
_CONTAINERS = (Pairs, Stub, list, tuple, Bag)
_NESTED, _JAGGED = "torch._utils._rebuild_nested_tensor", "torch.nested._internal.nested_tensor._rebuild_njt"
_MKLDNN = {"MkldnnBatchNorm": ("weight", "bias", "running_mean", "running_var")}
_STATES = ("state", "__dict__")
_SPLIT = ("Shard", "_StridedShard")
_MOST = 64  # dimensions, of tensors and of meshes


@dataclass
class Opened:
    """What an object holds. An entry under ``HERE`` has the object's own name.

    later: beside the point, named after all else. hidden: (key, value, reason), tensors in it are counted as not shown.
    rank: of how many, where the object holds the shard of one rank.
    """

    children: list[tuple[str, Any]] = field(default_factory=list)
    later: list[tuple[str, Any]] = field(default_factory=list)
    hidden: list[tuple[str, Any, str]] = field(default_factory=list)
    rank: tuple[int, int] | None = None


def look_through(stub: Stub, work: Work) -> Opened | None:
    """What *stub* wraps, ``None`` where it is no wrapper that is known. Raises ``Malformed`` where that costs too much."""
    root = stub.root
    if type(root) is not Global:
        return None
    known = _KNOWN.get(root.name)
    if known is not None:
        return known(stub, work)
    if root.module == "torch.utils.mkldnn":
        return _mkldnn(stub, work)
    fields = script_fields(stub) if root.name == "ScriptObject" or root.module.startswith("__torch__.torch.classes.") else None
    if fields is None and "Conv" in root.name:
        fields = layer_fields(stub)
    return None if fields is None else Opened(fields[0], hidden=fields[1])


def is_tensor(value: Any) -> bool:
    """True for an object that stands for one tensor, and is no container of several."""
    return isinstance(value, Stub) and (value.how == TENSOR or (type(value.root) is Global and value.root.name in _TENSORS))


def _mesh(stub: Stub, work: Work) -> Opened:
    return Opened(hidden=[(HERE, each, MESH) for each in stub.state or ()])


def _attributes(stub: Stub, work: Work) -> dict[str, Any]:
    return {key: value for key, value in stub.attributes(work) if type(key) is str}


# The shards of ranks.


Rank = tuple[int, int] | None  # which, and of how many


def shard_note(
    rank: Rank,
    placements: Sequence[tuple[str, Any]],
    sizes: tuple[int, ...],
    whole: tuple[int, ...],
    held: tuple[int, ...] | None,
) -> str:
    """What is said of the shard of a ``DTensor``; nothing where it is all of it.

    placements: (name of the class, dimension) in each direction of the mesh, which is *sizes* long. whole, held: shapes of
    the tensor and of the shard.
    """
    if sizes and math.prod(sizes) == 1 and held == whole:
        return ""
    cut = {at for kind, at in placements if kind in _SPLIT and type(at) is int and 0 <= at < _MOST}
    kinds = [kind for kind, _ in placements]
    more = ["strided"] if "_StridedShard" in kinds else []
    more += ["a partial sum"] if "Partial" in kinds or "_Partial" in kinds else []
    return _place_note(rank, sorted(cut), whole, ", ".join(more))


def _place_note(rank: Rank, cut: Sequence[int], shape: Sequence[int], more: str = "") -> str:
    """``rank 0 of 2, dimension 0, 30×20 in all``: where a shard belongs. cut: the dimensions that the ranks split."""
    parts = ["one rank of several" if rank is None else f"rank {rank[0]} of {rank[1]}"]
    if cut:
        listed = [str(each) for each in cut]
        where = " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))
        parts.append(f"dimension{'s' if len(listed) > 1 else ''} {where}")
    parts += [more] if more else []
    parts.append(f"{'×'.join(map(str, shape)) or 'a scalar'} in all" if cut else "whole" if not more else "")
    return ", ".join(filter(None, parts))


def noted(value: Any, note: str) -> Any:
    """*value* with *note* in front of its own, where it is a tensor."""
    if not isinstance(value, Tensor) or value.lazy is None or not note:
        return value
    lazy = replace(value.lazy, note=", ".join(filter(None, (note, value.lazy.note))))
    return Tensor(lazy, value.reason, value.state, value.beside)


def _distributed(stub: Stub, work: Work) -> Opened | None:
    """A ``DTensor``: the shard that this rank holds, what it is a shard of, and its mesh."""
    named = _attributes(stub, work)
    spec = named.get("_spec")
    if "_local_tensor" not in named or not isinstance(spec, Stub):
        return None
    inside = _attributes(spec, work)
    mesh, meta = inside.get("mesh"), inside.get("tensor_meta")
    rank, sizes = _place_on(_attributes(mesh, work), work) if isinstance(mesh, Stub) else (None, ())
    placements = inside.get("placements")
    listed = placements[:_MOST] if isinstance(placements, (tuple, list)) else ()
    kinds = [(class_name(each), _dimension(each, work)) for each in listed if isinstance(each, Stub)]
    shape = _integers(meta.args[0]) if isinstance(meta, Stub) and meta.args else None
    if shape is None and isinstance(meta, Stub):
        shape = _integers(_attributes(meta, work).get("shape"))
    local = named["_local_tensor"]
    held = local.lazy.shape if isinstance(local, Tensor) and local.lazy is not None else None
    note = shard_note(rank, kinds, sizes, shape or (), held)
    split = bool(note) and any(kind in _SPLIT for kind, _ in kinds)
    rest = [(key, value) for key, value in named.items() if key not in ("_local_tensor", "_spec")]
    return Opened([(HERE, noted(local, note))], rest, [("_spec", spec, MESH)], rank if split else None)


def _dimension(placement: Stub, work: Work) -> Any:
    return _attributes(placement, work).get("dim", placement.args[0] if placement.args else None)


def _place_on(mesh: dict[str, Any], work: Work) -> tuple[Rank, tuple[int, ...]]:
    """(rank, of how many) on a mesh, and how long it is in each direction."""
    held, layout = mesh.get("mesh"), mesh.get("_layout")
    sizes: tuple[int, ...] | None = None
    if isinstance(held, Tensor) and held.lazy is not None:
        sizes = held.lazy.shape
    elif isinstance(layout, Stub):
        shaped = _attributes(layout, work)
        axes = shaped.get("axes")
        if isinstance(axes, (tuple, list)):  # as PyTorch 2.13 has it: an axis is of several lengths, or of none
            shapes = [_lengths(_attributes(axis, work).get("shape")) for axis in axes[:_MOST] if isinstance(axis, Stub)]
            sizes = tuple(math.prod(each) for each in shapes if each is not None)
        else:
            sizes = _lengths(shaped.get("shape"))
    return placed(_integers(mesh.get("_coordinate_on_dim")), sizes or ())


def placed(place: tuple[int, ...] | None, sizes: tuple[int, ...]) -> tuple[Rank, tuple[int, ...]]:
    """(rank, of how many) at *place* of a mesh, where that is known, and how long the mesh is in each direction."""
    if not sizes:
        return None, ()
    if place is None or len(place) != len(sizes) or any(not at < size for at, size in zip(place, sizes, strict=True)):
        return None, sizes
    rank = 0
    for at, size in zip(place, sizes, strict=True):
        rank = rank * size + at
    return (rank, math.prod(sizes)), sizes


def _sharded(stub: Stub, work: Work) -> Opened | None:
    """A ``ShardedTensor`` (FSDP 1): the shards that this rank holds."""
    state = stub.state[0] if stub.state else None
    if type(state) is not tuple or len(state) < 3 or type(state[0]) is not list or not isinstance(state[1], Stub):
        return None
    work.spend(len(state[0]))
    group = _attributes(state[2], work) if isinstance(state[2], Stub) else {}
    rank = None
    for place, count in (("local_rank", "local_world_size"), ("global_rank", "global_world_size")):
        pair = _integers((group.get(place), group.get(count)))
        if rank is None and pair is not None and pair[0] < pair[1]:
            rank = (pair[0], pair[1])
    shape = _integers(_attributes(state[1], work).get("size")) or ()
    parts: list[tuple[Any, tuple[int, ...] | None]] = []
    later: list[tuple[str, Any]] = []
    for index, shard in enumerate(state[0]):
        inside = _attributes(shard, work) if isinstance(shard, Stub) else {}
        held, about = inside.get("tensor"), inside.get("metadata")
        if not isinstance(held, Tensor):
            later.append((str(index), shard))
            continue
        parts.append((held, _integers(_attributes(about, work).get("shard_sizes")) if isinstance(about, Stub) else None))
    split = rank is not None and rank[1] > 1
    children = sharded(parts, rank, shape) if parts or not later else []
    return Opened(children, [*later, *((HERE, each) for each in state[1:])], rank=rank if split else None)


def sharded(parts: Sequence[tuple[Any, tuple[int, ...] | None]], rank: Rank, shape: tuple[int, ...]) -> list[tuple[str, Any]]:
    """The shards that one rank holds of a ``ShardedTensor`` of *shape*, each with its size, as they are named and noted."""
    named: list[tuple[str, Any]] = []
    for index, (held, stated) in enumerate(parts):
        lazy = held.lazy if isinstance(held, Tensor) else None
        sizes = stated if stated is not None else lazy.shape if lazy is not None else shape
        cut = [at for at, (mine, whole) in enumerate(zip(sizes, shape, strict=False)) if mine != whole]
        note = "" if not cut and rank is not None and rank[1] == 1 else _place_note(rank, cut, shape)
        named.append((HERE if len(parts) == 1 else str(index), noted(held, note)))
    if not parts:
        whose = "the rank of this file" if rank is None else f"rank {rank[0]} of {rank[1]}"
        named.append((HERE, Tensor(None, f"{whose} holds no shard of it, {'×'.join(map(str, shape))} in all")))
    return named


# Nested tensors.


def nested_note(count: int) -> str:
    """What is said of the one tensor that a nested one is shown by."""
    return f"nested: its {count:,} stored values"


def _values(value: Any) -> Any:
    return noted(value, nested_note(value.lazy.size)) if isinstance(value, Tensor) and value.lazy is not None else value


def _nested(stub: Stub, work: Work) -> Opened | None:
    """``_rebuild_nested_tensor(buffer, sizes, strides, offsets)``."""
    if not stub.args or stub.path != _NESTED:
        return None
    plumbing = zip(("sizes", "strides", "offsets"), stub.args[1:], strict=False)
    later: list[tuple[str, Any]] = [(HERE, each) for each in (*stub.args[4:], *(stub.state or ()))]
    return Opened([(HERE, _values(stub.args[0]))], later, [(key, each, NESTED) for key, each in plumbing])


def _jagged(stub: Stub, work: Work) -> Opened | None:
    """``_rebuild_njt({"values": …, "offsets": …, "lengths": …, "_metadata_cache": {…}})``, whose state holds the same again."""
    held = stub.args[0] if stub.args else None
    if not isinstance(held, Pairs) or stub.path != _JAGGED:
        return None
    named = _attributes(stub, work)
    plumbing = [(key, held.get(key), NESTED) for key in ("offsets", "lengths", "_metadata_cache")]
    plumbing += [(key, named.get(key), NESTED) for key in ("_offsets", "_lengths", "_metadata_cache")]
    values, again = held.get("values"), named.get("_values")
    own = ("_values", "_offsets", "_lengths", "_metadata_cache")
    later = [(key, value) for key, value in named.items() if key not in own]
    if again is not values:
        later.append(("_values", again))
    return Opened([(HERE, _values(values))], later, [each for each in plumbing if each[1] is not None])


def rebuilt(path: str) -> Callable[[Machine, tuple[Any, ...]], Stub]:
    """A constructor that keeps the arguments of *path* for ``look_through``."""
    module, _, name = path.rpartition(".")

    def keep(machine: Machine, args: tuple[Any, ...]) -> Stub:
        return Stub(Global(module, name), args, "call")

    return keep


CONSTRUCTORS: dict[tuple[str, str], Any] = {
    (path.rpartition(".")[0], path.rpartition(".")[2]): rebuilt(path) for path in (_NESTED, _JAGGED)
}


def _mkldnn(stub: Stub, work: Work) -> Opened | None:
    """A module of ``torch.utils.mkldnn``: a script module whose state is a tuple of its tensors."""
    named = _attributes(stub, work)
    script = named.pop("_actual_script_module", None)
    state = script.state[0] if isinstance(script, Stub) and script.state else None
    if type(state) is not tuple:
        return None
    names = _MKLDNN.get(class_name(stub), ("weight", "bias"))
    held = [(name, each) for name, each in zip(names, state, strict=False) if each is not None]
    rest = [(str(index), each) for index, each in enumerate(state) if index >= len(names)]
    return Opened(held, [*named.items(), *rest])


_KNOWN: dict[str, Callable[[Stub, Work], Opened | None]] = {
    "DTensor": _distributed,
    "DeviceMesh": _mesh,
    "ShardedTensor": _sharded,
    _NESTED.rpartition(".")[2]: _nested,
    _JAGGED.rpartition(".")[2]: _jagged,
}


_TENSORS = _KNOWN.keys() - {"DeviceMesh"}


# What a function rebuilds.


def mapping_of(value: Any) -> Pairs | None:
    """*value* as a mapping, where it is one or an object of a class made from ``dict``."""
    if isinstance(value, Pairs):
        return value
    if isinstance(value, Stub) and value.pairs is not None and not value.items and not value.state:
        return Pairs("dict", value.pairs)
    return None


def is_module(named: dict[str, Any]) -> bool:
    """True for the attributes of a module."""
    return isinstance(named.get("_parameters"), Pairs) and isinstance(named.get("_modules"), Pairs)


def module_state(stub: Stub, work: Work) -> tuple[int, dict[str, Any]] | None:
    """Attributes of a module that a function rebuilds, and which argument they stand in; ``None`` where none does."""
    for index, arg in enumerate(stub.args[:_MOST]):
        found = mapping_of(arg)
        for _ in range(2):
            if found is None:
                break
            work.pairs(len(found.pairs))
            named = {key: value for key, value in found.entries() if type(key) is str}
            if is_module(named):
                return index, named
            found = next((mapping_of(named[key]) for key in _STATES if key in named), None)
    return None


def state_inside(value: Any, holds: Callable[[Any], bool], work: Work) -> Any:
    """What stands in an argument for the object: its ``state``, where nothing beside that holds a tensor; else the argument."""
    for _ in range(2):
        found = mapping_of(value)
        if found is None or found.get("param_groups") is not None:
            return value
        work.pairs(len(found.pairs))
        holding = [(key, each) for key, each in found.entries() if holds(each)]
        if len(holding) != 1 or holding[0][0] not in _STATES or isinstance(holding[0][1], _LEAVES):
            return value
        value = holding[0][1]
    return value


# Looking inside without names.


def inside(value: Any, work: Work, seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """(path, leaf or container) of all that *value* holds, itself first. Each object once; every step is paid for.

    seen: the ids of objects that are passed over, to which those that are found are added.
    """
    seen = set() if seen is None else seen
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, held = waiting.pop()
        if id(held) in seen:
            continue
        seen.add(id(held))
        yield path, held
        below: list[tuple[str, Any]] = []
        for key, each in _held(held, work):
            if isinstance(each, (*_LEAVES, *_CONTAINERS)):
                work.spend(limits.KEPT)
                work.text(len(path) + len(key))
                below.append((f"{path}.{key}" if path and key else path or key, each))
        waiting.extend(reversed(below))


def _held(value: Any, work: Work) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Pairs):
        work.pairs(len(value.pairs))
        for index, (key, each) in enumerate(value.pairs):
            yield key_text(key, index), each
            yield f"{index}.key", key
        yield "", value.state
    elif isinstance(value, (list, tuple, Bag)):
        items = value.items if isinstance(value, Bag) else value
        work.spend(len(items))
        yield from ((str(index), each) for index, each in enumerate(items))
    elif isinstance(value, Stub):
        work.spend(len(value.args) + len(value.items or ()))
        work.pairs(len(value.pairs or ()))
        for index, (key, each) in enumerate(value.pairs or ()):
            yield key_text(key, index), each
            yield f"{index}.key", key
        yield from ((str(index), each) for index, each in enumerate(value.items or ()))
        for state in value.state or ():
            yield from (("", half) for half in state_halves(state) or (state,))
        yield from ((str(index), each) for index, each in enumerate(value.args))
        yield from (("", each) for each in (value.kwargs, value.function))
    elif isinstance(value, Tensor):
        yield "", value.state
    elif isinstance(value, NumpyArray):
        yield "", value.objects


def _lengths(value: Any) -> tuple[int, ...] | None:
    return _integers(value if isinstance(value, (tuple, list)) else (value,))


def own_state(tensor: Tensor) -> list[Any]:
    """The attributes of a tensor, as mappings; its ``data``, where a subclass keeps it once more, is left out."""
    kept: list[Any] = []
    for half in state_halves(tensor.state) or (tensor.state,):
        again = half.get("data") if isinstance(half, Pairs) else None
        if isinstance(again, Tensor) and same_view(tensor.lazy, again.lazy):
            half = Pairs(half.kind, [(key, value) for key, value in half.pairs if key != "data"])
        kept.append(half)
    return kept


def same_view(one: LazyTensor | None, other: LazyTensor | None) -> bool:
    """True where both are the same numbers at the same place of one storage."""
    if one is None or other is None:
        return False
    return one.storage is other.storage and all(
        getattr(one, each) == getattr(other, each) for each in ("dtype", "shape", "offset", "strides")
    )


def _integers(value: Any) -> tuple[int, ...] | None:
    """*value* as a few integers that are not negative, ``None`` where it is something else."""
    if isinstance(value, Stub) and value.path == "torch.Size":
        value = value.args[0] if value.args else ()
    if type(value) not in (tuple, list) or len(value) > _MOST:
        return None
    if not all(type(each) is int and 0 <= each < 1 << 63 for each in value):
        return None
    return tuple(value)
