"""Finds every tensor in what a pickle became, named as ``state_dict()`` would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch2grid_builtin._inert import limits, wrappers
from torch2grid_builtin._inert.content import container_kind
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.opened import HERE, Opened, Place, class_name, plain_values
from torch2grid_builtin._inert.packed import unpacked
from torch2grid_builtin._inert.torch_values import whole_storage
from torch2grid_builtin._inert.values import (
    Bag,
    Global,
    NumpyArray,
    Pairs,
    StorageRef,
    Stub,
    Tensor,
    key_text as key_text,
    state_halves,
)
from torch2grid_core import LazyTensor
from torch2grid_core.sources import ContainerKind, Skip

Child = tuple[str, Any]
_CONTAINERS = (Pairs, Stub, list, tuple, Bag)
_LEAVES = (Tensor, NumpyArray, StorageRef)
_INSIDE = frozenset((*_LEAVES, *_CONTAINERS))
_AGAIN, _AGAIN_EACH = 2000, 16  # names beyond the first, of all and for each tensor or container: objects that share parts
_SHORT = 16
_CODES, _STATES = "W_q", ("QuantState",)  # HQQ's codes, and what bitsandbytes says of its own
_RANKS = 3  # notes about them
_NAMING = ("getattr", "partial", "MethodType")  # what these are given stands elsewhere, too
_PATH = 200  # characters of each half of a class's path
_SCRIPT = re.compile(r"^__torch__\.|___torch_mangle_\d+\.")


@dataclass
class Found:
    """Tensors by name in the order of the file, the entries that are none, and what each container with tensors is.

    described: the plain values beside codes, by the name of what holds both.
    """

    by: str
    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    containers: dict[str, ContainerKind] = field(default_factory=dict)
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, Place | None] = field(default_factory=dict)  # of the tensors that are shards of larger ones


def collect(root: Any, by: str, work: limits.Work | None = None) -> Found:
    """All tensors under *root*. A module's are its parameters, buffers and children in that order, as in ``state_dict()``.

    Shared objects keep all their names; an object inside itself is entered once. Tensors that only other attributes
    and arguments hold come last. Raises ``Malformed`` where there are too many, their names are too long, or looking at them
    costs more than *work*.
    """
    walk = _Walk(Found(by), work or limits.Work())
    walk.run(root)
    walk.say_ranks()
    return walk.found


class _Walk:
    def __init__(self, found: Found, work: limits.Work) -> None:
        self.found = found
        self.work = work
        self.skipped_names: set[str] = set()
        self.characters = 0
        self.repeats: dict[str, int] = {}
        self.seen: set[int] = set()  # leaves that have a name
        self.entered: set[int] = set()
        self.barren: set[int] = set()  # containers that hold no tensor
        self.revisits = 0  # of containers that were entered, and of leaves in them
        self.left_out = False
        self.later: list[Child] = []
        self.opened: dict[int, Opened] = {}  # what objects are seen through as
        self.hidden: set[int] = set()  # plumbing that was looked at
        self.holding: dict[int, bool] = {}
        self.kept: list[Any] = []  # so that the ids of leaves stay their own
        self.shards: dict[tuple[int, int], int] = {}
        self.placing: dict[int, Place | None] = {}
        self.classes: dict[int, str] = {}  # by the id of the name that was to be imported

    def run(self, root: Any) -> None:
        if isinstance(root, _LEAVES):
            self.leaf("tensor", root)
        else:
            self.descend("", root, again=True)
        done = 0
        while done < len(self.later):
            name, value = self.later[done]
            done += 1
            if isinstance(value, _LEAVES):
                if id(value) not in self.seen:
                    self.leaf(name, value)
            elif id(value) not in self.entered:
                self.descend(name, value, again=False)
        if self.left_out:
            self.found.notes.append("objects that the file repeats very often are named only some of the times")

    def descend(self, name: str, value: Any, again: bool) -> None:
        """Depth first from *value*, without recursion. *again*: an object that was named before is named once more."""
        if not isinstance(value, _CONTAINERS):
            return
        on_path = {id(value)}
        stack = [(name, value, self.children(name, value), len(self.found.tensors) + len(self.found.skipped), False)]
        self.entered.add(id(value))
        while stack:
            prefix, parent, children, before, repeated = stack[-1]
            for key, child in children:
                if isinstance(child, _LEAVES):
                    if id(child) not in self.seen or (again and (not repeated or self.again())):
                        self.leaf(self.join(prefix, key), child, parent)
                    continue
                if not isinstance(child, _CONTAINERS) or id(child) in self.barren or id(child) in on_path:
                    continue
                known = id(child) in self.entered
                if known and not (again and self.again()):
                    continue
                full = self.join(prefix, key)
                if len(stack) >= limits.DEPTH:
                    self.skip(full, f"nested deeper than {limits.DEPTH} levels")
                    continue
                self.entered.add(id(child))
                on_path.add(id(child))
                count = len(self.found.tensors) + len(self.found.skipped)
                stack.append((full, child, self.children(full, child), count, repeated or known))
                break
            else:
                stack.pop()
                on_path.discard(id(parent))
                if len(self.found.tensors) + len(self.found.skipped) == before:
                    self.barren.add(id(parent))
                elif prefix not in self.found.containers and not wrappers.is_tensor(parent):
                    self.found.containers[prefix] = container_kind(parent, self.work)

    def again(self) -> bool:
        """True where one more name for what has one is in proportion to what there is: few bytes may ask for any number."""
        self.revisits += 1
        if self.revisits <= _AGAIN + _AGAIN_EACH * (len(self.seen) + len(self.entered)):
            return True
        self.left_out = True
        return False

    def children(self, name: str, value: Any) -> Iterator[Child]:
        """What *value* holds that may have tensors; what is only beside the point is put off."""
        if isinstance(value, Pairs):
            self.work.pairs(len(value.pairs))
            if value.state is not None:
                self.put_off(name, [("", value.state)])
            if value.repeats():
                self.say_replaced(name, value)
            if isinstance(value.get(_CODES), Tensor):
                self.found.described.setdefault(name, plain_values(value.entries(), self.work))
            return self.entries(name, value.entries())
        if isinstance(value, (list, tuple)):
            self.work.spend(len(value))
            return ((str(index), item) for index, item in enumerate(value) if type(item) in _INSIDE and self.may_hold(item))
        if isinstance(value, Bag):
            return self.children(name, value.items)
        return self.object_children(name, value)

    def entries(self, name: str, pairs: Iterator[tuple[Any, Any]], bidirectional: Any = None) -> Iterator[Child]:
        for index, (key, item) in enumerate(unpacked(pairs, bidirectional)):
            if type(item) in _INSIDE:
                yield (key if key is HERE else key_text(key, index)), item
            if type(key) in _INSIDE:
                self.put_off(name, [(f"{index}.key", key)])

    def say_replaced(self, name: str, mapping: Pairs) -> None:
        """No mapping is pickled with a key twice: one is damaged or hostile, and what the last value hides is said."""
        for index, (key, item) in enumerate(mapping.replaced()):
            if type(item) in _INSIDE:
                self.skip(self.join(name, key_text(key, index)), "the file sets this key again; the last value is shown")

    def object_children(self, name: str, stub: Stub) -> Iterator[Child]:
        self.work.pairs(len(stub.pairs or ()))
        self.work.spend(1 + len(stub.items or ()) + len(stub.args))
        opened = self.opened.get(id(stub)) or wrappers.look_through(stub, self.work)
        if opened is not None:
            self.opened[id(stub)] = opened
            yield from self.wrapped(name, opened)
            return
        attributes = list(stub.attributes(self.work))
        named = {key: value for key, value in attributes if type(key) is str}
        if class_name(stub) in _STATES:
            self.found.described.setdefault(name, plain_values(attributes, self.work))
        if wrappers.is_module(named):
            yield from self.module_children(name, named)
            return
        rebuilt = wrappers.module_state(stub, self.work) if stub.how == "call" else None
        if rebuilt is not None:
            yield from self.module_children(name, rebuilt[0])
            self.put_off(name, rebuilt[1])
        if stub.pairs:
            yield from self.entries(name, Pairs("dict", stub.pairs).entries())
        for index, item in enumerate(stub.items or ()):
            yield str(index), item
        yield from self.entries(name, iter(attributes), named.get("bidirectional"))
        for state in stub.state or ():
            if not isinstance(state, Pairs) and state_halves(state) is None:
                self.put_off(name, [("", state)])
                if kind := container_kind(stub, self.work):
                    self.found.containers.setdefault(name, kind)  # of the object, whatever its state is
        rest = [] if rebuilt is not None else [(str(index), arg) for index, arg in enumerate(stub.args)]
        if stub.how == "call":
            rest = [(key, wrappers.state_inside(arg, self.holds, self.work)) for key, arg in rest if self.holds(arg)]
            rest = [(HERE, rest[0][1])] if len(rest) == 1 else rest
        if stub.how == "call" and not (isinstance(stub.function, Global) and stub.function.name in _NAMING):
            yield from rest
        else:
            self.put_off(name, rest)
        if stub.kwargs is not None:
            self.put_off(name, [("", stub.kwargs)])
        if isinstance(stub.function, Stub):
            self.put_off(name, [("", stub.function)])

    def module_children(self, name: str, named: dict[str, Any]) -> Iterator[Child]:
        """A module's parameters, buffers and children, in the order of ``state_dict()``; its other attributes are put off."""
        self.found.containers.setdefault(name, "module")
        for part in ("_parameters", "_buffers", "_modules"):
            inside = named.pop(part, None)
            if isinstance(inside, Pairs):
                self.work.pairs(len(inside.pairs))
                self.entered.add(id(inside))
                yield from self.entries(name, inside.entries(), named.get("bidirectional"))
        packed = [key for key in named if key.startswith("_packed_")]
        if packed:
            yield from self.entries(name, iter([(key, named.pop(key)) for key in packed]))
        self.put_off(name, named.items())

    def wrapped(self, name: str, opened: Opened) -> Iterator[Child]:
        if opened.rank is not None:
            self.shards[opened.rank] = self.shards.get(opened.rank, 0) + 1
        self.placing.update((id(child), place) for (_, child), place in zip(opened.children, opened.places, strict=False))
        yield from opened.children
        self.put_off(name, opened.later)
        for key, value, reason in opened.hidden:
            full = self.join(name, key)
            for path, held in wrappers.inside(value, self.work, self.hidden):
                if isinstance(held, _CONTAINERS):
                    self.entered.add(id(held))
                elif isinstance(held, _LEAVES) and id(held) not in self.seen:
                    self.seen.add(id(held))
                    self.skip(self.join(full, path) if path else full, reason)

    def holds(self, value: Any) -> bool:
        """True where there is a tensor anywhere in *value*. What is found out on the way is remembered."""
        if not isinstance(value, _CONTAINERS) or id(value) in self.holding:
            return isinstance(value, _LEAVES) or self.holding.get(id(value), False)
        met = {id(value)}
        path = [(value, wrappers.held(value, self.work))]
        while path:
            for _, each in path[-1][1]:
                if isinstance(each, _LEAVES) or self.holding.get(id(each)):
                    self.holding.update((id(above), True) for above, _ in path)
                    return True
                if isinstance(each, _CONTAINERS) and id(each) not in met and id(each) not in self.holding:
                    self.work.spend(limits.KEPT)
                    met.add(id(each))
                    path.append((each, wrappers.held(each, self.work)))
                    break
            else:
                path.pop()
        self.holding.update((each, False) for each in met)
        return False

    def say_ranks(self) -> None:
        """A word about the ranks whose files hold the rest."""
        for (rank, count), tensors in list(self.shards.items())[:_RANKS]:
            counted = "1 tensor is a shard" if tensors == 1 else f"{tensors:,} tensors are shards"
            self.found.notes.append(f"rank {rank} of {count}: {counted}; the rest is in the files of the other ranks")

    def put_off(self, name: str, children: Any) -> None:
        for key, value in children:
            if type(value) in _INSIDE:
                self.work.spend(limits.KEPT)
                self.later.append((self.join(name, key) if key else name, value))

    def leaf(self, name: str, value: Any, holder: Any = None) -> None:
        self.seen.add(id(value))
        self.kept.append(value)
        stands = id(value)
        if isinstance(value, NumpyArray):
            if value.objects is not None:
                self.put_off(name, [("", value.objects)])
                self.skip(name, "a numpy array of Python objects, not numbers")
                return
            value = value.tensor or Tensor(None, "a numpy array whose content is missing")
        elif isinstance(value, StorageRef):
            value = whole_storage(value)
        if value.state is not None:
            self.put_off(name, [("", half) for half in wrappers.own_state(value, self.work)])
        for key, reason in value.beside:
            self.skip(self.join(name, key), reason)
        if value.lazy is None:
            self.skip(name, value.reason)
            return
        name = self.unique(name or "tensor", self.found.tensors)
        if stands in self.placing:
            self.found.places[name] = self.placing[stands]
        lazy, held = value.lazy, self.class_of(holder) or value.lazy.module_class
        self.found.tensors[name] = LazyTensor(  # what ``replace`` does, for a fraction of its cost
            name, lazy.shape, lazy.dtype, lazy.storage, lazy.offset, lazy.strides, lazy.note, held, lazy.taken
        )
        if len(self.found.tensors) > limits.NAMES:
            raise Malformed(f"more than {limits.NAMES:,} tensors", "it is not a checkpoint")

    def class_of(self, holder: Any) -> str:
        """The path of the class of the object that holds a tensor, empty where no class is stated."""
        if not isinstance(holder, Stub) or not isinstance(holder.root, Global):
            return ""
        known = self.classes.get(id(holder.root))
        if known is None:
            known = self.classes[id(holder.root)] = class_path(holder.root)
        return known

    def skip(self, name: str, reason: str) -> None:
        self.work.spend(limits.SKIPPED)
        name = self.unique(name, self.skipped_names)
        self.skipped_names.add(name)
        self.found.skipped.append(Skip(name, reason, self.found.by))

    def may_hold(self, value: Any) -> bool:
        """False for a list or tuple of plain values, of which a file may have millions."""
        if type(value) not in (list, tuple) or id(value) in self.entered:
            return True
        if id(value) in self.barren:
            return False
        self.work.spend(len(value))
        if any(type(item) in _INSIDE for item in value):
            return True
        if len(value) > _SHORT:  # a short one is looked at again sooner than remembered
            self.barren.add(id(value))
        return False

    def join(self, prefix: str, key: str) -> str:
        if key is HERE:
            return prefix
        self.work.text(len(prefix) + len(key))
        return f"{prefix}.{key}" if prefix else key

    def unique(self, name: str, taken: Any) -> str:
        self.characters += len(name)
        if self.characters > limits.NAME_CHARACTERS:
            raise Malformed("the names of the tensors are too long together", "it is hostile")
        if name not in taken:
            return name
        number = self.repeats.get(name, 1) + 1
        while f"{name}#{number}" in taken:
            number += 1
        self.repeats[name] = number
        return f"{name}#{number}"


def class_path(name: Global) -> str:
    """The dotted path of a class; that of a module of TorchScript without what the compiler added to tell copies apart."""
    return _SCRIPT.sub("", f"{name.module[:_PATH]}.{name.name[:_PATH]}")
