"""Pictures and tables of what changed between two checkpoints."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_builtin._compare.delta import A, B, Delta, DeltaOf
from torch2grid_builtin._compare.figures import BARS, WIDE, in_layers, layers_and_kinds
from torch2grid_builtin._compare.order import Names
from torch2grid_builtin._compare.quantised import Quantised
from torch2grid_builtin._compare.two import Comparison, as_json, totals
from torch2grid_builtin._views.describing import about, figure_text, tensor_title
from torch2grid_builtin._views.grid import whole_model_run
from torch2grid_builtin._views.histogram import overlaid, plain_histogram
from torch2grid_builtin._views.layers import axes_of
from torch2grid_builtin._views.matrices import matrix_of
from torch2grid_core import Checkpoint, Grid, GridTransformer, LazyTensor, Need, Page, PluginManager, Settings, View
from torch2grid_core.grids import ColorScale
from torch2grid_core.measures import Of, Raster, Summary, Transformed
from torch2grid_core.pages import Bar, Heatmap, Table
from torch2grid_core.sources import JointTensor
from torch2grid_core.text import counted, human_count, percentage, shape_text, visible

COLUMNS = ("Tensor", "Shape", "Dtype", "‖Δ‖/‖A‖", "Cosine", "Max |Δ|", "Changed%", "Stable rank", "What")
FORMATS = {"‖Δ‖/‖A‖": ".3e", "Cosine": ".6f", "Max |Δ|": ".3e", "Changed%": ".2f", "Stable rank": ".1f"}
ERRORS = ("Tensor", "Shape", "Scheme", "Relative error", "SNR (dB)", "Max |Δ|", "What")
ERROR_FORMATS = {"Relative error": ".3e", "SNR (dB)": ".1f", "Max |Δ|": ".3e"}
FOLDER = "compare"
ATLASES = ("atlas", "layer_separated")  # the first that is installed draws Δ of the whole model
PAIR_CELLS = 512  # a side of each of the panels of one tensor
_CHANGE, _SHARE = "‖Δ‖/‖A‖", "share of weights changed"
_ERROR = "relative error"
_TITLES = {_CHANGE: "relative change ‖Δ‖/‖A‖", _SHARE: _SHARE, _ERROR: "relative error ‖Δ‖/‖original‖"}
_DECADES = 1e4  # of a bent axis: smaller figures are short bars, but for
_USUAL = 0.1  # what is at least so many times the median
_LONGEST = 80  # bars of one diagram
_WEIGHT = re.compile(r"\bweight\b")
_THROUGHOUT = 0.9995  # a share that is written as 1


@dataclass(frozen=True)
class PairPages(View):
    """A page for each tensor that changed: A, B and Δ on one scale, Δ on its own, and their histograms."""

    name = "compare"

    need: DeltaOf
    names: Names
    everything: bool = False
    quantised: Quantised | None = None

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        raster = Raster(matrix_of(tensor.name, tensor.shape, run.tensor_cells), run.reduce)
        summary = Summary((run.threshold,))
        return {
            "delta": self.need,
            "a": Of(A, raster),
            "b": Of(B, raster),
            "d": raster,
            "of a": Of(A, summary),
            "of b": Of(B, summary),
            "of d": summary,
        }

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        delta: Delta = results["delta"]
        if not (delta.changed or self.everything):
            return
        assert isinstance(tensor, JointTensor)
        members = dict(tensor.members)
        axes = axes_of(tensor, results["a"])
        shared = run.color_scale(results["a"], results["b"])
        limits = replace(run, limits=(shared.low, shared.high), scale="asinh" if shared.kind == "asinh" else "auto")
        difference: Grid = replace(results["d"], quantity="Δ")
        panels: dict[str, Any] = {
            "A": limits.heatmap(results["a"], title=f"A: {self.names.a}", **axes),
            "B": limits.heatmap(results["b"], title=f"B: {self.names.b}", **axes),
        }
        codes = self.quantised is not None and tensor.name in self.quantised.schemes
        what = "Quantisation error Δ = B − A" if codes else "Δ = B − A"
        half = shared.high / 2 - shared.low / 2
        centred = replace(limits, limits=(-half, half))  # a scale that 0 is not the middle of may not have a Δ of 0 at all
        scale = "the scale of A and B" if shared.diverging else "a scale about 0, as wide as that of A and B"
        panels[f"Δ on {scale}"] = centred.heatmap(difference, title=f"{what}, on {scale}", **axes)
        title = f"{'Quantisation error' if codes else 'Δ'} on a scale of its own"
        panels["Δ on a scale of its own"] = replace(run, limits=None).heatmap(difference, title=title, **axes)
        panels["histogram of A and B"] = overlaid({"A": results["of a"], "B": results["of b"]}, tensor.dtype)
        panels["histogram of Δ"] = plain_histogram(results["of d"], tensor.dtype, "Δ", "unchanged")
        yield Page(
            f"{tensor.name}_delta",
            f"{tensor_title(tensor, _dtypes(members[A], members[B]))} · {self._error(tensor.name, delta)}{_figures(delta)}",
            tuple(panels.values()),
            FOLDER,
            columns=2,
            panel_names=tuple(panels),
            about={**about(tensor), "relative_l2": delta.relative, "max_abs_delta": delta.absmax},
        )

    def _error(self, name: str, delta: Delta) -> str:
        if self.quantised is None or name not in self.quantised.schemes:
            return ""
        return f"quantisation error, SNR {_decibels(self.quantised.decibels(delta))}, "


def _dtypes(a: LazyTensor, b: LazyTensor) -> str:
    """``float32``; of two, ``float32 → float16``."""
    return b.dtype.name if a.dtype == b.dtype else f"{a.dtype.name} → {b.dtype.name}"


def _decibels(value: float) -> str:
    return f"{value:.1f} dB" if math.isfinite(value) else "–"


def _figures(delta: Delta) -> str:
    broken = delta.not_finite.changes(delta.weights)
    if broken:
        delta = delta.of_finite()
        if not (delta.weights and delta.changed):
            return ", ".join(broken)
    facts = [
        f"‖Δ‖/‖A‖ {figure_text(delta.relative)}",
        f"max |Δ| {figure_text(delta.absmax)}",
        f"{percentage(delta.changed / delta.weights)} changed",
    ]
    if delta.cosine is not None:
        facts.insert(1, f"cosine {figure_text(delta.cosine, '.4f')}")
    if delta.rank is not None:
        facts.append(f"stable rank {delta.rank.stable:.1f}")
    return ", ".join([*broken, f"the others: {', '.join(facts)}"] if broken else facts)


@dataclass(frozen=True)
class DeltaAtlas(View):
    """Δ of the whole model as one grid."""

    name = "delta_atlas"

    transformer: GridTransformer
    names: Names
    quantised: Quantised | None = None

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"grid": Transformed(self.transformer, run.reduce, run.max_cells)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        grid: Grid = replace(results["grid"], quantity="Δ")
        drawn = Transformed(self.transformer, run.reduce, run.max_cells).tensors(checkpoint)
        weights = human_count(sum(tensor.size for tensor in drawn.values()))
        what = "Quantisation error Δ" if self.quantised is not None else "Δ"
        title = run.title or f"{what} = {self.names.b} − {self.names.a} · {weights} weights"
        scale = _wide_enough(whole_model_run(run, checkpoint, grid).color_scale(grid), grid, run)
        panel = run.heatmap(grid, scale=scale, boundaries=True, labels=True)
        yield Page("delta_atlas", title, (panel,), about={"transformer": self.transformer.name, "tensors": len(drawn)})


def _wide_enough(scale: ColorScale, grid: Grid, run: Settings) -> ColorScale:
    """The scale, or where most changes are far smaller than its limits an asinh scale that bends at their median: on a linear
    one they would be as pale as no change."""
    sizes = np.abs(grid.drawn().astype(np.float64))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    if run.scale != "auto" or run.limits is not None or not scale.diverging or not len(sizes):
        return scale
    middle = float(np.median(sizes))
    return replace(scale, kind="asinh", bend=max(middle, scale.high * 1e-6)) if scale.high > WIDE * middle else scale


def of_change(page: Page) -> Page:
    """*page*, which a view made of Δ, with axes and colour bars that say so: what they call a weight is a difference of two."""
    return replace(page, panels=tuple(map(_of_change, page.panels)))


def _of_change(panel: Any) -> Any:
    names = [name for name in ("label", "xlabel", "ylabel") if hasattr(panel, name)]
    changed: dict[str, Any] = {name: _WEIGHT.sub("Δ", getattr(panel, name)) for name in names}
    if isinstance(panel, Heatmap):
        changed["grid"] = replace(panel.grid, quantity=_WEIGHT.sub("Δ", panel.grid.quantity))
    return replace(panel, **changed) if changed else panel


def chosen_line(transformer: GridTransformer, checkpoint: Checkpoint, run: Settings) -> str:
    """``3 of 8 tensors are drawn, chosen by matrices``; empty where the transformer takes all of *checkpoint*."""
    drawn = len(Transformed(transformer, run.reduce, run.max_cells).tensors(checkpoint))
    total = sum(name not in checkpoint.aliases for name in checkpoint)
    tensors = counted(total, "tensor")
    are = "is" if drawn == 1 else "are"
    return f"{drawn:,} of {tensors} {are} drawn, chosen by {visible(transformer.name, 60)}" if drawn < total else ""


def transformer_of(manager: PluginManager, settings: Settings) -> GridTransformer:
    """The transformer that is asked for, or the one that suits a whole model best."""
    names = manager.names("transformer")
    spec = settings.plugin or next((name for name in ATLASES if name in names), None)
    transformer: GridTransformer = manager.with_transformer(replace(settings, plugin=spec)).transformer
    return transformer


def comparison_table(comparison: Comparison, names: Names, top: int = 0, everything: bool = False) -> Page:
    """The table: NaN and Inf first, then what changed most; and what has no partner below it. top: so many rows; 0: all."""
    said: dict[str, list[str]] = {}
    for each in comparison.differences:
        said.setdefault(each.name, []).append(each.text if each.kind != "dtype" else f"dtype {each.text}")
    rows: list[tuple[tuple[int, float], tuple[Any, ...]]] = []
    swapped = _swapped(comparison)
    codes = comparison.quantised.schemes if comparison.quantised is not None else {}
    for name, pair in comparison.pairs.items():
        delta, texts = comparison.deltas.get(name), said.get(name, [])
        if name in codes or not (texts or name in swapped or everything):
            continue
        origins = comparison.origins(name)
        texts = texts + [
            f"{each.said} in {word}" for each, word in zip(origins, "AB", strict=True) if each.stored != name or each.forms
        ]
        figures: tuple[Any, ...] = (None,) * 5
        if delta is not None:
            stable = delta.rank.stable if delta.rank else None
            share = 100 * delta.changed / delta.weights if delta.weights else 0.0
            figures = (delta.relative, delta.cosine, delta.absmax, share, stable)
        dtype = _dtypes(pair.a, pair.b)
        rows.append(
            (
                _rank(delta, math.nan if delta is None else delta.relative),
                (visible(name), shape_text(pair.b.shape), dtype, *figures, "; ".join(texts)),
            )
        )
    rows.sort(key=lambda row: row[0])
    shown = [row for _, row in (rows[:top] if top else rows)]
    panels: dict[str, Any] = {"faults": _faults(comparison)} if comparison.faults else {}
    errors = _errors(comparison, everything)
    if errors:
        panels["quantisation errors"] = Table(ERRORS, tuple(errors[:top] if top else errors), formats=ERROR_FORMATS)
    if shown:
        panels["changes"] = Table(COLUMNS, tuple(shown), formats=FORMATS)
    others = [each for each in comparison.differences if each.kind in ("only_a", "only_b", "renamed")]
    if others:
        where = {"only_a": f"only in A ({names.a})", "only_b": f"only in B ({names.b})", "renamed": "renamed"}
        listed = others[:top] if top else others
        entries = tuple((visible(each.name), where[each.kind], each.text) for each in listed)
        panels["only in one"] = Table(("Tensor", "Where", "What"), entries)
    if comparison.translation is not None:
        said_of_names = tuple((visible(each),) for each in comparison.translation.said)
        panels["other names"] = Table(("Tensors under other names",), said_of_names)
    taken = [(visible(what), count) for what, count in comparison.match.wrappers.items()]
    if taken:
        panels["wrappers"] = Table(("Taken off names to match them", "Tensors"), tuple(taken))
    spelled = [(visible(what), count) for what, count in comparison.match.spellings.items()]
    if spelled:
        panels["spellings"] = Table(("One name, two spellings", "Tensors"), tuple(spelled))
    ties = [(visible(name), visible(owner)) for name, owner in comparison.tied.items()]
    if ties:
        panels["ties"] = Table(("Only on one side, as another name", "Of"), tuple(ties))
    apart = [(visible(each.name), f"only in {each.side.upper()}", visible(each.why)) for each in comparison.match.apart]
    if apart:
        panels["not compared"] = Table(("Not compared", "Where", "What"), tuple(apart))
    hidden = (
        len(rows) - len(shown) + (max(len(errors) - top, 0) if top else 0) + (len(others) - len(others[:top]) if top else 0)
    )
    title = f"{verdict(comparison, hidden)} (A: {names.a}, B: {names.b})"
    shown_panels, data = tuple(panels.values()), as_json(comparison)
    return Page("compare", title, shown_panels, kind="table", data=data, opens=True, panel_names=tuple(panels))


def _faults(comparison: Comparison) -> Table:
    """What is wrong of several tensors at once, each thing in a sentence."""
    return Table(("What is wrong", "Tensors"), tuple((visible(each.text), len(each.tensors)) for each in comparison.faults))


def _errors(comparison: Comparison, everything: bool) -> list[tuple[Any, ...]]:
    """The quantisation error of each tensor, the worst first; *everything*: of those that lost nothing, too."""
    quantised = comparison.quantised
    if quantised is None:
        return []
    found = []
    for name, scheme in quantised.schemes.items():
        delta = comparison.deltas.get(name)
        if delta is None or not (delta.changed or everything) or name in comparison.match.twins:
            continue
        origins = comparison.origins(name)
        other = "; ".join(
            f"{each.said} in {word}" for each, word in zip(origins, "AB", strict=True) if each.stored != name or each.forms
        )
        relative, decibels = quantised.relative(delta), quantised.decibels(delta)
        shape = shape_text(comparison.pairs[name].b.shape)
        row = (
            visible(name),
            shape,
            visible(scheme),
            relative,
            decibels if math.isfinite(decibels) else None,
            delta.absmax,
            other,
        )
        found.append((_rank(delta, relative), row))
    return [row for _, row in sorted(found, key=lambda each: each[0])]


def _rank(delta: Delta | None, figure: float) -> tuple[int, float]:
    """Where a row or a bar stands: NaN and Inf in one of the two, then what changed and has no figure, then the most changed.

    figure: by which it is sorted.
    """
    if delta is not None and delta.broken:
        return 0, -delta.broken
    if delta is None or (math.isnan(figure) and delta.changed):
        return 1, 0.0
    return 2, 0.0 if math.isnan(figure) else -figure


def _swapped(comparison: Comparison) -> set[str]:
    """The second of each swapped pair, which the first one's text names."""
    if not any(each.kind == "swapped" for each in comparison.differences):
        return set()
    told = {each.name for each in comparison.differences}
    return {name for name, delta in comparison.deltas.items() if delta.changed and name not in told and not delta.rounded}


def verdict(comparison: Comparison, hidden: int = 0) -> str:
    """One line: the same, or how much of it differs."""
    deltas, names = comparison.deltas, comparison.counted
    total = totals(deltas, names)
    kept = "".join(f", {text}" for text in total.not_finite.kept())
    stated = _stated(comparison)
    if comparison.same:
        beyond = f" within {comparison.tolerance:g}" if comparison.tolerance else ""
        signs = sum(not deltas[name].exact and not deltas[name].changed for name in names)
        kept += f", zeros of the other sign in {counted(signs, 'tensor')}" if signs else ""
        size = f"{counted(len(names), 'tensor')}, {human_count(total.weights)} weights{kept}"
        return f"the same model{beyond}: {', '.join([*stated, size])}" if stated else f"same{beyond}: {size}"
    if comparison.quantised is not None and {each.kind for each in comparison.differences} <= {"quantised", "dtype", "rounded"}:
        return _error_line(comparison, comparison.quantised) + (f" ({counted(hidden, 'row')} not shown)" if hidden else "")
    changed = sum(bool(deltas[name].changed) for name in names)
    facts = [f"{changed:,} of {counted(len(names), 'tensor')} changed", f"{total.changed:,} of {total.weights:,} weights"]
    facts += [*total.not_finite.changes(), *total.not_finite.kept()]
    if total.squares and math.isfinite(total.relative):
        facts.append(f"‖Δ‖/‖A‖ {total.relative:.3g}")
    counts: dict[str, int] = {}
    for each in comparison.differences:
        counts[each.kind] = counts.get(each.kind, 0) + 1
    facts += [f"{len(comparison.faults)} mistakes found"] if len(comparison.faults) > 1 else []
    facts += [visible(each.text) for each in comparison.faults] if len(comparison.faults) == 1 else []
    words = {
        "bits": "with a 0 of the other sign",
        "only_a": "only in A",
        "only_b": "only in B",
        "shape": "reshaped",
        "dtype": "of another dtype",
    }
    facts += [
        f"{count:,} {words.get(kind, kind)}" for kind, count in counts.items() if kind not in ("changed", "rounded", "fault")
    ]
    return "different: " + ", ".join(facts) + (f" ({counted(hidden, 'row')} not shown)" if hidden else "")


def _stated(comparison: Comparison) -> list[str]:
    """What makes no difference and is said: names, orders of rows, dtypes."""
    names = comparison.counted
    origins = {name: comparison.origins(name) for name in names}
    ties = comparison.match.spellings
    facts = []
    counts = {
        "renamed": [name for name, (one, two) in origins.items() if _other_names(one.stored, two.stored, ties)],
        "permuted": [name for name, each in origins.items() if any(one.permuted for one in each)],
        "transposed": [name for name, (one, two) in origins.items() if one.turned != two.turned],
        "parts of others": [name for name, each in origins.items() if any(one.part for one in each)],
    }
    facts += [f"{len(found):,} {what}" for what, found in counts.items() if found]
    rounded: dict[str, int] = {}
    coded = comparison.quantised.schemes if comparison.quantised is not None else {}
    for name in names:
        delta, pair = comparison.deltas[name], comparison.pairs[name]
        if pair.a.dtype != pair.b.dtype and delta.rounded and name not in coded:
            to, side = (pair.b.dtype.name, "") if delta.rounded == "B" else (pair.a.dtype.name, "A ")
            what = f"{side}rounded to {to}" if delta.changed else f"{pair.a.dtype.name} as {pair.b.dtype.name}"
            rounded[what] = rounded.get(what, 0) + 1
    facts += [what if count == len(names) else f"{count:,} {what}" for what, count in rounded.items()]
    return facts


def _other_names(one: str, two: str, ties: Mapping[str, int]) -> bool:
    """True where the two names differ otherwise than as two names of tied weights do."""
    return one != two and f"{two} in B, tied to {one} in A" not in ties and f"{one} in A, tied to {two} in B" not in ties


def _error_line(comparison: Comparison, quantised: Quantised) -> str:
    """``B is A quantised (…): 84 of 291 tensors, relative error 0.0871, SNR 21.2 dB, at worst 14.0 dB``."""
    names = [name for name in comparison.counted if name in quantised.schemes and comparison.deltas[name].changed]
    total = totals(comparison.deltas, names)
    side, other = quantised.side.upper(), "B" if quantised.side == "a" else "A"
    facts = [
        f"{len(names):,} of {counted(len(comparison.counted), 'tensor')}",
        f"relative error {quantised.relative(total):.3g}",
    ]
    worst = min((quantised.decibels(comparison.deltas[name]) for name in names), key=lambda each: (not math.isnan(each), each))
    facts += [f"SNR {_decibels(quantised.decibels(total))}, at worst {_decibels(worst)}"]
    return f"{side} is {other} quantised ({visible(quantised.said)}): {', '.join(facts)}"


def overview_page(comparison: Comparison, names: Names) -> Page | None:
    """How far each tensor moved, the farthest first, or by layer and kind where they are many; ``None`` where nothing did."""
    chosen = [name for name in comparison.counted if comparison.deltas[name].weights]
    figures: tuple[str, ...] = (_CHANGE, _SHARE)
    if comparison.quantised is not None:
        chosen = [name for name in chosen if name in comparison.quantised.schemes]
        figures = (_ERROR,)
    if not any(comparison.deltas[name].changed for name in chosen):
        return None
    layered = in_layers(chosen) if len(chosen) > BARS else {}
    panels: dict[str, Any] = {}
    if layered:
        within = {name for cells in layered.values() for name in cells.values()}
        groups = {"Outside the layers": [name for name in chosen if name not in within]}
        panels.update((f"{what}, by layer and kind", _by_layer(comparison, layered, what)) for what in figures)
    else:
        matrices = [name for name in chosen if comparison.pairs[name].b.ndim > 1]
        groups = {"Matrices and kernels": matrices, "Vectors": [name for name in chosen if name not in set(matrices)]}
    for what in figures:
        panels.update((f"{what}, {each.lower()}", _sorted_bars(comparison, some, what, each)) for each, some in groups.items())
    known = {name: panel for name, panel in panels.items() if panel is not None}
    broken = totals(comparison.deltas, chosen).not_finite.changes()
    of = f"Change from {names.a} to {names.b}"
    if comparison.quantised is not None:
        coded, original = (names.b, names.a) if comparison.quantised.side == "b" else (names.a, names.b)
        of = f"Quantisation error of {coded}, relative to {original}"
    title = " · ".join([of, ", ".join(broken)] if broken else [of])
    return Page("compare_overview", title, tuple(known.values()), panel_names=tuple(known))


def _figure(comparison: Comparison, name: str, what: str) -> float:
    delta = comparison.deltas[name]
    if what == _ERROR and comparison.quantised is not None:
        return comparison.quantised.relative(delta)
    return delta.relative if what == _CHANGE else delta.changed / delta.weights


def _tells(comparison: Comparison, names: Sequence[str], what: str) -> bool:
    """False where there is nothing to see: no tensor, none that changed, or, of shares, each of them written as 1."""
    if not any(comparison.deltas[name].changed or comparison.deltas[name].broken for name in names):
        return False
    return what != _SHARE or any(_figure(comparison, name, what) < _THROUGHOUT for name in names)


def _by_layer(comparison: Comparison, kinds: Mapping[str, Mapping[int, str]], what: str) -> Heatmap | None:
    """A row for each layer, a column for each kind of tensor."""
    names = [name for layers in kinds.values() for name in layers.values()]
    if not _tells(comparison, names, what):
        return None
    figures = {name: _figure(comparison, name, what) for name in names}
    lost = {name for name in names if math.isnan(figures[name])}  # how many weights changed is known of NaN and Inf, too
    return layers_and_kinds(kinds, figures, lost, what, f"By layer and kind of tensor: {_TITLES[what]}")


def _sorted_bars(comparison: Comparison, names: Sequence[str], what: str, where: str) -> Bar | None:
    """The tensors that changed most, NaN and Inf first."""
    if not _tells(comparison, names, what):
        return None
    found = {name: _figure(comparison, name, what) for name in names}
    ordered = sorted(names, key=lambda name: _rank(comparison.deltas[name], found[name]))
    shown = ordered[:_LONGEST]
    most = f", the {len(shown)} of {len(ordered):,} that changed most" if len(shown) < len(ordered) else ""
    flags = {row: _broken(comparison.deltas[name]) for row, name in enumerate(shown) if _broken(comparison.deltas[name])}
    flags |= {row: "0 in A" for row, name in enumerate(shown) if row not in flags and np.isposinf(found[name])}
    return Bar(
        tuple(visible(name) for name in shown),
        np.array([found[name] for name in shown]),
        title=f"{where}: {_TITLES[what]}{most}",
        ylabel=what,
        flags=flags,
        bend=_bend(what, [found[name] for name in shown]),
    )


def _bend(what: str, figures: Sequence[float]) -> float:
    """Half-width of the linear middle of the axis: 0 (linear) where the least bar is seen beside the longest, and of shares.

    The usual change is seen beside one that exploded.
    """
    known = [each for each in figures if 0 < each < math.inf]
    if what == _SHARE or not known or max(known) <= WIDE * min(known):
        return 0.0
    return max(min(known), min(max(known) / _DECADES, _USUAL * float(np.median(known))))


def _broken(delta: Delta) -> str:
    return ", ".join(delta.not_finite.changes(delta.weights))
