"""Which of a file's tensors are something else than the model: found by what they are and where they stand.

A file is its model, less what is recognised here: optimizer state, random states, learning-rate schedules, copies of the
model and recorded data. Names are taken apart at their dots, so that flat names of a safetensors file and the mappings of
a pickle are judged alike; what only a loader can see of a container (``param_groups``, say) it states as its kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np

from torch2grid_core._data.dtypes import is_floating
from torch2grid_core._data.tensor import LazyTensor

PartKind = Literal["model", "copy", "optimizer", "random", "schedule", "data"]
ContainerKind = Literal["", "module", "optimizer", "random", "schedule", "data"]
MODEL = "model"
"""The part that is shown by default."""
ALL = "all"
"""What stands for every part of a file, under full names."""
_DEPTH = 64  # components of a name that count: no model is deeper, but a hostile name may have millions

_MOMENTS = frozenset(
    (
        *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "exp_avg_sq_row", "exp_avg_sq_col", "momentum_buffer"),
        *("square_avg", "acc_delta", "grad_avg", "sqr_avg", "fp32_param", "step_size"),
    )
)
_OPTIMIZER = frozenset(("optimizer", "optimizers", "optim", "optims", "opt", "opts"))
_SCHEDULE = frozenset(("scheduler", "schedulers", "schedule", "schedules", "sched"))
_RANDOM = frozenset(("rng", "random", "seed"))
_RANDOM_SIZES = {("uint8", 5056), ("uint32", 624)}  # the state of torch's CPU generator in bytes, of the Mersenne Twister
_COPIES = frozenset(
    ("ema", "emas", "average", "averaged", "avg", "swa", "shadow", "shadows", "polyak", "teacher", "target", "slow", "best")
)
_GRADIENTS = frozenset(("grad", "grads", "gradient", "gradients"))
_LIKE_MODEL = _COPIES | _GRADIENTS
_GENERIC = frozenset(("model", "models", "net", "network", "networks", "state", "dict", "params", "param", "weights", "module"))
_GENERIC |= {"policy", "online", "student", "main", "parameters", "q", "value"}  # what an average or a target is a copy of
_RECORDS = frozenset(("callbacks", "hyper_parameters", "hparams", "loops", "datamodule", "replay_buffer", "replay_memory"))
_EXPERIENCE = frozenset(("obs", "observation", "observations", "next_obs", "next_observations", "action", "actions"))
_EXPERIENCE |= {"reward", "rewards", "done", "dones", "terminal", "terminals", "terminations", "truncations"}
_MODEL_KEYS = frozenset(("model", "net", "network", "module", "weights", "params", "state_dict", "model_state", "model_dict"))
_MODEL_KEYS |= {"model_state_dict", "net_state_dict", "module_state_dict", "model_weights"}
_WRAPPERS = 4  # levels of a name that hold a single thing, such as module
_COMPARED = 100_000  # pairs of siblings that are compared: no model has as many, but a hostile file may
# What a name holds where anything in it may be recognised.
_WORTH: tuple[str, ...] = (
    "optim",
    "opt.",
    "opt_",
    "exp_avg",
    "momentum_buffer",
    "sqr_avg",
    "square_avg",
    "rng",
    "random",
    "seed",
    "sched",
    "ema",
    "avg",
)
_WORTH += (
    "average",
    "swa",
    "shadow",
    "polyak",
    "teacher",
    "target",
    "slow",
    "best",
    "grad",
    "obs",
    "action",
    "reward",
    "replay",
)


@dataclass(frozen=True)
class Part:
    """A named share of a file: the model, or what is recognised as something else.

    Args:
        name: of the part.
        prefix: what the names of its tensors begin with. It is dropped if the part is shown by itself; a name without it is
            kept whole.
        names: of its tensors.
        kind: what it is; ``copy`` is another state of the model, such as an average or a teacher.
        networks: the keys of the networks in it, if there are several side by side.
    """

    name: str
    prefix: str
    names: tuple[str, ...]
    kind: PartKind = "model"
    networks: tuple[str, ...] = ()

    def shown(self, name: str) -> str:
        """Return the name of the tensor *name* when the part is shown by itself."""
        return name[len(self.prefix) :] if name.startswith(self.prefix) else name


class _Node:
    """All names with one beginning. tensors: those that end here, by their last component."""

    __slots__ = ("children", "container", "key", "kind", "path", "tensors")

    def __init__(self, key: str, path: str) -> None:
        self.key, self.path = key, path
        self.children: dict[str, _Node] = {}
        self.tensors: dict[str, str] = {}
        self.container: ContainerKind | None = None
        self.kind: PartKind = "model"

    def below(self) -> Iterator[_Node]:
        """The node and all below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children.values()))

    def names(self) -> list[str]:
        """The full names of all tensors below."""
        return [name for node in self.below() for name in node.tensors.values()]


def find_parts(
    tensors: Mapping[str, LazyTensor], containers: Mapping[str, ContainerKind] | None = None
) -> tuple[list[Part], str | None]:
    """Return the parts of a file, and the name of the one that is shown by default; ``([], None)`` if all of it is the model.

    Args:
        tensors: all of the file, by full name, in its order.
        containers: the full name of each mapping, list or object of the file → what the loader knows of it; none for a format
            of flat names.
    """
    containers = containers or {}
    plain = not containers or containers.get("") == "module" or (len(containers) == 1 and containers.get("") == "")
    if not tensors or (plain and not _worth_it(tensors)):  # one state dict or module, as most files are
        return [], None
    root = _tree(tensors, containers)
    apart = _Apart(tensors)
    apart.visit(root)
    copies = list(_copies(root, apart, tensors))
    for node in copies:
        for name in node.names():
            apart.kinds.setdefault(name, node.kind)
    model = [name for name in tensors if name not in apart.kinds]
    parts: list[Part] = []
    if model:
        prefix, networks = _model_prefix(root, apart, tensors)
        if len(model) == len(tensors) and not prefix and not networks:
            return [], None
        shown = Part(MODEL, prefix, tuple(model), networks=networks)
        lost = len({shown.shown(name) for name in model}) < len(model)  # two names would become one
        parts.append(Part(MODEL, "", tuple(model), networks=networks) if lost else shown)
    names = {MODEL, ALL}
    for kind in ("optimizer", "schedule", "random"):
        found = [name for name in tensors if apart.kinds.get(name) == kind]
        if found:
            roots = [path for path, each in apart.roots.items() if each == kind]
            parts.append(Part(kind, _prefix_of(roots, found), tuple(found), kind))
            names.add(kind)
    for path in (path for path, kind in apart.roots.items() if kind == "data"):
        found = [name for name in apart.data[path] if name in tensors]
        parts.append(Part(_unique(path, names), f"{path}." if path else "", tuple(found), "data"))
    for node in copies:
        found = [name for name in node.names() if apart.kinds[name] == node.kind]
        parts.append(Part(_unique(node.path, names), f"{node.path}.", tuple(found), node.kind))
    default = MODEL if model else max(parts, key=lambda part: len(part.names)).name
    return parts, default


def _worth_it(names: Iterable[str]) -> bool:
    joined = "\n".join(names).lower()
    return any(word in joined for word in _WORTH)


def _tree(tensors: Mapping[str, LazyTensor], containers: Mapping[str, ContainerKind]) -> _Node:
    root = _Node("", "")
    root.container = containers.get("")
    nodes: dict[str, _Node] = {"": root}

    def node_at(path: str) -> _Node:
        """The node of *path*, made with all that lead to it."""
        waiting = []
        while path not in nodes:
            waiting.append(path)
            path = path.rpartition(".")[0]
        node = nodes[path]
        for each in reversed(waiting):
            key = each[len(node.path) + 1 :] if node is not root else each
            node.children[key] = nodes[each] = _Node(key, each)
            node = nodes[each]
        return node

    for name in tensors:
        path, _, last = name.rpartition(".") if name.count(".") <= _DEPTH else ("", "", name)
        node_at(path).tensors[last] = name
    for path, kind in containers.items():
        if path in nodes:
            nodes[path].container = kind
    return root


class _Apart:
    """The tensors that are recognised by themselves, and the nodes where they were: all but copies."""

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self.tensors = tensors
        self.kinds: dict[str, PartKind] = {}
        self.roots: dict[str, PartKind] = {}  # path → kind of what was recognised as a whole
        self.data: dict[str, list[str]] = {}

    def visit(self, root: _Node) -> None:
        """Look at *root* and below it; what is recognised is not looked into."""
        waiting = [root]
        while waiting:
            node = waiting.pop()
            kind = self.kind(node, node is root)
            if kind != "model":
                node.kind, self.roots[node.path] = kind, kind
                names = node.names()
                self.kinds.update(dict.fromkeys(names, kind))
                if kind == "data":
                    self.data[node.path] = names
                continue
            for name in node.tensors.values():
                if _is_random(name, self.tensors[name]):
                    self.kinds[name] = "random"
            waiting.extend(reversed(node.children.values()))

    def kind(self, node: _Node, is_root: bool) -> PartKind:
        if node.container not in (None, "", "module"):
            return node.container  # type: ignore[return-value]
        if node.container == "module":
            return "model"
        if len(_EXPERIENCE.intersection(node.tensors)) > 1 and not any(key in node.tensors for key in ("weight", "bias")):
            return "data"
        if is_root:
            return "model"
        words = _words(node.key)
        if node.container is not None and node.key.lower() in _RECORDS:
            return "data"
        if words & _OPTIMIZER and _has_moments(node):
            return "optimizer"
        if words & _SCHEDULE and all(self.tensors[name].size <= 1024 for name in node.names()):
            return "schedule"
        return "model"


def _has_moments(node: _Node) -> bool:
    """True where a tensor is named as an optimizer names its state, or stands below its ``state`` or ``param_groups``."""
    for each in node.below():
        if not _MOMENTS.isdisjoint(each.tensors) or (each is not node and each.key in ("state", "param_groups")):
            return True
        if not _MOMENTS.isdisjoint(each.children):
            return True
    return False


def _is_random(name: str, tensor: LazyTensor) -> bool:
    """True for integers that are the state of a random generator: of its length, or under a key that says so."""
    if tensor.dtype.kind not in "iu" or tensor.ndim != 1:
        return False
    if (tensor.dtype.name, tensor.size) in _RANDOM_SIZES:
        return True
    return tensor.dtype in (np.uint8, np.uint32, np.uint64, np.int64) and any(
        _words(part) & _RANDOM for part in name.split(".", _DEPTH)
    )


def _copies(root: _Node, apart: _Apart, tensors: Mapping[str, LazyTensor]) -> Iterator[_Node]:
    """The nodes whose key has a copy's word, or says gradients, and that have a sibling with the same names and shapes."""
    shapes = cache(lambda node: _Shapes(node, apart, tensors))
    compared = 0
    waiting = [root]
    while waiting:
        node = waiting.pop()
        children = [child for child in node.children.values() if child.kind == "model"]
        for child in children:
            if not _words(child.key) & _LIKE_MODEL or (child.container is None and len(child.names()) < 2):
                continue
            rest = _words(child.key) - _LIKE_MODEL - _GENERIC
            for other in children:
                compared += 1
                if compared > _COMPARED:
                    return
                if _words(other.key) & _LIKE_MODEL or (rest and rest != _words(other.key) - _GENERIC):
                    continue
                if shapes(other).cover(shapes(child)):
                    child.kind = "copy" if _words(child.key) & _COPIES else "data"
                    yield child
                    break
        waiting.extend(reversed([child for child in children if child.kind == "model"]))


class _Shapes:
    """The names below a node, without their dots, and the shapes of their tensors; no scalars.

    Wrappers on the way (``shadow``, ``module``) are no part of the names, but a lone module may be: each level counts.
    """

    def __init__(self, node: _Node, apart: _Apart, tensors: Mapping[str, LazyTensor]) -> None:
        starts = [len(node.path) + 1 if node.path else 0]
        while len(starts) < _WRAPPERS and _wraps(node, tensors):
            (node,) = node.children.values()
            starts.append(len(node.path) + 1)
        names = [name for name in node.names() if name not in apart.kinds and tensors[name].size > 1]
        self.shapes = [tensors[name].shape for name in names]
        self.numbered = bool(names) and all(name[starts[-1] :].isdigit() for name in names)
        levels = ([name[start:].replace(".", "") for name in names] for start in starts)
        self.levels = [frozenset(zip(level, self.shapes, strict=True)) for level in levels]

    def cover(self, copy: _Shapes) -> bool:
        """True where every tensor of *copy* has its like here, by name and shape; those of a list in order."""
        if not copy.shapes or len(copy.shapes) > len(self.shapes):
            return False
        if any(theirs <= mine for mine in self.levels for theirs in copy.levels):
            return True
        shapes = iter(self.shapes)
        return copy.numbered and all(any(shape == other for other in shapes) for shape in copy.shapes)


def _wraps(node: _Node, tensors: Mapping[str, LazyTensor]) -> bool:
    """True where a node holds nothing but another and scalars."""
    return len(node.children) == 1 and all(tensors[name].size <= 1 for name in node.tensors.values())


def _model_prefix(root: _Node, apart: _Apart, tensors: Mapping[str, LazyTensor]) -> tuple[str, tuple[str, ...]]:
    """The full name, with its dot, of the one container that holds the model, and the keys of networks where there are more.

    A container is left out of the names where nothing of the model stands beside it, or where only bare tensors do and the
    file is a training checkpoint; further ones inside it only where something else was recognised beside them.
    """
    prefix, node, first = "", root, True
    while node.container is not None and node.container != "module":
        inside = [child for child in _containers(node) if child.kind == "model" and _model_names(child, apart)]
        if not inside:
            break
        bare = [name for name in _bare(node) if name not in apart.kinds and tensors[name].size > 1]
        training = any(path.startswith(prefix) for path in apart.roots if path) or any(
            child.kind != "model" for child in _containers(node)
        )
        if len(inside) > 1:
            networks = tuple(child.path[len(prefix) :] for child in inside if _is_network(child, apart, tensors))
            side_by_side = len(networks) > 1 and (training or any(map(_is_state_dict, inside)))
            return prefix, networks if side_by_side else ()
        (only,) = inside
        key = only.path[len(prefix) :]
        known = key.lower() in _MODEL_KEYS
        if bare:
            weights = sum(tensors[name].size for name in _model_names(only, apart))
            if not (known or training) or weights < sum(tensors[name].size for name in bare):
                break
        elif not first and not (known or training):
            break
        prefix, node, first = f"{only.path}.", only, False
    return prefix, ()


def _containers(node: _Node) -> list[_Node]:
    """The containers right inside the container *node*: their keys may have dots."""
    found: list[_Node] = []
    waiting = list(reversed(node.children.values()))
    while waiting:
        child = waiting.pop()
        if child.container is not None or child.kind != "model":
            found.append(child)
        else:
            waiting.extend(reversed(child.children.values()))
    return found


def _bare(node: _Node) -> list[str]:
    """The tensors right inside the container *node*."""
    found: list[str] = []
    waiting = [node]
    while waiting:
        each = waiting.pop()
        found.extend(each.tensors.values())
        waiting.extend(child for child in each.children.values() if child.container is None and child.kind == "model")
    return found


def _model_names(node: _Node, apart: _Apart) -> list[str]:
    return [name for name in node.names() if name not in apart.kinds]


def _is_network(node: _Node, apart: _Apart, tensors: Mapping[str, LazyTensor]) -> bool:
    return any(tensors[name].ndim > 1 and is_floating(tensors[name].dtype) for name in _model_names(node, apart))


def _is_state_dict(node: _Node) -> bool:
    """True for a container of names with dots, or of a module."""
    return node.container == "module" or any(child.container is None for child in node.children.values())


def _prefix_of(roots: list[str], names: list[str]) -> str:
    """The full name of the only place that all *names* come from, with its dot."""
    if len(roots) == 1 and roots[0] and all(name.startswith(f"{roots[0]}.") for name in names):
        return f"{roots[0]}."
    return ""


def _unique(path: str, names: set[str]) -> str:
    """The last component of *path* as the name of a part; more of it where another part has that name."""
    pieces = path.split(".") if path else ["data"]
    for count in range(1, len(pieces) + 1):
        name = ".".join(pieces[-count:])
        if name not in names:
            break
    else:
        number = 2
        while f"{name}#{number}" in names:
            number += 1
        name = f"{name}#{number}"
    names.add(name)
    return name


@lru_cache(maxsize=4096)
def _words(key: str) -> frozenset[str]:
    """The words of a key: ``model_ema``, ``modelEMA`` and ``ema.model`` have the same two."""
    if len(key) > 200:
        return frozenset()
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key)
    return frozenset(word for word in re.split(r"[\W_]+|(?<=\D)(?=\d+\b)", apart.lower()) if word)
