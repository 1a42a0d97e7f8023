"""Pages in axes that the caller owns: artists of matplotlib, on axes of weights, and nothing else of the figure is touched."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import AsinhLocator, FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from torch2grid_builtin._renderers.matplotlib.canvas import CURVES, LOST, MARK, SERIES, series_colors
from torch2grid_builtin._renderers.matplotlib.heatmap import Legend, rgb
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.paint import paint_page
from torch2grid_builtin._renderers.matplotlib.panel import Scale
from torch2grid_builtin._renderers.matplotlib.text import wrap
from torch2grid_builtin._renderers.numbers import number, over_bars
from torch2grid_builtin._renderers.titles import inside, modules_of, titles
from torch2grid_core import Grid, Page, Style, UsageError
from torch2grid_core.grids import ColorScale, color_scale, colormap, default_map, signals
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Ridges, Scatter, Text, table_lines
from torch2grid_core.text import visible

Array = np.ndarray[Any, Any]
_MANY = 9  # panels; a page of more is drawn as the picture that it is
_SLENDER = 12  # a picture longer than so many to one fills its axes
_NAMED = 40
_NAME, _LINE, _TEXT = 60, 64, 72  # characters
_PAD = 4  # pixels between a panel with its labels and its neighbours
_OF_TEXT = 0.4  # of the height of another row
_ACROSS = 4  # names side by side in a legend as wide as the page
_ROUNDS = 3  # other ticks need other room
_SMALLEST = 5.0  # points of a name
_WIDE, _HIGH = 0.55, 1.25  # of a character and of a line of text, in sizes of it
_APART = 34  # pixels between two ticks of an asinh axis, at least
_TITLE_LINES = 2  # of a page's title: a longer one is left to the page
_LINES = 6  # of any title
_SHORTEST = 12  # characters of a line beside a colour bar
_SIZE = 12.0  # of the text by which lines are measured; any will do
_NAMED = 6  # points of the name of a region
_LEAST = 0.3  # of the length of its cell that a panel keeps, however long its labels are
_ROOM = 0.01  # share of the cells from which a region has room for its name


def plot(value: Any, ax: Any = None, map: str | None = None) -> Axes:
    """Draw *value*, a page or a grid, into *ax*, or into the axes of a new figure of pyplot's, and return the axes.

    map: the name of a colour map; ``None`` for the default of each scale. Raises ``UsageError`` for anything but axes, and for
    an unknown map.
    """
    if isinstance(value, Grid):
        value = Page("grid", "", (Heatmap(value, color_scale([value]), label=value.cell_text()),))
    if map is not None:
        colormap(map)
    if ax is not None and not isinstance(ax, Axes):
        raise UsageError(f"plot draws into axes of matplotlib, not into a {type(ax).__name__}")
    target = _new(value) if ax is None else ax
    _page(value, target, map)
    return target


def _new(page: Page) -> Axes:
    from matplotlib import pyplot

    count = len(page.panels)
    columns = max(1, min(page.columns, count))
    rows = math.ceil(count / columns)
    size = (6.4, 4.8) if count == 1 else (min(4.5 * columns, 20), min(3.6 * rows, 20))
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def _page(page: Page, ax: Axes, map: str | None) -> None:
    if len(page.panels) == 1:
        panel = page.panels[0]
        _panel(panel, ax, map)
        text = ": ".join(filter(None, (page.title, getattr(panel, "title", ""))))
        _title(ax, text, line=_characters(ax, 1.0, "medium"))
        return
    ax.set_axis_off()
    if len(page.panels) > _MANY:
        canvas = draw_page(page, Style(colormap=map))
        ax.imshow(paint_page(canvas.width, canvas.height, canvas.shapes), interpolation="antialiased")
        return
    line = _characters(ax, 1.0, "medium")
    whole = len(textwrap.wrap(visible(page.title), line)) <= _TITLE_LINES
    _title(ax, page.title if whole else page.title.partition(" · ")[0], line=line)
    places, inners = _places(page), list[Axes]()
    for panel, cell in zip(page.panels, places, strict=False):
        left, bottom, width, height = cell
        inner = ax.inset_axes((left + 0.1 * width, bottom + 0.2 * height, 0.8 * width, 0.6 * height))
        inners.append(inner)
        _panel(panel, inner, map)
        if isinstance(panel, Heatmap) and inner.images:
            _color_bar(panel, inner, map)
        inner.tick_params(labelsize="small")
        inner.xaxis.label.set_fontsize("small")
        inner.yaxis.label.set_fontsize("small")
        _title(inner, getattr(panel, "title", ""), "small", _characters(ax, width, "small"))
    _names_once(page, inners, places)
    _one_legend(ax, inners, places[len(inners) :])
    for inner, cell in zip(inners, places, strict=False):
        for _ in range(
            2 if inner.child_axes else 1
        ):  # the text of a colour bar is as long as the bar, which has its place then
            _fit(inner, ax, cell)
            _break_texts_beside(inner)


def _characters(ax: Axes, share: float, size: str) -> int:
    """About how many characters of text fit a *share* of the width of *ax*."""
    points = FontProperties(size=size).get_size_in_points()
    inches = ax.get_window_extent().width / ax.figure.dpi
    return min(max(12, int(share * inches * 72 / (_WIDE * points))), _LINE)


def _names_once(page: Page, inners: Sequence[Axes], places: Sequence[tuple[float, float, float, float]]) -> None:
    """Where panels below one another have the same places under them, the lowest alone has their names."""
    below: dict[float, Any] = {}
    for panel, inner, (left, *_) in reversed([*zip(page.panels, inners, places, strict=False)]):
        names = getattr(panel, "column_names", ()) or getattr(panel, "xticks", ())
        names = tuple(each if isinstance(each, str) else each[1] for each in names)
        if names and below.get(left, ())[-len(names) :] == names:
            inner.tick_params(axis="x", labelbottom=False)
            inner.set_xlabel("")
        elif names:
            below[left] = names


def _one_legend(ax: Axes, inners: Sequence[Axes], free: Sequence[tuple[float, float, float, float]]) -> None:
    """Where panels have lines of the same names: one legend in a cell that is *free*, else in the first of them alone."""
    seen: list[set[tuple[str, str]]] = []
    shared = False
    for inner in sorted(inners, key=lambda each: -len(each.get_legend_handles_labels()[1])):
        entries = {(name, _color(each)) for each, name in zip(*inner.get_legend_handles_labels(), strict=True)}
        if any(entries <= others for others in seen) and (repeated := inner.get_legend()) is not None:
            repeated.remove()
            shared = True
        elif entries:
            seen.append(entries)
    kept = [inner for inner in inners if inner.get_legend() is not None]
    shown = [pair for inner in kept for pair in zip(*inner.get_legend_handles_labels(), strict=True)]
    handles = {name: each for each, name in shown}
    colors = {(name, _color(each)) for each, name in shown}
    if not free or not (shared or len(kept) > 1) or len(colors) > len(handles):
        return
    for inner in kept:
        if (own := inner.get_legend()) is not None:
            own.remove()
    beside = ax.inset_axes(free[0])
    beside.set_axis_off()
    most, whole = max(1, round(_ACROSS * free[0][2])), ax.get_window_extent()
    for size, across in product(("small", "x-small", "xx-small"), range(most, 0, -1)):
        legend = beside.legend(handles.values(), handles.keys(), fontsize=size, loc="center", ncols=across)
        for text in legend.get_texts():
            text.set_parse_math(False)
        taken = legend.get_window_extent()
        if taken.width <= free[0][2] * whole.width and taken.height <= free[0][3] * whole.height:
            break


def _color(artist: Any) -> str:
    """The colour of a line; of anything else, what is its alone."""
    return str(artist.get_color()) if hasattr(artist, "get_color") else str(id(artist))


class _Place:
    """Where axes are inside others: (left, bottom, width, height) in shares of these. A locator of matplotlib's."""

    def __init__(self, ax: Axes, bounds: tuple[float, float, float, float]) -> None:
        self.ax, self.bounds = ax, bounds

    def __call__(self, inner: Any, renderer: Any) -> Bbox:
        return Bbox.from_bounds(*self.bounds).transformed(self.ax.transAxes - inner.figure.transSubfigure)


def _fit(inner: Axes, ax: Axes, cell: tuple[float, float, float, float]) -> None:
    """Move *inner* so that it fills its *cell* of *ax* together with its title, ticks and labels, as large as these are now."""
    left, bottom, width, height = cell
    shares = ax.transAxes.inverted()
    pad = Bbox.from_bounds(0, 0, _PAD, _PAD).transformed(shares)
    bounds = (left + 0.1 * width, bottom + 0.2 * height, 0.8 * width, 0.6 * height)
    across, down = [pad.width, pad.width], [pad.height, pad.height]
    for _ in range(_ROUNDS):
        everything = inner.get_tightbbox()
        if everything is None:
            return
        taken, own = everything.transformed(shares), Bbox.from_bounds(*bounds)
        across = [max(across[0], own.x0 - taken.x0 + pad.width), max(across[1], taken.x1 - own.x1 + pad.width)]
        down = [max(down[0], own.y0 - taken.y0 + pad.height), max(down[1], taken.y1 - own.y1 + pad.height)]
        for axis, sides, length in (("y", across, width), ("x", down, height)):
            most = (1 - _LEAST) * length / sum(sides)
            if most < 1:
                sides[:] = [side * most for side in sides]
                _smaller(inner, axis, most)
        bounds = (left + across[0], bottom + down[0], width - sum(across), height - sum(down))
        inner.set_axes_locator(_Place(ax, bounds))
    box = Bbox.from_bounds(*bounds).transformed(ax.transAxes)
    _thin_out(inner, "y", box.height * 72 / inner.figure.dpi)
    _thin_out(inner, "x", box.width * 72 / inner.figure.dpi)


def _thin_out(ax: Axes, axis: Any, room: float) -> None:
    """Names along *axis*, upright or below one another, no larger than a line for each of *room* points; of too many some."""
    line = ax.xaxis if axis == "x" else ax.yaxis
    if not isinstance(line.get_major_locator(), FixedLocator):
        return
    labels = line.get_ticklabels()
    if not labels or (axis == "x" and not labels[0].get_rotation()):
        return
    size = room / len(labels) / _HIGH
    step = max(1, math.ceil(_SMALLEST / size)) if size > 0 else 1
    if step > 1:
        named = [(place, each.get_text(), each.get_color()) for place, each in zip(line.get_ticklocs(), labels, strict=True)]
        apart = step * (max(named)[0] - min(named)[0]) / (len(named) - 1) * (1 - 1e-9)
        kept = list[tuple[float, str, Any]]()
        for each in named:  # the first have the room
            if each[2] == LOST or all(abs(each[0] - other[0]) >= apart for other in kept):
                kept.append(each)
        rotation = labels[0].get_rotation()
        line.set_ticks([each[0] for each in kept], labels=[each[1] for each in kept], parse_math=False, rotation=rotation)
        for (_, _, color), label in zip(kept, line.get_ticklabels(), strict=True):
            label.set_color(color)
    ax.tick_params(axis=axis, labelsize=min(labels[0].get_fontsize(), max(size * step, _SMALLEST)))


def _smaller(ax: Axes, axis: Any, factor: float) -> None:
    """The names along *axis*, ``x`` or ``y``, at a smaller size."""
    names = ax.get_xticklabels() if axis == "x" else ax.get_yticklabels()
    if names:
        ax.tick_params(axis=axis, labelsize=max(_SMALLEST, float(names[0].get_fontsize()) * factor))


def _places(page: Page) -> list[tuple[float, float, float, float]]:
    """(left, bottom, width, height) of the cell of each panel, in rows from the top, and of those left over, in shares."""
    wide = min(page.wide, len(page.panels))
    columns = max(1, min(page.columns, len(page.panels) - wide))
    rows = [1] * wide + [columns] * math.ceil((len(page.panels) - wide) / columns)
    starts = [sum(rows[:row]) for row in range(len(rows))]
    alone = [
        all(isinstance(each, Text) for each in page.panels[start:][:across]) for start, across in zip(starts, rows, strict=True)
    ]
    heights = np.array([_OF_TEXT if text and not all(alone) else 1.0 for text in alone])
    bottoms = 1 - np.cumsum(heights / heights.sum())
    if not len(page.panels) < sum(rows) and _same_lines(page):  # a row for the legend
        rows.append(1)
        heights = np.append(heights, _OF_TEXT)
        bottoms = 1 - np.cumsum(heights / heights.sum())
    places: list[tuple[float, float, float, float]] = []
    for across, bottom, height in zip(rows, bottoms.tolist(), (heights / heights.sum()).tolist(), strict=True):
        places += [(column / across, bottom, 1 / across, height) for column in range(across)]
    return places


def _same_lines(page: Page) -> bool:
    """True where several panels have the same lines."""
    names = [tuple(panel.y) for panel in page.panels if isinstance(panel, Line) and len(panel.y) > 1]
    return len(names) > len(set(names))


def _title(ax: Axes, text: str, size: str = "medium", line: int = _LINE) -> None:
    if text:
        lines = wrap(visible(text), line * _WIDE * _SIZE, _SIZE, lines=_LINES)
        ax.set_title("\n".join(lines), parse_math=False, fontsize=size)


def _labels(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(visible(x), parse_math=False)
    ax.set_ylabel(visible(y), parse_math=False)


def _panel(panel: Any, ax: Axes, map: str | None) -> None:
    if isinstance(panel, Heatmap):
        _heatmap(panel, ax, map)
        return
    for kind, draw in _DRAWN.items():
        if isinstance(panel, kind):
            draw(panel, ax)
            return
    _text(panel, ax)


class _Scale(Normalize):
    """A colour scale as matplotlib takes it, for its colour bars too."""

    def __init__(self, scale: ColorScale) -> None:
        super().__init__(scale.low, scale.high)
        self.scale = scale

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        masked = np.ma.asarray(value)
        with np.errstate(invalid="ignore"):
            return np.ma.MaskedArray(self.scale.fraction(masked.filled(0)), mask=np.ma.getmaskarray(masked))

    def inverse(self, value: Any) -> Any:
        return self.scale.value(value)


def _heatmap(panel: Heatmap, ax: Axes, map: str | None) -> None:
    grid, scale = panel.grid, panel.scale
    if not grid.values.size:
        ax.text(0.5, 0.5, "the grid has no cells", transform=ax.transAxes, ha="center", va="center")
        return
    name = map or default_map(scale)
    marks = signals(name)
    table = ListedColormap(colormap(name) / 255.0).with_extremes(
        bad=rgb(marks.not_finite), over=rgb(marks.over), under=rgb(marks.under)
    )
    rows, columns = grid.shape
    high, wide = grid.cell
    extent = (-0.5, columns * wide - 0.5, rows * high - 0.5, -0.5)  # ticks are indices of weights
    longer, shorter = max(rows * high, columns * wide), min(rows * high, columns * wide)
    tabular = bool(panel.row_names and panel.column_names)  # of figures, each cell one of them, not of weights
    aspect: Any = "auto" if longer > _SLENDER * shorter or tabular else "equal"
    values = np.ma.masked_invalid(grid.values)
    ax.imshow(values, cmap=table, norm=_Scale(scale), extent=extent, aspect=aspect, interpolation="nearest")
    if (grid.counts == 0).any():
        cover = np.zeros((rows, columns, 4))
        cover[grid.counts == 0] = (*rgb(marks.empty), 1)
        ax.imshow(cover, extent=extent, aspect=aspect, interpolation="nearest")
    _labels(ax, panel.columns, panel.rows)
    if panel.row_names:
        places, names = zip(*panel.ranked_row_names, strict=True)
        ax.set_yticks([place * high - 0.5 for place in places])
        ax.set_yticklabels([visible(name, _NAME) for name in names], parse_math=False)
    elif not panel.rows:
        ax.set_yticks([])
    if panel.column_names:
        _names(ax.xaxis, [place * wide - 0.5 for place, _ in panel.column_names], [name for _, name in panel.column_names])
        ax.tick_params(axis="x", rotation=90)
    elif not panel.columns:
        ax.set_xticks([])
    if panel.boundaries or panel.labels:
        _regions(panel, ax)


def _color_bar(panel: Heatmap, ax: Axes, map: str | None) -> None:
    """The colour bar of a panel that is one of several; it belongs to *ax*."""
    text = visible(panel.label or panel.grid.cell_text())
    legend = Legend.of(panel.grid, panel.scale, text, Style(colormap=map), panel)
    ends = {(True, True): "both", (True, False): "min", (False, True): "max"}
    extend = ends.get((bool(legend.below), bool(legend.above)), "neither")
    bar = ax.figure.colorbar(ax.images[0], cax=ax.inset_axes((1.03, 0, 0.04, 1)), extend=extend)
    shares, texts = zip(*legend.ticks(), strict=True)
    bar.set_ticks(panel.scale.value(np.array(shares)).tolist(), labels=texts, parse_math=False)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize="x-small", length=2, pad=1)
    facts = (legend.title, legend.below, legend.above, *(each for _, each in legend.swatches))
    bar.set_label(", ".join(filter(None, facts)), fontsize="x-small", labelpad=1, linespacing=1, parse_math=False)
    _break_texts_beside(ax)


def _break_texts_beside(ax: Axes) -> None:
    """Break the texts of the colour bars that belong to *ax* into lines as long as its height."""
    high = ax.get_window_extent().height * 72 / ax.figure.dpi
    for beside in ax.child_axes:
        label = beside.yaxis.label
        line = max(_SHORTEST, int(high / (_WIDE * float(label.get_fontsize()))))
        label.set_text("\n".join(textwrap.wrap(label.get_text().replace("\n", " "), line)))


def _regions(panel: Heatmap, ax: Axes) -> None:
    """Outlines of the regions, and the names of the largest."""
    high, wide = panel.grid.cell
    boxes = [(region.name, rect) for region in panel.grid.regions for rect in region.rects]
    corners = [
        [
            (left * wide - 0.5, top * high - 0.5),
            ((left + width) * wide - 0.5, top * high - 0.5),
            ((left + width) * wide - 0.5, (top + height) * high - 0.5),
            (left * wide - 0.5, (top + height) * high - 0.5),
        ]
        for _, (top, left, height, width) in boxes
    ]
    if panel.boundaries and corners:
        ax.add_collection(PolyCollection(corners, facecolors="none", edgecolors="#000000", linewidths=0.4), autolim=False)
    if panel.labels:
        _region_names(panel, ax)


def _region_names(panel: Heatmap, ax: Axes) -> None:
    """The grid's labels, and each region's name once, on a light ground, where there is room for it in the axes as they are."""
    grid = panel.grid
    (high, wide), (rows, columns) = grid.cell, grid.shape
    box = ax.get_window_extent()
    pixels = min(box.width / columns, box.height / rows)  # of a cell
    height = _NAMED * ax.figure.dpi / 72
    modules = modules_of(grid)
    headed = {label.name for label in grid.labels}
    named = list(zip(titles(grid), (label.rects[0] for label in grid.labels), strict=True))
    for region in grid.regions:
        largest = max(region.rects, key=lambda rect: rect[2] * rect[3], default=None)
        if largest is not None and region.name not in headed and largest[2] * largest[3] >= _ROOM * grid.values.size:
            band = [rect for rect in region.rects if rect[0] == largest[0] and rect[1] >= largest[1]]  # and those beside it
            named.append((inside(modules, region.name), (*largest[:3], sum(rect[3] for rect in band))))
    for name, (top, left, down, across) in named:
        last = name.removesuffix(".weight").rpartition(".")[2]
        room = across * pixels / (0.55 * height)
        shown = last if last.isdecimal() else next((text for text in (visible(name, _NAME), last) if len(text) <= room), "")
        if not shown or down * pixels < height:
            continue
        place = left * wide - 0.5, top * high - 0.5
        ground = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}
        ax.text(*place, shown, fontsize=_NAMED, va="top", clip_on=True, parse_math=False, bbox=ground)


def _image(panel: Image, ax: Axes) -> None:
    ax.imshow(panel.rgb, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    _labels(ax, panel.caption, "")


def _histogram(panel: Histogram, ax: Axes) -> None:
    if len(panel.counts):
        ax.stairs(panel.counts, panel.edges, fill=True, color="#4a80aa")
    if panel.log and np.any(panel.counts > 0):
        ax.set_yscale("log")
    beyond = ((panel.below, "below"), (panel.above, "above"), (panel.nan, "NaN"))
    rest = ", ".join(f"{count:,} {what}" for count, what in beyond if count)
    _labels(ax, f"{panel.xlabel} ({rest})" if rest else panel.xlabel, "count")
    middles = (panel.edges[:-1] + np.diff(panel.edges) / 2) if len(panel.counts) else panel.counts
    for (name, values), color in zip(panel.curves.items(), cycle(CURVES), strict=False):
        ax.plot(middles, over_bars(values, panel.log), color=color, linewidth=1.5, label=visible(name, _NAME).lstrip("_"))
    for name, value in panel.marks.items():
        _mark(ax.axvline, name, value)
    _legend(ax, bool(panel.marks or panel.curves))


def _mark(line: Callable[..., Any], name: str, value: float) -> None:
    if math.isfinite(value):
        text = f"{visible(name, _NAME)} {number(value)}"
        line(value, color=MARK, linestyle="--", linewidth=1, label=text.lstrip("_"))


def _legend(ax: Axes, wanted: bool) -> None:
    if wanted and ax.get_legend_handles_labels()[0]:
        for text in ax.legend(fontsize="x-small", framealpha=0.6).get_texts():
            text.set_parse_math(False)


def _logs(panel: Line | Scatter, y: Sequence[Array], ax: Axes) -> None:
    """Logarithmic axes where they are asked for, and something is above 0."""
    if panel.log and any(np.any(values > 0) for values in y):
        ax.set_yscale("log")
    if panel.xlog and np.any(panel.x > 0):
        ax.set_xscale("log")


def _line(panel: Line, ax: Axes) -> None:
    colors = series_colors(len(panel.y))
    for place, (name, values) in enumerate(panel.y.items()):
        alone = np.count_nonzero(np.isfinite(values)) < 2
        marker = "o" if alone else None
        ax.plot(panel.x, values, color=colors[place], marker=marker, label=visible(name, _NAME).lstrip("_"))
    _logs(panel, list(panel.y.values()), ax)
    if panel.xticks:
        _names(ax.xaxis, panel.x, panel.xticks)
        ax.tick_params(axis="x", rotation=90)
    _labels(ax, panel.xlabel, panel.ylabel)
    for name, value in panel.marks.items():
        _mark(ax.axhline, name, value)
    for name, value in panel.xmarks.items():
        _mark(ax.axvline, name, value)
    for place in panel.flags:
        ax.axvline(float(panel.x[place]), color=LOST, linewidth=1)
    _legend(ax, len(panel.y) > 1 or bool(panel.marks or panel.xmarks))


def _names(axis: Any, places: Sequence[float] | Array, names: Sequence[str], flags: Mapping[int, str] | None = None) -> None:
    """Names at an axis, at most ``_NAMED`` of them, and what is wrong with some behind theirs."""
    step = max(1, math.ceil(len(names) / _NAMED))
    ill = flags or {}
    kept = [place for place in range(len(names)) if place % step == 0 or place in ill]
    texts = [visible(names[place], _NAME) + (f" ({ill[place]})" if place in ill else "") for place in kept]
    axis.set_ticks([float(places[place]) for place in kept], labels=texts, parse_math=False)
    for place, label in zip(kept, axis.get_ticklabels(), strict=True):
        if place in ill:
            label.set_color(LOST)


def _scatter(panel: Scatter, ax: Axes) -> None:
    groups = list(dict.fromkeys(panel.groups)) or [""]
    colors = series_colors(len(groups))
    for place, group in enumerate(groups):
        chosen = np.array([each == group for each in panel.groups], bool) if panel.groups else np.ones(len(panel.x), bool)
        ax.scatter(panel.x[chosen], panel.y[chosen], s=14, color=colors[place], label=visible(group, _NAME).lstrip("_"))
    _logs(panel, [panel.y], ax)
    _labels(ax, panel.xlabel, panel.ylabel)
    for name, value in panel.marks.items():
        _mark(ax.axhline, name, value)
    for name, value in panel.xmarks.items():
        _mark(ax.axvline, name, value)
    _legend(ax, bool(panel.groups or panel.marks or panel.xmarks))


def _bar(panel: Bar, ax: Axes) -> None:
    places = np.arange(len(panel.labels))
    ax.barh(places, np.where(np.isfinite(panel.values), panel.values, 0), color="#4a80aa")
    ax.invert_yaxis()
    if panel.bend:
        _bend(ax.xaxis, panel.bend)
    _names(ax.yaxis, places, panel.labels, panel.flags)
    _labels(ax, panel.ylabel, "")
    for name, value in panel.marks.items():
        _mark(ax.axvline, name, value)
    _legend(ax, bool(panel.marks))


def _boxes(panel: Boxes, ax: Axes) -> None:
    places = [place for place in range(len(panel.labels)) if np.isfinite(panel.values[:, place]).all()]
    keys = ("whislo", "q1", "med", "q3", "whishi")
    found = [dict(zip(keys, panel.values[:, place].tolist(), strict=True)) for place in places]
    if found:
        ax.bxp(found, positions=places, showfliers=False, manage_ticks=False)
    _upright(panel, ax)


def _band(panel: Band, ax: Axes) -> None:
    places = np.arange(len(panel.labels))
    values = np.asarray(panel.values, np.float64)
    count = len(panel.levels)
    for place in range(count // 2):
        ax.fill_between(places, values[place], values[count - 1 - place], color=SERIES[0], alpha=0.25, linewidth=0)
    if count % 2:
        ax.plot(places, values[count // 2], color=SERIES[0])
    if panel.bend:
        _bend(ax.yaxis, panel.bend)
    if panel.limits:
        ax.set_ylim(*panel.limits)
    _upright(panel, ax)


def _ridges(panel: Ridges, ax: Axes) -> None:
    """Each ridge above a line of its own, the first on top, as high as the steepest of all allows."""
    shares = np.asarray(panel.shares, np.float64)
    highest = float(np.nanmax(shares, initial=0.0)) or 1.0
    count = len(panel.labels)
    for place, row in enumerate(shares):
        if np.isfinite(row).any():
            ax.stairs(count - 1 - place + 1.4 * row / highest, panel.edges, baseline=count - 1 - place, fill=True, alpha=0.8,
                      color=SERIES[0], zorder=2 + place / max(count, 1))  # fmt: skip
    if panel.bend and len(panel.edges):
        _bend(ax.xaxis, panel.bend)
    _names(ax.yaxis, [float(count - 1 - place) for place in range(count)], panel.labels, panel.flags)
    _labels(ax, panel.xlabel, "")


class _BentTicks(AsinhLocator):
    """Round values on an asinh axis, as far from each other as their texts need."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        axis: Any = self.axis
        box, level = axis.axes.get_window_extent(), axis.axis_name == "x"
        scale = Scale(vmin, vmax, 0, box.width if level else box.height, bend=self.linear_width)
        return scale.ticks(_APART * axis.axes.figure.dpi / 100 * (1 if level else 0.6))


def _bend(axis: Any, bend: float) -> None:
    """An asinh axis with ticks that can be read."""
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("asinh", linear_width=bend)
    axis.set_major_locator(_BentTicks(bend))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def _upright(panel: Boxes | Band, ax: Axes) -> None:
    _names(ax.xaxis, np.arange(len(panel.labels)), panel.labels, panel.flags)
    ax.tick_params(axis="x", rotation=90)
    _labels(ax, "", panel.ylabel)


def _text(panel: Any, ax: Axes) -> None:
    """Text, tables, and what nobody knows how to draw, as lines."""
    ax.set_axis_off()
    text = getattr(panel, "text", None)
    lines = (
        [piece for line in text.splitlines() for piece in textwrap.wrap(line, _TEXT) or [""]]
        if isinstance(text, str)
        else table_lines(panel.as_table())
    )
    shown = "\n".join(visible(line, 200) for line in lines[:_NAMED])
    ax.text(0, 1, shown, transform=ax.transAxes, va="top", family="monospace", fontsize="small", parse_math=False)


_DRAWN: dict[type, Callable[[Any, Axes], None]] = {
    Image: _image,
    Histogram: _histogram,
    Line: _line,
    Scatter: _scatter,
    Bar: _bar,
    Boxes: _boxes,
    Band: _band,
    Ridges: _ridges,
}
