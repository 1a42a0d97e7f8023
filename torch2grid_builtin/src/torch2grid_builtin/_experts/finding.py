"""Which weights each expert of each mixture has: from names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch2grid_builtin._compare.figures import by_kind
from torch2grid_builtin._compare.maps import ROUTERS
from torch2grid_builtin._forms import stacked
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.sources import is_floating

# One expert a tensor: "mlp.experts.3.up_proj.weight", "experts.expert_3.wi", "experts.linear_fc1.weight3".
_EACH = re.compile(r"(?P<module>(?:.*?[._])?)experts?[._](?:[a-z_]{1,40}[._])?(?P<expert>\d{1,6})\.(?P<rest>.+)", re.IGNORECASE)
_LAST = re.compile(r"(?P<module>(?:.*?[._])?)experts?\.(?P<rest>[a-z_]\w*)\.weight(?P<expert>\d{1,6})", re.IGNORECASE)
_STACK = re.compile(r"expert|moe|_exps(\.|$)", re.IGNORECASE)
_INSIDE = re.compile(r"(?P<module>.*?)(?:^|[._])experts?\.(?P<rest>.+)", re.IGNORECASE)
_SHARED = re.compile(r"(?P<module>(?:.*?\.)?)(?:\w*shared_experts?\.(?P<rest>.+)|(?P<gguf>\w+_shexp)\.weight)", re.IGNORECASE)


@dataclass(frozen=True)
class Member:
    """A matrix of an expert: a tensor, or where it is not ``None`` the one at *index* of a stack."""

    expert: int
    tensor: str
    index: tuple[int, ...] | None = None

    def of(self, tensor: LazyTensor) -> LazyTensor:
        """The matrix."""
        return tensor if self.index is None else tensor.view(self.index)


@dataclass(frozen=True)
class Projection:
    """The same matrix of all experts of a layer. shared: of experts that every token takes.

    name: within the expert, and behind it the part that was taken.
    """

    module: str
    name: str
    members: tuple[Member, ...]
    shared: bool = False

    @property
    def key(self) -> tuple[str, str, bool]:
        return self.module, self.name, self.shared

    @property
    def names(self) -> tuple[str, ...]:
        """The stored tensors."""
        return tuple(dict.fromkeys(each.tensor for each in self.members))


@dataclass(frozen=True)
class Mixture:
    """The experts of one layer. router: its tensor, and along which dimension experts are counted there.

    shared: a projection of each matrix of the experts that every token takes; they are counted from 0, as one or more.
    """

    module: str
    projections: tuple[Projection, ...]
    router: tuple[str, int] | None = None
    shared: tuple[Projection, ...] = ()

    @property
    def experts(self) -> tuple[int, ...]:
        """Their numbers, rising."""
        return tuple(sorted({each.expert for projection in self.projections for each in projection.members}))

    @property
    def names(self) -> tuple[str, ...]:
        """All its tensors."""
        parts = [name for each in (*self.projections, *self.shared) for name in each.names]
        return tuple(dict.fromkeys([*parts, *([self.router[0]] if self.router else [])]))


def mixtures(checkpoint: Checkpoint) -> tuple[Mixture, ...]:
    """The mixtures of *checkpoint*, those of one kind in order."""
    found: dict[str, dict[str, list[Member]]] = {}
    shared: dict[str, dict[str, list[Member]]] = {}
    for name, tensor in checkpoint.items():
        if name in checkpoint.aliases or not is_floating(tensor.dtype):
            continue
        part = "" if tensor.taken is None else str(tensor.taken)
        for module, rest, member, apart in _members(name, tensor):
            (shared if apart else found).setdefault(module, {}).setdefault(rest + part, []).append(member)
    mixed = []
    for module in by_kind(list(found)):
        projections = _projections(module, found[module])
        count = max(len(each.members) for each in projections)
        if count > 1:
            common = _projections(module, shared.get(module, {}), shared=True)
            mixed.append(Mixture(module, projections, _router(checkpoint, module, count), common))
    return tuple(mixed)


def _projections(module: str, found: dict[str, list[Member]], shared: bool = False) -> tuple[Projection, ...]:
    return tuple(
        Projection(module, rest, tuple(sorted(members, key=lambda each: each.expert)), shared)
        for rest, members in found.items()
    )


def _members(name: str, tensor: LazyTensor) -> Iterator[tuple[str, str, Member, bool]]:
    """Module, name within the expert, the matrix, and whether it is of a shared expert."""
    if tensor.ndim == 2 and min(tensor.shape) > 1:
        if apart := _SHARED.fullmatch(name):
            yield _module(apart["module"]), _short(apart["rest"] or apart["gguf"]), Member(0, name), True
        elif each := _EACH.fullmatch(name) or _LAST.fullmatch(name):
            yield _module(each["module"]), _short(each["rest"]), Member(int(each["expert"]), name), False
    elif tensor.ndim == 3 and _STACK.search(name) and min(tensor.shape[1:]) > 1 and (stack := stacked(name, tensor.shape)):
        inside = _INSIDE.fullmatch(name)
        module, _, last = name.removesuffix(".weight").rpartition(".")
        for place, (expert,) in enumerate(stack.indices):
            member = Member(expert, name, (place,))
            yield (*((_module(inside["module"]), _short(inside["rest"])) if inside else (module, last)), member, False)


def _module(before: str) -> str:
    return before.rstrip("._")


def _short(rest: str) -> str:
    return rest.removesuffix(".weight").removesuffix("_weight")


def _router(checkpoint: Checkpoint, module: str, count: int) -> tuple[str, int] | None:
    """The matrix that has a row, or a column, for each expert; ``None`` where a part of it was taken."""
    for leaf in ROUTERS:
        stem = f"{module}.{leaf}" if module else leaf
        for name in (f"{stem}.weight", stem):
            tensor = checkpoint.get(name)
            if tensor is None or tensor.ndim != 2 or tensor.taken is not None:
                continue
            if is_floating(tensor.dtype) and count in tensor.shape:
                return name, tensor.shape.index(count)
    return None
