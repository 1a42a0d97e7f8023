"""Pictures and tables of a run: trends, ridges and what changed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin.compare.series import Series
from torch2grid_builtin.compare.track import Track
from torch2grid_builtin.optimizers.update import USUAL
from torch2grid_builtin.views.histogram import LEVELS
from torch2grid_core import Band, Line, Page, Table, visible

Array = np.ndarray[Any, Any]
SHOWN = 8  # tensors in one diagram: more cannot be told apart
RIDGES = 12
FOLDER = "series"
FORMATS = {
    **dict.fromkeys(("‖w‖ first", "‖w‖ last", "Std first", "Std last"), ".4g"),
    **dict.fromkeys(("Dead% first", "Dead% last"), ".2f"),
    **dict.fromkeys(("Largest ratio", "Kurtosis first", "Kurtosis last"), ".3g"),
}


@dataclass(frozen=True)
class Words:
    """What the numbers are of. what: the thing over time; ratio: what ``Track.ratio`` is; marked: draw the 1e-3 line."""

    what: str = "weight"
    norm: str = "‖w‖"
    ratio: str = "‖Δw‖/‖w‖ from the snapshot before"
    marked: bool = True


GRADIENTS = Words("gradient", "‖g‖", "‖g‖/‖w‖", marked=False)


def chosen(series: Series, limit: int = SHOWN) -> list[str]:
    """The tensors that diagrams show, in their order: matrices and kernels first of all, those that moved most."""
    names = [name for name in series.tracks if name not in series.vectors] or list(series.tracks)
    if len(names) <= limit:
        return names
    moved = {name: float(np.nansum(series.tracks[name].ratio)) for name in names}
    kept = set(sorted(names, key=lambda name: -moved[name])[:limit])
    return [name for name in names if name in kept]


def table_page(series: Series, words: Words, title: str) -> Page:
    """First and last of every tensor, and when it changed most."""
    columns = (
        "Tensor",
        f"{words.norm} first",
        f"{words.norm} last",
        "Std first",
        "Std last",
        "Kurtosis first",
        "Kurtosis last",
        "Dead% first",
        "Dead% last",
        "Largest ratio",
        "At",
    )
    rows = []
    for name, track in series.tracks.items():
        known = np.isfinite(track.ratio)
        most = int(np.nanargmax(np.where(known, track.ratio, -1))) if known.any() else None
        ends: list[float | None] = []
        for values, factor in ((track.norm, 1), (track.std, 1), (track.kurtosis, 1), (track.dead, 100)):
            ends += [None if np.isnan(values[end]) else factor * float(values[end]) for end in (0, -1)]
        largest = None if most is None else float(track.ratio[most])
        rows.append((visible(name), *ends, largest, "" if most is None else series.ordered.labels[most]))
    formats = {**FORMATS, f"{words.norm} first": ".4g", f"{words.norm} last": ".4g"}
    return Page("series", title, (Table(columns, tuple(rows), formats=formats),), kind="table", data=as_json(series, words))


def trends_page(series: Series, words: Words, title: str) -> Page:
    """Norm, std, ratio, dead share and kurtosis of some tensors over time."""
    names = chosen(series)
    all_names = [name for name in series.tracks if name not in series.vectors] or list(series.tracks)
    if len(names) < len(all_names):
        title += f" · the {len(names)} of {len(all_names)} tensors that moved most"
    tracks = {name: series.tracks[name] for name in names}
    panels = [
        _line(series, tracks, "ratio", words.ratio, log=True, marks={"one step, usually": USUAL} if words.marked else {}),
        _line(series, tracks, "norm", words.norm, log=_spread(tracks)),
        _line(series, tracks, "std", f"std of the {words.what}s", log=_spread(tracks)),
        _line(series, tracks, "kurtosis", "excess kurtosis (uniform −1.2, normal 0)"),
    ]
    panels.append(_line(series, tracks, "spread", "spread of the units' norms (0: all units alike)"))
    if any((track.dead > 0).any() for track in tracks.values()):
        panels.append(_line(series, tracks, "dead", "share of dead units"))
    return Page("series_trends", title, tuple(panel for panel in panels if panel is not None), columns=2)


def _spread(tracks: dict[str, Track]) -> bool:
    norms = np.concatenate([track.norm for track in tracks.values()])
    norms = norms[np.isfinite(norms) & (norms > 0)]
    return bool(len(norms)) and float(norms.max()) > 100 * float(norms.min())


def _line(
    series: Series, tracks: dict[str, Track], figure: str, what: str, log: bool = False, marks: dict[str, float] | None = None
) -> Line | None:
    values = {visible(name, 40): getattr(track, figure) for name, track in tracks.items()}
    if not any(np.isfinite(each).any() for each in values.values()):
        return None
    x, ticks, label = _axis(series)
    return Line(
        x, values, title=what, xlabel=label, ylabel="log scale" if log else "", xticks=ticks, log=log, marks=marks or {}
    )


def _axis(series: Series) -> tuple[Array, Sequence[str], str]:
    ordered = series.ordered
    if ordered.unit == "snapshot":
        return np.array(ordered.steps), ordered.labels, ""
    return np.array(ordered.steps), (), ordered.unit


def ridges_page(series: Series, name: str, words: Words) -> Page:
    """Histograms of one tensor at every snapshot, one above the other, and its quantiles over time."""
    track = series.tracks[name]
    labels = series.ordered.labels
    places = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), RIDGES)).round().astype(int))
    widths = np.diff(track.edges)
    totals = np.maximum(track.counts.sum(axis=1, keepdims=True), 1)
    density = track.counts / totals / widths
    highest = float(density[places].max()) or 1.0
    middle = (track.edges[1:] + track.edges[:-1]) / 2
    last = len(places) - 1
    ridges = {
        labels[place]: (last - row) + 1.4 * density[place] / highest for row, place in enumerate(places)
    }  # the first on top
    note = f", {len(places)} of {len(labels)} snapshots" if len(places) < len(labels) else ""
    ridge = Line(
        middle,
        ridges,
        title=f"Density of each snapshot above its own line{note}",
        xlabel=words.what,
        ylabel="first snapshot on top",
    )
    known = np.flatnonzero(np.isfinite(track.quantiles).all(axis=0))
    shown = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), 40)).round().astype(int))] if len(known) else known
    band = Band(
        tuple(labels[place] for place in shown),
        LEVELS,
        track.quantiles[:, shown],
        title="Quantiles over time",
        ylabel=words.what,
    )
    about = {"tensor": name, "snapshots": len(labels)}
    return Page(f"{name}_series", f"{visible(name)} over time", (ridge, band) if len(shown) else (ridge,), FOLDER, about=about)


def as_json(series: Series, words: Words) -> dict[str, Any]:
    """The figures as plain data, ``null`` where there is none."""
    figures = ("norm", "mean", "std", "absmax", "kurtosis", "near", "dead", "spread", "ratio")
    return {
        "format": "torch2grid series 1",
        "what": words.what,
        "order": series.ordered.said,
        "steps": list(series.ordered.steps),
        "labels": list(series.ordered.labels),
        "sources": [each.source for each in series.ordered.checkpoints],
        "left_out": dict(series.left_out),
        "tensors": {
            name: {figure: _plain(getattr(track, figure)) for figure in figures} for name, track in series.tracks.items()
        },
    }


def _plain(values: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
