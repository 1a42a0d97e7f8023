"""How the weights of each tensor are distributed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from torch2grid_builtin._views.describing import about, figure_text, flags_of, nothing_finite, tensor_title
from torch2grid_builtin._views.initialisations import beside
from torch2grid_builtin._views.sheets import Columns, Sheet, columns_of, one_picture, rows_text, short_rows
from torch2grid_builtin._views.units import has_units, is_figure
from torch2grid_core import Checkpoint, LazyTensor, Page, Settings, View
from torch2grid_core.measures import Distribution, Summary, Values
from torch2grid_core.pages import Band, Histogram, Table, Text
from torch2grid_core.text import percentage, visible

Array = np.ndarray[Any, Any]
COUNTED = 1 << 18  # tensors of up to so many weights are counted one by one; larger ones by their distribution
PER_SHEET = 300  # layers
_ACROSS = 4  # quantile charts in a row
COUNTS = ("Weights", "NaN", "+Inf", "-Inf")
_NARROWEST = math.ldexp(1.0, -1060)  # of a bar: its edges are float64 numbers still
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class HistogramView(View):
    """A histogram of each tensor, and all of them on one sheet with the quantiles of every layer."""

    name = "histogram"
    uses_transformer = False

    each: bool = field(default=True, metadata={"help": "draw a histogram of each tensor"})
    overview: bool = field(default=True, metadata={"help": "draw the sheet of all histograms"})
    bars: int = field(default=100, metadata={"help": "about so many bars on a tensor's page"})
    tail: float = field(default=0.001, metadata={"help": "share of the weights that may lie beyond the bars, at each end"})
    log: bool = field(default=True, metadata={"help": "logarithmic heights, to see rare weights; false: linear"})
    initialisation: bool = field(
        default=False, metadata={"help": "on a tensor's page, the initialisations that it fits, or the nearest, as curves"}
    )

    def __post_init__(self) -> None:
        if not 2 <= self.bars <= 2000:
            raise ValueError("bars must be between 2 and 2000")
        if not 0 <= self.tail < 0.5:
            raise ValueError("tail must be between 0 and 0.5")

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> dict[str, Any]:
        return {"summary": Summary((run.threshold,)), "values": Values(COUNTED)} if self.each and tensor.size else {}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        summary: Distribution = results["summary"]
        name, title = f"{tensor.name}_hist", f"Histogram of {tensor_title(tensor)}"
        if not summary.finite:
            text = Text(nothing_finite(summary.not_finite, summary.count))
            row = (summary.count, summary.nan, summary.posinf, summary.neginf)
            table = Table(COUNTS, (row,), formats=dict.fromkeys(COUNTS, ",d"))
            yield Page(name, title, (text, table), "histograms", about=about(tensor))
            return
        edges = bar_edges(summary, tensor.dtype, self.bars, self.tail, whole=results["values"] is not None)
        counts, below, above = _counted(results["values"], summary, edges)
        panel = Histogram(
            edges,
            counts,
            xlabel="|weight|" if tensor.dtype.kind == "c" else "weight",
            below=below + summary.neginf,
            above=above + summary.posinf,
            nan=summary.nan,
            log=self.log,
            marks=_marks(summary, edges, run.threshold),
            summary=_figures(summary, run.threshold),
            curves=beside(tensor, summary, edges) if self.initialisation else {},
        )
        yield Page(name, title, (panel,), "histograms", about=about(tensor))

    def needs(self, checkpoint: Checkpoint, run: Settings) -> dict[str, Any]:
        if not self.overview or one_picture(checkpoint, run, self.each) or not _with_weights(checkpoint):
            return {}
        return {"summary": Summary((run.threshold,))}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        if "summary" not in results:
            return
        summaries: Mapping[str, Distribution] = results["summary"]
        names = _with_weights(checkpoint)
        columns = columns_of(names)
        heights = "logarithmic heights" if self.log else "linear heights"
        title = (
            f"Histograms of {len(names):,} tensors" if len(names) != 1 else f"Histogram of {tensor_title(checkpoint[names[0]])}"
        )
        small: dict[str, Histogram | Text] = {}
        shared = []
        for kind in range(len(columns.kinds)):
            members = columns.members(kind)
            edges = self._shared_edges(members, checkpoint, summaries)
            small.update({name: self._small(checkpoint[name], summaries[name], run, edges) for name in members})
            shared.append(edges)
        small.update({name: self._small(checkpoint[name], summaries[name], run) for name in columns.apart})
        bands = _bands(columns, checkpoint, summaries)
        sheets = columns.sheets(PER_SHEET)
        for index, sheet in enumerate(sheets):
            own: tuple[Any, ...] = bands if len(sheets) == 1 else ()
            places, rows = _above(len(own), sheet)
            here = set(sheet.names)
            members_here = [[name for name in columns.members(kind) if name in here] for kind in range(len(shared))]
            heads = [
                self._shared_note(edges, [small[name] for name in some], [summaries[name] for name in some])
                for edges, some in zip(shared, members_here, strict=True)
            ]
            text = f"{title}, {heights}" + (f", sheet {index + 1} of {len(sheets)}" if len(sheets) > 1 else "")
            yield Page(
                f"histogram_overview_{index + 1}" if index else "histogram_overview",
                text + rows_text(sheet.rows),
                (*own, *(small[name] for name in sheet.names)),
                columns=max(4, min(len(columns.columns), 10)),
                places=places,
                row_names=tuple(map(visible, short_rows(rows))),
                column_names=tuple(map(visible, columns.names)),
                column_notes=columns.each(heads),
            )
        if len(sheets) > 1:
            places, rows = _above(len(bands), None)
            what = f"Quantiles of {len(names):,} tensors, linear scales"
            yield Page("histogram_overview_depth", what, bands, columns=4, places=places, row_names=rows)

    def _shared_edges(
        self, names: Sequence[str], checkpoint: Checkpoint, summaries: Mapping[str, Distribution]
    ) -> Array | None:
        """The edges of the bars of all tensors of a column, of all their weights together; ``None`` where none is finite."""
        joint = Distribution()
        for name in names:
            joint.merge(summaries[name])
        if not joint.finite:
            return None
        coarsest = max((checkpoint[name].dtype for name in names), key=lambda dtype: (dtype.kind in "iub", -dtype.itemsize))
        # One tensor's outliers lie beyond the bars of all; what others have at their ends stays inside.
        ends = [_ends(summaries[name], self.tail) for name in names if summaries[name].finite]
        lows, highs = zip(*ends, strict=True)
        return bar_edges(joint, coarsest, 48, self.tail, whole=False, ends=(min(lows), max(highs)))

    def _shared_note(self, edges: Array | None, panels: Sequence[Histogram | Text], summaries: Sequence[Distribution]) -> str:
        """What the histograms of a column share on their sheet: the least and the largest weight; where some lie beyond the
        bars, the ends of these as well."""
        finite = [summary for summary in summaries if summary.finite]
        if edges is None or not finite:
            return ""
        shown = [panel for panel in panels if isinstance(panel, Histogram)]
        most = max(int(np.max(panel.counts)) for panel in shown)
        least, largest = min(summary.min for summary in finite), max(summary.max for summary in finite)
        is_below, is_above = (any(getattr(panel, end) for panel in shown) for end in ("below", "above"))
        first, last = limits_text(float(edges[0]) if is_below else least, float(edges[-1]) if is_above else largest)
        text = f"from {first} to {last}"
        text += f", min {figure_text(least, '.3g')}" if is_below else ""
        text += f", max {figure_text(largest, '.3g')}" if is_above else ""
        return f"{text}, count to {most:,} ({'log' if self.log else 'linear'})"

    def _small(self, tensor: LazyTensor, summary: Distribution, run: Settings, edges: Array | None = None) -> Histogram | Text:
        if not summary.finite:
            return Text(nothing_finite(summary.not_finite, summary.count), title=visible(tensor.name))
        if edges is None:
            edges = bar_edges(summary, tensor.dtype, 48, self.tail, whole=False)
        counts, below, above = summary.histogram(edges)
        share = f"{100 * summary.near_zero(run.threshold) / summary.count:.3g} %"
        ends = {"min": figure_text(summary.min), "max": figure_text(summary.max)}
        lost = {"Inf": f"{summary.not_finite.inf:,}"} if summary.not_finite.inf else {}
        return Histogram(
            edges,
            counts,
            title=visible(tensor.name),
            below=below + summary.neginf,
            above=above + summary.posinf,
            nan=summary.nan,
            log=self.log,
            marks={"0": 0.0},
            summary={**lost, **ends, "mean": figure_text(summary.mean), "std": figure_text(summary.std), "near zero": share},
        )


def plain_histogram(found: Distribution, dtype: np.dtype[Any], quantity: str, zeros: str) -> Histogram | Text:
    """A histogram of something else than weights, to stand beside other panels. zeros: what a value of 0 is called there.

    Heights are logarithmic from 1,000 values on.
    """
    if not found.finite:
        return Text(nothing_finite(found.not_finite, found.count, "value"), title=quantity)
    edges = bar_edges(found, dtype, 80, 0.0005, whole=False)
    counts, below, above = found.histogram(edges)
    large = found.count >= 1000
    return Histogram(
        edges,
        counts,
        title=f"{quantity} (heights are logarithmic)" if large else quantity,
        xlabel=quantity,
        below=below + found.neginf,
        above=above + found.posinf,
        nan=found.nan,
        log=large,
        marks={"0": 0.0},
        summary={"mean": figure_text(found.mean), "std": figure_text(found.std), zeros: percentage(found.zeros / found.count)},
    )


def overlaid(sides: Mapping[str, Distribution], dtype: np.dtype[Any]) -> Histogram | Text:
    """Distributions over the same bars: the last of *sides* as bars, the others as lines. What lies beyond is counted."""
    known = {name: each for name, each in sides.items() if each.finite}
    if not known:
        text = "; ".join(f"{name}: {nothing_finite(each.not_finite, each.count)}" for name, each in sides.items())
        return Text(text, title=" and ".join(sides))
    both = Distribution()
    for each in known.values():
        both.merge(each)
    lows, highs = zip(*(_ends(each, 0.0005) for each in known.values()), strict=True)
    edges = bar_edges(both, dtype, 80, 0.0005, whole=False, ends=(min(lows), max(highs)))
    counts = {name: each.histogram(edges) for name, each in known.items()}
    *others, last = known
    figures = {f"{name} std": figure_text(each.std) for name, each in known.items()}
    for name, (_, below, above) in counts.items():
        side = known[name]
        figures |= {f"{name} below": f"{below:,}, to {figure_text(side.min)}"} if below else {}
        figures |= {f"{name} above": f"{above:,}, to {figure_text(side.max)}"} if above else {}
        lost = {"NaN": side.nan, "Inf": side.not_finite.inf}
        figures |= {f"{name} {what}": f"{count:,}" for what, count in lost.items() if count}
    told = [f"{name} (line)" for name in others] + [f"{last} (bars)" if others else last]
    nothing = [f"; {name}: {nothing_finite(each.not_finite, each.count)}" for name, each in sides.items() if name not in known]
    bars, below, above = counts[last]
    large = both.count >= 1000
    return Histogram(
        edges,
        bars,
        title=f"Weights of {' and '.join(told)}{' (heights are logarithmic)' if large else ''}{''.join(nothing)}",
        xlabel="|weight|" if dtype.kind == "c" else "weight",
        below=below + known[last].neginf,
        above=above + known[last].posinf,
        nan=known[last].nan,
        log=large,
        marks={"0": 0.0},
        summary=figures,
        curves={name: counts[name][0].astype(np.float64) for name in others},
    )


def limits_text(low: float, high: float) -> tuple[str, str]:
    """Both ends of an axis with as few digits as say where they are, to a hundredth of what lies between."""
    for digits in range(2, 10):
        texts = [f"{each:.{digits}g}" for each in (low, high)]
        if all(abs(float(text) - each) <= 0.01 * (high - low) for text, each in zip(texts, (low, high), strict=True)):
            break
    return figure_text(low, f".{digits}g"), figure_text(high, f".{digits}g")


def _ends(summary: Distribution, tail: float) -> tuple[float, float]:
    """The *tail* quantile and its opposite, or the least and the largest number where that is not much more."""
    low, high = summary.quantiles((tail, 1 - tail)).tolist()
    if low == high or summary.max - summary.min <= 2 * (high - low):
        return summary.min, summary.max
    return low, high


def _with_weights(checkpoint: Checkpoint) -> list[str]:
    """The tensors that are not empty."""
    return [name for name, tensor in checkpoint.items() if tensor.size]


def bar_edges(
    summary: Distribution,
    dtype: np.dtype[Any],
    bars: int,
    tail: float,
    *,
    whole: bool,
    ends: tuple[float, float] | None = None,
) -> Array:
    """Edges of about *bars* bars from the *tail* quantile to its opposite, or from end to end where that is not much more.

    Every bar is a power of two wide, one is centred at 0, and none is narrower than the numbers are apart. Numbers of a
    coarse dtype then spread evenly over the bars instead of making a comb, and the bars cut no bucket of a distribution,
    so that it counts them exactly. A number on an edge belongs to the bar farther from 0, as it does in a bucket: a negative
    edge is the next float64 above the multiple of the width, but the first one where no weight is below it. whole: the weights
    will be counted one by one. ends: instead of the quantiles.
    """
    if not summary.finite:
        return np.array([-1.0, 1.0])
    low, high = _ends(summary, tail) if ends is None else ends
    apart = _apart(max(abs(low), abs(high)), dtype, whole)
    bars = min(bars, max(round(3 * math.sqrt(summary.finite)), 10))  # a few weights in many bars are a comb of ones
    narrowest = (high / 2 - low / 2) / (0.64 * bars)
    pad = 0
    if narrowest > 0:
        width = max(math.ldexp(1.0, math.ceil(math.log2(narrowest))), apart)
    else:  # one number only: a bar in the middle of some empty ones
        width, pad = max(math.ldexp(1.0, math.frexp(low)[1] - 4) if low else 0.125, apart), 4
    width = max(width, _NARROWEST)
    first, last = math.floor(low / width - 0.5) - pad, math.ceil(high / width - 0.5) + pad
    limit = np.finfo(np.float64).max
    with np.errstate(over="ignore"):
        edges = np.unique(np.clip((np.arange(first, max(last, first + 1) + 1) + 0.5) * width, -limit, limit))
    moved = edges < 0
    moved[0] &= summary.min < edges[0]
    return np.where(moved, np.nextafter(edges, 0), edges)


def _apart(largest: float, dtype: np.dtype[Any], whole: bool) -> float:
    """How far apart numbers of *dtype* as large as *largest* are; twice what a bucket spans, where those are counted."""
    exponent = math.frexp(largest)[1] - 1
    if dtype.kind in "iub":
        return 1.0 if whole or largest <= 256 else math.ldexp(1.0, exponent - 6)
    digits = int(ml_dtypes.finfo(dtype).nmant)  # type: ignore[no-untyped-call]  # numpy takes float8_e5m2 for its own kind
    if whole or digits <= 7:
        return math.ldexp(1.0, exponent - min(digits, 40))
    return math.ldexp(1.0, exponent - 6)


def _counted(values: Array | None, summary: Distribution, edges: Array) -> tuple[Array, int, int]:
    """Counts between the edges, below and above: of the weights themselves where they are here."""
    if values is None:
        return summary.histogram(edges)
    flat = np.abs(values.reshape(-1)) if values.dtype.kind == "c" else values.reshape(-1).astype(np.float64)
    finite = flat[np.isfinite(flat)].astype(np.float64)
    counts = np.histogram(finite, edges)[0].astype(np.int64)
    return counts, int(np.count_nonzero(finite < edges[0])), int(np.count_nonzero(finite > edges[-1]))


def _marks(summary: Distribution, edges: Array, threshold: float) -> dict[str, float]:
    if not summary.finite:
        return {}
    marks = {f"mean {figure_text(summary.mean)}": summary.mean}
    if 0 < 4 * threshold < edges[1] - edges[0]:  # closer than a line is wide: one mark for the three
        marks[f"0 (near zero: ±{figure_text(threshold, 'g')})"] = 0.0
    else:
        marks["0"] = 0.0
        if threshold > 0:
            marks.update({f"near zero {figure_text(edge, 'g')}": edge for edge in (-threshold, threshold)})
    return {name: value for name, value in marks.items() if edges[0] <= value <= edges[-1]}


def _figures(summary: Distribution, threshold: float) -> dict[str, str]:
    figures = {"weights": f"{summary.count:,}"}
    if summary.finite:
        figures.update(
            mean=figure_text(summary.mean, ".4g"),
            std=figure_text(summary.std, ".4g"),
            min=figure_text(summary.min, ".4g"),
            max=figure_text(summary.max, ".4g"),
            median=figure_text(summary.quantile(0.5), ".4g"),
        )
        near = summary.near_zero(threshold)
        figures[f"|w| < {figure_text(threshold, 'g')}"] = f"{near:,} ({100 * near / summary.count:.2f} %)"
    for name, count in (("NaN", summary.nan), ("+Inf", summary.posinf), ("−Inf", summary.neginf)):
        if count:
            figures[name] = f"{count:,}"
    return figures


def _above(count: int, sheet: Sheet | None) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """The places of *count* panels in rows without names, and of a sheet below them; and the names of all rows."""
    rows = -(-count // _ACROSS)
    places = [(index // _ACROSS, index % _ACROSS) for index in range(count)]
    if sheet is None:
        return tuple(places), ("",) * rows
    return (*places, *((row + rows, column) for row, column in sheet.places)), ("",) * rows + sheet.rows


def _bands(columns: Columns, checkpoint: Checkpoint, summaries: Mapping[str, Distribution]) -> tuple[Band, ...]:
    """Quantiles from the first layer to the last, of each kind; and of what is outside the layers, matrices and vectors apart.

    Running statistics are no weights, and are left out.
    """
    groups: list[tuple[str, list[str], bool]] = []
    for index, kind in enumerate(columns.kinds):
        groups.append((kind, columns.members(index), True))
    vectors = [name for name in columns.apart if checkpoint[name].ndim < 2]
    scales = [name for name in vectors if has_units(checkpoint[name], checkpoint)]
    where = " outside the layers" if columns.cells else ""
    groups.append((f"matrices{where}", [name for name in columns.apart if name not in vectors], False))
    groups.append((f"vectors{where}", [name for name in vectors if name not in scales], False))
    groups.append((f"normalisation weights{where}", scales, False))
    bands = []
    for kind, names, in_layers in groups:
        chosen = [name for name in names if summaries[name].count and not is_figure(name)]
        if not chosen:
            continue
        values = np.stack([summaries[name].quantiles(LEVELS) for name in chosen], axis=1)
        labels = tuple(map(visible, short_rows([columns.owners[name] for name in chosen]) if in_layers else chosen))
        title = f"{visible(kind)}: quantiles, linear"
        bands.append(Band(labels, LEVELS, values, title=title, flags=flags_of(chosen, summaries)))
    return tuple(bands)
