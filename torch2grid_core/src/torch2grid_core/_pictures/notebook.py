"""How the nouns show themselves in a notebook: small HTML without scripts, and pictures with no more than numpy."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.indexing import shape_text
from torch2grid_core._display import register
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.page import Heatmap, Histogram, Image, Page, Table, Text
from torch2grid_core._pictures.pixels import colormap, default_map, encode_png, paint, signals
from torch2grid_core._pictures.raster import reduce_array
from torch2grid_core._pictures.reductions import REDUCTIONS
from torch2grid_core._pictures.scale import ColorScale, color_scale
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._text import human_count, visible

_LARGEST, _ENOUGH = 1024, 420  # pixels a side: a picture is not wider, and is enlarged to about so many
_ROWS = 40
_PANELS = 12
_BARS = 48
_CURVES = ("#cf5a34", "#2f343b", "#c79300", "#8a48b8", "#de5d9e")
_STYLE = "font-variant-numeric:tabular-nums;"


def grid_png(grid: Grid, scale: ColorScale | None = None, enough: int = _ENOUGH) -> bytes | None:
    """The cells as a PNG, each a whole number of pixels, at most 1,024 a side; ``None`` for a grid without cells.

    enough: few cells are enlarged to about so many pixels a side.
    """
    shown = _shown(grid)
    if not shown.values.size:
        return None
    return encode_png(_enlarged(paint(shown, scale or color_scale(shown)), enough))


def _shown(grid: Grid) -> Grid:
    return reduce_array(grid, grid.reduce if grid.reduce in REDUCTIONS else "mean", _LARGEST)


def _enlarged(rgb: Array, enough: int = _ENOUGH) -> Array:
    rows, columns = rgb.shape[:2]
    factor = max(1, min(enough // max(rows, columns), 24))
    high = factor * max(1, min(columns // (12 * rows), 16)) if columns > 12 * rows else factor
    wide = factor * max(1, min(rows // (12 * columns), 16)) if rows > 12 * columns else factor
    return np.repeat(np.repeat(rgb, high, axis=0), wide, axis=1)


def grid_html(grid: Grid, scale: ColorScale | None = None, label: str = "", title: str = "", enough: int = _ENOUGH) -> str:
    """The picture with its limits, what a cell is, and what the colours beside the map mean."""
    shown = _shown(grid)
    scale = scale if scale is not None and shown.shape == grid.shape else color_scale(shown)
    picture = grid_png(shown, scale, enough)
    heading = _heading(title)
    if picture is None:
        return f"{heading}<div>a grid of {grid.shape[0]}×{grid.shape[1]} cells: nothing to show</div>"
    words = label if label and shown.shape == grid.shape else shown.cell_text()
    facts = [_bar(scale), _safe(words), f"{shown.shape[0]:,} × {shown.shape[1]:,} cells"]
    if shown.shape != grid.shape:
        facts[-1] += f" of {grid.shape[0]:,} × {grid.shape[1]:,}"
    marks = signals(default_map(scale))
    for share, rgb, word in ((scale.over, marks.over, "above"), (scale.under, marks.under, "below")):
        if share:
            facts.append(f"{_swatch(rgb)}{100 * share:.2g} % {word}")
    if not np.isfinite(shown.drawn()).all():
        facts.append(f"{_swatch(marks.not_finite)}NaN or Inf")
    if bool((shown.counts == 0).any()):
        facts.append(f"{_swatch(marks.empty)}no weight")
    return f"<figure style='margin:0 0 1em'>{heading}{_image(picture, title)}{_line(facts)}</figure>"


def _bar(scale: ColorScale) -> str:
    strip = encode_png(np.repeat(colormap(default_map(scale))[None, ::2], 10, axis=0))
    image = f"<img alt='colour scale' style='vertical-align:-1px;margin:0 .5em' src='{_data(strip)}'>"
    bend = " (asinh)" if scale.kind == "asinh" else ""
    return f"{_figure(scale.low)}{image}{_figure(scale.high)}{bend}"


def _image(png: bytes, title: str) -> str:
    return f"<img alt='{_safe(title) or 'heatmap'}' style='display:block;image-rendering:pixelated' src='{_data(png)}'>"


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _swatch(rgb: Sequence[int]) -> str:
    color = "rgb({},{},{})".format(*rgb)
    return f"<span style='display:inline-block;width:.8em;height:.8em;margin-right:.35em;background:{color}'></span>"


def _line(facts: Iterable[str]) -> str:
    return f"<div style='{_STYLE}font-size:90%;margin-top:.4em'>{' &nbsp;·&nbsp; '.join(facts)}</div>"


def _heading(title: str) -> str:
    return f"<div style='font-weight:600;margin:.3em 0'>{_safe(title)}</div>" if title else ""


def _safe(text: str) -> str:
    return html.escape(visible(text), quote=True)


def table_html(table: Table) -> str:
    """The first 40 rows; text at the left, numbers at the right, and how many rows are left out."""
    textual = [any(isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]
    sides = ["left" if text else "right" for text in textual]
    head = "".join(f"<th style='text-align:{side}'>{_safe(name)}</th>" for name, side in zip(table.columns, sides, strict=True))
    shown = Table(table.columns, table.rows[:_ROWS], formats=table.formats)
    rows = [
        "".join(f"<td style='text-align:{side}'>{_safe(text)}</td>" for text, side in zip(row, sides, strict=True))
        for row in shown.texts()
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = len(table.rows) - len(shown.rows)
    rest = f"<div style='opacity:.8'>… {more:,} more rows</div>" if more else ""
    heading = _heading(table.title)
    return f"{heading}<table style='{_STYLE}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def histogram_html(panel: Histogram) -> str:
    """Bars as inline SVG, with curves over them, the ends of the axis and what lies beyond them."""
    counts = np.asarray(panel.counts, dtype=np.float64)
    bars, *curves = (
        np.log10(np.asarray(each, np.float64) + 1) if panel.log else np.asarray(each, np.float64)
        for each in (counts, *panel.curves.values())
    )
    top, wide, high = max(float(np.nanmax(each, initial=0)) for each in (bars, *curves)) or 1.0, 480.0, 120.0
    step = wide / max(len(bars), 1)
    rects = "".join(
        f"<rect x='{i * step:.2f}' y='{high - high * value / top:.2f}' width='{max(step - 0.5, 0.3):.2f}'"
        f" height='{high * value / top:.2f}'><title>{_figure(low, 4)} … {_figure(up, 4)}: {int(count):,}</title></rect>"
        for i, (value, count, low, up) in enumerate(
            zip(bars.tolist(), counts.tolist(), panel.edges[:-1].tolist(), panel.edges[1:].tolist(), strict=True)
        )
        if value
    )
    lines = ""
    for values, color in zip(curves, cycle(_CURVES), strict=False):
        known = np.flatnonzero(~np.isnan(values)).tolist()
        points = " ".join(f"{(i + 0.5) * step:.2f},{high - high * values[i] / top:.2f}" for i in known)
        lines += f"<polyline points='{points}' fill='none' stroke='{color}' stroke-width='1.5'/>"
    ends = (
        f"<text x='0' y='{high + 16}'>{_figure(panel.edges[0])}</text>"
        f"<text x='{wide}' y='{high + 16}' text-anchor='end'>{_figure(panel.edges[-1])}</text>"
        if len(panel.edges)
        else ""
    )
    svg = (
        f"<svg viewBox='0 0 {wide:g} {high + 20:g}' width='{wide:g}' role='img' aria-label='histogram' fill='#4d83c4'"
        f" font-size='11' style='max-width:100%'><rect x='0' y='{high}' width='{wide}' height='1' fill='gray'/>{rects}{lines}"
        f"<g fill='gray'>{ends}</g></svg>"
    )
    facts = [
        f"<span style='color:{color}'>━</span> {_safe(name)}" for name, color in zip(panel.curves, cycle(_CURVES), strict=False)
    ]
    facts += [f"{_safe(name)} {_safe(text)}" for name, text in panel.summary.items()]
    outside = (("below", panel.below), ("above", panel.above), ("NaN", panel.nan))
    facts += [f"{count:,} {word}" for word, count in outside if count]
    return f"<figure style='margin:0 0 1em'>{_heading(panel.title)}{svg}{_line(facts) if facts else ''}</figure>"


def page_html(page: Page) -> str:
    """The title and the panels, a dozen at most; heatmaps and histograms as pictures, what else there is as tables."""
    parts = [f"<div style='font-weight:600;font-size:115%;margin:.4em 0'>{_safe(page.title)}</div>" if page.title else ""]
    enough = _ENOUGH // min(page.columns, 3)
    beside = "".join(f"<div>{_panel_html(panel, enough)}</div>" for panel in page.panels[:_PANELS])
    parts.append(f"<div style='display:flex;flex-wrap:wrap;gap:0 2em'>{beside}</div>" if page.columns > 1 else beside)
    if len(page.panels) > _PANELS:
        parts.append(f"<div style='opacity:.8'>… {len(page.panels) - _PANELS:,} more panels</div>")
    return f"<div>{''.join(parts)}</div>"


def _panel_html(panel: Any, enough: int) -> str:
    if isinstance(panel, Heatmap):
        return grid_html(panel.grid, panel.scale, panel.label, panel.title, enough)
    if isinstance(panel, Histogram):
        return histogram_html(panel)
    if isinstance(panel, Image) and panel.rgb.size:
        return f"{_heading(panel.title)}{_image(encode_png(_enlarged(panel.rgb)), panel.title)}{_line([_safe(panel.caption)])}"
    if isinstance(panel, Text):
        return f"{_heading(panel.title)}<pre>{chr(10).join(_safe(line) for line in panel.text.splitlines())}</pre>"
    return table_html(panel.as_table())


def checkpoint_html(checkpoint: Checkpoint) -> str:
    """What the checkpoint is in one line, its first tensors, and what was not taken."""
    dtypes = ", ".join(f"{name} ({count})" for name, count in checkpoint.dtypes.items())
    facts = [checkpoint.format, f"{len(checkpoint):,} tensors", f"{human_count(checkpoint.parameters)} parameters", dtypes]
    tied = {second: f"tied to {first}" for second, first in checkpoint.aliases.items()}
    rows = tuple(
        (name, shape_text(tensor.shape), tensor.dtype.name, tensor.size, tied.get(name, ""))
        for name, tensor in list(checkpoint.distinct().items())[:_ROWS]
    )
    table = table_html(Table(("tensor", "shape", "dtype", "weights", ""), rows, formats={"weights": ",d"}))
    more = len(checkpoint) - len(rows)
    notes = [f"… {more:,} more tensors"] if more else []
    notes += [f"{len(checkpoint.skipped):,} entries skipped"] if checkpoint.skipped else []
    notes += [f"not run: {_safe(str(action))}" for action in checkpoint.not_run[:5]]
    rest = "".join(f"<div style='opacity:.8'>{note}</div>" for note in notes)
    return (
        f"<div>{_heading(checkpoint.source or 'checkpoint')}{_line(_safe(fact) for fact in facts if fact)}{table}{rest}</div>"
    )


def distribution_html(distribution: Distribution) -> str:
    """The figures, and a histogram between the 0.1 % and 99.9 % quantiles where quantiles are known."""
    figures = {"weights": f"{distribution.count:,}"}
    if distribution.finite:
        names = ("mean", "std", "min", "max", "rms")
        figures.update({name: _figure(getattr(distribution, name), 4) for name in names})
    others = (
        ("zeros", distribution.zeros),
        ("NaN", distribution.nan),
        ("+Inf", distribution.posinf),
        ("−Inf", distribution.neginf),
    )
    figures.update({name: f"{count:,}" for name, count in others if count})
    try:
        low, high = distribution.quantiles((0.001, 0.999)).tolist()
    except ValueError:  # a brief distribution has none
        low = high = math.nan
    if not distribution.finite or not low < high:
        return f"<div>{_line(f'{name} {text}' for name, text in figures.items())}</div>"
    edges = np.linspace(low, high, _BARS + 1)
    counts, below, above = distribution.histogram(edges)
    return histogram_html(Histogram(edges, counts, below=below, above=above, summary=figures))


register(Grid, grid_html, grid_png)
register(Table, table_html)
register(Page, page_html)
register(Checkpoint, checkpoint_html)
register(Distribution, distribution_html)


def _figure(value: float, digits: int = 3) -> str:
    """A number with minus signs, as pictures write it."""
    return f"{value:.{digits}g}".replace("-", "−")
