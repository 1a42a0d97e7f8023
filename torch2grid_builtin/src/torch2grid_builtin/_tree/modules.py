"""The modules of a checkpoint as a tree, from the names of its tensors alone, with their totals. No weight is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from torch2grid_core import Checkpoint, LazyTensor

_DEEPEST = 64  # components of a name that are modules: no model is deeper, but a hostile name may have millions


@dataclass(frozen=True)
class Totals:
    """Of several tensors. weights, bytes: a tied tensor counts once; bytes: of the weights when they are read."""

    tensors: int = 0
    weights: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, checkpoint: Mapping[str, LazyTensor], names: Iterable[str], aliases: Mapping[str, str]) -> Totals:
        """Those of the tensors called *names*."""
        count = weights = size = 0
        for name in names:
            count += 1
            if name not in aliases:
                weights += checkpoint[name].size
                size += checkpoint[name].nbytes
        return cls(count, weights, size)


@dataclass(eq=False)
class Node:
    """A module, or a tensor, which has no children. label: its place among its siblings; name: the whole path."""

    label: str
    name: str
    tensor: LazyTensor | None = None
    children: dict[str, Node] = field(default_factory=dict)
    tensors: int = 0
    weights: int = 0
    bytes: int = 0
    _build: tuple[object, ...] | None = None

    @property
    def build(self) -> tuple[object, ...]:
        """Equal for modules of the same tensors: their names within it, shapes and dtypes."""
        if self._build is None:
            if self.tensor is not None:
                self._build = (self.tensor.shape, self.tensor.dtype, self.weights)
            else:
                self._build = tuple((each.label, each.build) for each in self.children.values())
        return self._build


def tree_of(checkpoint: Checkpoint) -> Node:
    """The root, whose children are the outermost modules, in the order of the checkpoint."""
    root = Node("", "")
    for name, tensor in checkpoint.items():
        weights, size = (0, 0) if name in checkpoint.aliases else (tensor.size, tensor.nbytes)
        node, path = root, name.split(".", _DEEPEST)
        _count(root, weights, size)
        for depth, label in enumerate(path[:-1], 1):
            if label not in node.children:
                node.children[label] = Node(label, ".".join(path[:depth]))
            node = node.children[label]
            _count(node, weights, size)
        leaf = Node(path[-1], name, tensor)
        _count(leaf, weights, size)
        node.children[f"{path[-1]}\0"] = leaf  # a tensor may have the name of a module
    return root


def _count(node: Node, weights: int, size: int) -> None:
    node.tensors += 1
    node.weights += weights
    node.bytes += size


@dataclass(frozen=True)
class Branch:
    """A line of the tree: one node, or *alike*, siblings that are numbered and of equal build.

    label: what the line is called; of modules that hold nothing but the next one, all their names. indent: lines that it is
    below.
    """

    node: Node
    label: str
    indent: int = 0
    alike: tuple[Node, ...] = ()

    @property
    def times(self) -> int:
        """How many the line stands for."""
        return len(self.alike) or 1


def branches(root: Node, depth: int = 0, every: bool = False) -> Iterator[Branch]:
    """The lines of the tree, a module before what it holds.

    depth: components of a name, at most; 0: no limit. every: no line stands for several.
    """
    return _below(root, 0, 0, depth, every)


def _below(node: Node, indent: int, above: int, depth: int, every: bool) -> Iterator[Branch]:
    for alike in _siblings(list(node.children.values()), every):
        first, level = alike[0], above + 1
        label = first.label if len(alike) == 1 else _numbers(alike)
        while len(first.children) == 1 and level != depth:  # a module of one thing is no line of its own
            first, level = next(iter(first.children.values())), level + 1
            label = f"{label}.{first.label}"
        yield Branch(first, label, indent, alike if len(alike) > 1 else ())
        if level != depth:
            yield from _below(first, indent + 1, level, depth, every)


def cut(root: Node, depth: int = 0) -> Iterator[Node]:
    """The tensors, and in place of those whose names have more than *depth* components, the modules that hold them."""
    for node in root.children.values():
        if node.children and depth != 1:
            yield from cut(node, max(depth - 1, 0))
        else:
            yield node


def modules_of(root: Node, depth: int = 0) -> Iterator[Node]:
    """Every module, each before those in it, down to *depth* components of a name; 0: all."""
    for node in root.children.values():
        if node.children:
            yield node
            if depth != 1:
                yield from modules_of(node, max(depth - 1, 0))


def _siblings(nodes: list[Node], every: bool) -> list[tuple[Node, ...]]:
    """*nodes*, those that follow each other, are numbered and of equal build together."""
    if every:
        return [(node,) for node in nodes]
    found: list[tuple[Node, ...]] = []
    for numbered, run in groupby(nodes, key=lambda node: _is_number(node.label)):
        if numbered:
            found += [tuple(alike) for _, alike in groupby(run, key=lambda node: node.build)]
        else:
            found += [(node,) for node in run]
    return found


def _numbers(alike: tuple[Node, ...]) -> str:
    """``0…21``, or ``0, 2, 4`` where numbers are left out between."""
    labels = [node.label for node in alike]
    if [int(label[-18:]) for label in labels] == list(range(int(labels[0][-18:]), int(labels[0][-18:]) + len(labels))):
        return f"{labels[0]}…{labels[-1]}"
    return ", ".join(labels) if len(labels) <= 4 else f"{labels[0]}, {labels[1]} … {labels[-1]}"


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdigit()


def kind_of(name: str) -> str:
    """The name of a tensor with ``*`` for each number that is a component: what its siblings in other layers share."""
    return ".".join("*" if _is_number(part) else part for part in name.split(".", _DEEPEST))


def kinds_of(checkpoint: Checkpoint) -> dict[str, list[str]]:
    """Kind → the names of its tensors, the kind of the most weights first."""
    found: dict[str, list[str]] = {}
    for name in checkpoint:
        found.setdefault(kind_of(name), []).append(name)
    weights = {kind: Totals.of(checkpoint, names, checkpoint.aliases).weights for kind, names in found.items()}
    return dict(sorted(found.items(), key=lambda item: -weights[item[0]]))
