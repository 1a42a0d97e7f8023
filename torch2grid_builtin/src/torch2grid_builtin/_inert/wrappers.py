"""Objects that wrap tensors, seen through: what stands in them for the parameter, under which name, and what is plumbing.

Formats: ``torch/nested/_internal/nested_tensor.py``, ``torch/utils/mkldnn.py``; those of ranks are in ``shards.py``, those of
quantised layers in ``packed.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.opened import HERE, MOST, Opened, attributes, class_name, noted, same_view
from torch2grid_builtin._inert.packed import layer_fields, script_fields
from torch2grid_builtin._inert.shards import MESH, distributed, sharded_tensor
from torch2grid_builtin._inert.values import (
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

if TYPE_CHECKING:
    from torch2grid_builtin._inert.limits import Work
    from torch2grid_builtin._inert.machine import Machine

NESTED = "structure of a nested tensor"
_LEAVES = (Tensor, NumpyArray, StorageRef)
_CONTAINERS = (Pairs, Stub, list, tuple, Bag)
_NESTED, _JAGGED = "torch._utils._rebuild_nested_tensor", "torch.nested._internal.nested_tensor._rebuild_njt"
_MKLDNN = {"MkldnnBatchNorm": ("weight", "bias", "running_mean", "running_var")}
_STATES = ("state", "__dict__")


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
    named = attributes(stub, work)
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
    named = attributes(stub, work)
    script = named.pop("_actual_script_module", None)
    state = script.state[0] if isinstance(script, Stub) and script.state else None
    if type(state) is not tuple:
        return None
    names = _MKLDNN.get(class_name(stub), ("weight", "bias"))
    held = [(name, each) for name, each in zip(names, state, strict=False) if each is not None]
    rest = [(str(index), each) for index, each in enumerate(state) if index >= len(names)]
    return Opened(held, [*named.items(), *rest])


_KNOWN: dict[str, Callable[[Stub, Work], Opened | None]] = {
    "DTensor": distributed,
    "DeviceMesh": _mesh,
    "ShardedTensor": sharded_tensor,
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


def module_state(stub: Stub, work: Work) -> tuple[dict[str, Any], list[tuple[str, Any]]] | None:
    """Attributes of a module that a function rebuilds, and what its arguments hold beside them; ``None`` where it is none."""
    for index, arg in enumerate(stub.args[:MOST]):
        found, beside = mapping_of(arg), [(str(at), each) for at, each in enumerate(stub.args) if at != index]
        for _ in range(2):
            if found is None:
                break
            work.pairs(len(found.pairs))
            named = {key: value for key, value in found.entries() if type(key) is str}
            if is_module(named):
                return named, beside
            key = next((each for each in _STATES if mapping_of(named.get(each)) is not None), None)
            beside += [(key_text(other, at), each) for at, (other, each) in enumerate(found.entries()) if other != key]
            found = None if key is None else mapping_of(named[key])
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
        path, here = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        yield path, here
        below: list[tuple[str, Any]] = []
        for key, each in held(here, work):
            if isinstance(each, (*_LEAVES, *_CONTAINERS)):
                work.spend(limits.KEPT)
                work.text(len(path) + len(key))
                below.append((f"{path}.{key}" if path and key else path or key, each))
        waiting.extend(reversed(below))


def held(value: Any, work: Work) -> Iterator[tuple[str, Any]]:
    """(key, value) of everything right inside *value*, plain values too. Every step is paid for."""
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


def own_state(tensor: Tensor, work: Work) -> list[Any]:
    """The attributes of a tensor, as mappings; its ``data``, where a subclass keeps it once more, is left out."""
    kept: list[Any] = []
    for half in state_halves(tensor.state) or (tensor.state,):
        work.pairs(len(half.pairs) if isinstance(half, Pairs) else 0)
        again = half.get("data") if isinstance(half, Pairs) else None
        if isinstance(again, Tensor) and same_view(tensor.lazy, again.lazy):
            half = Pairs(half.kind, [(key, value) for key, value in half.pairs if key != "data"])
        kept.append(half)
    return kept
