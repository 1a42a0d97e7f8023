"""Texts of axes as there is room for them: smaller, shorter, fewer, or none; no two touch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import AsinhLocator, FixedLocator, LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

from torch2grid_builtin._renderers.matplotlib.canvas import LOST
from torch2grid_builtin._renderers.matplotlib.panel import Scale
from torch2grid_builtin._renderers.matplotlib.text import fit_each, text_width, wrap
from torch2grid_builtin._renderers.matplotlib.ticks import IndexLocator
from torch2grid_core.text import visible

_PAD = 4  # pixels between a panel with its labels and its neighbours
_ROUNDS = 3  # other ticks need other room
SMALLEST, CLOSE = 5.0, 1.2  # points of a name, and from one to the next in sizes of it
_STILL = 0.01  # pixels by which axes may move and be where they were
_LEAST = 0.3  # of the length of its cell that a panel keeps, however long its labels are
_LETTERS = 8  # of a name that is shortened, at least
_APART = 34  # pixels between two ticks of an asinh axis, at least
_TOUCH = 1.0  # pixels by which boxes of texts may overlap: they are wider than the letters
_TITLE_LINE = 1.25  # from one line of a title to the next, in sizes of it
_REACHES = 2.0  # pixels by which a text may reach out of the figure: its box is wider than the letters
_COVERS = 0.4  # of its axes that a legend may cover


def set_title(
    ax: Axes, text: str, room: float, sizes: Sequence[str], lines: int, above: float = math.inf, pinned: bool = False
) -> None:
    """The title in the first of *sizes* in which it fits *room* pixels on so many lines, else in the last, fitted.

    above: pixels over the axes; where not even a line of the last size has room there, there is no title.
    pinned: it stays right over the axes. For any other, matplotlib measures again and again what may be in its way.
    """
    shown, pad = visible(text, 2000), rcParams["axes.titlepad"] * ax.figure.dpi / 72
    found, size = [""], sizes[-1]
    for size in sizes:
        pixels = FontProperties(size=size).get_size_in_points() * ax.figure.dpi / 72
        most = int(min(lines, max(above - pad, 0) / (_TITLE_LINE * pixels)))
        if most:
            found = wrap(shown, room, pixels, lines=100)
            if len(found) <= most:
                break
            found = wrap(shown, room, pixels, lines=most)
    moves = not pinned or rcParams["axes.titley"] is not None or rcParams["xtick.top"] or rcParams["xtick.labeltop"]
    ax.set_title("\n".join(found), y=None if moves else 1.0, parse_math=False, fontsize=size)


def room_above(ax: Axes) -> float:
    """Pixels from *ax* up to the edge of the figure, or to other axes with their texts; infinite where a layout makes room.

    Under the texts of others there is at least a line: they can be moved, and a title that is not there cannot.
    """
    figure = ax.figure
    if _makes_room(figure):
        return math.inf
    own = ax.get_window_extent()
    others = [
        each for each in figure.axes if each is not ax and each.get_visible() and each.get_window_extent().y0 >= own.y1 - 1
    ]
    boxes = (box for each in others if (box := each.get_tightbbox()) is not None and box.x0 < own.x1 and box.x1 > own.x0)
    line = (rcParams["axes.titlepad"] + _TITLE_LINE * FontProperties(size="x-small").get_size_in_points()) * figure.dpi / 72
    beside = min((box.y0 - own.y1 for box in boxes), default=math.inf)
    return float(min(figure.bbox.y1 - own.y1, max(beside, line + 1)))


def _makes_room(figure: Any) -> bool:
    """True where the figure moves its axes so that their texts have room."""
    return figure.get_layout_engine() is not None


class Place:
    """Where axes are inside others: (left, bottom, width, height) in shares of these. A locator of matplotlib's."""

    def __init__(self, ax: Axes, bounds: tuple[float, float, float, float]) -> None:
        self.ax, self.bounds = ax, bounds

    def __call__(self, inner: Any, renderer: Any) -> Bbox:
        return Bbox.from_bounds(*self.bounds).transformed(self.ax.transAxes - inner.figure.transSubfigure)


class BentLocator(AsinhLocator):
    """Round values on an asinh axis, as far from each other as their texts need."""

    apart = 1.0

    def tick_values(self, vmin: float, vmax: float) -> Any:
        axis: Any = self.axis
        box, level = axis.axes.get_window_extent(), axis.axis_name == "x"
        scale = Scale(vmin, vmax, 0, box.width if level else box.height, bend=self.linear_width)
        return scale.ticks(self.apart * _APART * axis.axes.figure.dpi / 100 * (1 if level else 0.6))


def fill_cell(inner: Axes, ax: Axes, cell: tuple[float, float, float, float]) -> None:
    """Move *inner* so that it fills its *cell* of *ax* together with its title, ticks and labels.

    Where these would leave it little of its width, or height, it loses there first the name of its axis, then long names at its
    ticks are shortened, then the ticks have none, and at last it has no title.
    """
    place = Bbox.from_bounds(*cell).transformed(ax.transAxes)
    for line, length in ((inner.xaxis, place.width), (inner.yaxis, place.height)):
        pixels = float(line.label.get_fontsize()) * ax.figure.dpi / 72
        line.set_label_text("\n".join(wrap(line.label.get_text().replace("\n", " "), length, pixels)), parse_math=False)
    narrow = _too_narrow(inner, ax, cell)
    for give_up in (_name, _long_names, _ticks, _title):
        for line, room in ((inner.xaxis, place.height), (inner.yaxis, place.width)):
            if line.axis_name in narrow:
                give_up(line, room)
        if narrow:
            narrow = _too_narrow(inner, ax, cell)
    locator: Any = inner.get_axes_locator()
    inner.apply_aspect(locator(inner, None))  # so that its size is that of its place


def _too_narrow(inner: Axes, ax: Axes, cell: tuple[float, float, float, float]) -> set[str]:
    """Move *inner* as its labels, somewhat smaller if need be, let it.

    Returns the axes, ``x`` and ``y``, beside which these take too much.
    """
    left, bottom, width, height = cell
    shares = ax.transAxes.inverted()
    pad = Bbox.from_bounds(0, 0, _PAD, _PAD).transformed(shares)
    bounds = (left + 0.1 * width, bottom + 0.2 * height, 0.8 * width, 0.6 * height)
    inner.set_axes_locator(Place(ax, bounds))
    ticked = {"top": rcParams["xtick.top"], "right": rcParams["ytick.right"]}  # else no further than the axes
    bare = [inner.spines[side] for side, ticks in ticked.items() if not ticks]
    beside = [each for each in inner.get_default_bbox_extra_artists() if each not in bare]
    across, down, narrow = [pad.width, pad.width], [pad.height, pad.height], set[str]()
    for _ in range(_ROUNDS):
        narrow.clear()
        everything = inner.get_tightbbox(bbox_extra_artists=beside)
        if everything is None:
            return set()
        taken, own = everything.transformed(shares), Bbox.from_bounds(*bounds)
        across = [max(across[0], own.x0 - taken.x0 + pad.width), max(across[1], taken.x1 - own.x1 + pad.width)]
        down = [max(down[0], own.y0 - taken.y0 + pad.height), max(down[1], taken.y1 - own.y1 + pad.height)]
        for axis, sides, length in (("y", across, width), ("x", down, height)):
            most = (1 - _LEAST) * length / sum(sides)
            if most < 1:
                narrow.add(axis)
                sides[:] = [side * most for side in sides]
                _smaller(inner, axis, most)
        before, bounds = bounds, (left + across[0], bottom + down[0], width - sum(across), height - sum(down))
        inner.set_axes_locator(Place(ax, bounds))
        now, then = (ax.transAxes.transform_bbox(Bbox.from_bounds(*each)).get_points() for each in (bounds, before))
        if not narrow and np.abs(now - then).max() < _STILL:
            break
    return narrow


def _name(line: Any, room: float) -> None:
    """No name of an axis; across, none beside a colour bar either."""
    line.set_label_text("")
    if line.axis_name == "y":
        for bar in line.axes.child_axes:
            bar.set_ylabel("")


def _long_names(line: Any, room: float) -> None:
    """Names at ticks, shortened to what a third of *room* pixels holds."""
    labels = line.get_ticklabels()
    if isinstance(line.get_major_locator(), FixedLocator) and labels and (line.axis_name == "y" or labels[0].get_rotation()):
        pixels = labels[0].get_fontsize() * line.axes.figure.dpi / 72
        texts = [each.get_text() for each in labels]
        _set_names(line, labels, fit_each(texts, max(room / 3, _LETTERS * 0.6 * pixels), pixels))


def _ticks(line: Any, room: float) -> None:
    """No texts at the ticks, and no ticks of rows, which without these say nothing and may be many."""
    line.axes.tick_params(**{"labelbottom" if line.axis_name == "x" else "labelleft": False})
    if line.axis_name == "y" and isinstance(line.get_major_locator(), FixedLocator):
        line.axes.tick_params(left=False)


def _title(line: Any, room: float) -> None:
    """A title takes of the height alone."""
    if line.axis_name == "x":
        line.axes.set_title("")


def _smaller(ax: Axes, axis: Any, factor: float) -> None:
    """The names along *axis*, ``x`` or ``y``, at a smaller size."""
    names = ax.get_xticklabels() if axis == "x" else ax.get_yticklabels()
    if names:
        ax.tick_params(axis=axis, labelsize=max(SMALLEST, float(names[0].get_fontsize()) * factor))


def _set_names(line: Any, labels: Sequence[Any], texts: Sequence[str], step: int = 1) -> None:
    """Other *texts* at the ticks of an axis, of about each *step* ticks one: the first of them have the room. What tells of NaN
    stays, in its colour.
    """
    colors = (label.get_color() for label in labels)
    named = list(zip(map(float, line.get_ticklocs()), texts, colors, strict=True))
    places = [place for place, *_ in named]
    apart = step * (max(places) - min(places)) / max(len(places) - 1, 1) * (1 - 1e-9)
    kept = list[tuple[float, str, Any]]()
    for place, text, color in named:
        if color == LOST or step == 1 or all(abs(place - other) >= apart for other, *_ in kept):
            kept.append((place, text, color))
    rotation = labels[0].get_rotation()
    line.set_ticks([each[0] for each in kept], labels=[each[1] for each in kept], parse_math=False, rotation=rotation)
    for (_, _, color), label in zip(kept, line.get_ticklabels(), strict=True):
        label.set_color(color)


def keep_apart(ax: Axes) -> None:
    """Of the texts of *ax* and of the axes in it, those that touch others of more importance are fewer, or none."""
    every: list[Any] = [ax, *ax.child_axes, *(bar for inner in ax.child_axes for bar in inner.child_axes)]
    page = None if _makes_room(ax.figure) else ax.figure.bbox
    ax.get_tightbbox()  # so that all in it is where it will be drawn
    if page is not None and ax.axison:
        _ticks_inside(ax, page)
    for each in every:
        if each.axison:
            _ticks_apart(each.xaxis)
            _ticks_apart(each.yaxis)
    kept: list[Bbox] = []
    groups = sorted((group for each in every for group in _groups(each)), key=lambda group: group[0])  # stable
    for _, boxes, leave_out in groups:
        cut = page is not None and any(_outside(box, page) for box in boxes)
        if cut or any(_touch(box, other) for box in boxes for other in kept):
            leave_out()
        else:
            kept += boxes


def _groups(ax: Axes) -> Iterator[tuple[int, list[Bbox], Callable[[], Any]]]:
    """Texts that are there together or not at all: how little they matter, their boxes, and what leaves them out."""
    if ax.get_title():
        yield (0 if ax.child_axes else 1), _lines(ax.title), lambda: ax.set_title("")
    if (legend := ax.get_legend()) is not None:
        box = legend.get_window_extent()
        whole = ax.get_window_extent()
        covers = box.width * box.height > _COVERS * whole.width * whole.height and ax.axison
        if covers:
            legend.remove()
        else:
            yield 3, [box], legend.remove
    for text in ax.texts:
        yield 5, [text.get_window_extent()], text.remove
    if not ax.axison:
        return
    for line in (ax.xaxis, ax.yaxis):
        if boxes := [label.get_window_extent() for label in shown_labels(line)]:
            yield 2, boxes, partial(_ticks, line, 0)
        if line.label.get_text():
            yield 4, [line.label.get_window_extent()], partial(_name, line, 0)


def _lines(title: Any) -> list[Bbox]:
    """The boxes of the lines of a text that is centred: a short one does not reach as far as a long one."""
    box, lines = title.get_window_extent(), title.get_text().split("\n")
    pixels = title.get_fontsize() * title.figure.dpi / 72
    widths = [text_width(line, pixels) for line in lines]
    middle, high = (box.x0 + box.x1) / 2, box.height / len(lines)
    across = [box.width * width / max(*widths, 1) for width in widths]
    return [
        Bbox.from_bounds(middle - width / 2, box.y1 - (place + 1) * high, width, high) for place, width in enumerate(across)
    ]


def shown_labels(line: Any) -> list[Any]:
    """The texts at the ticks of an axis that are drawn."""
    low, high = sorted(line.get_view_interval())
    some = sorted(zip(line.get_ticklocs(), line.get_ticklabels(), strict=False), key=lambda each: each[0])
    return [label for place, label in some if label.get_visible() and label.get_text() and low <= place <= high]


def _touch(one: Bbox, other: Bbox) -> bool:
    wide, high = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
    return bool(wide > _TOUCH and high > _TOUCH)


def _outside(box: Bbox, page: Any) -> bool:
    """True for a text that the edge of the figure would cut."""
    return bool(min(box.x0 - page.x0, box.y0 - page.y0, page.x1 - box.x1, page.y1 - box.y1) < -_REACHES)


def _ticks_inside(ax: Axes, page: Any) -> None:
    """Texts at the ticks of *ax*, and the names of its axes, that the edge of the figure would cut are smaller, or shorter."""
    for line in (ax.xaxis, ax.yaxis):
        for _ in range(_ROUNDS):
            boxes = [label.get_window_extent() for label in shown_labels(line)]
            if not boxes or not any(_outside(box, page) for box in boxes):
                break
            level = line.axis_name == "x"
            taken = max(box.height if level else box.width for box in boxes)
            over = max(page.y0 - box.y0 if level else page.x0 - box.x0 for box in boxes)
            room = taken - max(over, 0)
            _smaller(ax, line.axis_name, max(room, 0) / taken if over > 0 else 0.8)
            if float(line.get_ticklabels()[0].get_fontsize()) <= SMALLEST:
                _long_names(line, 3 * max(room, 0))
            ax.get_tightbbox()
        if line.label.get_text() and _outside(line.label.get_window_extent(), page):
            line.label.set_fontsize("x-small")
            ax.get_tightbbox()


def _are_apart(line: Any) -> bool:
    boxes = [label.get_window_extent() for label in shown_labels(line)]
    return not any(_touch(one, other) for one, other in itertools.pairwise(boxes))


def _ticks_apart(line: Any) -> None:
    """Ticks of an axis so few, or their names so small, that no two touch."""
    locator = line.get_major_locator()
    if isinstance(locator, FixedLocator) and (labels := line.get_ticklabels()):
        _named_apart(line, labels)
    for count in range(6, 0, -1):
        if _are_apart(line):
            return
        if isinstance(locator, (BentLocator, IndexLocator)):
            locator.apart *= 1.5
        elif isinstance(locator, MaxNLocator):
            locator.set_params(nbins=count)
        elif isinstance(locator, LogLocator):
            locator.set_params(numticks=count + 1)
        elif isinstance(locator, FixedLocator) and (labels := line.get_ticklabels()):
            _set_names(line, labels, [each.get_text() for each in labels], 2)
    if not _are_apart(line):
        _ticks(line, 0)


def _named_apart(line: Any, labels: Sequence[Any]) -> None:
    """Names upright or below one another, no larger than a line for each; of too many some."""
    level = line.axis_name == "x"
    if level and not labels[0].get_rotation():
        return
    box = line.axes.get_window_extent()
    size = (box.width if level else box.height) * 72 / line.axes.figure.dpi / len(labels) / CLOSE
    step = max(1, math.ceil(SMALLEST / size)) if size > 0 else 1
    if step > 1:
        _set_names(line, labels, [each.get_text() for each in labels], step)
    line.axes.tick_params(axis=line.axis_name, labelsize=min(labels[0].get_fontsize(), max(size * step, SMALLEST)))
