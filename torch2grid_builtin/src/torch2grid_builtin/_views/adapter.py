"""What an adapter changes: ΔW of each weight, its singular values, and how much of its rank is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._adapters.merging import Bases, change_of
from torch2grid_builtin._adapters.pairs import DELTA, adapter_of
from torch2grid_builtin._adapters.product import Product, Scaled
from torch2grid_builtin._adapters.spectrum import ChangeFigures, Changes
from torch2grid_builtin._compare.figures import BARS, by_kind, by_layer_and_kind, in_colors, kind_and_layer, short
from torch2grid_builtin._views.describing import about, columns_for, formats_of, source_name
from torch2grid_builtin._views.layers import axes_of
from torch2grid_builtin._views.matrices import matrix_of
from torch2grid_core import Checkpoint, Grid, LazyTensor, Need, NotDrawable, Page, Settings, View
from torch2grid_core.measures import Raster
from torch2grid_core.pages import Line, Table, Text
from torch2grid_core.selection import select
from torch2grid_core.text import counted, shape_text, visible

COLUMNS = ("Weight", "Shape", "Kind", "Rank", "Alpha", "Scale", "‖ΔW‖", "σ₁", "σ₂", "Top%", "Stable rank", "Used", "What")
BASE_COLUMNS = ("‖W‖", "‖ΔW‖/‖W‖")
FORMATS = {
    **dict.fromkeys(("‖ΔW‖", "σ₁", "σ₂", "‖W‖", "‖ΔW‖/‖W‖"), ".3e"),
    **dict.fromkeys(("Alpha", "Scale"), ".4g"),
    "Top%": ".1f",
    "Stable rank": ".2f",
}
FOLDER, OVERVIEW = "adapter", "adapter_overview"
LOW_RANK = "low_rank."  # before the name of what DoRA's pair alone makes
_BASE = "base."
_CELLS = 768
_ROWS, _RANKS = 260, 64  # of the picture of singular values
_LEAST = 1e-4  # of the largest one: less is rounding


@dataclass(frozen=True)
class AdapterView(View):
    """ΔW of each weight that an adapter changes, with its singular values: a page each, a table and an overview."""

    name = "adapter"
    uses_transformer = False

    base: Checkpoint | None = field(
        default=None,
        metadata={"help": "the model that the adapter was trained on: norms relative to it, and DoRA's change"},
        compare=False,
        repr=False,
    )
    each: bool = field(default=True, metadata={"help": "draw a page for each pair"})
    overview: bool = field(default=True, metadata={"help": "draw the overview and print the table"})
    unused: float = field(default=0.01, metadata={"help": "of the largest singular value; ranks below are not used"})
    spike: float = field(default=0.9, metadata={"help": "of ‖ΔW‖²; where one direction holds as much, it is a rank-one spike"})

    def __post_init__(self) -> None:
        if not 0 <= self.unused < 1:
            raise ValueError("unused must be at least 0 and below 1")
        if not 0 < self.spike <= 1:
            raise ValueError("spike must be above 0 and at most 1")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "base": None}  # subject has made of it what workers read

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The changes, and of a base the weights that they change. Raises ``NotDrawable``, ``UsageError``."""
        if any(tensor.taken is not None for tensor in checkpoint.values()):
            raise NotDrawable("--adapter needs whole pairs, and --slice takes a part of each tensor; leave --slice out")
        found = adapter_of(checkpoint.stored)
        if not found.pairs:
            told = next(iter(found.left), "")
            raise NotDrawable(
                f"{checkpoint.source}: {told or 'no pair of an adapter (lora_A and lora_B, lora_down and lora_up)'}"
            )
        bases = Bases(select(self.base).checkpoint) if self.base is not None else None
        tensors: list[LazyTensor] = []
        for pair in found.pairs:
            weight = bases.of(pair) if bases else None
            change = change_of(pair, weight)
            if pair.name not in checkpoint:  # the names of a part are shown without what stands before all of them
                change = replace(change, name=pair.name.removeprefix(pair.prefix))
            if pair.magnitude is not None and weight is None:
                change = replace(change, name=LOW_RANK + pair.weight)
            tensors.append(change)
            if weight is not None:
                tensors.append(replace(weight, name=_BASE + change.name))
        notes = [found.text]
        return Checkpoint(tensors, source=checkpoint.source, format=checkpoint.format, notes=notes, aliases={}).ordered()

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        if not self.each or not isinstance(tensor.storage, (Product, Scaled)):
            return {}
        cells = min(run.tensor_cells, _CELLS)
        return {"grid": Raster(matrix_of(tensor.name, tensor.shape, cells), run.reduce), "change": Changes(_BASE)}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        figures: ChangeFigures = results["change"]
        grid: Grid = replace(results["grid"], quantity="ΔW" if tensor.name.startswith(DELTA) else "scale·B·A")
        title = "scale·B·A; ΔW needs the base" if tensor.name.startswith(LOW_RANK) else "ΔW"
        panels: list[Any] = [run.heatmap(grid, title=title, **axes_of(tensor, grid))]
        panels.append(self._values(figures))
        facts = [
            _plain(tensor),
            shape_text(tensor.shape),
            tensor.note,
            f"‖{grid.quantity}‖ {figures.norm:.3g}",
            self._what(figures),
        ]
        heading = " · ".join(visible(each, 200) for each in facts if each)
        yield Page(f"{tensor.name}_adapter", heading, tuple(panels), FOLDER, columns=2, about=about(tensor))

    def _values(self, figures: ChangeFigures) -> Line | Text:
        values = figures.values
        if values is None or not values.any():
            return Text(self._what(figures) or "the singular values are not known")
        marks = {f"{100 * self.unused:g} % of the largest": float(self.unused * values[0])} if self.unused else {}
        shown = np.where(values > values[0] * 1e-9, values, np.nan)  # rounding of zero
        places = np.arange(1, len(values) + 1, dtype=np.float64)
        title = "Singular values of scale·B·A, largest first"
        return Line(places, {"σ": shown}, title, xlabel="rank", ylabel="σ", log=True, marks=marks)

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"change": Changes(_BASE)} if self.overview else {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        if not self.overview:
            return
        found: Mapping[str, ChangeFigures] = results["change"]
        changes = [tensor for tensor in checkpoint.values() if tensor.name in found]
        based = any(each.base is not None for each in found.values())
        columns = (*COLUMNS[:7], *(BASE_COLUMNS if based else ()), *COLUMNS[7:])
        columns = (*columns, *columns_for([each.not_finite for each in found.values()]))
        rows = [self._row(tensor, found[tensor.name]) for tensor in changes]
        table = Table(columns, tuple(tuple(row[name] for name in columns) for row in rows), formats=formats_of(columns, _ALL))
        title = run.title or f"{source_name(checkpoint)} · {next(iter(checkpoint.notes), '')}"
        shown = {"tensors": list(checkpoint)}
        yield Page("adapter", title, (table,), kind="table", about=shown)
        yield Page(OVERVIEW, title, tuple(_panels(changes, found, based)), columns=1, about=shown)

    def _row(self, tensor: LazyTensor, figures: ChangeFigures) -> dict[str, Any]:
        product = _product(tensor)
        values = figures.values
        kind, _, alpha = tensor.note.partition(" of rank ")
        number = alpha.rpartition("alpha ")[2]
        used = figures.used(self.unused)
        return {
            "Weight": visible(_plain(tensor)),
            "Shape": shape_text(tensor.shape),
            "Kind": kind,
            "Rank": product.rank,
            "Alpha": None if number.endswith("known") else float(number),
            "Scale": product.scale,
            "‖ΔW‖": figures.norm,
            "‖W‖": figures.base,
            "‖ΔW‖/‖W‖": figures.relative,
            "σ₁": float(values[0]) if values is not None and len(values) else None,
            "σ₂": float(values[1]) if values is not None and len(values) > 1 else None,
            "Top%": None if figures.top is None else 100 * figures.top,
            "Stable rank": None if figures.top is None else 1 / figures.top,
            "Used": "" if used is None else f"{used} of {product.rank}",
            "What": ", ".join(filter(None, (_of_dora(tensor), self._what(figures)))),
            "NaN": figures.not_finite.nan,
            "Inf": figures.not_finite.inf,
        }

    def _what(self, figures: ChangeFigures) -> str:
        """What there is to say of a change: nothing of one that uses its rank."""
        values = figures.values
        if values is None:
            return f"{figures.not_finite.text} in its factors" if figures.not_finite else "the rank is too large"
        if not values.any():
            return "no change: a factor is zero"
        notes = []
        if len(values) > 1 and figures.top is not None and figures.top >= self.spike:
            notes.append(f"rank-one spike: σ₁ holds {100 * figures.top:.1f} %")
        unused = len(values) - (figures.used(self.unused) or 0)
        if unused:
            notes.append(f"{counted(unused, 'rank')} not used")
        return ", ".join(notes)


def _of_dora(tensor: LazyTensor) -> str:
    """What the figures of DoRA's change are of."""
    if isinstance(tensor.storage, Scaled):
        return "σ of scale·B·A"
    return "of scale·B·A alone: ΔW needs the base" if tensor.name.startswith(LOW_RANK) else ""


_ALL = {**FORMATS, "NaN": ",d", "Inf": ",d"}


def _product(tensor: LazyTensor) -> Product:
    storage = tensor.storage
    found = storage.product if isinstance(storage, Scaled) else storage
    assert isinstance(found, Product)
    return found


def _plain(tensor: LazyTensor) -> str:
    """The weight's name."""
    name = tensor.name
    return name.removeprefix(LOW_RANK).removeprefix(DELTA) if name.startswith((LOW_RANK, DELTA)) else name


def _panels(changes: Sequence[LazyTensor], found: Mapping[str, ChangeFigures], based: bool) -> Iterator[Any]:
    """How large each change is, and how its singular values fall off."""
    named = {_plain(tensor): found[tensor.name] for tensor in changes}
    based = based and any(math.isfinite(each.relative or 0.0) for each in named.values())  # a base of zeros has no shares
    names = by_kind(list(named))
    sizes = {name: named[name].relative if based else named[name].norm for name in names}
    flags = {name: named[name].not_finite.text for name in names if named[name].not_finite}
    known = {name: math.nan if size is None else size for name, size in sizes.items()}
    yield from by_layer_and_kind(known, "‖ΔW‖/‖W‖" if based else "‖ΔW‖", flags=flags)
    shown = names[:_ROWS]
    ranks = min(max((len(each.values) for each in named.values() if each.values is not None), default=0), _RANKS)
    if not ranks:
        return
    values = np.full((len(shown), ranks), np.nan)
    lost = np.zeros((len(shown), ranks), bool)
    for row, name in enumerate(shown):
        figures = named[name]
        if figures.values is None:
            lost[row] = True
        elif len(figures.values) and figures.values[0]:
            count = min(len(figures.values), ranks)
            values[row, :count] = figures.values[:count] / figures.values[0]
    small = values < _LEAST
    values[small] = _LEAST
    more = f", the first {len(shown)} of {len(names)} weights" if len(shown) < len(names) else ""
    more += "; 10⁻⁴ and less are one colour" if small.any() else ""
    panel = in_colors(
        values,
        lost,
        "σ/σ₁",
        title=f"Singular values beside the largest of each weight{more}",
        rows="",
        columns="rank",
        row_names=short(shown),
        column_names=[str(rank + 1) for rank in range(ranks)],
    )
    if panel is not None:
        yield panel if len(shown) <= BARS else replace(panel, row_names=_by_kinds(shown))


def _by_kinds(names: Sequence[str]) -> tuple[tuple[float, str], ...]:
    """The kinds of names beside the middle of their rows, which follow from layer to layer."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(kind_and_layer(name)[0], []).append(place)
    texts = short([kind.partition("*.")[2] or kind for kind in places])
    return tuple((sum(each) / len(each) + 0.5, text) for each, text in zip(places.values(), texts, strict=True))
