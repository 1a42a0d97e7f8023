"""Finds every tensor in what a pickle became, named as ``state_dict()`` would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch2grid_builtin.inert import limits
from torch2grid_builtin.inert.torch_values import whole_storage
from torch2grid_builtin.inert.values import (
    Bag,
    Global,
    Malformed,
    NumpyArray,
    Pairs,
    StorageRef,
    Stub,
    Tensor,
    number_text,
    text,
)
from torch2grid_core import LazyTensor, Skip

Child = tuple[str, Any]
_CONTAINERS = (Pairs, Stub, list, tuple, Bag)
_LEAVES = (Tensor, NumpyArray, StorageRef)
_INSIDE = frozenset((*_LEAVES, *_CONTAINERS))
_REVISITS = 100_000
_SHORT = 16
_PATH = 200  # characters of each half of a class's path
_SCRIPT = re.compile(r"^__torch__\.|___torch_mangle_\d+\.")


@dataclass
class Found:
    """Tensors by name in the order of the file, and the entries that are none."""

    by: str
    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect(root: Any, by: str, work: limits.Work | None = None) -> Found:
    """All tensors under *root*. A module's are its parameters, buffers and children in that order, as in ``state_dict()``.

    Shared objects keep all their names; an object inside itself is entered once. Tensors that only other attributes
    and arguments hold come last. Raises ``Malformed`` where there are too many, their names are too long, or looking at them
    costs more than *work*.
    """
    walk = _Walk(Found(by), work or limits.Work())
    walk.run(root)
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
        self.revisits = 0
        self.later: list[Child] = []
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
        if self.revisits > _REVISITS:
            self.found.notes.append("objects that the file repeats very often are named only some of the times")

    def descend(self, name: str, value: Any, again: bool) -> None:
        """Depth first from *value*, without recursion. *again*: an object that was named before is named once more."""
        if not isinstance(value, _CONTAINERS):
            return
        on_path = {id(value)}
        stack = [(name, value, self.children(name, value), len(self.found.tensors) + len(self.found.skipped))]
        self.entered.add(id(value))
        while stack:
            prefix, parent, children, before = stack[-1]
            for key, child in children:
                if isinstance(child, _LEAVES):
                    if again or id(child) not in self.seen:
                        self.leaf(self.join(prefix, key), child, parent)
                    continue
                if not isinstance(child, _CONTAINERS) or id(child) in self.barren or id(child) in on_path:
                    continue
                if id(child) in self.entered:
                    self.revisits += 1
                    if not again or self.revisits > _REVISITS:
                        continue
                full = self.join(prefix, key)
                if len(stack) >= limits.DEPTH:
                    self.skip(full, f"nested deeper than {limits.DEPTH} levels")
                    continue
                self.entered.add(id(child))
                on_path.add(id(child))
                stack.append((full, child, self.children(full, child), len(self.found.tensors) + len(self.found.skipped)))
                break
            else:
                stack.pop()
                on_path.discard(id(parent))
                if len(self.found.tensors) + len(self.found.skipped) == before:
                    self.barren.add(id(parent))

    def children(self, name: str, value: Any) -> Iterator[Child]:
        """What *value* holds that may have tensors; what is only beside the point is put off."""
        if isinstance(value, Pairs):
            self.work.pairs(len(value.pairs))
            if value.state is not None:
                self.put_off(name, [("", value.state)])
            if value.repeats():
                self.say_replaced(name, value)
            return self.entries(name, value.entries())
        if isinstance(value, (list, tuple)):
            self.work.spend(len(value))
            return ((str(index), item) for index, item in enumerate(value) if type(item) in _INSIDE and self.may_hold(item))
        if isinstance(value, Bag):
            return self.children(name, value.items)
        return self.object_children(name, value)

    def entries(self, name: str, pairs: Iterator[tuple[Any, Any]]) -> Iterator[Child]:
        for index, (key, item) in enumerate(pairs):
            if type(item) in _INSIDE:
                yield key_text(key, index), item
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
        attributes = list(stub.attributes(self.work))
        named = {key: value for key, value in attributes if type(key) is str}
        if isinstance(named.get("_parameters"), Pairs) and isinstance(named.get("_modules"), Pairs):
            for part in ("_parameters", "_buffers", "_modules"):
                inside = named.pop(part, None)
                if isinstance(inside, Pairs):
                    self.work.pairs(len(inside.pairs))
                    self.entered.add(id(inside))
                    yield from self.entries(name, inside.entries())
            self.put_off(name, ((key, value) for key, value in named.items()))
            return
        if stub.pairs:
            yield from self.entries(name, Pairs("dict", stub.pairs).entries())
        for index, item in enumerate(stub.items or ()):
            yield str(index), item
        yield from self.entries(name, iter(attributes))
        for state in stub.state or ():
            if not isinstance(state, Pairs):
                self.put_off(name, [("", state)])
        self.put_off(name, ((str(index), arg) for index, arg in enumerate(stub.args)))
        if stub.kwargs is not None:
            self.put_off(name, [("", stub.kwargs)])
        if isinstance(stub.function, Stub):
            self.put_off(name, [("", stub.function)])

    def put_off(self, name: str, children: Any) -> None:
        for key, value in children:
            if type(value) in _INSIDE:
                self.work.spend(limits.KEPT)
                self.later.append((self.join(name, key) if key else name, value))

    def leaf(self, name: str, value: Any, holder: Any = None) -> None:
        self.seen.add(id(value))
        if isinstance(value, NumpyArray):
            if value.objects is not None:
                self.put_off(name, [("", value.objects)])
                self.skip(name, "a numpy array of Python objects, not numbers")
                return
            value = value.tensor or Tensor(None, "a numpy array whose content is missing")
        elif isinstance(value, StorageRef):
            value = whole_storage(value)
        if value.state is not None:
            self.put_off(name, [("", value.state)])
        if value.lazy is None:
            self.skip(name, value.reason)
            return
        name = self.unique(name or "tensor", self.found.tensors)
        self.found.tensors[name] = replace(value.lazy, name=name, module_class=self.class_of(holder) or value.lazy.module_class)
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


def key_text(key: Any, index: int) -> str:
    """The name that a mapping's key gives: text as it is, numbers in digits, anything else by its place."""
    plain = text(key)
    if plain is not None:
        return plain
    if isinstance(key, (bool, int, float)):
        return number_text(key)
    if type(key) is tuple and 0 < len(key) <= 4 and all(type(each) in (str, int, bool) for each in key):
        return "(" + ", ".join(each if type(each) is str else number_text(each) for each in key) + ")"
    return key.path if isinstance(key, Global) else str(index)
