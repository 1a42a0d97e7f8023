"""Rows, columns, filters and channels that do nothing, and rows and filters that say what others say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch2grid_builtin._views.describing import LOST_FORMATS, TOTAL, columns_for, figure_text, flag, formats_of, source_name
from torch2grid_builtin._views.stacks import apart, matrices
from torch2grid_builtin._views.units import (
    DeadUnits,
    dead_units,
    groups_in_whole,
    groups_text,
    has_units,
    in_whole,
    ranges_text,
    with_duplicates,
)
from torch2grid_core import Checkpoint, Page, Settings, View
from torch2grid_core.measures import Duplicates, NotFinite, Profile, UnitProfile
from torch2grid_core.pages import Bar, Line, Table, Text
from torch2grid_core.sources import stated_shape
from torch2grid_core.text import shape_text, visible

Array = np.ndarray[Any, Any]
COLUMNS = ("Layer Name", "Shape", "Outputs", "Dead", "Inputs", "Dead inputs", "Dead%", "Duplicates", "Which", "Repeats")
SHOWN = 60  # bars; more tensors than that are no picture, and only those with a share above 0 are drawn
FORMATS = {
    "Dead%": ".2f",
    **dict.fromkeys(("Outputs", "Dead", "Inputs", "Dead inputs", "Duplicates"), ",d"),
    **LOST_FORMATS,
}


@dataclass(frozen=True)
class DeadNeurons(View):
    """Units whose every weight is near zero, and rows and filters that repeat others: table, report, picture."""

    name = "dead_neurons"
    uses_transformer = False

    only_dead: bool = field(default=False, metadata={"help": "leave tensors without dead or duplicate units out of the table"})
    duplicates: bool = field(default=True, metadata={"help": "also look for output units that repeat others"})
    cosine: float = field(default=0.999, metadata={"help": "units with a greater cosine are near duplicates"})
    max_units: int = field(default=8192, metadata={"help": "units of tensors with more are not compared with one another"})

    def __post_init__(self) -> None:
        if not 0 < self.cosine <= 1:
            raise ValueError(f"cosine={self.cosine:g} is not between 0 and 1")

    def needs(self, checkpoint: Checkpoint, run: Settings) -> dict[str, Any]:
        needs: dict[str, Any] = {"profile": Profile(), "not_finite": NotFinite()}
        if self.duplicates:
            needs["duplicates"] = Duplicates(self.cosine, self.max_units)
        return apart(checkpoint, needs)

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        profiles: dict[str, UnitProfile] = {}
        aliases: dict[str, str] = {}
        found, stacks = [], False
        for each in (each for tensor in checkpoint.values() if has_units(tensor, checkpoint) for each in matrices(tensor)):
            profile, tensor = each.of(results, "profile"), each.tensor
            if profile is None:
                continue
            stacks |= each.place is not None
            profiles[tensor.name] = profile
            if each.owner in checkpoint.aliases:
                aliases[tensor.name] = checkpoint.aliases[each.owner] + tensor.name.removeprefix(each.owner)
            units = replace(dead_units(tensor, profile, run.threshold), not_finite=each.of(results, "not_finite"))
            found.append(with_duplicates(units, each.of(results, "duplicates")) if self.duplicates else units)
        counted = [each for each in found if each.tensor.name not in aliases]
        things = "tensors and stacked matrices" if stacks else "tensors"  # each of a stack counts by itself
        told = _told(counted, run.threshold, things)
        title = f"Dead neurons: {told}"
        shown = [each for each in found if each.dead or each.repeated or each.not_finite or not self.only_dead]
        more = columns_for([each.not_finite for each in found])
        columns = (*COLUMNS, *more)
        table = Table(
            columns,
            tuple(row[: len(columns)] for row in (*map(_row, shown), _total(counted))),
            formats=formats_of(columns, FORMATS),
            totals=1,
        )
        about = {"tensors": [name for name in checkpoint if has_units(checkpoint[name], checkpoint)]}
        yield Page("dead_neurons", title, (table,), kind="table", about=about)
        yield Page(
            "dead_neurons_overview",
            run.title or f"Dead neurons of {source_name(checkpoint)}",
            _panels(
                found, profiles, run.threshold, things, told.replace(f"{run.threshold:g}", figure_text(run.threshold, "g"))
            ),
            about=about,
        )
        report = _report(checkpoint.source, aliases, found, counted, run.threshold, self.cosine)
        yield Page("dead_neurons_report", title, (table,), kind="table", formats=("json",), data=report, about=about)


def _told(found: list[DeadUnits], threshold: float, things: str) -> str:
    """things: what is counted, ``tensors``."""
    dead, units = sum(each.dead for each in found), sum(each.units for each in found)
    layers = sum(bool(each.dead) for each in found)
    text = f"{dead:,} of {units:,} units (every |weight| < {threshold:g}), in {layers:,} of {len(found):,} {things}"
    repeated = _repeated(found)
    if repeated:
        text += f"; {repeated:,} duplicate{'s' if repeated > 1 else ''}"
    ill = sum(bool(each.not_finite) for each in found)
    return f"{text}; NaN or Inf in {ill:,} tensor{'s' if ill > 1 else ''}" if ill else text


def _repeated(found: list[DeadUnits]) -> int | None:
    """Output units that repeat others, in all tensors that were compared; ``None`` where none was."""
    known = [each.repeated for each in found if each.repeated is not None]
    return sum(known) if known else None


def _row(each: DeadUnits) -> tuple[str | int | float | None, ...]:
    which = [ranges_text(in_whole(each.tensor, each.dead_outputs, each.axes[0]))] if each.dead_outputs else []
    if each.dead_inputs:
        which.append(f"inputs {ranges_text(in_whole(each.tensor, each.dead_inputs, each.axes[1]))}")
    inputs = (each.inputs, len(each.dead_inputs)) if each.inputs else (None, None)
    sizes = (each.outputs, len(each.dead_outputs), *inputs)
    texts = ("; ".join(which), groups_text(groups_in_whole(each.tensor, each.groups or ())))
    lost = (each.not_finite.nan, each.not_finite.inf)
    return (each.tensor.name, shape_text(each.tensor.shape), *sizes, 100 * each.share, each.repeated, *texts, *lost)


def _total(found: list[DeadUnits]) -> tuple[str | int | float | None, ...]:
    units = sum(each.units for each in found)
    sizes = (
        sum(each.outputs for each in found),
        sum(len(each.dead_outputs) for each in found),
        sum(each.inputs for each in found),
        sum(len(each.dead_inputs) for each in found),
    )
    share = 100 * sum(each.dead for each in found) / units if units else 0.0
    lost = (sum(each.not_finite.nan for each in found), sum(each.not_finite.inf for each in found))
    return (TOTAL, "", *sizes, share, _repeated(found), "", "", *lost)


def _panels(
    found: list[DeadUnits], profiles: Mapping[str, UnitProfile], threshold: float, things: str, told: str
) -> tuple[Bar | Line | Text, ...]:
    """What is *told* of all, the share of dead units of each tensor, and how far from dead the weakest unit of each is."""
    if not found:
        return (Text("No tensor here has units: no matrix, no kernel, no weight of a normalisation."),)
    bars: list[Bar | Text] = [Text(f"Dead: {told}.")]
    if any(each.dead for each in found):
        shares = {each.tensor.name: each.share for each in found}
        bars.append(_bar(found, "dead units", "dead units (outputs and inputs), %", shares, things))
    if any(each.repeated for each in found):
        repeats = {each.tensor.name: (each.repeated or 0) / each.outputs for each in found}
        bars.append(_bar(found, "duplicate units", "output units that repeat another, %", repeats, things))
    layers = [each for each in found if each.inputs] or found  # the weights of normalisations are of another size
    sizes = [_output_sizes(profiles[each.tensor.name], each.axes[0]) for each in layers]
    least = threshold / 10 if threshold > 0 else np.finfo(np.float64).tiny
    known = [bool((~np.isnan(each)).any()) for each in sizes]
    series = {
        "weakest output unit": [np.nanmin(each) if any_ else np.nan for each, any_ in zip(sizes, known, strict=True)],
        "median output unit": [np.nanmedian(each) if any_ else np.nan for each, any_ in zip(sizes, known, strict=True)],
    }
    line = Line(
        np.arange(len(layers), dtype=np.float64),
        {name: np.maximum(values, least) for name, values in series.items()},
        title="Largest |weight| of output units, layer after layer",
        ylabel=f"|max|, at least {figure_text(least, 'g')}",
        xticks=tuple(visible(each.tensor.name) for each in layers),
        log=True,
        marks={"threshold": threshold} if threshold > 0 else {},
        flags=_flags(layers),
    )
    return *bars, line


def _output_sizes(profile: UnitProfile, axis: int) -> Array:
    """The |max| of each output unit, which *axis* counts."""
    return profile.input_absmax if axis and profile.input_absmax is not None else profile.output_absmax


def _flags(found: list[DeadUnits]) -> dict[int, str]:
    return {i: flag(each.not_finite, each.tensor.size) for i, each in enumerate(found) if each.not_finite}


def _bar(found: list[DeadUnits], what: str, ylabel: str, shares: Mapping[str, float], things: str) -> Bar:
    shown, which = found, "each tensor"
    if len(found) > SHOWN:
        some = [each for each in found if shares[each.tensor.name] or each.not_finite]
        shown = sorted(some, key=lambda each: (not each.not_finite, -shares[each.tensor.name]))[:SHOWN]
        which = f"the {SHOWN} largest of {len(found):,} {things}"
        if len(shown) == len(some):
            which = f"{len(shown)} of {len(found):,} {things}, the others have none"
    labels = tuple(visible(each.tensor.name) for each in shown)
    values = np.array([100 * shares[each.tensor.name] for each in shown])
    return Bar(labels, values, title=f"Share of {what}: {which}", ylabel=ylabel, flags=_flags(shown))


def _report(
    source: str,
    aliases: Mapping[str, str],
    found: list[DeadUnits],
    counted: list[DeadUnits],
    threshold: float,
    cosine: float,
) -> dict[str, Any]:
    """The JSON report: every tensor with units, with the indices of the dead ones and of those that repeat others.

    A stack of matrices is a matrix each, its index behind the name. Totals count a tied tensor once. ``duplicate_units`` and
    ``duplicate_groups`` are null where units were not compared.
    """
    tensors = [
        {
            "name": each.tensor.name,
            "shape": list(stated_shape(each.tensor.shape)),
            "dtype": each.tensor.dtype.name,
            "units": each.units,
            "output_units": each.outputs,
            "input_units": each.inputs,
            "dead_output_units": list(in_whole(each.tensor, each.dead_outputs, each.axes[0])),
            "dead_input_units": list(in_whole(each.tensor, each.dead_inputs, each.axes[1])),
            "dead": each.dead,
            "share": each.share,
            "nan": each.not_finite.nan,
            "inf": each.not_finite.inf,
            "threshold": threshold,
            "duplicate_units": each.repeated,
            "duplicate_groups": None
            if each.groups is None
            else [
                {"units": list(group.units), "equal": list(group.equal), "cosine": group.cosine}
                for group in groups_in_whole(each.tensor, each.groups)
            ],
            **({"tied_to": aliases[each.tensor.name]} if each.tensor.name in aliases else {}),
        }
        for each in found
    ]
    units, dead = sum(each.units for each in counted), sum(each.dead for each in counted)
    totals = {
        "tensors": len(counted),
        "tensors_with_dead_units": sum(bool(each.dead) for each in counted),
        "units": units,
        "output_units": sum(each.outputs for each in counted),
        "input_units": sum(each.inputs for each in counted),
        "dead_output_units": sum(len(each.dead_outputs) for each in counted),
        "dead_input_units": sum(len(each.dead_inputs) for each in counted),
        "dead": dead,
        "share": dead / units if units else 0.0,
        "duplicate_units": _repeated(counted),
        "tensors_not_finite": sum(bool(each.not_finite) for each in counted),
        "nan": sum(each.not_finite.nan for each in counted),
        "inf": sum(each.not_finite.inf for each in counted),
    }
    return {
        "format": "torch2grid dead neurons 1",
        "source": source,
        "threshold": threshold,
        "cosine": cosine,
        "totals": totals,
        "tensors": tensors,
    }
