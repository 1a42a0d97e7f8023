"""Tensors of which a file holds the shards of one rank, and what is said of the rest.

Formats: ``torch/distributed/tensor/_api.py``, ``torch/distributed/device_mesh.py`` and, of FSDP 1,
``torch/distributed/_shard/sharded_tensor/api.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.opened import HERE, MOST, Opened, Place, attributes, class_name, integers, noted
from torch2grid_builtin._inert.values import Stub, Tensor

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work

MESH = "ranks of a device mesh"
_SPLIT = ("Shard", "_StridedShard")
_TOLD = 8  # dimensions that a note lists: a file may have a note for every few bytes


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
    cut = {at for kind, at in placements if kind in _SPLIT and type(at) is int and 0 <= at < MOST}
    kinds = [kind for kind, _ in placements]
    more = ["strided"] if "_StridedShard" in kinds else []
    more += ["a partial sum"] if "Partial" in kinds or "_Partial" in kinds else []
    return _place_note(rank, sorted(cut), whole, ", ".join(more))


def _place_note(rank: Rank, cut: Sequence[int], shape: Sequence[int], more: str = "") -> str:
    """``rank 0 of 2, dimension 0, 30×20 in all``: where a shard belongs. cut: the dimensions that the ranks split."""
    parts = ["one rank of several" if rank is None else f"rank {rank[0]} of {rank[1]}"]
    if cut:
        listed = [str(each) for each in cut[:_TOLD]]
        where = " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))
        parts.append(f"dimension{'s' if len(listed) > 1 else ''} {where}")
    parts += [more] if more else []
    parts += [f"{_sizes(shape)} in all"] if cut else [] if more else ["whole"]
    return ", ".join(parts)


def _sizes(shape: Sequence[int]) -> str:
    return "×".join([*map(str, shape[:_TOLD]), *(["…"] if len(shape) > _TOLD else [])]) or "a scalar"


def distributed(stub: Stub, work: Work) -> Opened | None:
    """A ``DTensor``: the shard that this rank holds, what it is a shard of, and its mesh."""
    named = attributes(stub, work)
    spec = named.get("_spec")
    if "_local_tensor" not in named or not isinstance(spec, Stub):
        return None
    inside = attributes(spec, work)
    mesh, meta = inside.get("mesh"), inside.get("tensor_meta")
    rank, sizes = _place_on(attributes(mesh, work), work) if isinstance(mesh, Stub) else (None, ())
    placements = inside.get("placements")
    listed = placements[:MOST] if isinstance(placements, (tuple, list)) else ()
    work.spend(limits.KEPT * (8 + len(listed)))
    kinds = [(class_name(each), _dimension(each, work)) for each in listed if isinstance(each, Stub)]
    shape = integers(meta.args[0]) if isinstance(meta, Stub) and meta.args else None
    if shape is None and isinstance(meta, Stub):
        shape = integers(attributes(meta, work).get("shape"))
    local = named["_local_tensor"]
    held = local.lazy.shape if isinstance(local, Tensor) and local.lazy is not None else None
    note = shard_note(rank, kinds, sizes, shape or (), held)
    split = bool(note) and any(kind in _SPLIT for kind, _ in kinds)
    rest = [(key, value) for key, value in named.items() if key not in ("_local_tensor", "_spec")]
    opened = Opened([(HERE, noted(local, note))], rest, [("_spec", spec, MESH)], rank if split else None)
    if shape is not None and held is not None and isinstance(mesh, Stub):
        factors = [attributes(each, work).get("split_factor") for each in listed if isinstance(each, Stub)]
        cuts = [(kind, dim, factor) for (kind, dim), factor in zip(kinds, factors, strict=True)]
        at = integers(attributes(mesh, work).get("_coordinate_on_dim"))
        opened.places = [place_of(shape, held, cuts, sizes, at, _order(inside.get("shard_order"), work))]
    return opened


Cut = tuple[str, Any, Any]  # a placement: the name of its class, the dimension, and how often a strided one is split before
Runs = tuple[tuple[int, int], ...]


def _order(stated: Any, work: Work) -> list[int]:
    """The directions of the mesh in the order in which they split, where a file states one."""
    if type(stated) not in (tuple, list):
        return []
    work.spend(len(stated))
    entries = (integers(each.args[1]) for each in stated[:MOST] if isinstance(each, Stub) and len(each.args) > 1)
    return [direction for each in entries for direction in each or ()]


def place_of(
    shape: tuple[int, ...],
    held: tuple[int, ...],
    cuts: Sequence[Cut],
    sizes: tuple[int, ...],
    at: tuple[int, ...] | None,
    order: Sequence[int] = (),
) -> Place | None:
    """Where the shard *held* of a ``DTensor`` of *shape* belongs; ``None`` where that is not known, and for a partial sum.

    cuts: in each direction of the mesh, which is *sizes* long and where the rank stands at *at*. order: of these directions.
    """
    if at is None or not len(at) == len(sizes) == len(cuts) or len(held) != len(shape) or 0 in sizes:
        return None
    runs: list[Runs] = [((0, length),) for length in shape]
    directions = sorted(range(len(cuts)), key=lambda each: order.index(each) if each in order else each)
    for direction in directions:
        kind, axis, factor = cuts[direction]
        if kind == "Replicate":
            continue
        if kind not in _SPLIT or type(axis) is not int or not -len(shape) <= axis < len(shape):
            return None
        factor = 1 if kind == "Shard" else factor
        if type(factor) is not int or not 1 <= factor <= MOST_SPLIT:
            return None
        pieces = [_share(runs[axis], factor, each) for each in range(factor)]
        runs[axis] = tuple(run for each in pieces for run in _share(each, sizes[direction], at[direction]))
        if len(runs[axis]) > MOST_SPLIT:
            return None
    if tuple(sum(stop - start for start, stop in each) for each in runs) != held:
        return None
    return Place(shape, tuple(map(_joined, runs)), ranks=math.prod(sizes))


MOST_SPLIT = 1 << 14  # ranges of one dimension that a shard has


def _share(runs: Runs, count: int, index: int) -> Runs:
    """The part *index* of *runs* that are split in *count*, as ``torch.chunk`` splits."""
    whole = sum(stop - start for start, stop in runs)
    step = -(-whole // count)
    first, last = min(index * step, whole), min((index + 1) * step, whole)
    found, before = [], 0
    for start, stop in runs:
        low, high = max(first - before, 0), min(last - before, stop - start)
        if low < high:
            found.append((start + low, start + high))
        before += stop - start
    return tuple(found)


def _joined(runs: Runs) -> Runs:
    """The same where one range begins where the one before it ends."""
    found: list[tuple[int, int]] = []
    for start, stop in runs:
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return tuple(found)


def _dimension(placement: Stub, work: Work) -> Any:
    return attributes(placement, work).get("dim", placement.args[0] if placement.args else None)


def _place_on(mesh: dict[str, Any], work: Work) -> tuple[Rank, tuple[int, ...]]:
    """(rank, of how many) on a mesh, and how long it is in each direction."""
    held, layout = mesh.get("mesh"), mesh.get("_layout")
    sizes: tuple[int, ...] | None = None
    if isinstance(held, Tensor) and held.lazy is not None:
        sizes = held.lazy.shape
    elif isinstance(layout, Stub):
        shaped = attributes(layout, work)
        axes = shaped.get("axes")
        if isinstance(axes, (tuple, list)):  # as PyTorch 2.13 has it: an axis is of several lengths, or of none
            shapes = [_lengths(attributes(axis, work).get("shape")) for axis in axes[:MOST] if isinstance(axis, Stub)]
            sizes = tuple(math.prod(each) for each in shapes if each is not None)
        else:
            sizes = _lengths(shaped.get("shape"))
    return placed(integers(mesh.get("_coordinate_on_dim")), sizes or ())


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


def sharded_tensor(stub: Stub, work: Work) -> Opened | None:
    """A ``ShardedTensor`` (FSDP 1): the shards that this rank holds."""
    state = stub.state[0] if stub.state else None
    if type(state) is not tuple or len(state) < 3 or type(state[0]) is not list or not isinstance(state[1], Stub):
        return None
    work.spend(4 * limits.KEPT * (1 + len(state[0])))
    group = attributes(state[2], work) if isinstance(state[2], Stub) else {}
    rank = None
    for place, count in (("local_rank", "local_world_size"), ("global_rank", "global_world_size")):
        pair = integers((group.get(place), group.get(count)))
        if rank is None and pair is not None and pair[0] < pair[1]:
            rank = (pair[0], pair[1])
    shape = integers(attributes(state[1], work).get("size")) or ()
    parts: list[tuple[Any, tuple[int, ...] | None]] = []
    later: list[tuple[str, Any]] = []
    places: list[Place | None] = []
    for index, shard in enumerate(state[0]):
        inside = attributes(shard, work) if isinstance(shard, Stub) else {}
        held, about = inside.get("tensor"), inside.get("metadata")
        begin = integers(attributes(about, work).get("shard_offsets")) if isinstance(about, Stub) else None
        if not isinstance(held, Tensor):
            later.append((str(index), shard))
            continue
        parts.append((held, integers(attributes(about, work).get("shard_sizes")) if isinstance(about, Stub) else None))
        lengths = held.lazy.shape if held.lazy is not None else ()
        places.append(_box(shape, begin, lengths, rank))
    split = rank is not None and rank[1] > 1
    children = sharded(parts, rank, shape) if parts or not later else []
    opened = Opened(children, [*later, *((HERE, each) for each in state[1:])], rank=rank if split else None)
    if places:
        opened.places = [
            place if place is None or key is HERE else replace(place, key=key)
            for place, (key, _) in zip(places, children, strict=True)
        ]
    return opened


def _box(shape: tuple[int, ...], begin: tuple[int, ...] | None, lengths: tuple[int, ...], rank: Rank) -> Place | None:
    """Where a shard of *lengths* belongs that begins at *begin*."""
    if begin is None or not len(begin) == len(lengths) == len(shape):
        return None
    runs = tuple(((start, start + length),) for start, length in zip(begin, lengths, strict=True))
    return Place(shape, runs, ranks=rank[1] if rank is not None else 0)


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
        named.append((HERE, Tensor(None, f"{whose} holds no shard of it, {_sizes(shape)} in all")))
    return named


def _lengths(value: Any) -> tuple[int, ...] | None:
    return integers(value if isinstance(value, (tuple, list)) else (value,))
