"""What an object of a pickle is seen through as: tensors under its own name, and what in it is plumbing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from torch2grid_builtin._inert.values import DtypeName, Stub, Tensor, text
from torch2grid_core import LazyTensor

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work

MOST = 64  # dimensions, of tensors and of meshes
_DESCRIBING = 64  # plain values that describe a tensor
_TEXT = 100


class _Here(str):
    """A key that adds nothing to the name of what it stands in."""

    __slots__ = ()


HERE: Final = _Here()


@dataclass(frozen=True)
class Place:
    """Where a shard belongs in the whole tensor.

    shape: of the whole. runs: in each dimension the ranges of it that the shard has, in the order in which it has them; several
    where ranks split what other ranks had split before (strided). key: what the shard's name has behind that of the tensor.
    ranks: how many there are, 0 where that is not known.
    """

    shape: tuple[int, ...]
    runs: tuple[tuple[tuple[int, int], ...], ...]
    key: str = ""
    ranks: int = 0


@dataclass
class Opened:
    """What an object holds. An entry under ``HERE`` has the object's own name.

    later: beside the point, named after all else. hidden: (key, value, reason), tensors in it are counted as not shown.
    rank: of how many, where the object holds the shard of one rank. places: where the children belong that are shards, as far
    as that is known; a partial sum belongs nowhere.
    """

    children: list[tuple[str, Any]] = field(default_factory=list)
    later: list[tuple[str, Any]] = field(default_factory=list)
    hidden: list[tuple[str, Any, str]] = field(default_factory=list)
    rank: tuple[int, int] | None = None
    places: list[Place | None] = field(default_factory=list)


def attributes(stub: Stub, work: Work) -> dict[str, Any]:
    """The attributes of *stub* that have a text for a name. Raises ``Malformed`` where reading them costs too much."""
    return {key: value for key, value in stub.attributes(work) if type(key) is str}


def noted(value: Any, note: str) -> Any:
    """*value* with *note* in front of its own, where it is a tensor."""
    if not isinstance(value, Tensor) or value.lazy is None or not note:
        return value
    lazy = replace(value.lazy, note=", ".join(filter(None, (note, value.lazy.note))))
    return Tensor(lazy, value.reason, value.state, value.beside)


def integers(value: Any) -> tuple[int, ...] | None:
    """*value* as a few integers that are not negative, ``None`` where it is something else."""
    if isinstance(value, Stub) and value.path == "torch.Size":
        value = value.args[0] if value.args else ()
    if type(value) not in (tuple, list) or len(value) > MOST:
        return None
    if not all(type(each) is int and 0 <= each < 1 << 63 for each in value):
        return None
    return tuple(value)


def plain_values(pairs: Iterable[tuple[Any, Any]], work: Work) -> dict[str, Any]:
    """The numbers, short texts and sizes among *pairs*, and names of dtypes: what describes the tensors beside them."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = text(key)
        if name is None or len(found) >= _DESCRIBING:
            continue
        work.spend(1)
        if type(value) in (int, float, bool) or (type(value) is str and len(value) <= _TEXT):
            found[name] = value
        elif (size := integers(value)) is not None:
            found[name] = size
        elif isinstance(value, DtypeName):
            found[name] = value.name
    return found


def class_name(stub: Stub) -> str:
    """The last part of the dotted name of the class."""
    return stub.path.rpartition(".")[2]


def same_view(one: LazyTensor | None, other: LazyTensor | None) -> bool:
    """True where both are the same numbers at the same place of one storage."""
    if one is None or other is None:
        return False
    return one.storage is other.storage and all(
        getattr(one, each) == getattr(other, each) for each in ("dtype", "shape", "offset", "strides")
    )
