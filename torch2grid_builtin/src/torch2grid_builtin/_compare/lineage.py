"""Evidence of shared training, from the weights of two checkpoints alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from torch2grid_builtin._compare.delta import Delta, one_matrix
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
    "identical",
    "converted",
    "damaged",
    "adapter merged",
    "fine-tuned",
    "continued",
    "merged",
    "permuted",
    "unrelated",
    "inconclusive",
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
_APART = 1.5  # spreads of its other cosines, by which the unit most alike stands out of the next one
_FINE = 0.3  # ‖Δ‖/‖A‖ up to which a related model is called fine-tuned
_WHOLE = 4096  # units of a layer that are assigned all together
_MERGED = 0.05  # of a distance, what may be left of a merge: its rounding; and of a share, what a model has in it at least
_ROUNDING = 1e-12  # of a sum of squares, by which one that is computed from three may be wrong
_LEVELS = ((32, 16), (1024, 256))  # weights in a row, and how many different ones four and eight bits leave of them
_ROWS = 8  # of a matrix that are looked at for these
_READ = 1 << 20  # weights that are looked at a time
_FITTED = 1024  # weights of a tensor, from which two shares do not fit it by chance
_SEED = 20_260_101
_STORED = {"rounded", "dtype", "renamed", "quantised", "bits"}  # how the same weights may differ
_UP = re.compile(
    r"(^|\.)(up_proj|gate_proj|c_fc|fc1|w1|w3|wi|wi_0|wi_1|lin1|linear1|dense_h_to_4h|intermediate\.dense|fc_in)\.weight$"
)


@dataclass(frozen=True)
class LayerEvidence:
    """What the order of one layer's hidden units says.

    name: of the tensors whose rows are units, without what tells them apart. units: how many there are; compared: of how many
    the order was looked at, none of them zero in A or B. correlation: Spearman's, between the order of A's units and that of
    the units of B that they were assigned to. log_p: ln of its p-value. cosine: the median, of units at the same place.
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


def lineage_of(comparison: Comparison, letters: str = "AB") -> Lineage:
    """What the weights of two checkpoints say of a shared training.

    For each layer of a feed-forward network, the hidden units of A are assigned to those of B so that the cosines between
    their incoming weights are largest in sum. Of models that were trained apart, that assignment is any permutation with
    the same chance; its correlation with the identity (Spearman's) has a p-value, and Fisher's method combines layers
    (Zhu, Ahuja, Wei, Potts and Liang 2025, "Independence Tests for Language Models").

    Args:
        comparison: of the two.
        letters: what the two are called.

    Raises:
        UsageError: scipy is not installed.
    """
    total = totals(comparison.deltas, comparison.counted)
    same = _of_same_weights(comparison, total, letters)
    if same is not None:
        return same
    layers = tuple(_layers(comparison.pairs))
    if not layers:
        return Lineage("inconclusive", f"no feed-forward layer of {_UNITS} units or more that both have in one shape")
    log_p = fisher([each.log_p for each in layers])
    relative = total.of_finite().relative
    size = f"‖Δ‖/‖{letters[0]}‖ {relative:.3g}" if math.isfinite(relative) else "‖Δ‖ is not finite"
    broken = _broken(total, letters)
    ill = f"; {broken}" if broken else ""
    evidence = f"p {p_text(log_p)} over {counted(len(layers), 'layer')}{ill}"
    if log_p < math.log(RELATED):
        if _is_low_rank(comparison):
            return Lineage("adapter merged", f"every matrix that changed did so by a few directions; {evidence}", layers, log_p)
        if relative <= _FINE and (few := _few_values(comparison)):
            said = f"{few} of {letters[1]}, as what was quantised and written out again has; {size}; {evidence}"
            return Lineage("converted", said, layers, log_p)
        if relative <= _FINE:
            return Lineage("fine-tuned", f"{size}, {_FINE:g} at most; {evidence}", layers, log_p)
        return Lineage("continued", f"{size}, more than {_FINE:g}; {evidence}", layers, log_p)
    moved = sum(each.order is not None for each in layers)
    if moved:
        said = f"the units of {counted(moved, 'layer')} are those of {letters[0]} in another order"
        return Lineage("permuted", f"{said}; in place they show p {p_text(log_p)}", layers, log_p)
    if log_p > math.log(_UNRELATED):
        return Lineage("unrelated", f"no trace of a shared order of units: {evidence}", layers, log_p)
    return Lineage("inconclusive", f"neither above {_UNRELATED:g} nor below {RELATED:g}: {evidence}", layers, log_p)


def _broken(total: Delta, letters: str) -> str:
    """What is NaN or Inf in one of the two alone."""
    told = ", ".join(total.not_finite.changes())
    return re.sub(" in ([AB]) ", lambda found: f" in {letters['AB'.index(found[1])]} ", told)


def _of_same_weights(comparison: Comparison, total: Delta, letters: str) -> Lineage | None:
    """The verdict where no weight that both have was trained: it is the same, rounded, NaN or Inf, or set to 0."""
    kinds = {each.kind for each in comparison.differences}
    if comparison.same:
        forms = any(origin.stored != name or origin.forms for name in comparison.pairs for origin in comparison.origins(name))
        if forms or any(pair.a.dtype != pair.b.dtype for pair in comparison.pairs.values()):
            return Lineage("converted", "the same weights under other names, in another order or of another dtype")
        return Lineage("identical", f"all {total.weights:,} weights are the same")
    left = {side: sum(each.kind == f"only_{side}" for each in comparison.differences) for side in "ab"}
    alone = "".join(
        f"; {counted(count, 'tensor')} in {letter} alone" for count, letter in zip(left.values(), letters, strict=True) if count
    )
    if alone:
        moved = sum(comparison.b[each.name].size for each in comparison.differences if each.kind == "renamed")
        weights = [sum(side[name].size for name in side if name not in side.aliases) for side in (comparison.a, comparison.b)]
        if 2 * (total.weights + moved) <= min(weights):
            return None  # what both have is too little to say anything of the rest
    kinds -= {"only_a", "only_b"}
    if not kinds:
        return Lineage("identical", f"all {total.weights:,} weights that both have are the same{alone}")
    if kinds <= _STORED:
        how = "quantised" if "quantised" in kinds else "rounded or renamed"
        return Lineage("converted", f"the same weights, {how}{alone}")
    if not kinds <= {*_STORED, "changed"}:
        return None
    broken = _broken(total, letters)
    if broken and not total.of_finite().changed:
        return Lineage("damaged", f"the same weights, but {broken}{alone}")
    if not broken and not total.squares_b:
        return Lineage("damaged", f"every weight of {letters[1]} is 0")
    if not broken and _is_pruned(comparison):
        share = total.changed / max(total.weights, 1)
        return Lineage("converted", f"the same weights, {share:.1%} of them set to 0{alone}")
    return None


def _is_pruned(comparison: Comparison) -> bool:
    """True where each weight that changed is 0 in B. Of a model that was trained, the first thousands say that it is not so."""
    for name, delta in comparison.deltas.items():
        pair = comparison.pairs[name]
        if not delta.changed or delta.rounded:
            continue
        if pair.reshaped or not pair.b.ndim:
            return False
        step = max(_READ * pair.b.shape[0] // pair.b.size, 1)
        for start in range(0, pair.b.shape[0], step):
            before, after = (as_float(side.view((slice(start, start + step),)).numpy()) for side in (pair.a, pair.b))
            if np.any(after[before != after]):
                return False
    return True


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


def _few_values(comparison: Comparison) -> str:
    """How few different weights every matrix of B that changed has, where those of A have more; empty where that is not so."""
    changed = [name for name, delta in comparison.deltas.items() if delta.changed]
    pairs = [pair for name in changed if (pair := comparison.pairs[name]).b.ndim == 2 and pair.b.size >= _FITTED]
    for length, most in _LEVELS:
        if pairs and all(_most_values(pair.b, length) <= most < _most_values(pair.a, length) for pair in pairs):
            return f"no more than {most} different weights in {length:,} of each matrix"
    return ""


def _most_values(tensor: LazyTensor, length: int) -> int:
    """The most different numbers in a run of *length* in the first rows; *length* where these are shorter, or mostly zero."""
    first = as_float(tensor.view((slice(0, _ROWS),)).numpy())
    runs = first[:, : first.shape[1] // length * length].reshape(-1, length)
    if not runs.size or 2 * np.count_nonzero(runs) < runs.size:
        return length
    return max(len(np.unique(run)) for run in runs)


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
        name = members[0].name if len(members) == 1 else f"{members[0].name} and {len(members) - 1} more"
        found_evidence = _evidence(name, a, b)
        if found_evidence is not None:
            yield found_evidence


def _units(tensor: LazyTensor) -> Array:
    """The incoming weights of each hidden unit, float32: (units, inputs)."""
    values = as_float(tensor.numpy()).astype(np.float32)
    rows = values.T if stored_transposed(tensor.name, tensor.shape) else values
    return np.ascontiguousarray(rows)


def _unit_length(values: Array) -> Array:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1))


def _evidence(name: str, a: Array, b: Array) -> LayerEvidence | None:
    """``None`` where too few units have weights: what is zero is like nothing, and its place says nothing."""
    a, b = _unit_length(a), _unit_length(b)
    chosen = np.flatnonzero(a.any(axis=1) & b.any(axis=1))
    random = np.random.default_rng(_SEED)
    if len(chosen) > _COMPARED:
        chosen = np.sort(random.choice(chosen, _COMPARED, replace=False))
    if len(chosen) < _UNITS:
        return None
    cosines = a[chosen] @ b[chosen].T
    mixed = random.permutation(len(chosen))  # so that of units that are alike none is taken for its place
    found = mixed[_assigned(cosines[:, mixed])]
    correlation, log_p = spearman(found)
    in_place = float(np.median(np.diagonal(cosines)))
    order = None
    if log_p > math.log(RELATED):
        order = _permutation(a, b)
    return LayerEvidence(name, len(a), len(chosen), correlation, log_p, in_place, order)


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

    Of independent directions in d dimensions, the largest of n cosines is about √(2 ln n/d). Where all units lie in fewer
    dimensions, or along one, all are alike; then none of B stands out of the others.
    """
    units, inputs = a.shape
    some = np.random.default_rng(_SEED).choice(units, min(_SAMPLE, units), replace=False)
    chance = math.sqrt(2 * math.log(units) / inputs)
    cosines = a[some] @ b.T
    second, first = np.partition(cosines, -2, axis=1)[:, -2:].T
    if float(np.median(first)) < min(2 * chance, (1 + chance) / 2):
        return None
    if float(np.median(first - second)) < _APART * float(np.median(cosines.std(axis=1))):
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

    rest: ‖C − that‖ relative to the smaller of ‖C − A‖ and ‖C − B‖: near 0 where C is a merge of the two. by_tensor: the same
    where each tensor has shares of its own. a_alone, b_alone: tensors that C has from one of the two alone. least: what is
    below it cannot be told from 0, since it is the difference of sums that are rounded.
    """

    share_a: float
    share_b: float
    rest: float
    by_tensor: float = math.inf
    a_alone: int = 0
    b_alone: int = 0
    least: float = 0.0

    def but_for(self, rest: float) -> str:
        """How much *rest* is, in words."""
        size = f"{rest:.2g}" if rest > self.least else f"less than {self.least:.1g}"
        return f"but for {size} of its distance from the nearer"

    @property
    def is_merge(self) -> bool:
        """True where next to nothing is left, and both are in it."""
        return max(self.rest, self.least) < _MERGED and min(abs(self.share_a), abs(self.share_b)) > _MERGED

    @property
    def is_merge_by_tensor(self) -> bool:
        """True where next to nothing is left of shares that differ from tensor to tensor."""
        return max(self.by_tensor, self.least) < _MERGED


def mixture(ab: Comparison, ac: Comparison, bc: Comparison) -> Mixture | None:
    """How much of A and of B is in C, from the sums of squares of the three comparisons; ``None`` where they do not tell.

    2⟨A, B⟩ = ‖A‖² + ‖B‖² − ‖A − B‖², and so for the others: no weight is read again.
    """
    names = [name for name in ab.counted if name in ac.deltas and name in bc.deltas]
    one, two, three = (totals(each.deltas, names) for each in (ab, ac, bc))
    if not names or one.weights != two.weights or one.weights != three.weights or one.broken + two.broken + three.broken:
        return None
    nearest = min(two.squares, three.squares)
    found = _shares(one, two, three)
    if found is None or not nearest > 0:
        return None
    share_a, share_b, left = found
    a_alone, b_alone, rest = 0, 0, 0.0
    for name in names:
        own = [each.deltas[name] for each in (ab, ac, bc)]
        if not own[0].changed:
            rest += own[1].squares
        elif not own[1].changed or not own[2].changed:
            a_alone, b_alone = a_alone + (not own[1].changed), b_alone + (not own[2].changed)
        else:
            shares = _shares(*own) if own[0].weights >= _FITTED else None
            rest += min(own[1].squares, own[2].squares) if shares is None else shares[2]
    least = math.sqrt(_ROUNDING * two.squares_b / nearest)
    return Mixture(share_a, share_b, math.sqrt(left / nearest), math.sqrt(rest / nearest), a_alone, b_alone, least)


def _shares(ab: Delta, ac: Delta, bc: Delta) -> tuple[float, float, float] | None:
    """A's share, B's, and the square of what is left of C; ``None`` where A and B are all but one."""
    aa, bb, cc = ab.squares_a, ab.squares_b, ac.squares_b
    ab_, ac_, bc_ = (aa + bb - ab.squares) / 2, (aa + cc - ac.squares) / 2, (bb + cc - bc.squares) / 2
    determinant = aa * bb - ab_ * ab_
    if not determinant > 1e-9 * aa * bb:
        return None
    share_a, share_b = (ac_ * bb - bc_ * ab_) / determinant, (bc_ * aa - ac_ * ab_) / determinant
    return share_a, share_b, max(cc - share_a * ac_ - share_b * bc_, 0.0)


def lineage_of_three(ab: Comparison, ac: Comparison, bc: Comparison) -> tuple[Lineage, Mixture | None]:
    """What C is, beside A and B: a merge of both, or what the nearer of them says of it."""
    found = mixture(ab, ac, bc)
    if found is not None and not (ac.same or bc.same):
        if found.is_merge:
            said = f"C is {found.share_a:.3g}·A + {found.share_b:.3g}·B, {found.but_for(found.rest)}"
            return Lineage("merged", said), found
        if found.is_merge_by_tensor:
            whole = [
                f"{counted(count, 'tensor')} from {letter} alone"
                for count, letter in ((found.a_alone, "A"), (found.b_alone, "B"))
                if count
            ]
            more = f" ({', '.join(whole)})" if whole else ""
            said = f"each tensor of C has shares of A and B of its own{more}, {found.but_for(found.by_tensor)}"
            return Lineage("merged", said), found
    nearer, letter = min(((ac, "A"), (bc, "B")), key=lambda each: totals(each[0].deltas, each[0].counted).squares)
    verdict = lineage_of(nearer, f"{letter}C")
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
