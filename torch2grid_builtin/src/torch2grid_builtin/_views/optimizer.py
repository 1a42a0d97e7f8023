"""What the optimizer of a training checkpoint keeps, and what its last step did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._optimizers import (
    PAIRS,
    USUAL,
    WEIGHT,
    AdamUpdate,
    MomentumUpdate,
    UnknownUpdate,
    Update,
    joint_state,
    optimizer_state,
)
from torch2grid_builtin._views.describing import (
    LOST_FORMATS,
    about,
    columns_for,
    figure_text,
    formats_of,
    honest,
    norm_of,
    placed_name,
    source_name,
)
from torch2grid_builtin._views.layers import axes_of
from torch2grid_builtin._views.matrices import matrix_of
from torch2grid_core import Checkpoint, Grid, LazyTensor, Need, Page, Settings, View
from torch2grid_core.measures import Distribution, NotFiniteCount, Of, Raster, Summary
from torch2grid_core.pages import Line, Table, Text
from torch2grid_core.sources import JointTensor
from torch2grid_core.text import shape_text, visible

COLUMNS = ("Parameter", "Shape", "Step", "lr", "‖w‖", "RMS m", "RMS √v", "|m|/√v", "‖update‖", "‖update‖/‖w‖", "decay")
FORMATS = {
    **dict.fromkeys(("lr", "‖w‖", "RMS m", "RMS √v", "‖update‖", "‖update‖/‖w‖", "decay"), ".3e"),
    "|m|/√v": ".3f",
    "Step": ",.0f",
    **LOST_FORMATS,
}
_FIRST, _SECOND, _BUFFER = "exp_avg", "exp_avg_sq", "momentum_buffer"
_CELLS = 512


@dataclass(frozen=True)
class OptimizerView(View):
    """Adam's moments or SGD's momentum of each parameter, the last update and its ratio to the weight."""

    name = "optimizer"

    each: bool = field(default=True, metadata={"help": "draw a page for each parameter"})
    overview: bool = field(default=True, metadata={"help": "draw the overview and print the table"})

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """A joint tensor for each parameter with state: its last update, with weight and state as members."""
        state = optimizer_state(checkpoint)
        joint = [joint_state(entry) for entry in state.entries]
        found = Checkpoint(joint, source=checkpoint.source, format=checkpoint.format, notes=state.notes, aliases={})
        return found.ordered()

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        if not self.each or not isinstance(tensor, JointTensor):
            return {}
        cells = min(run.tensor_cells, _CELLS)
        raster = Raster(matrix_of(tensor.name, tensor.shape, cells), run.reduce)
        brief = Summary(brief=True)
        grids = {f"grid {member}": Of(member, raster) for member in _drawn(tensor)}
        return {**grids, "grid": raster, "update": brief, "weight": Of(WEIGHT, brief)}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        assert isinstance(tensor, JointTensor)
        axes = axes_of(tensor, results["grid"])
        panels = []
        for member in _drawn(tensor):
            grid, title = _readable(member, results[f"grid {member}"])
            panels.append(run.heatmap(grid, title=title, **axes))
        update, weight = results["update"], results["weight"]
        facts = []
        rule = _rule(tensor)
        if not isinstance(rule, UnknownUpdate):
            grid = replace(results["grid"], quantity="update")
            title = f"last update, {rule.formula}"
            panels.append(run.heatmap(grid, title=title, **axes))
            facts.append(f"‖update‖ {figure_text(norm_of(update))}")
            if weight is not None and norm_of(weight):
                facts.append(f"‖update‖/‖w‖ {figure_text(norm_of(update) / norm_of(weight), '.2e')}")
            if update.not_finite:
                facts.append(f"{update.not_finite.text} in the update")
        title = " · ".join([placed_name(tensor), shape_text(tensor.shape), ", ".join(facts) or "update not known"])
        entry = {**about(dict(tensor.members).get(WEIGHT, tensor)), "tensor": tensor.name, "members": _drawn(tensor)}
        yield Page(f"{tensor.name}_optimizer", title, tuple(panels), "optimizer", columns=2, about=entry)

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        brief = Summary(brief=True)
        members = {WEIGHT: brief, _FIRST: brief, _SECOND: brief, _BUFFER: brief}
        return {"update": brief, **{member: Of(member, need) for member, need in members.items()}} if self.overview else {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        if not self.overview:
            return
        found = [(tensor, {key: each.get(name) for key, each in results.items()}) for name, tensor in checkpoint.items()]
        rows = [_row(tensor, each) for tensor, each in found]
        counts = [_lost(tensor, each) for tensor, each in found]
        rules = list(dict.fromkeys(_rule(tensor).text for tensor in checkpoint.values()))
        told = "; ".join(rules[:3]) + (f" and {len(rules) - 3} more" if len(rules) > 3 else "")
        title = f"Optimizer of {source_name(checkpoint)}: {told}"
        if checkpoint.notes:
            title += f" ({'; '.join(checkpoint.notes)})"
        more = columns_for(counts)
        full = [(*row, count.nan, count.inf)[: len(COLUMNS) + len(more)] for row, count in zip(rows, counts, strict=True)]
        columns = (*COLUMNS, *more)
        table = Table(columns, tuple(full), formats=formats_of(columns, FORMATS))
        yield Page("optimizer", title, (table,), kind="table")
        yield Page("optimizer_overview", title, _overview(rows, {i: each.text for i, each in enumerate(counts) if each}))


def _rule(tensor: LazyTensor) -> Update:
    assert isinstance(tensor, JointTensor)
    assert isinstance(tensor.combine, (AdamUpdate, MomentumUpdate, UnknownUpdate))
    return tensor.combine


def _row(tensor: LazyTensor, found: Mapping[str, Distribution | None]) -> tuple[Any, ...]:
    rule = _rule(tensor)
    step = rule.step if isinstance(rule, AdamUpdate) else None
    lr = None if isinstance(rule, UnknownUpdate) else rule.lr
    w, first, second, step_taken = found[WEIGHT], found[_FIRST] or found[_BUFFER], found[_SECOND], found["update"]
    weight = norm_of(w) if w is not None else None
    m = honest(first.rms, first.not_finite) if first is not None else None
    v = honest(_root(second.mean), second.not_finite) if second is not None else None
    update = None if isinstance(rule, UnknownUpdate) or step_taken is None else norm_of(step_taken)
    ratio = update / weight if update is not None and weight else None
    decay = None if isinstance(rule, UnknownUpdate) else rule.decay
    signal = m / v if m is not None and v else None
    return (visible(tensor.name), shape_text(tensor.shape), step, lr, weight, m, v, signal, update, ratio, decay)


def _drawn(tensor: JointTensor) -> list[str]:
    """The members that are shown: all but those kept for the update alone."""
    return [member for member, _ in tensor.members if not member.endswith(PAIRS)]


def _lost(tensor: LazyTensor, found: Mapping[str, Distribution | None]) -> NotFiniteCount:
    """NaN and Inf in the weight and its state; where these are finite, in the update that they make."""
    total = NotFiniteCount()
    for member in (WEIGHT, _FIRST, _SECOND, _BUFFER):
        each = found[member]
        total = total.merge(each.not_finite) if each is not None else total
    update = found["update"]
    if total or update is None or isinstance(_rule(tensor), UnknownUpdate):
        return total
    return update.not_finite


def _root(mean: float) -> float:
    return float(np.sqrt(mean)) if mean > 0 else 0.0


def _readable(member: str, grid: Grid) -> tuple[Grid, str]:
    """A member's grid as it is drawn, and its title; second moments as their roots, which are of a gradient's size."""
    if member == WEIGHT:
        return grid, "weight"
    titles = {_FIRST: f"m ({_FIRST}): mean of the gradients", _BUFFER: f"{_BUFFER}: sum of the gradients"}
    if member.endswith("exp_avg_sq"):
        text = "√v" if member == _SECOND else "√ of the largest v"
        roots = replace(grid, values=np.sqrt(np.maximum(grid.values, 0)), quantity="√v", reduce=f"root of the {grid.reduce}")
        return roots, f"{text} ({member}): size of the gradients"
    return replace(grid, quantity=member), titles.get(member, member)


def _overview(rows: Sequence[tuple[Any, ...]], flags: Mapping[int, str]) -> tuple[Line | Text, ...]:
    """The update ratio and the moments, first parameter to last. flags: what is not finite, by row."""
    ticks = tuple(row[0] for row in rows)
    x = np.arange(len(rows), dtype=np.float64)
    column = {
        name: np.array([np.nan if row[i] is None else row[i] for row in rows], float) for i, name in enumerate(COLUMNS) if i > 1
    }
    ratio = column["‖update‖/‖w‖"]
    moments = {name: column[name] for name in ("RMS m", "RMS √v") if any(row[COLUMNS.index(name)] is not None for row in rows)}
    panels: list[Line | Text] = []
    if any(row[COLUMNS.index("‖update‖/‖w‖")] is not None for row in rows):
        title, marks = "The last step: ‖update‖/‖w‖ of each parameter", {"usual": USUAL}
        panels.append(Line(x, {"ratio": ratio}, title, ylabel="‖update‖/‖w‖", xticks=ticks, log=True, marks=marks, flags=flags))
    if moments:
        panels.append(Line(x, moments, "What the gradients were like", ylabel="RMS", xticks=ticks, log=True, flags=flags))
    return tuple(panels) or (Text("The rule of this optimizer is not known, and it keeps no moments."),)
