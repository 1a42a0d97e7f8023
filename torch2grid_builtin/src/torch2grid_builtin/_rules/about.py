"""Which tensors the rules look at, and what is usual of them."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._adapters import DECODER as ADAPTER
from torch2grid_builtin._codes import codes
from torch2grid_builtin._views.units import has_units, is_figure
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.measures import Distribution
from torch2grid_core.sources import is_complex, is_floating, whole_shape

FEW = 16  # weights: fewer say nothing about a distribution
EXPLODED = 1000.0  # times the usual std, from which a size is no matter of initialisation
_WEIGHT = re.compile(r"weight|kernel|proj|^w", re.IGNORECASE)
# Parameters and buffers that weights are scaled, gated or decoded with: a scale of 1 and a zero point of 0 are in order.
_SCALE = re.compile(
    r"(^|_)(scales?|scale_inv|scale_parameter|zeros?|zero_?points?|gates?|gamma|alpha|lambda|temperature|absmax|amax|scb|grn)(_?\d+)?$",
    re.IGNORECASE,
)
# Memories and tables that a model carries along: they start at zero, or are the same in each row.
_STATE = re.compile(
    r"^(h|c)_?0$|init(ial)?_(state|hidden|cell|memory)|hidden(_states?)?$|cell_states?$|(^|_)state$|cache|(^|_)mem(ory)?$"
    r"|mel_|filter_?bank|^fb$|basis|window|coords|_grid$",
    re.IGNORECASE,
)
# Parameters of state spaces and decays, equal in each unit by construction.
_CONSTRUCTED = re.compile(
    r"^(A(_b)?_logs?|log_A\w*|A_(real|imag|re|im)|Ds?(_b)?|(log_)?(dt|decay|lambda|nu|theta)(_log)?|time_\w+|slopes)$",
)
# Of a module's own name, whose words stand between underscores. Each pattern looks for one word: one that looks for two would
# begin anew at each of the first, and a name is as long as its file says.
_PLACES = re.compile(
    r"(^|_)(pos(ition(al|s)?)?_?(emb|enc|table)|rel(ative)?_pos|(wpe|relative_attention_bias)$)", re.IGNORECASE
)
_EMBEDS, _BY_PLACE = re.compile(r"(^|_)emb", re.IGNORECASE), re.compile(r"pos(ition)?s?$", re.IGNORECASE)
_TYPES = re.compile(r"(^|[._])(token_type|segment)", re.IGNORECASE)
_VOCABULARY = re.compile(
    r"emb|vocab|(^|_)(wte|shared|lm_head|head|generator|proj_out|logits|output|decoder|lut)$", re.IGNORECASE
)
_LOOKUP = re.compile(r"emb|(^|_)(wte|wpe|shared|lut)$", re.IGNORECASE)
# Modules that begin at zero, so that they change nothing until they are trained.
_FROM_ZERO = re.compile(
    r"lora_(B|up)|zero_?(conv|module|linear|proj|init)|adaln|(attn|cross|ff|res|alpha)_?gate|layer_?scale|rezero", re.IGNORECASE
)
_MASK = re.compile(r"mask(?!_(token|emb))", re.IGNORECASE)
# The best score so far and the range seen so far begin at ±Inf.
_RECORD = re.compile(r"best|score|kth_value|metric|(^|_)(min|max)_vals?$", re.IGNORECASE)
_READ = 1 << 26  # weights of a mask that are looked at one by one


@dataclass(slots=True)
class _Weight:
    """A tensor that is a weight by name and shape. learned: see there. mask: whether it is one; ``None`` until asked."""

    name: str
    tensor: LazyTensor
    learned: bool
    mask: bool | None = None


_last: tuple[weakref.ref[Checkpoint], Sequence[_Weight]] | None = None  # looked up once for all rules


def own(checkpoint: Checkpoint, results: Mapping[str, Any]) -> Iterator[tuple[LazyTensor, Any]]:
    """Each tensor once, tied ones under their first name, with its result."""
    for name, tensor in checkpoint.items():
        if name not in checkpoint.aliases and name in results:
            yield tensor, results[name]


def weights(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> Iterator[tuple[LazyTensor, Distribution]]:
    """Of those, the weights: matrices, kernels and the weights of normalisations.

    Left out are biases, figures about data, scales and zero points, codes of quantised weights, states, and masks. summaries:
    of each tensor, by name.
    """
    for each, summary in _weights(checkpoint, summaries):
        yield each.tensor, summary


def _weights(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> Iterator[tuple[_Weight, Distribution]]:
    for each in _named_weights(checkpoint):
        summary = summaries.get(each.name)
        if summary is not None:
            if each.mask is None:
                each.mask = is_mask(each.tensor, summary)
            if not each.mask:
                yield each, summary


def _named_weights(checkpoint: Checkpoint) -> Sequence[_Weight]:
    """What is no bias, figure, scale, state or code by name and shape."""
    global _last
    if _last is None or _last[0]() is not checkpoint:
        stored = codes(checkpoint)
        found = (pair for pair in checkpoint.items() if pair[0] not in checkpoint.aliases and pair[0] not in stored)
        named = [(name, tensor) for name, tensor in found if _is_named_weight(tensor, checkpoint)]
        _last = (weakref.ref(checkpoint), [_Weight(name, each, _is_learned(each, checkpoint)) for name, each in named])
    return _last[1]


def _is_named_weight(tensor: LazyTensor, checkpoint: Checkpoint) -> bool:
    last = _last_part(tensor)
    scales = tensor.ndim > 1 and (_SCALE.search(last) or _STATE.search(last))
    return has_units(tensor, checkpoint) and not is_figure(tensor.name) and not scales


def learned(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> Iterator[tuple[LazyTensor, Distribution]]:
    """Of the weights, those whose units training tells apart.

    Not the parameters of state spaces, as Mamba's ``A_log``, nor what an adapter adds to a weight.
    """
    for each, summary in _weights(checkpoint, summaries):
        if each.learned:
            yield each.tensor, summary


def _is_learned(tensor: LazyTensor, checkpoint: Checkpoint) -> bool:
    return not _CONSTRUCTED.search(_last_part(tensor)) and not is_change(tensor, checkpoint)


def _last_part(tensor: LazyTensor) -> str:
    return tensor.name.rpartition(".")[2]


def _place(tensor: LazyTensor) -> str:
    """The module's own name: ``wte`` of ``h.wte.weight``; that of the tensor where it is no ``weight``."""
    parts = tensor.name.split(".")
    return parts[-2] if len(parts) > 1 and parts[-1].lower() in ("weight", "weights", "kernel", "embedding") else parts[-1]


def is_change(tensor: LazyTensor, checkpoint: Checkpoint) -> bool:
    """True for the change of a weight that an adapter makes: of low rank, small, and zero before it is trained."""
    composed = checkpoint.composed.get(tensor.name)
    return composed is not None and composed.by == ADAPTER


def is_number(tensor: LazyTensor) -> bool:
    """True for floating and complex tensors, which may hold NaN and Inf."""
    return is_floating(tensor.dtype) or is_complex(tensor.dtype)


def is_matrix(tensor: LazyTensor) -> bool:
    """True for two or more units of two or more weights each, ``FEW`` weights in all."""
    return tensor.ndim >= 2 and tensor.size >= FEW and tensor.shape[0] > 1 and tensor.size > tensor.shape[0]


def is_called_weight(tensor: LazyTensor) -> bool:
    """True for the names that weights have (``weight``, ``kernel``, ``up_proj``, ``W1``), not those of other parameters."""
    return bool(_WEIGHT.search(_last_part(tensor)))


def is_single_channel(tensor: LazyTensor) -> bool:
    """True for kernels that see one channel each, as depthwise convolutions have them."""
    return tensor.ndim >= 3 and tensor.shape[1] == 1


def is_place_table(tensor: LazyTensor) -> bool:
    """True for tables of positions, whose neighbours are much alike."""
    place = _place(tensor)
    last = _BY_PLACE.search(place)
    return bool(_PLACES.search(place) or (last and _EMBEDS.search(place, 0, last.start())))


def is_type_table(tensor: LazyTensor) -> bool:
    """True for the embedding of token types or segments, which models without types keep at zero."""
    return bool(_TYPES.search(_place(tensor)))


def is_vocabulary(tensor: LazyTensor) -> bool:
    """True for an embedding, or a head over a vocabulary: rows are tokens, of which some are padding or never used."""
    return tensor.ndim == 2 and max(tensor.shape) >= 2 * FEW and bool(_VOCABULARY.search(_place(tensor)))


def is_lookup(tensor: LazyTensor) -> bool:
    """True for an embedding by its name, whose rows are looked up."""
    return tensor.ndim == 2 and bool(_LOOKUP.search(_place(tensor)))


def begins_at_zero(tensor: LazyTensor) -> bool:
    """True for adapters, gates and zero convolutions: nothing but zeros means that training has not reached them."""
    return bool(_FROM_ZERO.search(".".join(tensor.name.split(".")[-3:-1]))) or bool(_FROM_ZERO.search(_last_part(tensor)))


def is_record(tensor: LazyTensor) -> bool:
    """True for figures that begin at ±Inf: the best score so far of a callback, the range that an observer has seen."""
    return bool(_RECORD.search(_last_part(tensor)))


def is_mask(tensor: LazyTensor, summary: Distribution) -> bool:
    """True for masks and fill values, by name or by content.

    A mask is zero where it lets pass, and the same number elsewhere (1, −Inf, −10⁹, the least of the dtype); or it is square
    and nothing but zero or −Inf on one side of the diagonal. What is called ``weight`` is none.
    """
    last = _last_part(tensor)
    if _MASK.search(last):
        return True
    if tensor.ndim < 2 or summary.nan or summary.posinf or last.lower().endswith(("weight", "kernel")):
        return False
    return is_fill(summary) or _is_triangular(tensor, summary)


def is_fill(summary: Distribution) -> bool:
    """True for zeros and one other number, twice or more, which is no weight: 1, −Inf, or −100 and less."""
    if summary.neginf:
        return summary.neginf >= 2 and summary.zeros == summary.finite > 0
    others = summary.finite - summary.zeros
    value = summary.min if summary.max <= 0 else summary.max
    fills = value == 1 or value <= -100
    if others < 2 or not summary.zeros or 0 not in (summary.min, summary.max) or not fills:
        return False
    return math.isclose(summary.mean / value * summary.finite / others, 1, rel_tol=1e-9)  # all are the extreme one


def _is_triangular(tensor: LazyTensor, summary: Distribution) -> bool:
    side = tensor.shape[-1]
    if tensor.shape[-2] != side or side < 2 or not is_number(tensor) or tensor.size > _READ:
        return False
    half = tensor.size // (side * side) * (side * (side - 1) // 2)
    if summary.zeros + summary.neginf < half or summary.zeros == summary.count:
        return False  # not that many, so that nothing is read
    values = tensor.numpy().reshape(-1, side, side)
    upper = np.triu(np.ones((side, side), bool), 1)
    for part in (upper, upper.T):
        infinite = values[:, part] == -np.inf
        if bool((infinite | (values[:, part] == 0)).all()) and int(infinite.sum()) == summary.neginf:
            return True
    return False


def is_one_weight(summary: Distribution) -> bool:
    """True where one weight has most of the sum of squares. Nothing is squared: of float64 weights that may be too large."""
    return summary.absmax > math.sqrt(0.4 * summary.finite) * summary.rms


def is_sparse(tensor: LazyTensor, summary: Distribution) -> bool:
    """True where a tenth of the weights and more is exactly zero, but not all: what pruning leaves."""
    return 0.1 * summary.count <= summary.zeros < summary.count


def is_operator(summary: Distribution) -> bool:
    """True for what takes sums of a few: a filter bank, a regressor of joints. Half of it is zero, and nothing negative."""
    return summary.min >= 0 and 0.5 * summary.count <= summary.zeros < summary.count


def is_pruned(checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> bool:
    """True where half of the matrices, and two or more, are sparse: zeros are what was wanted."""
    judged = ((tensor, summary) for tensor, summary in learned(checkpoint, summaries) if is_matrix(tensor))
    matrices = [is_sparse(tensor, summary) for tensor, summary in judged if not is_operator(summary)]
    return sum(matrices) >= max(len(matrices) / 2, 2)


def fan_in(tensor: LazyTensor) -> int:
    """Weights of one output unit; of matrices in a stack (experts), of one unit of one of them."""
    shape = whole_shape(tensor.shape)
    if len(shape) == 3 and ("expert" in tensor.name.lower() or min(shape[1:]) >= 64):
        return max(shape[1:])
    return math.prod(shape[1:])


def usual_std(tensor: LazyTensor) -> tuple[float, str]:
    """The std that weights usually have, to an order of magnitude, and its name: 1/√fan-in; 1 for an embedding."""
    if is_lookup(tensor):
        return 1.0, "1 of an embedding"
    return 1 / math.sqrt(fan_in(tensor)), "1/√fan-in"


def share_text(count: int, of: int, what: str = "weights") -> str:
    """``12 of 4,096 weights``; ``1 of 1 weight``."""
    return f"{count:,} of {of:,} {what if of != 1 else what.removesuffix('s')}"


def size_text(value: float) -> str:
    """``3,912``, ``0.0123``, ``1.493e+37``: four digits, with commas where there are thousands."""
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:.4g}"


def times_text(ratio: float) -> str:
    """``112 times``, ``about 13,000 times``."""
    if ratio < 1000:
        return f"{ratio:.3g} times"
    rounded = float(f"{ratio:.2g}")
    return f"about {rounded:,.0f} times" if rounded < 1e9 else f"about {rounded:.2g} times"


def within(low: float, high: float = math.inf) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """A test for ``first_index``: finite weights with low ≤ |weight| < high."""

    def test(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        sizes = np.abs(values)
        found: np.ndarray[Any, Any] = (sizes >= low) & (sizes < high)
        return found

    return test
