"""Evidence of shared training, from the weights of two checkpoints alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from torch2grid_builtin._compare.delta import one_matrix
from torch2grid_builtin._compare.figures import kind_and_layer
from torch2grid_builtin._compare.match import Pair
from torch2grid_builtin._compare.two import Comparison, totals
from torch2grid_builtin._forms import stored_transposed
from torch2grid_core import LazyTensor, Page, UsageError
from torch2grid_core.pages import Table
from torch2grid_core.sources import as_float, is_floating
from torch2grid_core.text import counted, visible

Array = np.ndarray[Any, Any]
Verdict = Literal[
    "identical", "converted", "adapter merged", "fine-tuned", "continued", "merged", "permuted", "unrelated", "inconclusive"
]

ASSUMPTIONS = (
    "Models that were trained apart have their hidden units in orders that know nothing of each other.",
    "Models that began at the same random numbers (one seed, one program) share their order, and count as related.",
    "Layers are combined as if they were independent, which those of one network are not quite.",
)
RELATED = 1e-6  # a smaller p is evidence of shared training
_UNRELATED = 1e-2  # a larger one is none
_UNITS = 32  # hidden units of a layer, and inputs, from which their order says something
_COMPARED = 1024  # units of a layer that are compared with as many: any subset of them is a valid test
_SAMPLE = 128  # units that are looked for among all others
_FINE = 0.3  # ‖Δ‖/‖A‖ up to which a related model is called fine-tuned
_WHOLE = 4096  # units of a layer that are assigned all together
_MERGED = 0.05  # of a distance, what may be left of a merge: its rounding; and of a share, what a model has in it at least
_SEED = 20_260_101
_UP = re.compile(
    r"(^|\.)(up_proj|gate_proj|c_fc|fc1|w1|w3|wi|wi_0|wi_1|lin1|linear1|dense_h_to_4h|intermediate\.dense|fc_in)\.weight$"
)


@dataclass(frozen=True)
class LayerEvidence:
    """What the order of one layer's hidden units says.

    name: of the tensors whose rows are units, without what tells them apart. units: how many there are; compared: of how many
    the order was looked at. correlation: Spearman's, between the order of A's units and that of the units of B that they
    were assigned to. log_p: ln of its p-value. cosine: the median, of units at the same place.
    order: of a layer whose units were permuted, the place in B of each unit of A; else ``None``.
    """

    name: str
    units: int
    compared: int
    correlation: float
    log_p: float
    cosine: float
    order: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Lineage:
    """A verdict with its numbers. log_p: ln of all layers' p together, by Fisher's method; ``None`` where no layer tells.

    why: what the verdict rests on, in a sentence.
    """

    verdict: Verdict
    why: str
    layers: tuple[LayerEvidence, ...] = ()
    log_p: float | None = None


def p_text(log_p: float | None) -> str:
    """A p-value by its logarithm: ``0.42``, ``3e-12``, ``below 1e-300``."""
    if log_p is None:
        return "unknown"
    if log_p < -300 * math.log(10):
        return "below 1e-300"
    return f"{math.exp(log_p):.2g}"


def lineage_of(comparison: Comparison) -> Lineage:
    """What the weights of two checkpoints say of a shared training.

    For each layer of a feed-forward network, the hidden units of A are assigned to those of B so that the cosines between
    their incoming weights are largest in sum. Of models that were trained apart, that assignment is any permutation with
    the same chance; its correlation with the identity (Spearman's) has a p-value, and Fisher's method combines layers
    (Zhu, Ahuja, Wei, Potts and Liang 2025, "Independence Tests for Language Models").

    Raises:
        UsageError: scipy is not installed.
    """
    total = totals(comparison.deltas, comparison.counted)
    kinds = {each.kind for each in comparison.differences}
    if comparison.same:
        forms = any(origin.stored != name or origin.forms for name in comparison.pairs for origin in comparison.origins(name))
        if forms or any(pair.a.dtype != pair.b.dtype for pair in comparison.pairs.values()):
            return Lineage("converted", "the same weights under other names, in another order or of another dtype")
        return Lineage("identical", f"all {total.weights:,} weights are the same")
    if kinds <= {"rounded", "dtype", "renamed", "quantised", "bits"}:
        how = "quantised" if "quantised" in kinds else "rounded or renamed"
        return Lineage("converted", f"the same weights, {how}")
    layers = tuple(_layers(comparison.pairs))
    if not layers:
        return Lineage("inconclusive", f"no feed-forward layer of {_UNITS} units or more that both have in one shape")
    log_p = fisher([each.log_p for each in layers])
    relative = total.of_finite().relative
    size = f"‖Δ‖/‖A‖ {relative:.3g}" if math.isfinite(relative) else "‖Δ‖ is not finite"
    evidence = f"p {p_text(log_p)} over {counted(len(layers), 'layer')}"
    if log_p < math.log(RELATED):
        if _is_low_rank(comparison):
            return Lineage("adapter merged", f"every matrix that changed did so by a few directions; {evidence}", layers, log_p)
        if relative <= _FINE:
            return Lineage("fine-tuned", f"{size}, {_FINE:g} at most; {evidence}", layers, log_p)
        return Lineage("continued", f"{size}, more than {_FINE:g}; {evidence}", layers, log_p)
    moved = sum(each.order is not None for each in layers)
    if moved:
        said = f"the units of {counted(moved, 'layer')} are those of A in another order; in place they show p {p_text(log_p)}"
        return Lineage("permuted", said, layers, log_p)
    if log_p > math.log(_UNRELATED):
        return Lineage("unrelated", f"no trace of a shared order of units: {evidence}", layers, log_p)
    return Lineage("inconclusive", f"neither above {_UNRELATED:g} nor below {RELATED:g}: {evidence}", layers, log_p)


def fisher(log_ps: Sequence[float]) -> float:
    """ln p of many independent p-values together: −2 Σ ln p has a χ² distribution of twice as many degrees of freedom."""
    scipy = _scipy()
    found = float(scipy.stats.chi2.logsf(-2 * math.fsum(log_ps), 2 * len(log_ps)))
    return found if math.isfinite(found) else math.fsum(log_ps)  # beyond float64; the leading term


def _scipy() -> Any:
    try:
        import scipy.optimize
        import scipy.stats
    except ImportError:
        raise UsageError("--lineage needs scipy, which is not installed: pip install 'torch2grid[lineage]'") from None
    return scipy


def _is_low_rank(comparison: Comparison) -> bool:
    """True where every tensor that changed is a matrix, and did so along a quarter of its directions at most."""
    changed = {name: delta for name, delta in comparison.deltas.items() if delta.changed}
    return bool(changed) and all(
        delta.rank is not None
        and delta.rank.directions is not None
        and 4 * delta.rank.directions <= min(one_matrix(comparison.pairs[name].b))
        for name, delta in changed.items()
    )


def _layers(pairs: Mapping[str, Pair]) -> Iterator[LayerEvidence]:
    """The evidence of each feed-forward layer; gate and up of one are looked at together."""
    groups: dict[tuple[str, int | None], list[Pair]] = {}
    for name, pair in pairs.items():
        found = _UP.search(name)
        if found is None or pair.reshaped or pair.a.ndim != 2 or not (is_floating(pair.a.dtype) and is_floating(pair.b.dtype)):
            continue
        before = name[: found.start(2)]
        groups.setdefault(kind_and_layer(before), []).append(pair)
    for members in groups.values():
        shape = members[0].a.shape
        members = [each for each in members if each.a.shape == shape]
        if min(shape) < _UNITS:
            continue
        a, b = (
            np.concatenate([_units(each) for each in side], axis=1) for side in zip(*((p.a, p.b) for p in members), strict=True)
        )
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            continue
        yield _evidence(members[0].name if len(members) == 1 else f"{members[0].name} and {len(members) - 1} more", a, b)


def _units(tensor: LazyTensor) -> Array:
    """The incoming weights of each hidden unit, float32: (units, inputs)."""
    values = as_float(tensor.numpy()).astype(np.float32)
    rows = values.T if stored_transposed(tensor.name, tensor.shape) else values
    return np.ascontiguousarray(rows)


def _unit_length(values: Array) -> Array:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1))


def _evidence(name: str, a: Array, b: Array) -> LayerEvidence:
    a, b = _unit_length(a), _unit_length(b)
    units = len(a)
    chosen = np.arange(units)
    if units > _COMPARED:
        chosen = np.sort(np.random.default_rng(_SEED).choice(units, _COMPARED, replace=False))
    cosines = a[chosen] @ b[chosen].T
    found = _assigned(cosines)
    correlation, log_p = spearman(found)
    in_place = float(np.median(np.diagonal(cosines)))
    order = None
    if log_p > math.log(RELATED):
        order = _permutation(a, b)
    return LayerEvidence(name, units, len(chosen), correlation, log_p, in_place, order)


def _assigned(cosines: Array) -> Array:
    """The unit of B for each of A, so that the sum of cosines is largest."""
    _, columns = _scipy().optimize.linear_sum_assignment(cosines, maximize=True)
    return np.asarray(columns)


def spearman(order: Array) -> tuple[float, float]:
    """The correlation of a permutation with the identity, and ln of the chance of one as large or larger.

    Student's t with n − 2 degrees of freedom; never less than the chance of one permutation, 1/n!.
    """
    count = len(order)
    away = np.asarray(order, np.float64) - np.arange(count)
    correlation = 1 - 6 * float((away**2).sum()) / (count * (count**2 - 1.0))
    least = -math.lgamma(count + 1)
    if correlation >= 1:
        return 1.0, least
    t = correlation * math.sqrt((count - 2) / (1 - correlation**2)) if correlation > -1 else -math.inf
    found = float(_scipy().stats.t.logsf(t, count - 2))
    return correlation, max(found, least)


def _permutation(a: Array, b: Array) -> tuple[int, ...] | None:
    """The place in B of each unit of A, where their weights are alike beyond chance; ``None`` where they are not.

    Of independent directions in d dimensions, the largest of n cosines is about √(2 ln n/d).
    """
    units, inputs = a.shape
    some = np.random.default_rng(_SEED).choice(units, min(_SAMPLE, units), replace=False)
    chance = math.sqrt(2 * math.log(units) / inputs)
    if float(np.median((a[some] @ b.T).max(axis=1))) < min(2 * chance, (1 + chance) / 2):
        return None
    if units <= _WHOLE:
        found = _assigned(a @ b.T)
    else:
        found = np.concatenate([(a[start : start + 512] @ b.T).argmax(axis=1) for start in range(0, units, 512)])
        if len(np.unique(found)) < units:
            return None
    return tuple(int(each) for each in found)


@dataclass(frozen=True)
class Mixture:
    """C as share_a·A + share_b·B, by least squares over all weights that the three have in common.

    rest: ‖C − that‖ relative to the smaller of ‖C − A‖ and ‖C − B‖: near 0 where C is a merge of the two.
    """

    share_a: float
    share_b: float
    rest: float

    @property
    def is_merge(self) -> bool:
        """True where next to nothing is left, and both are in it."""
        return self.rest < _MERGED and min(abs(self.share_a), abs(self.share_b)) > _MERGED


def mixture(ab: Comparison, ac: Comparison, bc: Comparison) -> Mixture | None:
    """How much of A and of B is in C, from the sums of squares of the three comparisons; ``None`` where they do not tell.

    2⟨A, B⟩ = ‖A‖² + ‖B‖² − ‖A − B‖², and so for the others: no weight is read again.
    """
    names = [name for name in ab.counted if name in ac.deltas and name in bc.deltas]
    one, two, three = (totals(each.deltas, names) for each in (ab, ac, bc))
    if not names or one.weights != two.weights or one.weights != three.weights or one.broken + two.broken + three.broken:
        return None
    aa, bb, cc = one.squares_a, one.squares_b, two.squares_b
    products = [(aa + bb - one.squares) / 2, (aa + cc - two.squares) / 2, (bb + cc - three.squares) / 2]
    ab_, ac_, bc_ = products
    determinant = aa * bb - ab_ * ab_
    nearest = min(two.squares, three.squares)
    if not determinant > 1e-9 * aa * bb or not nearest > 0:
        return None
    share_a, share_b = (ac_ * bb - bc_ * ab_) / determinant, (bc_ * aa - ac_ * ab_) / determinant
    left = cc - share_a * ac_ - share_b * bc_
    return Mixture(share_a, share_b, math.sqrt(max(left, 0.0) / nearest))


def lineage_of_three(ab: Comparison, ac: Comparison, bc: Comparison) -> tuple[Lineage, Mixture | None]:
    """What C is, beside A and B: a merge of both, or what the nearer of them says of it."""
    found = mixture(ab, ac, bc)
    if found is not None and found.is_merge and not (ac.same or bc.same):
        said = f"C is {found.share_a:.3g}·A + {found.share_b:.3g}·B, but for {found.rest:.2g} of its distance from the nearer"
        return Lineage("merged", said), found
    nearer, letter = min(((ac, "A"), (bc, "B")), key=lambda each: totals(each[0].deltas, each[0].counted).squares)
    verdict = lineage_of(nearer)
    return replace(verdict, why=f"C beside {letter}, the nearer: {verdict.why}"), found


LAYERS = ("Layer", "Units", "Compared", "Correlation", "p", "Cosine in place", "Permuted")


def lineage_page(found: Lineage, title: str, mixed: Mixture | None = None) -> Page:
    """The verdict, the evidence of each layer, and what it rests on."""
    rows = tuple(
        (
            visible(each.name),
            each.units,
            each.compared,
            each.correlation,
            p_text(each.log_p),
            each.cosine,
            "" if each.order is None else "yes",
        )
        for each in found.layers
    )
    formats = {"Units": ",d", "Compared": ",d", "Correlation": ".4f", "Cosine in place": ".4f"}
    panels: tuple[Any, ...] = (Table(("Verdict", "Why"), ((found.verdict, found.why),)),)
    if rows:
        panels = (Table(LAYERS, rows, formats=formats), Table(("What this supposes",), tuple((each,) for each in ASSUMPTIONS)))
    data = {
        "format": "torch2grid lineage 1",
        "verdict": found.verdict,
        "why": found.why,
        "log_p": found.log_p,
        "assumptions": list(ASSUMPTIONS) if rows else [],
        **({"mixture": {"a": mixed.share_a, "b": mixed.share_b, "rest": mixed.rest}} if mixed else {}),
        "layers": [
            {
                "name": each.name,
                "units": each.units,
                "compared": each.compared,
                "correlation": each.correlation,
                "log_p": each.log_p,
                "cosine": each.cosine,
                **({"order": list(each.order)} if each.order is not None else {}),
            }
            for each in found.layers
        ],
    }
    line = f"{found.verdict}: {found.why} ({title})"
    return Page("lineage", line, panels, kind="table", data=data, opens=True)
