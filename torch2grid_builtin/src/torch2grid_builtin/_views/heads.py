"""The heads of attention: what each compares and moves, which are alike, and which read what earlier ones write."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._compare.figures import in_colors, layer_names
from torch2grid_builtin._heads.attention import Attention, Attentions, attentions
from torch2grid_builtin._heads.circuits import LETTERS, Circuits, Composed, Composition, HeadFigures, work_of
from torch2grid_builtin._spectra.ranks import by_rank
from torch2grid_builtin._spectra.singular import norm_of, stable_rank_of
from torch2grid_builtin._views.describing import figure_text, formats_of, source_name
from torch2grid_core import Checkpoint, Need, NotDrawable, Page, Settings, View
from torch2grid_core.grids import Region
from torch2grid_core.pages import Heatmap, Line, Table, Text
from torch2grid_core.text import counted, visible

Array = np.ndarray[Any, Any]
FOLDER, OVERVIEW, COMPOSITION = "heads", "heads_overview", "heads_composition"
QK, OV = "QK circuit W_QᵀW_K", "OV circuit W_O·W_V"
COLUMNS = (
    *("Layer", "Head", *(f"‖{letter}‖" for letter in LETTERS), "‖W_QK‖", "σ₁ QK", "Stable rank QK"),
    *("‖W_OV‖", "σ₁ OV", "Stable rank OV", "Most alike", "Similarity", "What"),
)
PAIRS = ("By", "Earlier head", "Later head", "Score", "Of chance")
FORMATS = {
    **dict.fromkeys((*(f"‖{letter}‖" for letter in LETTERS), "‖W_QK‖", "σ₁ QK", "‖W_OV‖", "σ₁ OV"), ".4g"),
    **dict.fromkeys(("Stable rank QK", "Stable rank OV", "Of chance"), ".2f"),
    **dict.fromkeys(("Similarity", "Score"), ".3f"),
}
ALIKE = "similarity"
CIRCUITS = (
    "W_QK = W_QᵀW_K says which places a head looks at, W_OV = W_O·W_V what it moves from there."
    " Heads are similar that write to the same directions."
)
LEFT_OUT = "Biases, normalisation, the scale 1/√rows and rotary embeddings are not in the circuits."
_KINDS = ("Q", "K", "V")
_PAIRS = 10  # of each kind that are listed
_MOST = 1e12  # multiplications from which on composition has to be asked for
_NAMED = 64  # rows of a picture that are named one by one
_SHARE = (0.0, 1.0)  # limits of what is from 0 to 1 in every model


@dataclass(frozen=True)
class HeadsView(View):
    """Attention heads: a page for each layer, a table of all, maps of layers × heads, and how they compose."""

    name = "heads"
    uses_transformer = False

    each: bool = field(default=True, metadata={"help": "draw a page for each layer"})
    overview: bool = field(default=True, metadata={"help": "draw the overview and print the table"})
    heads: int = field(
        default=0, metadata={"help": "how many heads a layer has; 0: as the shapes or the config.json beside the file say"}
    )
    tile: int = field(default=32, metadata={"help": "cells of a side of a head's tile"})
    composition: bool | None = field(
        default=None,
        metadata={"help": "scores of heads of different layers; none: where they take less than 10¹² multiplications"},
    )

    def __post_init__(self) -> None:
        if self.heads < 0:
            raise ValueError("heads must be 1 or more, or 0 for the number that the file states")
        if not 1 <= self.tile <= 512:
            raise ValueError("tile must be from 1 to 512")

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The tensors. Raises ``NotDrawable`` where no attention layer can be cut into heads."""
        known = attentions(checkpoint, self.heads)
        if known.found:
            return checkpoint
        if known.left:
            module, why = known.left[0]
            more = f", and {len(known.left) - 1} more" if len(known.left) > 1 else ""
            raise NotDrawable(f"{checkpoint.source}: {visible(module or 'attention', 200)}{more}: {why}")
        raise NotDrawable(
            f"{checkpoint.source}: --heads shows attention, and no projections of queries, keys and values were found"
        )

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        found = attentions(checkpoint, self.heads).found
        needs: dict[str, Need[Any]] = {"circuits": Circuits(found, self.tile)} if self.each or self.overview else {}
        stacks, _ = self._stacks(found)
        return {**needs, "composition": Composition(tuple(stacks))} if self.overview and stacks else needs

    def _stacks(self, found: Sequence[Attention]) -> tuple[list[tuple[Attention, ...]], float]:
        """The layers, stack by stack, whose composition is measured, and the multiplications of those that are too many."""
        stacks: dict[Any, list[Attention]] = {}
        for each in found:
            if not each.cross and each.q_width == each.width:
                stacks.setdefault(each.stack, []).append(each)
        several = [tuple(stack) for stack in stacks.values() if len(stack) > 1]
        if self.composition is False:
            return [], 0.0
        kept = [stack for stack in several if self.composition or work_of(stack) <= _MOST]
        return kept, sum(map(work_of, several)) - sum(map(work_of, kept))

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        known = attentions(checkpoint, self.heads)
        circuits: Mapping[str, HeadFigures] = results.get("circuits", {})
        if self.each:
            for each in known.found:
                yield _layer_page(each, circuits[each.module], run)
        if not self.overview:
            return
        title = run.title or f"Attention heads of {source_name(checkpoint)}"
        about = {"tensors": list(dict.fromkeys(name for each in known.found for name in each.names))}
        stacks, too_much = self._stacks(known.found)
        composed: Mapping[Any, Composed] = results.get("composition", {})
        notes = [LEFT_OUT]
        if too_much:
            notes.append(f"Composition is not measured: it takes {too_much:.0e} multiplications; composition=true measures it.")
        tables = [_table(known, circuits, notes)]
        if stacks:
            tables.append(_strongest(stacks, composed))
        yield Page("heads", title, tuple(tables), kind="table", about=about)
        yield Page(OVERVIEW, title, (*_maps(known.found, circuits), Text(" ".join([CIRCUITS, *notes]))), columns=2, about=about)
        for stack in stacks:
            name = COMPOSITION if len(stacks) == 1 else f"{COMPOSITION}_{stack[0].stack[0].replace('*', 'n')}"
            shown = {"tensors": list(dict.fromkeys(each for layer in stack for each in layer.names))}
            panels = (*_composition(stack, composed[stack[0].stack]), Text(_explained(stack)))
            yield Page(name, f"{title} · composition", panels, columns=2, about=shown)


def _table(known: Attentions, circuits: Mapping[str, HeadFigures], notes: Sequence[str]) -> Table:
    rows: list[tuple[Any, ...]] = []
    for each in known.found:
        figures = circuits[each.module]
        for head in range(each.heads):
            norms = [None if figures.lost[head] and math.isnan(norm) else float(norm) for norm in figures.norms[head]]
            alike, similarity = _most_alike(figures.kernel, head)
            cells = (*_sizes(figures.qk[head]), *_sizes(figures.ov[head]), alike, similarity, figures.lost[head])
            rows.append((visible(each.module), head, *norms, *cells))
    gaps = (None,) * (len(COLUMNS) - 2)
    rows += [(visible(module), *gaps, why) for module, why in known.left]
    return Table(COLUMNS, tuple(rows), notes[0], formats_of(COLUMNS, FORMATS))


def _sizes(values: Array) -> tuple[float | None, float | None, float | None]:
    """Norm, largest singular value and stable rank."""
    if not np.isfinite(values).all():
        return None, None, None
    return norm_of(values), float(values[0]), stable_rank_of(values)


def _most_alike(kernel: Array, head: int) -> tuple[int | None, float | None]:
    others = np.where(np.arange(len(kernel)) == head, np.nan, kernel[head])
    if np.isnan(others).all():
        return None, None
    most = int(np.nanargmax(others))
    return most, float(others[most])


def _strongest(stacks: Sequence[tuple[Attention, ...]], composed: Mapping[Any, Composed]) -> Table:
    rows = []
    for stack in stacks:
        names = [f"{visible(each.module)} {head}" for each in stack for head in range(each.heads)]
        chance = _chance(stack)
        for kind, scores in zip(_KINDS, composed[stack[0].stack].scores, strict=True):
            flat = np.where(np.isnan(scores), -1.0, scores).reshape(-1)
            for place in np.argsort(-flat, kind="stable")[:_PAIRS].tolist():
                if flat[place] >= 0:
                    earlier, later = divmod(place, len(names))
                    rows.append((kind, names[earlier], names[later], float(flat[place]), float(flat[place]) / chance))
    return Table(PAIRS, tuple(rows), "Composition: the pairs of heads with the largest scores", formats_of(PAIRS, FORMATS))


def _chance(stack: Sequence[Attention]) -> float:
    return 1 / math.sqrt(stack[0].width)


_FIGURES: tuple[tuple[str, str, Callable[[HeadFigures, int], float | None]], ...] = (  # name, circuit, and of which head
    ("‖W_QK‖", "qk", lambda each, head: _sizes(each.qk[head])[0]),
    ("‖W_OV‖", "ov", lambda each, head: _sizes(each.ov[head])[0]),
    ("stable rank of W_QK", "qk", lambda each, head: _sizes(each.qk[head])[2]),
    ("stable rank of W_OV", "ov", lambda each, head: _sizes(each.ov[head])[2]),
    (ALIKE, "ov", lambda each, head: _most_alike(each.kernel, head)[1]),
)


def _maps(found: Sequence[Attention], circuits: Mapping[str, HeadFigures]) -> Iterator[Heatmap]:
    """Figures of all heads: a row for each layer, a column for each head."""
    heads = max(each.heads for each in found)
    names = layer_names([each.module for each in found])
    for what, circuit, figure in _FIGURES:
        values = np.full((len(found), heads), np.nan)
        lost = np.zeros(values.shape, bool)
        for row, each in enumerate(found):
            figures = circuits[each.module]
            for head in range(each.heads):
                number = figure(figures, head)
                values[row, head] = np.nan if number is None else number
            lost[row, : each.heads] = _not_known(getattr(figures, circuit))
        panel = in_colors(
            values,
            lost,
            what,
            title=_alike_title(found) if what == ALIKE else f"{what}, by layer and head",
            rows="layer",
            columns="head",
            row_names=names,
            column_names=[str(head) for head in range(heads)],
            limits=_SHARE if what == ALIKE else None,
        )
        if panel is not None:
            yield panel


def _alike_title(found: Sequence[Attention]) -> str:
    chances = {figure_text(each.o.size / each.width) for each in found}
    chance = f", {chances.pop()} by chance" if len(chances) == 1 else ""
    return f"similarity to the head of its layer most alike: 1 for the same{chance}"


def _not_known(values: Array) -> Array:
    """Which heads have no singular values."""
    return np.asarray(np.isnan(values).any(axis=1))


def _layer_page(each: Attention, figures: HeadFigures, run: Settings) -> Page:
    keys = "" if each.kv_heads == each.heads else f", {each.kv_heads} of keys and values"
    facts = [visible(each.module or "attention"), f"{counted(each.heads, 'head')} of {each.q.size} rows{keys} ({each.said})"]
    lost = sum(map(bool, figures.lost))
    if lost:
        facts.append(f"NaN or Inf in {counted(lost, 'head')}")
    heads = range(each.heads)
    panels: list[Line | Heatmap | None] = [
        _tiles(figures.tiles_qk, f"{QK}, a tile for each head: inputs of queries down, of keys across", "W_QK"),
        _tiles(figures.tiles_ov, f"{OV}, a tile for each head: outputs down, inputs across", "W_OV"),
    ]
    for values, what in ((figures.qk, QK), (figures.ov, OV)):
        named = [(f"head {head}", values[head] if np.isfinite(values[head]).all() else None) for head in heads]
        panels.append(by_rank(named, "head", "heads", f"Singular values of the {what}"))
    panels.append(_alike(each, figures))
    title = " · ".join([run.title, *facts] if run.title else facts)
    shown = tuple(panel for panel in panels if panel is not None)
    name = f"{each.module or 'attention'}_heads"
    return Page(name, title, (*shown, Text(f"{CIRCUITS} {LEFT_OUT}")), FOLDER, columns=2, about={"tensors": list(each.names)})


def _tiles(tiles: Array, title: str, what: str) -> Heatmap | None:
    """The heads in reading order, an empty line between."""
    heads, high, wide = tiles.shape
    across = max(math.ceil(math.sqrt(heads * high / wide)), 1)
    down = -(-heads // across)
    values = np.full((down * (high + 1) - 1, across * (wide + 1) - 1), np.nan)
    gone = np.zeros(values.shape, bool)
    regions = []
    for head in range(heads):
        row, column = (place * (side + 1) for place, side in zip(divmod(head, across), (high, wide), strict=True))
        values[row : row + high, column : column + wide] = tiles[head]
        gone[row : row + high, column : column + wide] = np.isnan(tiles[head]).any()
        regions.append(Region(f"head {head}", ((row, column, high, wide),)))
    panel = in_colors(
        values,
        gone,
        f"rms of {what}, {high}×{wide} blocks",
        title=title,
        rows="",
        columns="",
        row_names=(),
        column_names=(),
    )
    if panel is None:
        return None
    first = "head" if across == 1 else "first head of the row"
    names = tuple((row * (high + 1) + high / 2, str(row * across)) for row in range(down))
    return replace(panel, grid=replace(panel.grid, regions=tuple(regions)), rows=first, row_names=names)


def _alike(each: Attention, figures: HeadFigures) -> Heatmap | None:
    values = figures.kernel.copy()
    np.fill_diagonal(values, np.nan)
    gone = _not_known(figures.ov)
    lost = gone[:, None] | gone
    np.fill_diagonal(lost, False)
    names = [str(head) for head in range(each.heads)]
    chance = figure_text(each.o.size / each.width)
    return in_colors(
        values,
        lost,
        "‖UᵀU′‖²/rows",
        title=f"Similarity of the spaces that heads write to: 1 for the same, {chance} by chance; the diagonal is left out",
        rows="head",
        columns="head",
        row_names=names,
        column_names=names,
        limits=_SHARE,
    )


def _composition(stack: Sequence[Attention], composed: Composed) -> Iterator[Heatmap]:
    """For each way, earlier heads down and later ones across, an empty line between layers."""
    sides = [_Side(stack, range(len(stack) - 1)), _Side(stack, range(1, len(stack)))]
    taken = np.ix_(sides[0].heads, sides[1].heads)
    places = np.ix_(sides[0].places, sides[1].places)
    known = composed.scores[np.isfinite(composed.scores)]
    largest = float(known.max()) if known.size and known.max() else 1.0
    reads = ("queries read", "keys read", "values read")
    for kind, what, scores, gone in zip(_KINDS, reads, composed.scores, composed.lost, strict=True):
        shape = sides[0].length, sides[1].length
        values, lost = np.full(shape, np.nan), np.zeros(shape, bool)
        values[places], lost[places] = scores[taken], gone[taken]
        panel = in_colors(
            values,
            lost,
            "score",
            title=f"{kind}-composition: how strongly {what} what earlier heads write",
            rows="earlier head",
            columns="later head",
            row_names=(),
            column_names=(),
            limits=(0.0, largest),  # the same for all three
        )
        if panel is not None:
            yield replace(panel, row_names=sides[0].names, column_names=sides[1].names)


class _Side:
    """The heads of some layers of a stack along one side of a picture.

    heads: places among those of all layers. places: in the picture. names: of all heads where they have room, else of layers.
    """

    def __init__(self, stack: Sequence[Attention], layers: range) -> None:
        begins = np.cumsum([0, *(each.heads for each in stack)])
        self.heads = np.arange(begins[layers.start], begins[layers.stop])
        of = np.repeat(np.array(layers), [stack[layer].heads for layer in layers])
        self.places = self.heads - self.heads[0] + of - of[0]
        self.length = int(self.places[-1]) + 1
        named = layer_names([each.module for each in stack])
        if self.length <= _NAMED:
            each = zip(self.heads.tolist(), self.places.tolist(), of.tolist(), strict=True)
            self.names = tuple((place + 0.5, f"{named[layer]}.{head - begins[layer]}") for head, place, layer in each)
        else:
            self.names = tuple((float(self.places[of == layer].mean()) + 0.5, named[layer]) for layer in layers)


def _explained(stack: Sequence[Attention]) -> str:
    return (
        "Scores are ‖W_QK2ᵀW_OV1‖, ‖W_QK2·W_OV1‖ and ‖W_OV2·W_OV1‖ over the product of both norms (Elhage et al. 2021). No"
        " baseline is subtracted: where the earlier head writes in random directions, the mean square is 1/width, a score of"
        f" {_chance(stack):.3g}. {LEFT_OUT}"
    )
