"""Figures of many tensors as one picture: a table in colours, by layer and kind or over time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from torch2grid_core import Grid
from torch2grid_core.grids import ColorScale
from torch2grid_core.pages import Bar, Heatmap
from torch2grid_core.text import visible

Array = np.ndarray[Any, Any]
BARS = 40  # figures that are bars, and more that are a table in colours
_COLUMNS = 80  # of a table by layer and kind
WIDE = 30  # from so many times the smallest figure on, the largest is shown on a logarithmic scale
_APART = 6  # spreads from the median of a column, from where on a cell stands out
_SEEN = 1 / 40  # of the scale: less is no spread that one sees
_ZERO = 0.08  # of the range of logarithms, below the least of which a 0 is drawn
_PLACE = re.compile(r"\[[\d, ]*\]")
_NUMBER = re.compile("[0-9]+")
_LAYER = 1_000_000  # a number above this in a name counts something else


def kind_and_layer(name: str) -> tuple[str, int | None]:
    """``("layers.*.fc.weight", 3)`` for ``layers.3.fc.weight``; the name and ``None`` where there is no number in it."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdecimal() and len(part) < 8 and int(part) < _LAYER:
            return ".".join([*parts[:place], "*", *parts[place + 1 :]]), int(part)
    return name, None


def kind_across(name: str) -> tuple[str, int | None]:
    """The same, of experts together: ``("layers.*.experts.*.fc", 3)`` for ``layers.3.experts.7.fc``; ``fc`` for ``fc[7]``."""
    kind, layer = kind_and_layer(_PLACE.sub("", name))
    return ".".join("*" if part.isdecimal() else part for part in kind.split(".")), layer


def numbered(name: str, place: int = 0) -> tuple[str, int | None]:
    """As ``kind_and_layer``, by the number at a *place* among all of them, also in a word: ``("conv*.weight", 3)``."""
    numbers = [found for found in _NUMBER.finditer(_PLACE.sub("", name)) if len(found[0]) < 8 and int(found[0]) < _LAYER]
    if place >= len(numbers):
        return name, None
    start, stop = numbers[place].span()
    return f"{name[:start]}*{name[stop:]}", int(numbers[place][0])


def together(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of one layer and kind, which experts and the matrices of a stack share: ``layers.3.experts.*.fc`` → all of it.

    What is alone has its own name.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        kind, layer = kind_across(name)
        found.setdefault(kind if layer is None else kind.replace("*", str(layer), 1), []).append(name)
    return {group if len(members) > 1 else members[0]: members for group, members in found.items()}


def in_layers(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Kind → layer → name, of what several layers have; nothing where most are in none or the kinds fill no table."""
    names = list(names)
    kinds: dict[str, dict[int, str]] = {}
    for name in names:
        kind, layer = kind_and_layer(name)
        if layer is not None:
            kinds.setdefault(kind, {})[layer] = name
    count: dict[str, int] = {}
    for kind, layers in kinds.items():
        count[stem_and_leaf(kind)[1]] = count.get(stem_and_leaf(kind)[1], 0) + len(layers)
    found = {kind: layers for kind, layers in kinds.items() if count[stem_and_leaf(kind)[1]] > 1}
    within, columns = sum(map(len, found.values())), {stem_and_leaf(kind)[1] for kind in found}
    return found if 2 * within > len(names) and len(columns) <= _COLUMNS else {}


def by_kind(names: Sequence[str]) -> list[str]:
    """*names* with those of one kind together, from layer to layer; kinds in the order in which they first appear."""
    kinds = {name: kind_and_layer(name) for name in names}
    first: dict[str, int] = {}
    for kind, _ in kinds.values():
        first.setdefault(kind, len(first))
    return sorted(names, key=lambda name: (first[kinds[name][0]], -1 if (layer := kinds[name][1]) is None else layer))


def short(names: Sequence[str]) -> list[str]:
    """The names as they are shown beside each other: without the modules that all are in, and ``.weight`` where all end so.

    None begins with the number of a layer.
    """
    if len(names) < 2:
        return [visible(name) for name in names]
    parts = [name.split(".") for name in names]
    shared = 0
    while all(len(each) > shared + 1 and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    if shared and all(each[shared].isdecimal() for each in parts):
        shared -= 1
    end = -1 if all(len(each) > shared + 1 and each[-1] == "weight" for each in parts) else None
    return [visible(".".join(each[shared:end])) for each in parts]


def layer_names(modules: Sequence[str]) -> list[str]:
    """What stands beside the rows of a picture: the layers of *modules*, and their kinds where there are several."""
    layers = [kind_and_layer(module) for module in modules]
    if len({kind for kind, _ in layers}) == 1 and all(layer is not None for _, layer in layers):
        return [str(layer) for _, layer in layers]
    names = short([module if layer is None else kind for module, (kind, layer) in zip(modules, layers, strict=True)])
    return [name if layer is None else f"{layer} · {name}" for name, (_, layer) in zip(names, layers, strict=True)]


def in_colors(
    values: Array,
    lost: Array,
    what: str,
    *,
    title: str,
    rows: str,
    columns: str,
    row_names: Sequence[str],
    column_names: Sequence[str],
    signed: bool = False,
    limits: tuple[float, float] | None = None,
    named: Sequence[int] = (),
) -> Heatmap | None:
    """A table of figures in colours, each cell one of them; ``None`` where no figure is known and nothing is lost.

    values: float64, (rows, columns), NaN or Inf where there is no figure. lost: bool, the same shape, where there is none
    because of NaN or Inf among the weights. signed: figures about 0, not sizes from 0 on. The scale is linear, or where
    figures lie far apart logarithmic (of signed ones, asinh); its label says which. limits: those of a linear scale instead.
    The rows *named*, and those that stand out, have their names before others, where there is no room for all.
    """
    known = np.isfinite(values) & ~lost
    if not (known.any() or lost.any()):
        return None
    if limits is not None:
        shown, scale, label = values, ColorScale(*limits), what
    else:
        shown, scale, label = _signed(values, known, what) if signed else _sizes(values, known, what)
    cells = np.where(lost, np.nan, np.where(known, shown, 0.0)).astype(np.float32)
    drawn = cells[known]
    low, high = float(np.float32(scale.low)), float(np.float32(scale.high))  # as the cells are: nothing is beyond by rounding
    over, under = (float(np.mean(beyond)) if len(drawn) else 0.0 for beyond in (drawn > high, drawn < low))
    return Heatmap(
        Grid(cells, (known | lost).astype(np.int64), quantity=label),
        ColorScale(low, high, scale.kind, over, under, scale.bend),
        title=title,
        rows=rows,
        columns=columns,
        label=label,
        row_names=tuple((place + 0.5, name) for place, name in enumerate(row_names)),
        stand_out=tuple(dict.fromkeys((*named, *_standing_out(cells, known, lost, scale)))),
        column_names=tuple((place + 0.5, name) for place, name in enumerate(column_names)),
    )


def _standing_out(cells: Array, known: Array, lost: Array, scale: ColorScale) -> tuple[int, ...]:
    """The rows with a cell of another colour than the others in its column, or with NaN or Inf, the most striking first."""
    shown = np.where(known, scale.fraction(cells.astype(np.float64)), np.nan)
    score = np.zeros(cells.shape)
    for column in np.flatnonzero(known.any(0)):
        values = shown[:, column]
        away = np.abs(values - np.nanmedian(values))
        score[:, column] = away / max(1.4826 * float(np.nanmedian(away)), _SEEN)
    score[lost] = np.inf
    most = np.nan_to_num(score, nan=0.0, posinf=np.inf).max(axis=1, initial=0.0)
    return tuple(int(row) for row in np.argsort(-most, kind="stable") if most[row] >= _APART)


def _sizes(values: Array, known: Array, what: str) -> tuple[Array, ColorScale, str]:
    """What is drawn of figures from 0 on: they themselves, or their logarithms, among which a 0 is the lightest."""
    found = values[known]
    positive = found[found > 0]
    high = float(positive.max()) if len(positive) else 1.0
    least = float(positive.min()) if len(positive) else 1.0
    if high <= WIDE * least:
        return values, ColorScale(0.0, high), f"{what}, linear"
    bottom, top = np.log10(least), np.log10(high)
    zero = ""
    if len(positive) < len(found):
        bottom, zero = bottom - _ZERO * (top - bottom), "; the lightest is 0"
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.where(known & (values > 0), np.log10(np.where(known, values, 1.0)), bottom)
    return shown, ColorScale(float(bottom), float(top)), f"log₁₀ {what}{zero}"


def _signed(values: Array, known: Array, what: str) -> tuple[Array, ColorScale, str]:
    """What is drawn of figures about 0, which is the middle of the scale."""
    sizes = np.abs(values[known])
    high = float(sizes.max()) if sizes.size and sizes.max() > 0 else 1.0
    middle = float(np.median(sizes)) if sizes.size else 0.0
    if middle and high > WIDE * middle:
        return values, ColorScale(-high, high, "asinh", bend=max(middle, high * 1e-6)), what
    return values, ColorScale(-high, high), f"{what}, linear"


def by_layer_and_kind(
    figures: Mapping[str, float], what: str, of: str = "weight", *, flags: Mapping[str, str] | None = None, note: str = ""
) -> Iterator[Bar | Heatmap]:
    """A figure of each of many tensors: bars, largest first; of many layers, a row for each and a column for each kind.

    What is in no layer has bars of its own then.

    Args:
        figures: by name, in the order of ``by_kind``; NaN where there is none.
        what: the figure.
        of: what has it.
        flags: name → what NaN and Inf its weights hold.
        note: what follows the title.
    """
    kinds = in_layers(figures) if len(figures) > BARS else {}
    if not kinds:
        yield from _bars(figures, what, of, flags or {}, note)
        return
    inside = {name for each in kinds.values() for name in each.values()}
    lost = {name for name in inside if math.isnan(figures[name]) and name in (flags or {})}
    panel = layers_and_kinds(kinds, figures, lost, what, f"{what} by layer and kind of {of}{note}")
    if panel is not None:
        yield panel
    others = {name: figure for name, figure in figures.items() if name not in inside}
    if others:
        yield from _bars(others, what, of, flags or {}, "")


def layers_and_kinds(
    kinds: Mapping[str, Mapping[int, str]],
    figures: Mapping[str, float],
    lost: Set[str],
    what: str,
    title: str,
    limits: tuple[float, float] | None = None,
) -> Heatmap | None:
    """A row for each layer, a column for each kind, as ``in_colors``.

    Layers of several stacks (``layer1.0``, ``layer2.0``) have rows of their own, and share the columns. A kind without any
    figure has no column; the title counts these.

    Args:
        kinds: kind → layer → name.
        figures: by name, NaN where there is none.
        lost: names that have none because of NaN or Inf.
        what: the figure.
        title: of the picture.
        limits: of the scale; those of the figures unless given.
    """
    places = {(stem_and_leaf(kind)[0], layer): None for kind, each in kinds.items() for layer in each}
    stems = list(dict.fromkeys(stem for stem, _ in places))
    rows = sorted(places, key=lambda place: (stems.index(place[0]), place[1]))
    at = {place: row for row, place in enumerate(rows)}
    leaves = list(dict.fromkeys(stem_and_leaf(kind)[1] for kind in kinds))
    values, gone = np.full((len(rows), len(leaves)), np.nan), np.zeros((len(rows), len(leaves)), bool)
    for kind, each in kinds.items():
        stem, leaf = stem_and_leaf(kind)
        for layer, name in each.items():
            cell = at[stem, layer], leaves.index(leaf)
            values[cell], gone[cell] = figures[name], name in lost
    told = (gone | ~np.isnan(values)).any(0)
    if not told.all():
        title += f"; {(~told).sum()} {'kinds have' if (~told).sum() > 1 else 'kind has'} none"
    several = short([f"{stem}.{layer}" for stem, layer in rows])
    return in_colors(
        values[:, told],
        gone[:, told],
        what,
        title=title,
        rows="layer",
        columns="",
        row_names=several if len(stems) > 1 else [str(layer) for _, layer in rows],
        column_names=short([leaf for leaf, any_ in zip(leaves, told, strict=True) if any_]),
        limits=limits,
    )


def stem_and_leaf(kind: str) -> tuple[str, str]:
    """What holds the layers of a kind, and what it is in each: ``("layers", "fc.weight")`` of ``layers.*.fc.weight``."""
    stem, _, leaf = kind.partition("*")
    return stem.rstrip("."), leaf.lstrip(".") or kind


def _bars(figures: Mapping[str, float], what: str, of: str, flags: Mapping[str, str], note: str) -> Iterator[Bar]:
    """None of what has no figure, but for what NaN and Inf hide."""
    known = {name: figure for name, figure in figures.items() if name in flags or not math.isnan(figure)}
    if not known:
        return
    chosen = sorted(known, key=lambda name: -math.inf if math.isnan(known[name]) else -known[name])[:BARS]
    more = f", the largest {len(chosen)} of {len(known)}" if len(chosen) < len(known) else ""
    left = f"; {len(figures) - len(known)} without" if len(known) < len(figures) else ""
    told = {place: flags[name] for place, name in enumerate(chosen) if name in flags}
    heights = np.array([known[name] for name in chosen])
    yield Bar(tuple(short(chosen)), heights, f"{what} of each {of}{more}{left}{note}", ylabel=what, flags=told)
