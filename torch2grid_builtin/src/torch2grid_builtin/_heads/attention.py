"""Which weights each head of each attention layer has: from names, shapes and the configuration beside the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._compare.facts import StatedHeads, heads_stated
from torch2grid_builtin._compare.figures import by_kind, kind_and_layer
from torch2grid_builtin._compare.maps import FUSED, FUSED_GROUPED, GROUPED, OTHER_ORDER, TRIOS, WAYS_OUT
from torch2grid_builtin._forms import stored_transposed
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.sources import as_float, is_floating

Array = np.ndarray[Any, Any]

# Beside a projection, what is as long as a head, and what has as many columns, or numbers, as there are heads.
_AS_LONG = ("q_norm", "norm_q", "q_layernorm", "q_ln", "query_norm", "attn_q_norm")
_AS_MANY = ("sinks", "relative_attention_bias.weight", "relative_position_bias_table")
# Latent attention: keys and values, or queries too, through fewer numbers (DeepSeek-AI 2024). q, what queries are read through,
# k and v, what these are read through with the rotary keys that heads share, and the way out.
_LATENT = (
    ("q_proj", "", "kv_b_proj", "kv_a_proj_with_mqa", "o_proj"),
    ("q_b_proj", "q_a_proj", "kv_b_proj", "kv_a_proj_with_mqa", "o_proj"),
    ("wq", "", "wkv_b", "wkv_a", "wo"),
    ("wq_b", "wq_a", "wkv_b", "wkv_a", "wo"),
    ("attn_q", "", "attn_kv_b", "attn_kv_a_mqa", "attn_output"),
    ("attn_q_b", "attn_q_a", "attn_kv_b", "attn_kv_a_mqa", "attn_output"),
)
_CROSS = re.compile(r"encoder_attn|encdecattention|cross_?att|multihead_attn|attn2$|xattn", re.IGNORECASE)


class Unknown(Exception):
    """Why an attention layer is not cut into heads."""


@dataclass(frozen=True)
class HeadRows:
    """Where the rows of each head are in a stored tensor, of q, k and v its outputs, of o its inputs.

    axis: of the matrix, which dimension they are counted along. size: rows of one head. per: heads that are a group. start:
    of the first; outer, inner: from one group to the next, and from one head of a group to the next, 0 where they share.
    stack: each head has a matrix of its own, and these count matrices. through: of latent attention, the matrix that the rows
    are multiplied with, of which the first rows count, as many as these have columns.
    """

    tensor: str
    axis: int
    size: int
    start: int
    per: int
    outer: int
    inner: int = 0
    stack: bool = False
    through: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The stored tensors."""
        return (self.tensor, self.through) if self.through else (self.tensor,)

    def first(self, head: int) -> int:
        """Where the rows of *head* begin."""
        group, place = divmod(head, self.per)
        return self.start + group * self.outer + place * self.inner

    def of(self, arrays: Mapping[str, Array], head: int) -> Array:
        """The rows of *head* from the stored numbers by name: float64, (rows, the width of the model)."""
        first, stored = self.first(head), arrays[self.tensor]
        if self.stack:
            taken = stored[first]
        else:
            taken = stored[first : first + self.size] if self.axis == 0 else stored[:, first : first + self.size]
        found = as_float(taken.T if self.axis else taken).astype(np.float64)
        if not self.through:
            return found
        with np.errstate(all="ignore"):  # NaN and Inf are seen in the product
            return np.asarray(found @ as_float(arrays[self.through][: found.shape[1]]).astype(np.float64))


@dataclass(frozen=True)
class Attention:
    """One layer of attention. module: what its tensors' names begin with. width: of what it writes to.

    q_width: of what queries read. said: what tells how many heads there are. cross: keys and values come from elsewhere.
    """

    module: str
    heads: int
    kv_heads: int
    q: HeadRows
    k: HeadRows
    v: HeadRows
    o: HeadRows
    width: int
    q_width: int
    said: str
    cross: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The stored tensors."""
        return tuple(dict.fromkeys(name for each in (self.q, self.k, self.v, self.o) for name in each.names))

    @property
    def stack(self) -> tuple[str, int]:
        """What the layers share that read and write the same numbers one after the other."""
        return kind_and_layer(self.module)[0], self.width


@dataclass(frozen=True)
class Attentions:
    """The attention layers of a model. left: module → why it is not cut into heads."""

    found: tuple[Attention, ...]
    left: tuple[tuple[str, str], ...] = ()


def attentions(checkpoint: Checkpoint, heads: int = 0) -> Attentions:
    """The attention layers of *checkpoint*, those of one stack in order. heads: of each; 0: as shapes and configuration say."""
    stated = heads_stated(checkpoint)
    found: list[Attention] = []
    left: list[tuple[str, str]] = []
    modules = dict(_modules(checkpoint))
    for module in by_kind(list(modules)):
        try:
            found.append(_Layer(checkpoint, module, modules[module], stated, heads).cut())
        except Unknown as why:
            left.append((module, str(why)))
    return Attentions(tuple(found), tuple(left))


def _modules(checkpoint: Checkpoint) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Module → names of q, k, v and o, or of the three as one and o; the last is empty where there is no way out.

    Of latent attention q, what queries are read through, k and v, what these are read through, and o: the second may be empty.
    """
    trios = {trio[0]: trio for trio in TRIOS}
    fused = {*FUSED}
    latent = {leaves[2] for leaves in _LATENT}
    for name in checkpoint:
        module, leaf = _split(name)
        if leaf in latent:
            for leaves in _LATENT:
                own = tuple(each and _named(checkpoint, module, each, name) for each in leaves)
                if all(found or not each for found, each in zip(own, leaves, strict=True)):
                    yield module, own
            continue
        if leaf in trios:
            own = tuple(_named(checkpoint, module, each, name) for each in trios[leaf])
        elif leaf in fused:
            own = (name,)
        else:
            continue
        if all(own) and all(_is_matrix(checkpoint[each]) for each in own):
            yield module, (*own, next(filter(None, (_named(checkpoint, module, each, name) for each in WAYS_OUT)), ""))


def _split(name: str) -> tuple[str, str]:
    """``("layers.0.attn", "q_proj")`` for ``layers.0.attn.q_proj.weight``."""
    module, _, leaf = name.removesuffix(".weight").rpartition(".")
    return module, leaf if leaf == "in_proj_weight" else leaf.removesuffix("_weight")


def _named(checkpoint: Checkpoint, module: str, leaf: str, like: str) -> str:
    """The name of the matrix *leaf* of *module*, however it ends; empty where there is none."""
    if leaf.startswith(".."):
        module, leaf = module.rpartition(".")[0], leaf[2:]
    stem = f"{module}.{leaf}" if module else leaf
    return next((name for name in (f"{stem}.weight", f"{stem}_weight", stem) if name in checkpoint), "")


def _is_matrix(tensor: LazyTensor) -> bool:
    return tensor.ndim in (2, 3) and is_floating(tensor.dtype) and tensor.size > 0


class _Layer:
    """Cuts one layer."""

    def __init__(
        self, checkpoint: Checkpoint, module: str, names: Sequence[str], stated: Sequence[StatedHeads], heads: int
    ) -> None:
        self.checkpoint, self.module, self.stated, self.given = checkpoint, module, stated, heads
        *self.inputs, self.out = names

    def cut(self) -> Attention:
        """Raises ``Unknown``."""
        if not self.out or not _is_matrix(self.checkpoint[self.out]):
            raise Unknown("no projection back to the model (o) is found beside it")
        tensors = [self.checkpoint[name] for name in (*self.inputs, self.out) if name]
        if any(tensor.taken is not None for tensor in tensors):
            raise Unknown("a slice of a tensor is not cut into heads")
        dims = {tensor.ndim for tensor in tensors}
        if dims == {3}:
            return self._stacked(tensors) if len(tensors) == 4 else self._no("three dimensions")
        if dims != {2}:
            return self._no("matrices and stacks of them together")
        if len(self.inputs) == len(_LATENT[0]) - 1:
            q, through, kv, kv_through = self.inputs
            own = [self.checkpoint[name] for name in (q, kv, kv_through, self.out)]
            return self._latent(*own, q_through=self.checkpoint[through] if through else None)
        return self._separate(tensors) if len(tensors) == 4 else self._fused(*tensors)

    def _no(self, what: str) -> Attention:
        raise Unknown(f"{what} are in no order that is known here")

    def _stacked(self, tensors: Sequence[LazyTensor]) -> Attention:
        """A matrix for each head: q, k, v of (heads, width, rows), o of (heads, rows, width)."""
        q, k, v, o = (tensor.shape for tensor in tensors)
        heads, kv = q[0], k[0]
        if v[0] != kv or o[0] != heads or heads % kv or q[2] != k[2] or v[2] != o[1]:
            raise Unknown(f"shapes {_shapes(tensors)} are not those of stacked heads")
        share = heads // kv
        rows = (
            HeadRows(tensors[0].name, 1, q[2], 0, 1, 1, stack=True),
            HeadRows(tensors[1].name, 1, k[2], 0, share, 1, stack=True),
            HeadRows(tensors[2].name, 1, v[2], 0, share, 1, stack=True),
            HeadRows(tensors[3].name, 0, o[1], 0, 1, 1, stack=True),
        )
        return self._attention(heads, kv, rows, (o[2], q[1]), "the shapes")

    def _separate(self, tensors: Sequence[LazyTensor]) -> Attention:
        q, k, v, o = (tensor.shape for tensor in tensors)
        heads, said = self._heads(q[0], o[1], o[0])
        size, rest = divmod(o[1], heads)
        kv, more = divmod(v[0], size or 1)
        if rest or more or not kv or heads % kv or k[0] % kv or q[0] != heads * (k[0] // kv):
            raise Unknown(f"{heads} heads ({said}) do not fit shapes {_shapes(tensors)}")
        share, long = heads // kv, k[0] // kv
        rows = (
            HeadRows(tensors[0].name, 0, long, 0, 1, long),
            HeadRows(tensors[1].name, 0, long, 0, share, long),
            HeadRows(tensors[2].name, 0, size, 0, share, size),
            HeadRows(tensors[3].name, 1, size, 0, 1, size),
        )
        return self._attention(heads, kv, rows, (o[0], q[1]), said)

    def _latent(
        self, q: LazyTensor, kv: LazyTensor, kv_through: LazyTensor, o: LazyTensor, *, q_through: LazyTensor | None
    ) -> Attention:
        """Of each head (plain, rotary) rows of q, and (plain, value) of kv; the rotary key is the last rows of *kv_through*.

        The plain rows alone make a circuit: what rotary ones compare depends on the distance.
        """
        rotary = kv_through.shape[0] - kv.shape[1]
        heads, rest = divmod(q.shape[0] - kv.shape[0] + o.shape[1], rotary) if rotary > 0 else (0, 1)
        reads = q if q_through is None else q_through
        fits = q_through is None or q_through.shape[0] == q.shape[1]
        if rest or heads < 1 or o.shape[1] % heads or kv.shape[0] % heads or not fits or reads.shape[1] != kv_through.shape[1]:
            known = [each for each in (q, q_through, kv, kv_through, o) if each is not None]
            raise Unknown(f"shapes {_shapes(known)} are not those of latent attention")
        if self.given not in (0, heads):
            raise Unknown(f"the shapes are those of {heads} heads, not of {self.given}")
        value, both = o.shape[1] // heads, kv.shape[0] // heads
        plain = both - value
        if plain < 1:
            raise Unknown("keys have nothing but rotary rows")
        rows = (
            HeadRows(q.name, 0, plain, 0, 1, plain + rotary, through="" if q_through is None else q_through.name),
            HeadRows(kv.name, 0, plain, 0, 1, both, through=kv_through.name),
            HeadRows(kv.name, 0, value, plain, 1, both, through=kv_through.name),
            HeadRows(o.name, 1, value, 0, 1, value),
        )
        return self._attention(heads, heads, rows, (o.shape[0], reads.shape[1]), "the shapes")

    def _fused(self, fused: LazyTensor, out: LazyTensor) -> Attention:
        turned = bool(stored_transposed(fused.name, fused.shape))
        if fused.shape[0] != out.shape[1] and fused.shape[1] == out.shape[0]:
            turned = False  # what is read is as wide as what is written: three times as many inputs as rows, with few keys
        axis = int(turned)
        total = fused.shape[axis]
        inner, width = out.shape if turned else out.shape[::-1]
        kind = next((each.kind for each in self.stated if each.kind), "")
        if kind in OTHER_ORDER:
            raise Unknown(f"the order of q, k and v of {kind} is not known here")
        heads, said = self._heads(inner, inner, width)
        size, rest = divmod(inner, heads)
        kv, more = divmod(total - inner, 2 * (size or 1))
        if rest or more or kv < 1 or heads % kv:
            raise Unknown(f"{heads} heads ({said}) do not fit shapes {_shapes((fused, out))}")
        share = heads // kv
        leaf = _split(fused.name)[1]
        if kind in GROUPED if kind else leaf in FUSED_GROUPED:
            step = (share + 2) * size
            rows = (
                HeadRows(fused.name, axis, size, 0, share, step, size),
                HeadRows(fused.name, axis, size, share * size, share, step),
                HeadRows(fused.name, axis, size, (share + 1) * size, share, step),
            )
        else:
            rows = (
                HeadRows(fused.name, axis, size, 0, 1, size),
                HeadRows(fused.name, axis, size, inner, share, size),
                HeadRows(fused.name, axis, size, inner + kv * size, share, size),
            )
        widths = width, fused.shape[1 - axis]
        return self._attention(heads, kv, (*rows, HeadRows(out.name, 1 - axis, size, 0, 1, size)), widths, said)

    def _attention(self, heads: int, kv: int, rows: Sequence[HeadRows], widths: tuple[int, int], said: str) -> Attention:
        q, k, v, o = rows
        return Attention(self.module, heads, kv, q, k, v, o, *widths, said, bool(_CROSS.search(self.module)))

    def _heads(self, rows: int, inner: int, width: int) -> tuple[int, str]:
        """How many heads there are, and what says so. rows: of q; inner: what o reads. Raises ``Unknown``."""
        if self.given:
            return self.given, "heads=…"
        for leaf in _AS_LONG:
            name = _named(self.checkpoint, self.module, leaf, "")
            long = self.checkpoint[name].size if name else 0
            if 1 < long < rows and rows % long == 0:
                return rows // long, f"the length of {leaf}"
        for leaf in _AS_MANY:
            found = self.checkpoint.get(f"{self.module}.{leaf}")
            many = found.shape[-1] if found is not None and found.ndim else 0
            if 0 < many <= inner and inner % many == 0:
                return many, f"the shape of {leaf.removesuffix('.weight')}"
        return self._from_configuration(inner, width)

    def _from_configuration(self, inner: int, width: int) -> tuple[int, str]:
        fitting = [each for each in self.stated if _fits(each, inner, width)]
        own = [each for each in fitting if each.part and each.part.removesuffix("_config").lower() in self.module.lower()]
        told = {each.heads: each.said for each in own or fitting}
        if len(told) == 1:
            ((heads, said),) = told.items()
            return heads, said
        if told:
            raise Unknown(f"config.json says {' and '.join(map(str, sorted(told)))} heads of different parts; heads=… says it")
        if self.stated:
            numbers = ", ".join(dict.fromkeys(f"{each.heads}" for each in self.stated))
            raise Unknown(f"{inner} rows are not {numbers} heads, as {self.stated[0].said} says; heads=… says how many")
        raise Unknown("neither shapes nor a config.json beside the file say how many heads there are; heads=… says it")


def _fits(stated: StatedHeads, inner: int, width: int) -> bool:
    if stated.head:
        return stated.heads * stated.head == inner
    return inner % stated.heads == 0 and (not stated.width or stated.width in (inner, width))


def _shapes(tensors: Sequence[LazyTensor]) -> str:
    return ", ".join("×".join(map(str, tensor.shape)) for tensor in tensors)
