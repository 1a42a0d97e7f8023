"""Which stored tensors are the pairs of an adapter, and what each pair is of: names, ranks and scales."""

from __future__ import annotations

import math
import re
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from torch2grid_builtin._adapters import SOUGHT
from torch2grid_builtin._adapters.config import Config, NotUnderstood, described_configs, read_config
from torch2grid_builtin._adapters.product import Product
from torch2grid_builtin._decoders.codes import turned
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.sources import BytesStorage, is_floating
from torch2grid_core.text import counted, visible

BIAS = "lora_bias"  # what adds to a bias is called
DELTA = "delta."  # before the name of the weight that a change is of
_MOST = 1 << 16  # the rank
_SMALL = 64  # bytes of an alpha
# The first of two matrices, and the second: of PEFT, Unsloth and diffusers (lora_A), torchtune (lora_a.weight), MLX (lora_a),
# kohya (lora_down), and diffusers before it used PEFT (lora.down, to_q_lora.down).
_PAIR = re.compile(
    r"(?P<front>.*?)[._](?P<kind>lora_embedding_[AB]|lora_[AB]|lora_[ab](?=\.weight$|$)|lora_(?:down|up|mid)|lora[._](?:down|up))"
    r"(?:\.(?P<adapter>(?!weight$|bias$)[^.]+))?(?P<end>\.weight|\.bias)?"
)
_BESIDE = re.compile(
    r"(?P<front>.*)\.(?:(?P<magnitude>lora_magnitude_vector|magnitude|dora_scale)(?:\.(?P<adapter>(?!weight$)[^.]+))?(?:\.weight)?"
    r"|(?P<alpha>alpha))"
)
_TURNED = (".lora_a", ".lora_b")  # the ends of MLX's names, whose magnitude of DoRA is called m
_EMBEDDING = re.compile(r"embed|^(wte|wpe)$")  # modules whose change is lora_a · lora_b in MLX: nothing else tells
_OTHERS = {"hada_": "LoHa", "lokr_": "LoKr"}
_PEFT = "base_model.model."


@dataclass(frozen=True)
class Pair:
    """Two matrices of low rank, and what they are of.

    module: the name of the module that they change, as the base calls it; with underscores for dots where the file does so
    (*flat*). weight: the name of its weight. prefix: what stands before all names of its part of the file.
    stored: names of the tensors that are stored of it. left, right: matrices of the change's shape, so that
    scale · left · right is it. alpha: ``None`` where nothing says it; the scale is 1 then. magnitude: of DoRA, whose change is
    relative to the base. by_row: it is of each row of the matrix, else of each column. bias: the name of what is added to the
    module's bias, times the scale (``lora_bias``); it is not part of the change, and stays as it is stored.
    """

    module: str
    weight: str
    flat: bool
    stored: tuple[str, ...]
    shape: tuple[int, ...]
    left: LazyTensor
    right: LazyTensor
    rank: int
    alpha: float | None
    scale: float
    kind: str
    adapter: str = ""
    magnitude: LazyTensor | None = None
    by_row: bool = True
    bias: str = ""
    prefix: str = ""

    @property
    def name(self) -> str:
        """What the change of the weight is called."""
        return self.prefix + DELTA + (f"{self.adapter}." if self.adapter else "") + self.weight

    def of_bias(self, added: LazyTensor) -> Pair:
        """The change of the module's bias, scale · *added*, as a pair of a column and the number 1."""
        one = LazyTensor("one", (1, 1), np.dtype(np.float32), BytesStorage(np.ones(1, np.float32)))
        column = replace(added, shape=(added.size, 1), strides=None, taken=None)
        weight = f"{self.module}.bias"
        return replace(self, weight=weight, stored=(self.bias,), shape=(added.size,), left=column, right=one, rank=1, kind=BIAS)

    @property
    def product(self) -> Product:
        """The numbers of scale · left · right."""
        return Product(self.left, self.right, self.scale)

    def tensor(self, name: str = "") -> LazyTensor:
        """scale · left · right as a tensor: the change of the weight, but for DoRA's."""
        return LazyTensor(name or self.name, self.shape, Product.dtype, self.product, note=self.note)

    @property
    def note(self) -> str:
        """What it is, in a few words."""
        known = f"alpha {self.alpha:g}" if self.alpha is not None else "alpha not known"
        if self.kind == BIAS:
            return f"{BIAS}, {known}"
        return f"{self.kind} of rank {self.rank}, {known}"


@dataclass(frozen=True)
class Adapter:
    """The pairs of a checkpoint, in its order.

    left: why → the stored names of what looks like an adapter and is not understood.
    remarks: what else its settings say.
    """

    pairs: tuple[Pair, ...] = ()
    left: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """``adapter: 24 pairs, rank 8, alpha 16``."""
        count = len(self.pairs)
        alphas = [pair.alpha for pair in self.pairs if pair.alpha is not None]
        known = f"alpha {_range(alphas)}" if alphas else "alpha not known"
        dora = sum(pair.magnitude is not None for pair in self.pairs)
        told = "" if not dora else ", DoRA" if dora == count else f", {dora:,} of them DoRA"
        return f"adapter: {counted(count, 'pair')}, rank {_range([pair.rank for pair in self.pairs])}, {known}{told}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


_last: tuple[weakref.ref[Checkpoint], Adapter] | None = None


def adapter_of(checkpoint: Checkpoint) -> Adapter:
    """The pairs among the stored tensors of *checkpoint*, found once for all who ask. Reads settings and alphas, no weights."""
    global _last
    if _last is None or _last[0]() is not checkpoint:
        _last = (weakref.ref(checkpoint), _find(checkpoint))
    return _last[1]


@dataclass
class _Group:
    """The names of one pair: kind → name."""

    front: str
    adapter: str
    names: dict[str, str]
    twice: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self.names.values())

    @property
    def is_turned(self) -> bool:
        """True of MLX's, which are stored as (inputs, rank) and (rank, outputs)."""
        return all(self.names.get(key, "").endswith(_TURNED) for key in ("down", "up"))


def _find(checkpoint: Checkpoint) -> Adapter:
    groups: dict[tuple[str, str], _Group] = {}
    beside: dict[str, list[tuple[str, str, str]]] = {}
    left: dict[str, list[str]] = {}
    for name in checkpoint:
        if not any(each in name for each in SOUGHT) and not name.endswith((".alpha", ".magnitude")):
            continue
        other = next((what for mark, what in _OTHERS.items() if f".{mark}" in name), "")
        found = None if other else _PAIR.fullmatch(name)
        if other:
            left.setdefault(f"{other} is not decoded", []).append(name)
        elif found is not None:
            adapter = found["adapter"] or ""
            group = groups.setdefault((found["front"], adapter), _Group(found["front"], adapter, {}))
            kind = _KINDS[found["kind"].replace(".", "_").rpartition("lora_")[2]] if "embedding" not in found["kind"] else ""
            key = kind or f"embedding_{'down' if found['kind'].endswith('A') else 'up'}"
            key = "bias" if found["end"] == ".bias" else key
            group.twice |= key in group.names
            group.names[key] = name
        elif (near := _BESIDE.fullmatch(name)) is not None:
            kind = "alpha" if near["alpha"] else "magnitude"
            beside.setdefault(near["front"], []).append((kind, near["adapter"] or "", name))
    config = read_config(checkpoint) if groups else Config()
    configs = {"": config} if config.known or not groups else described_configs(checkpoint)
    several = len({adapter for _, adapter in groups}) > 1
    pairs = list[Pair]()
    for (front, adapter), group in groups.items():
        if group.is_turned and f"{front}.m" in checkpoint:
            group.names["magnitude"] = f"{front}.m"
        for kind, of, name in beside.get(front, ()):
            if kind == "alpha" or of == adapter:
                group.names.setdefault(kind, name)
        try:
            pairs.append(_pair(checkpoint, group, configs, several))
        except NotUnderstood as error:
            left.setdefault(str(error), []).extend(group.all)
    names = Counter(pair.name for pair in pairs)
    kept = [pair for pair in pairs if names[pair.name] == 1 and pair.name not in checkpoint]
    for pair in pairs:
        if names[pair.name] > 1 or pair.name in checkpoint:
            reason = "two pairs change one weight" if names[pair.name] > 1 else "the file stores a tensor of the change's name"
            left.setdefault(reason, []).extend(pair.stored)
    remarks = tuple(dict.fromkeys(each for config in configs.values() for each in config.remarks))
    return Adapter(tuple(kept), left, remarks if kept else ())


_KINDS = {"A": "down", "a": "down", "down": "down", "B": "up", "b": "up", "up": "up", "mid": "mid"}


def _pair(checkpoint: Checkpoint, group: _Group, configs: Mapping[str, Config], several: bool) -> Pair:
    """The pair of *group*. several: adapters of several names, so that settings may be of another one.

    Raises ``NotUnderstood``.
    """
    names = group.names
    part = checkpoint.part_of.get(next(iter(names.values())))
    prefix = part.prefix if part is not None and group.front.startswith(part.prefix) else ""
    module, flat = _module(group.front.removeprefix(prefix))
    component, _, inner = module.partition(".")
    config, inside = (configs[component], inner) if component in configs else (configs.get("", Config()), module)
    config = Config() if several else config
    if config.refused:
        raise NotUnderstood(config.refused)
    embedding = "embedding_down" in names or "embedding_up" in names
    keys = ("embedding_down", "embedding_up") if embedding else ("down", "up")
    missing = [key for key in keys if key not in names]
    if group.twice or (embedding and ("down" in names or "up" in names)) or len(missing) == len(keys):
        raise NotUnderstood("its tensors are not a pair")
    if missing:
        raise NotUnderstood(f"its {'second' if 'up' in missing[0] else 'first'} matrix is not here")
    if "mid" in names:
        raise NotUnderstood("a third matrix (lora_mid) stands between the two")
    down, up = checkpoint[names[keys[0]]], checkpoint[names[keys[1]]]
    for each in (down, up):
        if not is_floating(each.dtype) or each.dtype.itemsize < 2:
            raise NotUnderstood(f"its matrices are {each.dtype.name}")
    of_rows = group.is_turned and _EMBEDDING.search(module.rpartition(".")[2]) is not None
    if group.is_turned:
        if down.ndim != 2 or up.ndim != 2:
            raise NotUnderstood("its matrices are those of several experts")
        if of_rows:
            down, up = up, down
        elif down.shape[1] == up.shape[0] and (down.shape[0] != up.shape[1] or down.shape[1] <= down.shape[0]):
            down, up = turned(down), turned(up)
    left, right, shape = _matrices(down, up)
    rank = right.shape[0]
    if config.is_parameter(inside, rank):
        raise NotUnderstood("it is of a parameter that is not a module (target_parameters): of the experts of a layer, say")
    stated = config.rank_of(inside)
    if stated is not None and stated != rank:
        raise NotUnderstood(f"its settings say rank {stated:g}, and its matrices have {rank}")
    own, alpha = _alpha(checkpoint, names.get("alpha")), config.alpha_of(inside)
    if own is not None and alpha is not None and not math.isclose(own, alpha, rel_tol=1e-2):  # one may be rounded
        raise NotUnderstood(f"its settings say alpha {alpha:g}, and the file {own:g}")
    alpha = own if own is not None else alpha
    if alpha is None and names[keys[0]].endswith(("lora_down.weight", "lora.down.weight")) and not config.known:
        alpha = float(rank)  # what every reader of such a file takes
    if alpha is None and config.scale is not None:
        alpha = config.scale * rank  # MLX states the factor itself
    scale = 1.0 if alpha is None else alpha / (math.sqrt(rank) if config.root else rank)
    is_turned = embedding or config.turned
    if is_turned:
        if len(shape) != 2:
            raise NotUnderstood("fan_in_fan_out of a convolution")
        left, right, shape = turned(right), turned(left), shape[::-1]
    magnitude, by_row = _magnitude(checkpoint, names.get("magnitude"), shape, is_turned)
    if config.dora and magnitude is None:
        raise NotUnderstood("its settings say DoRA, and its magnitude is not here")
    return Pair(
        module=module,
        weight=module if flat else f"{module}.weight",
        flat=flat,
        stored=(names[keys[0]], names[keys[1]], *(names[key] for key in ("magnitude", "alpha") if key in names)),
        shape=shape,
        left=left,
        right=right,
        rank=rank,
        alpha=alpha,
        scale=scale,
        kind="LoRA" if magnitude is None else "DoRA",
        adapter=group.adapter if several else "",
        magnitude=magnitude,
        by_row=by_row,
        bias=names.get("bias", ""),
        prefix=prefix,
    )


def _matrices(down: LazyTensor, up: LazyTensor) -> tuple[LazyTensor, LazyTensor, tuple[int, ...]]:
    """(outputs, rank), (rank, inputs) and the shape of the weight. Raises ``NotUnderstood``."""
    if down.ndim == 2 == up.ndim:
        left, right = up, down
    elif down.ndim == up.ndim and 3 <= down.ndim <= 5 and math.prod(up.shape[2:]) == 1:
        left, right = _flat(up), _flat(down)
    else:
        raise NotUnderstood(f"matrices of shapes {list(down.shape)} and {list(up.shape)} do not fit")
    if left.shape[1] != right.shape[0]:
        raise NotUnderstood(f"matrices of shapes {list(down.shape)} and {list(up.shape)} do not fit")
    if not 0 < right.shape[0] <= _MOST or not left.size or not right.size:
        raise NotUnderstood(f"matrices of shapes {list(down.shape)} and {list(up.shape)} have no weights that can be shown")
    return left, right, (up.shape[0], *down.shape[1:])


def _flat(tensor: LazyTensor) -> LazyTensor:
    if not tensor.contiguous:
        raise NotUnderstood("its kernels do not lie in order")
    return replace(tensor, shape=(tensor.shape[0], math.prod(tensor.shape[1:])), strides=None, taken=None)


def _alpha(checkpoint: Checkpoint, name: str | None) -> float | None:
    if name is None:
        return None
    tensor = checkpoint[name]
    if tensor.size != 1 or tensor.nbytes > _SMALL or tensor.dtype.kind in "cb":
        raise NotUnderstood("its alpha is not a number")
    value = float(np.asarray(tensor).reshape(-1)[0])
    if not math.isfinite(value):
        raise NotUnderstood(f"its alpha is {value:g}")
    return value


def _magnitude(
    checkpoint: Checkpoint, name: str | None, shape: tuple[int, ...], is_turned: bool
) -> tuple[LazyTensor | None, bool]:
    """The magnitude of DoRA, and whether it has a number for each row. Raises ``NotUnderstood``."""
    if name is None:
        return None, True
    tensor = checkpoint[name]
    long = [length for length in tensor.shape if length != 1]
    if not is_floating(tensor.dtype) or len(long) > 1 or not tensor.contiguous:
        raise NotUnderstood(f"a magnitude of shape {list(tensor.shape)}")
    by_row = not is_turned
    if name.endswith("dora_scale") and tensor.ndim >= 2:  # of LyCORIS: of the outputs, or of the inputs
        place = next((place for place, length in enumerate(tensor.shape) if length != 1), 0)
        by_row = place == 0
        if place > 1 or (not by_row and len(shape) > 2):
            raise NotUnderstood(f"a magnitude of shape {list(tensor.shape)}")
    wanted = shape[0] if by_row else math.prod(shape[1:])
    if tensor.size != wanted:
        raise NotUnderstood(f"a magnitude of shape {list(tensor.shape)} for weights of shape {list(shape)}")
    return tensor, by_row


def _module(front: str) -> tuple[str, bool]:
    """The name of the module as the base has it, and whether its dots are underscores."""
    if front.startswith(_PEFT):
        front = front.removeprefix(_PEFT)
    flat = "." not in front and front.startswith("lora_")
    return front, flat


def remarks_on(adapter: Adapter) -> list[str]:
    """What there is to say of the adapter, a line each; nothing where there is none."""
    lines = [adapter.text] if adapter.pairs else []
    unknown = [pair.name for pair in adapter.pairs if pair.alpha is None]
    if unknown:
        lines.append(f"alpha is not known of {_named(unknown)}: B·A is shown, without its factor")
    dora = [pair.weight for pair in adapter.pairs if pair.magnitude is not None]
    if dora:
        lines.append(f"DoRA's change of {_named(dora)} needs the base: --view adapter:base=MODEL shows it; the pairs are shown")
    biases = [pair.bias for pair in adapter.pairs if pair.bias]
    if biases:
        lines.append(f"{_named(biases)}: changes of biases (lora_bias), shown as stored")
    lines += [f"{line}" for line in adapter.remarks]
    for reason, names in adapter.left.items():
        lines.append(f"{_named(names)}: not decoded: {reason}; shown as stored")
    return lines


def _named(names: Sequence[str]) -> str:
    return visible(names[0], 80) + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")
