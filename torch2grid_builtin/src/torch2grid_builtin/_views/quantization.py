"""What storing the weights in fewer bits would cost: each matrix by scheme, and what to keep as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_builtin._codes import codes
from torch2grid_builtin._compare.figures import (
    BARS,
    by_kind,
    in_colors,
    in_layers,
    kind_across,
    layers_and_kinds,
    short,
    stem_and_leaf,
    together,
)
from torch2grid_builtin._compare.quantised import decibels
from torch2grid_builtin._quantization.errors import Quantization, QuantizationErrors, fits
from torch2grid_builtin._quantization.schemes import SCHEMES, USUAL
from torch2grid_builtin._views.describing import about, figure_text, flag, formats_of, source_name, tensor_title
from torch2grid_builtin._views.stacks import Matrix, PerMatrix, matrices
from torch2grid_builtin._views.units import matrix_in_whole
from torch2grid_core import Checkpoint, LazyTensor, Need, NotDrawable, Page, Settings, UsageError, View
from torch2grid_core.pages import Heatmap, Table, Text
from torch2grid_core.sources import is_floating
from torch2grid_core.text import counted, did_you_mean, shape_text, visible

FOLDER, OVERVIEW = "quantization", "quantization_overview"
RELATIVE = "‖Δ‖/‖W‖"
_WORSE = "dB worse than the median"
OF_SCHEMES = ("Scheme", "Bits", RELATIVE, "SNR", "Worst tensor", "Its SNR", "Worst row", "Row SNR", "Worst block", "Block SNR")
OF_TYPES = ("Tensor", "f16 Inf", "f16 zero", f"f16 {RELATIVE}", "bf16 Inf", "bf16 zero", f"bf16 {RELATIVE}")
OF_EACH = ("Tensor", "Scheme", RELATIVE, "SNR", "Worst row", "Row SNR", "Worst block", "Block SNR")
FORMATS = {
    **dict.fromkeys((RELATIVE, f"f16 {RELATIVE}", f"bf16 {RELATIVE}"), ".3g"),
    **dict.fromkeys(("SNR", "Its SNR", "Row SNR", "Block SNR", *(each.label for each in SCHEMES.values())), ".1f"),
    **dict.fromkeys(("f16 Inf", "f16 zero", "bf16 Inf", "bf16 zero"), ",d"),
    "Bits": ".3f",
    "‖W‖": ".4g",
}
_FEW = 4  # tensors, from which on a median says what is usual
_KINDS = 60
_EACH_EXPERT = 32  # columns of a table by layer and kind, up to which each expert has its own
_PICTURES = 16  # matrices of a tensor that are drawn


@dataclass(frozen=True)
class QuantizationView(View):
    """What INT8, INT4, NF4, FP8, MXFP4 and NVFP4 would cost each tensor, row and block, and what to keep as it is."""

    name = "quantization"
    uses_transformer = False

    schemes: tuple[str, ...] = field(
        default=(), metadata={"help": f"which to measure, of {', '.join(SCHEMES)}; all but the asymmetric ones unless given"}
    )
    keep: float = field(
        default=3.0, metadata={"help": "a tensor is to be kept where its SNR is so many dB below the median of all"}
    )
    detail: bool = field(default=False, metadata={"help": "also a table with a line for each tensor and scheme"})
    blocks: str = field(default="", metadata={"help": "a scheme of which to draw the error by block, a page for each tensor"})

    def __post_init__(self) -> None:
        for name in (*self.schemes, *((self.blocks,) if self.blocks else ())):
            if name not in SCHEMES:
                raise UsageError(
                    f"quantization: no scheme {name!r}{did_you_mean(name, SCHEMES)}; there are {', '.join(SCHEMES)}"
                )
        if not self.keep > 0:
            raise ValueError("keep must be above 0")

    @property
    def _need(self) -> PerMatrix:
        chosen = dict.fromkeys(self.schemes or USUAL)
        if self.blocks:
            chosen[self.blocks] = None
        return PerMatrix(Quantization(tuple(chosen), self.blocks))

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """The tensors. Raises ``NotDrawable`` where none of them is a matrix of floating numbers."""
        if not _names(checkpoint):
            raise NotDrawable(
                f"{checkpoint.source}: --quantization measures matrices and kernels of floating numbers, and there are none"
            )
        return checkpoint

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        return {"quantization": self._need} if self.blocks and _is_measured(tensor) else {}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        members = _members(tensor, results["quantization"])
        panels: list[Any] = []
        for part, found in members[:_PICTURES]:
            if len(members) == 1:
                panels.append(_table_of_each([(part, found)], "", OF_EACH[1:]))
            panels.append(_picture(part, found, SCHEMES[self.blocks].label))
        if len(members) > _PICTURES:
            panels.append(Text(f"the first {_PICTURES} of {len(members)} matrices"))
        title = f"{tensor_title(tensor)} · error of {SCHEMES[self.blocks].label}"
        yield Page(f"{tensor.name}_quantization", title, tuple(panels), FOLDER, about=about(tensor))

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"quantization": self._need.about(_names(checkpoint))}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        found = [each for name in _names(checkpoint) for each in _members(checkpoint[name], results["quantization"][name])]
        if not found:
            return
        errors = {part.tensor.name: each for part, each in found}
        kept = _kept(errors, self.keep)
        title = run.title or f"What quantisation would cost {source_name(checkpoint)}"
        shown = {"tensors": _names(checkpoint)}
        tensors = {part.tensor.name: part.tensor for part, _ in found}
        tables = {"schemes": _table_of_schemes(errors, tensors), "tensors": _table_of_tensors(errors, kept, self.keep)}
        tables.update(("narrower types", table) for table in _table_of_types(errors))
        if self.detail:
            tables["each tensor by scheme"] = _table_of_each(found, "Each tensor by scheme")
        yield Page("quantization", title, tuple(tables.values()), kind="table", about=shown, panel_names=tuple(tables))
        yield Page(OVERVIEW, title, tuple(_overview(errors, self.keep)), columns=2, wide=1, about=shown)


def _is_measured(tensor: LazyTensor) -> bool:
    return (
        is_floating(tensor.dtype)
        and tensor.ndim >= 2
        and bool(tensor.size)
        and all(part.tensor.ndim >= 2 and fits(part.tensor) for part in matrices(tensor))
    )


def _names(checkpoint: Checkpoint) -> list[str]:
    """Matrices, kernels and stacks of floating numbers, of tied ones the first."""
    stored = codes(checkpoint)
    return [
        name
        for name, tensor in checkpoint.items()
        if name not in checkpoint.aliases and name not in stored and _is_measured(tensor)
    ]


def _members(tensor: LazyTensor, found: Any) -> list[tuple[Matrix, QuantizationErrors]]:
    return list(zip(matrices(tensor), found if isinstance(found, tuple) else (found,), strict=True))


def _known(value: float) -> float | None:
    """``None`` for NaN, which a table shows as a dash."""
    return None if math.isnan(value) else value


def _place(tensor: LazyTensor, index: Sequence[int]) -> str:
    """The row, or the row and the column, of the 2-D form of *tensor*, in the whole one where that is a part."""
    found = [matrix_in_whole(tensor, (unit,), axis)[0][0] for axis, unit in enumerate(index)]
    return f"[{', '.join(map(str, found))}]"


def _what(each: QuantizationErrors) -> str:
    """What there is to say of a tensor whose figures are not known, or are those of nothing."""
    if each.beyond:
        return f"{flag(each.not_finite, math.prod(each.shape))} as float32, too narrow for {counted(each.beyond, 'weight')}"
    if each.not_finite:
        return flag(each.not_finite, math.prod(each.shape))
    if each.norm:
        return ""
    return f"too small: {figure_text(each.absmax)} at most" if each.absmax else "all zero"


def _total(errors: Mapping[str, QuantizationErrors], name: str) -> float:
    """The relative error of a scheme over all tensors whose weights are finite; NaN where there is none."""
    known = [each for each in errors.values() if not each.not_finite]
    squares = sum(each.norm**2 for each in known)
    lost = sum((each.schemes[name].relative * each.norm) ** 2 for each in known)
    return math.sqrt(lost / squares) if squares else math.nan


def _table_of_schemes(errors: Mapping[str, QuantizationErrors], tensors: Mapping[str, LazyTensor]) -> Table:
    first = next(iter(errors.values()))
    weights = sum(math.prod(each.shape) for each in errors.values())
    lost = sum(bool(each.not_finite) for each in errors.values())
    rows = []
    for name in first.schemes:
        scheme = SCHEMES[name]
        total = _total(errors, name)
        bits = sum(scheme.bits(each.shape[1]) * math.prod(each.shape) for each in errors.values()) / weights
        known = {tensor: each for tensor, each in errors.items() if not each.not_finite and each.norm}
        worst = max(known, key=lambda tensor: known[tensor].schemes[name].relative, default="")
        cells: tuple[Any, ...] = (None,) * 6
        if worst:
            cells = (visible(worst), known[worst].schemes[name].decibels, *_worst_cells(known, tensors, name))
        rows.append((scheme.label, bits, _known(total), _known(decibels(total)), *cells))
    note = (
        f"; {lost:,} {'tensors hold' if lost > 1 else 'tensor holds'} NaN or Inf as float32, and no figure is of these"
        if lost
        else ""
    )
    return Table(OF_SCHEMES, tuple(rows), f"Schemes, all tensors together; SNR in dB{note}", formats_of(OF_SCHEMES, FORMATS))


def _worst_cells(errors: Mapping[str, QuantizationErrors], tensors: Mapping[str, LazyTensor], name: str) -> tuple[Any, ...]:
    """The worst row and block of all tensors, each with its SNR."""
    cells: list[Any] = []
    for what in ("row", "block"):
        worst = {tensor: getattr(each.schemes[name], what) for tensor, each in errors.items()}
        worst = {tensor: each for tensor, each in worst.items() if each is not None}
        tensor = max(worst, key=lambda tensor: worst[tensor].relative, default="")
        if not tensor:
            cells += [None, None]
            continue
        place = _place(tensors[tensor], worst[tensor].index)
        cells += [f"{visible(tensor)} {place}", decibels(worst[tensor].relative)]
    return tuple(cells)


def _table_of_tensors(errors: Mapping[str, QuantizationErrors], kept: Mapping[str, Sequence[str]], keep: float) -> Table:
    names = list(next(iter(errors.values())).schemes)
    columns = ("Tensor", "Shape", "‖W‖", *(SCHEMES[name].label for name in names), "Keep", "What")
    rows = []
    for tensor, each in errors.items():
        figures = [_known(each.schemes[name].decibels) if each.norm else None for name in names]
        told = [SCHEMES[name].label for name in kept.get(tensor, ())]
        text = "from all" if len(told) == len(names) > 1 else f"from {', '.join(told)}" if told else ""
        rows.append((visible(tensor), shape_text(each.shape), _known(each.norm), *figures, text, _what(each)))
    if len(errors) < _FEW:
        title = f"SNR in dB, by tensor and scheme; of fewer than {_FEW} tensors none is said to be kept"
    else:
        title = f"SNR in dB, by tensor and scheme; keep: {keep:g} dB and more below the median of the scheme"
    return Table(columns, tuple(rows), title, formats_of(columns, FORMATS))


def _table_of_types(errors: Mapping[str, QuantizationErrors]) -> list[Table]:
    """What float16 and bfloat16 would lose; nothing where no tensor loses anything."""
    rows = []
    for tensor, each in errors.items():
        cells = [
            cell
            for name in ("float16", "bfloat16")
            for narrow in (each.narrower[name],)
            for cell in (narrow.over, narrow.zeroed, _known(narrow.relative))
        ]
        rows.append((visible(tensor), *cells))
    if not any(any(row[1:]) for row in rows):
        return []
    title = "Narrower types: weights that become Inf or 0, and the relative error of the others"
    return [Table(OF_TYPES, tuple(rows), title, formats_of(OF_TYPES, FORMATS))]


def _table_of_each(found: Sequence[tuple[Matrix, QuantizationErrors]], title: str, columns: tuple[str, ...] = OF_EACH) -> Table:
    rows = []
    for part, each in found:
        for name, error in each.schemes.items():
            cells: list[Any] = []
            for worst in (error.row, error.block):
                cells += [None, None] if worst is None else [_place(part.tensor, worst.index), decibels(worst.relative)]
            figures = (_known(error.relative), _known(error.decibels)) if each.norm else (None, None)
            rows.append((visible(part.tensor.name), SCHEMES[name].label, *figures, *cells)[-len(columns) :])
    return Table(columns, tuple(rows), title, formats_of(columns, FORMATS))


def _kept(errors: Mapping[str, QuantizationErrors], keep: float) -> dict[str, list[str]]:
    """Tensor → the schemes that it should be kept from: its SNR is *keep* dB and more below their median."""
    known = {tensor: each for tensor, each in errors.items() if not each.not_finite and each.norm}
    found: dict[str, list[str]] = {}
    if len(known) < _FEW:
        return found
    for name in next(iter(known.values())).schemes:
        figures = {tensor: each.schemes[name].decibels for tensor, each in known.items()}
        usual = float(np.median(list(figures.values())))
        for tensor, figure in figures.items():
            if figure <= usual - keep:
                found.setdefault(tensor, []).append(name)
    return found


def _overview(errors: Mapping[str, QuantizationErrors], keep: float) -> Iterator[Any]:
    """The SNR of each tensor, or of each kind where there are many, by scheme; then of each scheme the layers by kind."""
    names = list(next(iter(errors.values())).schemes)
    ordered = by_kind(list(errors))
    rows: dict[str, list[str]] = {}
    for tensor in ordered:
        rows.setdefault(tensor if len(errors) <= BARS else kind_across(tensor)[0], []).append(tensor)
    chosen = list(rows)[:_KINDS]
    values = np.array([[_median(errors, rows[row], name) for name in names] for row in chosen])
    title = "SNR by tensor and scheme" if len(errors) <= BARS else "SNR by kind and scheme, the median of layers and experts"
    title += f", the first {len(chosen)} of {len(rows)}" if len(chosen) < len(rows) else ""
    title += "; empty: nothing is lost" if np.isinf(values).any() else ""
    panel = in_colors(
        values,
        np.isnan(values),
        "SNR, dB",
        title=f"{title}; 20 dB is an error of a tenth, 40 dB of a hundredth",
        rows="",
        columns="",
        row_names=short(chosen),
        column_names=[SCHEMES[name].label for name in names],
    )
    yield panel if panel is not None else Text("no figure is known")
    groups = {tensor: [tensor] for tensor in ordered}
    kinds = in_layers(groups) if len(errors) > BARS else {}
    if len({stem_and_leaf(kind)[1] for kind in kinds}) not in range(1, _EACH_EXPERT + 1):
        groups = together(ordered)
        kinds = in_layers(groups) if len(errors) > BARS else {}
    if kinds:
        yield from _by_layer(errors, groups, kinds, names, keep)


def _median(errors: Mapping[str, QuantizationErrors], tensors: Sequence[str], name: str) -> float:
    """The median SNR of the tensors of a kind; NaN where one of them has no figure."""
    return float(np.median([errors[tensor].schemes[name].decibels for tensor in tensors]))


def _by_layer(
    errors: Mapping[str, QuantizationErrors],
    groups: Mapping[str, Sequence[str]],
    kinds: Mapping[str, Mapping[int, str]],
    names: Sequence[str],
    keep: float,
) -> Iterator[Heatmap]:
    """By how much the SNR of each tensor is below the median: of each scheme a table of layers by kind.

    What is in no layer is a table of its own, of all schemes. groups: what has a cell → its tensors; of several, as of experts,
    the worst counts, which the titles say. kinds: of the groups, by layer.
    """
    of_several = "; of experts the worst" if any(len(tensors) > 1 for tensors in groups.values()) else ""
    inside = {group for layers in kinds.values() for group in layers.values()}
    outside = [group for group in groups if group not in inside]
    rest = np.full((len(outside), len(names)), np.nan)
    lost = np.zeros(rest.shape, bool)
    highest = keep
    for column, name in enumerate(names):
        worst = {group: _worst(errors, tensors, name) for group, tensors in groups.items()}
        known = [figure for figure in worst.values() if math.isfinite(figure)]
        usual = float(np.median(known)) if known else 0.0
        ill = {group for group, figure in worst.items() if math.isnan(figure)}
        away = {group: usual - figure if math.isfinite(figure) else math.nan for group, figure in worst.items()}
        high = max([keep, *(abs(figure) for figure in away.values() if math.isfinite(figure))])
        highest = max([highest, *(abs(away[group]) for group in outside if math.isfinite(away[group]))])
        rest[:, column], lost[:, column] = [away[group] for group in outside], [group in ill for group in outside]
        title = f"{SCHEMES[name].label}: how much worse than the median SNR of {usual:.1f} dB{of_several}"
        panel = layers_and_kinds(kinds, away, ill, _WORSE, title, (-high, high))
        if panel is not None:
            yield panel
    shown = np.argsort(-np.where(lost, np.inf, np.nan_to_num(rest, nan=-np.inf)).max(1, initial=-np.inf), kind="stable")[:BARS]
    panel = in_colors(
        rest[shown],
        lost[shown],
        _WORSE,
        title="In no layer: how much worse than the median SNR of each scheme"
        + (f", the worst {len(shown)} of {len(outside)}" if len(shown) < len(outside) else ""),
        rows="",
        columns="",
        row_names=short([outside[place] for place in shown]),
        column_names=[SCHEMES[name].label for name in names],
        limits=(-highest, highest),
    )
    if panel is not None:
        yield panel


def _worst(errors: Mapping[str, QuantizationErrors], tensors: Sequence[str], name: str) -> float:
    """The least SNR of *tensors*; NaN where one of them has no figure."""
    return float(np.min([errors[tensor].schemes[name].decibels for tensor in tensors]))


def _picture(part: Matrix, found: QuantizationErrors, label: str) -> Any:
    picture = found.picture
    if picture is None or found.not_finite:
        return Text(_what(found) or "no figure is known", visible(part.tensor.name))
    rows, columns = picture.values.shape
    high, wide = picture.cell
    worst = float(np.nanmax(picture.values)) if np.isfinite(picture.values).any() else math.nan
    panel = in_colors(
        picture.values,
        np.zeros(picture.values.shape, bool),
        RELATIVE,
        title=f"{label} of {visible(part.tensor.name)}, a cell {high} × {wide} weights; the worst {figure_text(worst)}",
        rows="row",
        columns="column",
        row_names=[str(row) for row in matrix_in_whole(part.tensor, range(0, rows * high, high), 0)[0]],
        column_names=[str(column) for column in matrix_in_whole(part.tensor, range(0, columns * wide, wide), 1)[0]],
    )
    return panel if panel is not None else Text("all zero", visible(part.tensor.name))
