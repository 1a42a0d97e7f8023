"""Pages in axes that the caller owns: artists of matplotlib, on axes of weights, and nothing else of the figure is touched."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.ticker import Formatter, NullFormatter, NullLocator

from torch2grid_builtin._renderers.matplotlib.canvas import CURVES, INK, LINE, LOST, MARK, SERIES, series_colors
from torch2grid_builtin._renderers.matplotlib.heatmap import Legend, rgb
from torch2grid_builtin._renderers.matplotlib.page import draw_page
from torch2grid_builtin._renderers.matplotlib.paint import paint_page
from torch2grid_builtin._renderers.matplotlib.regions import lost_under, mark_text, region_borders
from torch2grid_builtin._renderers.matplotlib.room import (
    CLOSE,
    SMALLEST,
    BentLocator,
    fill_cell,
    keep_apart,
    room_above,
    set_title,
)
from torch2grid_builtin._renderers.matplotlib.text import text_width, wrap
from torch2grid_builtin._renderers.matplotlib.ticks import IndexFormatter, IndexLocator, cell_at, coordinate
from torch2grid_builtin._renderers.numbers import number, numbers, outline, over_bars
from torch2grid_builtin._renderers.places import first_index
from torch2grid_builtin._renderers.titles import inside, modules_of, titles
from torch2grid_core import Grid, Page, Style, UsageError
from torch2grid_core.grids import ColorScale, color_scale, colormap, default_map, signals
from torch2grid_core.pages import Band, Bar, Boxes, Heatmap, Histogram, Image, Line, Ridges, Scatter, Text, table_lines
from torch2grid_core.text import visible

Array = np.ndarray[Any, Any]
_MANY = 9  # panels; a page of more is drawn as the picture that it is
_SLENDER = 12  # a picture longer than so many to one fills its axes
_NAMED = 40
_NAME, _TEXT = 60, 72  # characters
_OF_TEXT = 0.4  # of the height of another row
_ACROSS = 4  # names side by side in a legend as wide as the page
_WIDER = 1.3  # times as wide as high is what a panel is best
_MONO = 0.61  # width of a character of a fixed width, in sizes of it
_OUTLINE = 0.4  # points of a line between regions
_TITLE_LINES = 2  # of a page's title: a longer one is left to the page
_POINTS = 6  # of the name of a region
_SHORTEST = 7  # sizes of its text that a line beside a colour bar has room for, at least
_GROUND = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}  # of a text over cells
_OVER_TEXT = 3.5  # the order of what is drawn over texts
_DOTTED = 4  # pixels of a marked part, at 100 a inch, below which it has no line
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
    whole = ax.get_window_extent().frozen()  # a title may be as wide as the place, where a matrix is narrower
    if len(page.panels) == 1:
        panel = page.panels[0]
        _panel(panel, ax, map)
        text = ": ".join(filter(None, (page.title, getattr(panel, "title", ""))))
        ax.apply_aspect()
        set_title(ax, text, whole.width, ("medium", "small", "x-small"), _TITLE_LINES + 1, room_above(ax))
        _inside(panel, ax)
        keep_apart(ax)
        return
    ax.set_axis_off()
    if len(page.panels) > _MANY:
        canvas = draw_page(page, Style(colormap=map))
        ax.imshow(paint_page(canvas.width, canvas.height, canvas.shapes), interpolation="antialiased").set_mouseover(False)
        ax.format_coord = _OfPanels(ax, ())  # type: ignore[method-assign]
        return
    sizes, above = ("medium", "small", "x-small"), room_above(ax)
    set_title(ax, page.title, whole.width, sizes, _TITLE_LINES, above)
    if "…" in ax.get_title() and "…" not in page.title:
        set_title(ax, page.title.partition(" · ")[0], whole.width, sizes, _TITLE_LINES, above)
    places, inners = _places(page, whole.width / whole.height), list[Axes]()
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
        set_title(inner, getattr(panel, "title", ""), width * whole.width, ("small", "x-small"), 2, pinned=True)
    _names_once(page, inners, places)
    _one_legend(ax, inners, places[len(inners) :])
    for panel, inner, cell in zip(page.panels, inners, places, strict=False):
        fill_cell(inner, ax, cell)
        if _break_texts_beside(inner):  # the text of a colour bar is as long as the bar, which has its place now
            fill_cell(inner, ax, cell)
            _break_texts_beside(inner)
        _inside(panel, inner)
        if isinstance(panel, Bar):  # which says now how many bars there are
            fill_cell(inner, ax, cell)
    ax.format_coord = _OfPanels(ax, inners)  # type: ignore[method-assign]
    keep_apart(ax)


def _inside(panel: Any, ax: Axes) -> None:
    """What depends on how large the axes came out: cells without a pixel of their own, outlines, names of regions, and text."""
    if isinstance(panel, Heatmap):
        box, (rows, columns) = ax.get_window_extent(), panel.grid.shape
        if box.height < rows or box.width < columns:
            for image in ax.images:
                image.set_interpolation("antialiased")  # all of them share it; of the nearest alone, others would not be seen
                image.set_interpolation_stage("data")  # what is NaN, or beyond the limits, keeps its colour
        if panel.grid.values.size and (panel.boundaries or panel.labels):
            _regions(panel, ax)
        if panel.grid.marks:
            _marks(panel, ax)
    elif isinstance(panel, Bar):
        _largest_bars(panel, ax)
    elif not isinstance(panel, tuple(_DRAWN)):
        _text(panel, ax)


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


def _places(page: Page, form: float) -> list[tuple[float, float, float, float]]:
    """(left, bottom, width, height) of the cell of each panel, in rows from the top, and of those left over, in shares.

    form: how many times as wide as high all is. There are no more columns than the page has, and no slivers.
    """
    wide = min(page.wide, len(page.panels))
    rest = len(page.panels) - wide

    def narrowness(columns: int) -> float:
        """The worse of how little width, and height, a panel gets."""
        return max(_WIDER * columns / form, wide + math.ceil(rest / columns))

    columns = min(range(max(1, min(page.columns, rest)), 0, -1), key=narrowness)
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
    ax.set_axis_off()


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
    down, across = partial(coordinate, panel, 0), partial(coordinate, panel, 1)
    extent = (across(0), across(columns), down(rows), down(0))
    longer, shorter = max(rows * high, columns * wide), min(rows * high, columns * wide)
    tabular = bool(panel.row_names and panel.column_names)  # of figures, each cell one of them, not of weights
    square = abs((across(columns) - across(0)) / (columns * wide) / ((down(rows) - down(0)) / (rows * high)))
    aspect: Any = "auto" if longer > _SLENDER * shorter or tabular else square
    values = np.ma.masked_invalid(grid.values)
    image = ax.imshow(values, cmap=table, norm=_Scale(scale), extent=extent, aspect=aspect, interpolation="nearest")
    image.set_mouseover(False)  # what the axes say has the number
    ax.format_coord = _OfCells(panel)  # type: ignore[method-assign]
    if (grid.counts == 0).any():
        cover = np.zeros((rows, columns, 4))
        cover[grid.counts == 0] = (*rgb(marks.empty), 1)
        ax.imshow(cover, extent=extent, aspect=aspect, interpolation="nearest").set_mouseover(False)
    _labels(ax, panel.columns, panel.rows)
    for side, line in enumerate((ax.yaxis, ax.xaxis)):
        line.set_major_locator(IndexLocator(panel, side))
        line.set_major_formatter(IndexFormatter(panel, side))
    if panel.row_names:
        places, names = zip(*panel.ranked_row_names, strict=True)
        ax.set_yticks([down(place) for place in places])
        ax.set_yticklabels([visible(name, _NAME) for name in names], parse_math=False)
    elif not panel.rows:
        ax.set_yticks([])
    if panel.column_names:
        _names(ax.xaxis, [across(place) for place, _ in panel.column_names], [name for _, name in panel.column_names])
        ax.tick_params(axis="x", rotation=90)
    elif not panel.columns:
        ax.set_xticks([])


class _OfCells:
    """What matplotlib says of the place of the pointer in the axes of *panel*: row and column of the cell, and its number."""

    def __init__(self, panel: Heatmap) -> None:
        self.panel = panel

    def __call__(self, x: float, y: float) -> str:
        panel, grid = self.panel, self.panel.grid
        place = math.floor(cell_at(panel, 0, y)), math.floor(cell_at(panel, 1, x))
        if not all(0 <= own < length for own, length in zip(place, grid.shape, strict=True)):
            return ""
        owners = (each.name for each in grid.regions for rect in each.rects if _holds(rect, place))
        facts = [] if panel.rows or panel.row_names else [visible(name, _NAME) for name in owners]
        sides = ((panel.rows, panel.row_names), (panel.columns, panel.column_names))
        for side, (what, names) in enumerate(sides):
            name = next((text for at, text in names if math.floor(at) == place[side]), "")
            if not name and what and (weight := first_index(panel, side, place[side])) is not None:
                name = str(weight)
            facts.append(f"{what.partition(' (')[0]} {visible(name, _NAME)}".strip() if name else "")
        value = number(float(grid.values[place])) if grid.counts[place] else "no weight"
        return f"{', '.join(filter(None, facts))}: {value}".removeprefix(": ")


def _holds(rect: tuple[int, int, int, int], place: tuple[int, int]) -> bool:
    return rect[0] <= place[0] < rect[0] + rect[2] and rect[1] <= place[1] < rect[1] + rect[3]


class _OfPanels:
    """The same of the panels in *ax*, which are no axes of the figure's own."""

    def __init__(self, ax: Axes, inners: Sequence[Axes]) -> None:
        self.ax, self.inners = ax, inners

    def __call__(self, x: float, y: float) -> str:
        place = self.ax.transData.transform((x, y))
        for inner in self.inners:
            if inner.axison and inner.bbox.contains(*place):
                return str(inner.format_coord(*inner.transData.inverted().transform(place)))
        return ""


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


def _break_texts_beside(ax: Axes) -> bool:
    """Break the texts of the colour bars that belong to *ax* into lines as long as its height; true where any is other now."""
    room, other = ax.get_window_extent().height, False
    for beside in ax.child_axes:
        label = beside.yaxis.label
        size = float(label.get_fontsize()) * ax.figure.dpi / 72
        before = label.get_text()
        label.set_text("\n".join(wrap(before.replace("\n", " "), max(room, _SHORTEST * size), size, lines=100)))
        other = other or label.get_text() != before
    return other


def _regions(panel: Heatmap, ax: Axes) -> None:
    """Outlines of the regions, as pictures have them, and the names of the largest."""
    down, across = partial(coordinate, panel, 0), partial(coordinate, panel, 1)
    if panel.boundaries:
        box, zoom = ax.get_window_extent(), 100 / ax.figure.dpi
        rows, columns = panel.grid.shape
        level, upright = region_borders(panel.grid, (zoom * box.height / rows, zoom * box.width / columns))
        lines = [[(across(first), down(row)), (across(first + long), down(row))] for row, first, long in level.tolist()]
        lines += [[(across(at), down(first)), (across(at), down(first + long))] for at, first, long in upright.tolist()]
        ax.add_collection(LineCollection(lines, colors="#000000", linewidths=_OUTLINE), autolim=False)
    if panel.labels:
        _region_names(panel, ax)


def _region_names(panel: Heatmap, ax: Axes) -> None:
    """The grid's labels, and each region's name once, on a light ground, where there is room for it in the axes as they are."""
    grid = panel.grid
    rows, columns = grid.shape
    box = ax.get_window_extent()
    pixels = min(box.width / columns, box.height / rows)  # of a cell
    height = _POINTS * ax.figure.dpi / 72
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
        _text_over_cells(panel, ax, top, left, shown)


def _text_over_cells(panel: Heatmap, ax: Axes, row: int, column: int, text: str) -> None:
    """A text on a light ground that begins at a cell; cells with NaN or Inf that it would hide are drawn over it."""
    place = coordinate(panel, 1, column), coordinate(panel, 0, row)
    ax.text(*place, text, fontsize=_POINTS, va="top", clip_on=True, parse_math=False, bbox=_GROUND)
    box, zoom = ax.get_window_extent(), ax.figure.dpi / 72
    (rows, columns), color = panel.grid.shape, ax.images[0].get_cmap().get_bad()
    height, width = 1.6 * _POINTS * zoom * rows / box.height, text_width(text, 1.1 * _POINTS * zoom) * columns / box.width
    for lost_row, lost_column in lost_under(panel.grid, row, column, height, width):
        left, top = coordinate(panel, 1, lost_column), coordinate(panel, 0, lost_row)
        across, down = coordinate(panel, 1, lost_column + 1) - left, coordinate(panel, 0, lost_row + 1) - top
        ax.add_patch(Rectangle((left, top), across, down, color=color, linewidth=0, zorder=_OVER_TEXT))


def _marks(panel: Heatmap, ax: Axes) -> None:
    """A dotted line where each marked part of a tensor begins, and its text where there is room for it."""
    rows, columns = panel.grid.shape
    box, zoom = ax.get_window_extent(), 100 / ax.figure.dpi
    lines: list[Any] = []
    for mark in panel.grid.marks:
        for place, (row, column, height, width) in enumerate(mark.rects):
            wide, high = width * box.width / columns, height * box.height / rows
            left, right = coordinate(panel, 1, column), coordinate(panel, 1, column + width)
            top, bottom = coordinate(panel, 0, row), coordinate(panel, 0, row + height)
            if min(wide, high) * zoom < _DOTTED:
                continue
            lines += [[(left, top), (right, top)], [(left, top), (left, bottom)]]
            text = "" if place else mark_text(mark.name, wide, high, _POINTS * ax.figure.dpi / 72)
            if text:
                _text_over_cells(panel, ax, row, column, text)
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=_OUTLINE, linestyles="dotted"), autolim=False)


def _image(panel: Image, ax: Axes) -> None:
    ax.imshow(panel.rgb, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    _labels(ax, panel.caption, "")


def _histogram(panel: Histogram, ax: Axes) -> None:
    if len(panel.counts):
        ax.stairs(panel.counts, panel.edges, fill=True, color="#4a80aa")
    _numbered(ax.yaxis, panel.log and bool(np.any(panel.counts > 0)))
    _numbered(ax.xaxis)
    beyond = ((panel.below, "below"), (panel.above, "above"), (panel.nan, "NaN"))
    rest = ", ".join(f"{count:,} {what}" for count, what in beyond if count)
    _labels(ax, f"{panel.xlabel} ({rest})" if rest else panel.xlabel, "count")
    for (name, values), color in zip(panel.curves.items(), cycle(CURVES), strict=False):
        line = outline(panel.edges, over_bars(values, panel.log), 0.5 if panel.log else 0.0) if len(panel.counts) else ([], [])
        ax.plot(*line, color=color, linewidth=1.5, label=visible(name, _NAME).lstrip("_"))
    _marks_at(ax.axvline, panel.marks)
    _legend(ax, bool(panel.marks or panel.curves))


def _marks_at(line: Callable[..., Any], marks: Mapping[str, float]) -> None:
    """Lines at values, each dashed in a way of its own, by which the legend tells them apart."""
    for (name, value), style in zip(marks.items(), cycle(("--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)))), strict=False):
        if math.isfinite(value):
            text = visible(name, _NAME)
            text += "" if any(char.isdigit() for char in text) else f" {number(value)}"
            line(value, color=MARK, linestyle=style, linewidth=1, label=text.lstrip("_"))


def _legend(ax: Axes, wanted: bool) -> None:
    if wanted and ax.get_legend_handles_labels()[0]:
        for text in ax.legend(fontsize="x-small", framealpha=0.6).get_texts():
            text.set_parse_math(False)


def _logs(panel: Line | Scatter, y: Sequence[Array], ax: Axes) -> None:
    """Logarithmic axes where they are asked for, and something is above 0."""
    _numbered(ax.yaxis, panel.log and any(np.any(values > 0) for values in y))
    _numbered(ax.xaxis, panel.xlog and bool(np.any(panel.x > 0)))


class _Numbers(Formatter):
    """Ticks as all pictures have them: nothing is factored out of them, which would need a text of its own."""

    def __call__(self, value: float, place: int | None = None) -> str:
        return number(value)

    def format_ticks(self, values: Any) -> list[str]:
        return numbers(list(values)) if len(values) else []


def _numbered(axis: Any, log: bool = False) -> None:
    """Numbers at the ticks of an axis, a logarithmic one where *log*."""
    if log:
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(_Numbers())


def _line(panel: Line, ax: Axes) -> None:
    colors = series_colors(len(panel.y))
    for place, (name, values) in enumerate(panel.y.items()):
        values = np.where(values > 0, values, np.nan) if panel.log and np.any(values > 0) else values  # 0 is not on the axis
        alone = np.count_nonzero(np.isfinite(values)) < 2
        marker = "o" if alone else None
        ax.plot(panel.x, values, color=colors[place], marker=marker, label=visible(name, _NAME).lstrip("_"))
    _logs(panel, list(panel.y.values()), ax)
    if panel.xticks:
        _names(ax.xaxis, panel.x, panel.xticks)
        ax.tick_params(axis="x", rotation=90)
    _labels(ax, panel.xlabel, panel.ylabel)
    _marks_at(ax.axhline, panel.marks)
    _marks_at(ax.axvline, panel.xmarks)
    for place in panel.flags:
        ax.axvline(float(panel.x[place]), color=LOST, linewidth=1)
    _legend(ax, len(panel.y) > 1 or bool(panel.marks or panel.xmarks))


def _names(axis: Any, places: Sequence[float] | Array, names: Sequence[str], flags: Mapping[int, str] | None = None) -> None:
    """Names at an axis, at most ``_NAMED`` of them, and what is wrong with some behind theirs."""
    step = max(1, math.ceil(len(names) / _NAMED))
    ill = flags or {}
    kept = [place for place in range(len(names)) if place % step == 0 or place in ill]
    texts = [visible(names[place], _NAME) + (f" ({ill[place]})" if place in ill else "") for place in kept]
    ticks = axis.set_ticks([float(places[place]) for place in kept], labels=texts, parse_math=False)
    for place, tick in zip(kept, ticks, strict=True):
        if place in ill:
            tick.label1.set_color(LOST)


def _scatter(panel: Scatter, ax: Axes) -> None:
    groups = list(dict.fromkeys(panel.groups)) or [""]
    colors = series_colors(len(groups))
    for place, group in enumerate(groups):
        chosen = np.array([each == group for each in panel.groups], bool) if panel.groups else np.ones(len(panel.x), bool)
        ax.scatter(panel.x[chosen], panel.y[chosen], s=14, color=colors[place], label=visible(group, _NAME).lstrip("_"))
    _logs(panel, [panel.y], ax)
    _labels(ax, panel.xlabel, panel.ylabel)
    _marks_at(ax.axhline, panel.marks)
    _marks_at(ax.axvline, panel.xmarks)
    _legend(ax, bool(panel.groups or panel.marks or panel.xmarks))


def _bar(panel: Bar, ax: Axes) -> None:
    places = np.arange(len(panel.labels))
    ax.barh(places, np.where(np.isfinite(panel.values), panel.values, 0), color="#4a80aa")
    ax.invert_yaxis()
    if panel.bend:
        _bend(ax.xaxis, panel.bend)
    else:
        _numbered(ax.xaxis)
    _names(ax.yaxis, places, panel.labels, panel.flags)
    _labels(ax, panel.ylabel, "")
    _marks_at(ax.axvline, panel.marks)
    _legend(ax, bool(panel.marks))


def _largest_bars(panel: Bar, ax: Axes) -> None:
    """Where not all names of bars have room: the largest bars alone, in their order, and how many these are of how many."""
    count, line = len(panel.labels), SMALLEST * CLOSE * ax.figure.dpi / 72
    high = ax.get_window_extent().height
    if high >= count * line:
        return
    room = max(int((high - line) / line), 1)  # what is written under the bars may take another line
    sizes = np.abs(panel.values)
    sizes[[place for place in range(count) if place in panel.flags or np.isnan(sizes[place])]] = np.inf
    kept = sorted(np.argsort(-sizes, kind="stable")[:room].tolist())
    for container in [*ax.containers]:
        container.remove()
    values = panel.values[kept]
    ax.barh(np.arange(len(kept)), np.where(np.isfinite(values), values, 0), color="#4a80aa")
    flags = {place: panel.flags[own] for place, own in enumerate(kept) if own in panel.flags}
    _names(ax.yaxis, np.arange(len(kept)), [panel.labels[own] for own in kept], flags)
    ax.set_ylim(len(kept) - 0.5, -0.5)
    ax.set_xlabel(f"{visible(panel.ylabel)} (the {room} largest of {count})".lstrip(), parse_math=False)


def _boxes(panel: Boxes, ax: Axes) -> None:
    places = [place for place in range(len(panel.labels)) if np.isfinite(panel.values[:, place]).all()]
    keys = ("whislo", "q1", "med", "q3", "whishi")
    found = [dict(zip(keys, panel.values[:, place].tolist(), strict=True)) for place in places]
    if found:
        ax.bxp(found, positions=places, showfliers=False, manage_ticks=False)
    _numbered(ax.yaxis)
    _upright(panel, ax)


def _band(panel: Band, ax: Axes) -> None:
    places = np.arange(len(panel.labels))
    values = np.asarray(panel.values, np.float64)
    count = len(panel.levels)
    for place in range(count // 2):
        low, high = values[place], values[count - 1 - place]
        ax.fill_between(places, low, high, step="mid", color=SERIES[0], alpha=0.25, linewidth=0)
    if count % 2:
        ax.plot(places, values[count // 2], color=SERIES[0], drawstyle="steps-mid")
    if panel.bend:
        _bend(ax.yaxis, panel.bend)
    else:
        _numbered(ax.yaxis)
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
    else:
        _numbered(ax.xaxis)
    _names(ax.yaxis, [float(count - 1 - place) for place in range(count)], panel.labels, panel.flags)
    _labels(ax, panel.xlabel, "")


def _bend(axis: Any, bend: float) -> None:
    """An asinh axis with ticks that can be read."""
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("asinh", linear_width=bend)
    axis.set_major_locator(BentLocator(bend))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(_Numbers())


def _upright(panel: Boxes | Band, ax: Axes) -> None:
    _names(ax.xaxis, np.arange(len(panel.labels)), panel.labels, panel.flags)
    ax.tick_params(axis="x", rotation=90)
    _labels(ax, "", panel.ylabel)


def _text(panel: Any, ax: Axes) -> None:
    """Text, tables, and what nobody knows how to draw, as lines, as many and as long as have room."""
    text = getattr(panel, "text", None)
    box = ax.get_window_extent()
    points = FontProperties(size="small").get_size_in_points()
    while True:
        pixels = points * ax.figure.dpi / 72
        across, down = max(int(box.width / (_MONO * pixels)), 1), max(int(box.height / (LINE * pixels)), 1)
        lines = (
            [piece for line in text.splitlines() for piece in textwrap.wrap(line, min(across, _TEXT)) or [""]]
            if isinstance(text, str)
            else table_lines(panel.as_table())
        )
        if points <= SMALLEST or (len(lines) <= down and max(map(len, lines), default=0) <= across):
            break
        points = max(0.9 * points, SMALLEST)
    shown = [line if len(line) <= across else line[: across - 1] + "…" for line in (visible(each, 200) for each in lines)]
    shown = shown if len(shown) <= down else [*shown[: down - 1], "…"]
    ax.text(0, 1, "\n".join(shown), transform=ax.transAxes, va="top", family="monospace", fontsize=points, parse_math=False)


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
