"""Pictures and tables of a run: trends, ridges and what changed most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch2grid_builtin._compare.figures import by_kind, in_colors, short
from torch2grid_builtin._compare.order import SNAPSHOT, step_text
from torch2grid_builtin._compare.series import First, Series, Track
from torch2grid_builtin._optimizers import USUAL
from torch2grid_builtin._views.histogram import LEVELS
from torch2grid_core import Page
from torch2grid_core.pages import Band, Heatmap, Line, Ridges, Table, Text
from torch2grid_core.text import counted, visible

Array = np.ndarray[Any, Any]
SHOWN = 8  # lines in one diagram: more cannot be told apart
ROWS = 512  # tensors in one table in colours
RIDGES = 12
OF_UNITS = ("spread", "dead")  # figures that only tensors with output units have
FOLDER = "series"
FORMATS = {
    **dict.fromkeys(("‖w‖ first", "‖w‖ last", "Std first", "Std last"), ".4g"),
    **dict.fromkeys(("Dead% first", "Dead% last"), ".2f"),
    **dict.fromkeys(("Excess kurtosis first", "Excess kurtosis last"), ".3g"),
}


@dataclass(frozen=True)
class Quantity:
    """What the numbers are of. what: the thing over time; ratio: what ``Track.ratio`` is; marked: draw the 1e-3 line."""

    what: str = "weight"
    norm: str = "‖w‖"
    ratio: str = "‖Δw‖/‖w‖ from the snapshot before"
    marked: bool = True


GRADIENTS = Quantity("gradient", "‖g‖", "‖g‖/‖w‖", marked=False)


def titled(series: Series, words: Quantity, title: str) -> str:
    """*title*, how many tensors have no track, and when there was a NaN, an Inf or an explosion for the first time."""
    left = [f"{counted(len(series.left_out), 'tensor')} not in all of them"] if series.left_out else []
    exploded = series.explosions if words.marked else ()
    return " · ".join([title, *left, *(each.text for each in (*series.firsts, *exploded))])


def moved_most(series: Series, limit: int = SHOWN) -> list[str]:
    """The tensors that have pages, in their order: those with NaN or Inf, those that exploded, and matrices that moved most."""
    matrices = {name for name in series.tracks if name not in series.vectors} or set(series.tracks)
    chosen = matrices | _since(series).keys() | series.exploded.keys()
    return _first_of(series, [name for name in series.tracks if name in chosen], limit)


def _first_of(series: Series, names: list[str], limit: int) -> list[str]:
    """So many of *names* in their order: those with NaN or Inf, that exploded, the matrices, and of each what moved most."""
    if len(names) <= limit:
        return names
    since, exploded, last = _since(series), series.exploded, len(series.ordered.labels)
    moved = {name: float(np.nansum(series.tracks[name].ratio)) for name in names}

    def place(name: str) -> tuple[float, ...]:
        return since.get(name, last), exploded.get(name, last), name in series.vectors, -moved[name]

    kept = set(sorted(names, key=place)[:limit])
    return [name for name in names if name in kept]


def _since(series: Series) -> dict[str, int]:
    """Name → place of the first snapshot with a NaN or an Inf."""
    bad = {name: np.flatnonzero(track.nan + track.inf) for name, track in series.tracks.items()}
    return {name: int(places[0]) for name, places in bad.items() if len(places)}


def series_table(series: Series, words: Quantity, title: str) -> Page:
    """First and last of every tensor, and when it changed most; those with NaN or Inf first, then those that exploded.

    NaN and Inf have columns of their own.
    """
    largest_of = f"Largest {words.ratio.partition(' ')[0]}"
    columns: tuple[str, ...] = (
        "Tensor",
        f"{words.norm} first",
        f"{words.norm} last",
        "Std first",
        "Std last",
        "Excess kurtosis first",
        "Excess kurtosis last",
        "Dead% first",
        "Dead% last",
        largest_of,
        "At",
    )
    since = _since(series)
    if since:
        columns = (*columns, "NaN last", "Inf last", "Since")
    rows, exploded, never = [], series.exploded, len(series.ordered.labels)
    for name in sorted(series.tracks, key=lambda name: (since.get(name, never), exploded.get(name, never))):
        track = series.tracks[name]
        known = np.isfinite(track.ratio)
        most = int(np.nanargmax(np.where(known, track.ratio, -1))) if known.any() else None
        ends: list[float | None] = []
        for values, factor in ((track.norm, 1), (track.std, 1), (track.kurtosis, 1), (track.dead, 100)):
            ends += [None if np.isnan(values[end]) else factor * float(values[end]) for end in (0, -1)]
        largest = None if most is None else float(track.ratio[most])
        bad: tuple[int | str, ...] = ()
        if since:
            began = series.ordered.labels[since[name]] if name in since else ""
            bad = (int(track.nan[-1]), int(track.inf[-1]), began)
        rows.append((visible(name), *ends, largest, series.ordered.labels[most] if most is not None and largest else "", *bad))
    formats = {
        **FORMATS,
        largest_of: ".3g",
        f"{words.norm} first": ".4g",
        f"{words.norm} last": ".4g",
        "NaN last": ",",
        "Inf last": ",",
    }
    table = Table(columns, tuple(rows), formats={name: spec for name, spec in formats.items() if name in columns})
    return Page("series", titled(series, words, title), (table,), kind="table", data=as_json(series, words), opens=True)


def trends_page(series: Series, words: Quantity, title: str) -> Page:
    """Norm, std, ratio, dead share and kurtosis of each tensor over time: as lines, or in colours where they are many."""
    names = _first_of(series, list(series.tracks), ROWS)
    if len(names) < len(series.tracks):
        reasons = [*(["with NaN or Inf"] if series.firsts else []), *(["that exploded"] if series.exploded else [])]
        title += f" · the {len(names)} of {len(series.tracks):,} tensors {', or '.join([*reasons, 'that moved most'])}"
        title += ", matrices first"
    title = titled(series, words, title)
    draw = _line if len(names) <= SHOWN else _table_in_colors
    tracks = {name: series.tracks[name] for name in (names if draw is _line else by_kind(names))}
    usual = {"one step, usually": USUAL} if words.marked else {}
    panels = {
        "ratio": draw(series, tracks, "ratio", words.ratio, log=True, marks=usual),
        "norm": draw(series, tracks, "norm", words.norm, log=_spread(tracks)),
        "std": draw(series, tracks, "std", f"std of the {words.what}s", log=_spread(tracks)),
        "absmax": draw(series, tracks, "absmax", f"largest |{words.what}|", log=_spread(tracks)),
        "kurtosis": draw(series, tracks, "kurtosis", "excess kurtosis (normal: 0)"),
        "spread": draw(series, tracks, "spread", "spread of the units' norms (alike: 0)"),
    }
    if any((track.dead > 0).any() for track in tracks.values()):
        panels["dead"] = draw(series, tracks, "dead", "share of dead units")
    shown = {figure: panel for figure, panel in panels.items() if panel is not None}
    if len(shown) % 2:  # no place stays empty: the norm says most of what the std does
        shown.pop("std", None)
    return Page("series_trends", title, tuple(shown.values()), columns=2, panel_names=tuple(shown))


def _table_in_colors(
    series: Series, tracks: dict[str, Track], figure: str, what: str, log: bool = False, marks: dict[str, float] | None = None
) -> Heatmap | None:
    """A row for each tensor, those of one kind together, and a column for each snapshot."""
    first = int(figure == "ratio" and all(np.isnan(track.ratio[0]) for track in tracks.values()))  # nothing came before
    values = {name: np.asarray(getattr(track, figure), np.float64)[first:] for name, track in tracks.items()}
    lost = {name: ((track.nan + track.inf)[first:] > 0) & np.isnan(values[name]) for name, track in tracks.items()}
    # A change from zeros has no size, and a tensor of NaN no figure: each has its row, but where only units have figures.
    own = figure not in OF_UNITS
    known = [
        name for name in tracks if np.isfinite(values[name]).any() or (own and (np.isinf(values[name]) | lost[name]).any())
    ]
    if not any(np.isfinite(values[name]).any() for name in known):
        return None
    name, _, note = what.partition(" (")
    told = [note.rstrip(")")] if note else []
    told += [f"{mark} {value:g}" for mark, value in (marks or {}).items()]
    ticks, label = _columns(series)
    striking = _since(series).keys() | series.exploded.keys()
    return in_colors(
        np.stack([values[each] for each in known]),
        np.stack([lost[each] for each in known]),
        name,
        title=f"{name} ({'; '.join(told)})" if told else name,
        rows="",
        columns=label,
        row_names=[f"{shown}{_from(series, name)}" for shown, name in zip(short(known), known, strict=True)],
        column_names=ticks[first:],
        signed=figure == "kurtosis",
        named=[row for row, name in enumerate(known) if name in striking],
    )


def _columns(series: Series) -> tuple[Sequence[str], str]:
    """What each snapshot is called below its column, and what that counts."""
    ordered = series.ordered
    return (ordered.labels, "") if ordered.unit == SNAPSHOT else ([step_text(step) for step in ordered.steps], ordered.unit)


def _spread(tracks: dict[str, Track]) -> bool:
    norms = np.concatenate([track.norm for track in tracks.values()])
    norms = norms[np.isfinite(norms) & (norms > 0)]
    return bool(len(norms)) and float(norms.max()) > 100 * float(norms.min())


def _line(
    series: Series, tracks: dict[str, Track], figure: str, what: str, log: bool = False, marks: dict[str, float] | None = None
) -> Line | None:
    values = {f"{visible(name, 40)}{_from(series, name)}": getattr(track, figure) for name, track in tracks.items()}
    if not any(np.isfinite(each).any() for each in values.values()):
        return None
    x, ticks, label = _axis(series)
    log = log and any((each > 0).any() for each in values.values())
    zeros = [visible(name, 40) for name, track in tracks.items() if log and (getattr(track, figure) == 0).any()]
    return Line(
        x,
        values,
        title=f"{what}; 0 is not on a log axis: {', '.join(zeros)}" if zeros else what,
        xlabel=label,
        ylabel="log scale" if log else "",
        xticks=ticks,
        log=log,
        marks=marks or {},
        flags=_flags(series),
    )


def _from(series: Series, name: str) -> str:
    """What follows the name of a tensor with NaN or Inf: since when. Its figures go on with the weights that are finite."""
    track = series.tracks[name]
    bad = np.flatnonzero(track.nan + track.inf)
    if not len(bad):
        return ""
    return f" ({'NaN' if track.nan[bad[0]] else 'Inf'} from {_columns(series)[0][bad[0]]})"


def _flags(series: Series) -> dict[int, str]:
    """The place of the first NaN, and of the first Inf."""
    flags: dict[int, str] = {}
    for first in series.firsts:
        flags[first.place] = ", ".join(filter(None, (flags.get(first.place), f"first {first.what}")))
    return flags


def _axis(series: Series) -> tuple[Array, Sequence[str], str]:
    ordered = series.ordered
    if ordered.unit == SNAPSHOT:
        return np.array(ordered.steps), ordered.labels, ""
    return np.array(ordered.steps), (), ordered.unit


def ridges_page(series: Series, name: str, words: Quantity) -> Page:
    """Histograms of one tensor at every snapshot, one above the other, and its quantiles over time, on one axis."""
    track = series.tracks[name]
    labels = [_label(series, track, place) for place in range(len(series.ordered.labels))]
    places = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), RIDGES)).round().astype(int))
    totals = track.counts.sum(axis=1, keepdims=True)
    # Of no finite weight there are no shares: a flat line would say that there are some, far away.
    shares = np.divide(track.counts, totals, out=np.full_like(track.counts, np.nan), where=totals > 0)
    note = f", {len(places)} of {len(labels)} snapshots" if len(places) < len(labels) else ""
    about = {"tensor": name, "snapshots": len(labels)}
    title = " · ".join([f"{visible(name)} over time", *(each.text for each in _own_firsts(series, name))])
    if not totals.any():
        text = "\n".join(["No weight is finite:", *labels])
        return Page(f"{name}_series", title, (Text(text, title="Histogram of each snapshot"),), FOLDER, about=about)
    ridges = Ridges(
        tuple(series.ordered.labels[place] for place in places),
        track.edges,
        shares[places],
        title=f"Histogram of each snapshot above its own line; height: share of the weights in a bar{note}",
        xlabel=words.what,
        flags={row: _lost(track, int(place)) for row, place in enumerate(places) if _lost(track, int(place))},
        bend=track.bend,
    )
    known = np.flatnonzero(np.isfinite(track.quantiles).all(axis=0))
    shown = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), 40)).round().astype(int))] if len(known) else known
    band = Band(
        tuple(series.ordered.labels[place] for place in shown),
        LEVELS,
        track.quantiles[:, shown],
        title="Quantiles over time",
        ylabel=words.what,
        flags={row: _lost(track, int(place)) for row, place in enumerate(shown) if _lost(track, int(place))},
        bend=track.bend,
        limits=(float(track.edges[0]), float(track.edges[-1])),
    )
    panels: dict[str, Any] = {"histograms": ridges, "quantiles": band} if len(shown) else {"histograms": ridges}
    return Page(f"{name}_series", title, tuple(panels.values()), FOLDER, about=about, panel_names=tuple(panels))


def _lost(track: Track, place: int) -> str:
    """How many weights of a snapshot are NaN or Inf, and so are not drawn; nothing where none is."""
    counts = [(int(counted[place]), what) for counted, what in ((track.nan, "NaN"), (track.inf, "Inf")) if counted[place]]
    if counts and counts[0][0] == int(track.weights[place]):
        return f"all {counts[0][0]:,} {counts[0][1]}"
    return ", ".join(f"{count:,} {what}" for count, what in counts)


def _label(series: Series, track: Track, place: int) -> str:
    """What a snapshot is called, and what of its weights is not drawn."""
    lost = _lost(track, place)
    return f"{series.ordered.labels[place]}: {lost}" if lost else series.ordered.labels[place]


def _own_firsts(series: Series, name: str) -> list[First]:
    one = replace(series, tracks={name: series.tracks[name]})
    return list(one.firsts)


def as_json(series: Series, words: Quantity) -> dict[str, Any]:
    """The figures as plain data, ``null`` where there is none."""
    figures = ("norm", "mean", "std", "absmax", "kurtosis", "near", "dead", "spread", "ratio")
    return {
        "format": "torch2grid series 1",
        "what": words.what,
        "order": series.ordered.said,
        "unit": series.ordered.unit,
        "steps": list(series.ordered.steps),
        "labels": list(series.ordered.labels),
        "sources": [each.source for each in series.ordered.checkpoints],
        "left_out": dict(series.left_out),
        "first_nan": _first_json(series.first("NaN")),
        "first_inf": _first_json(series.first("Inf")),
        "first_exploded": _first_json(series.first_exploded),
        "first_exploded_vector": _first_json(series.first_exploded_vector),
        "tensors": {
            name: {
                **{figure: _plain(getattr(track, figure)) for figure in figures},
                "nan": track.nan.tolist(),
                "inf": track.inf.tolist(),
            }
            for name, track in series.tracks.items()
        },
    }


def _first_json(first: First | None) -> dict[str, Any] | None:
    if first is None:
        return None
    return {"label": first.label, "place": first.place, "tensors": list(first.names)}


def series_pages(series: Series, words: Quantity, title: str = "", every: bool = False) -> Iterator[Page]:
    """The table, the trends, and each tensor over time: those that moved most, or *every* one.

    title: of the table and the trends, instead of how many checkpoints there are. The table says how these were ordered.
    """
    labels, run = series.ordered.labels, counted(len(series.ordered.labels), "checkpoint")
    yield series_table(series, words, title or f"{run} · {series.ordered.said}")
    ends = f" · {labels[0]} … {labels[-1]}" if labels[0] != labels[-1] else ""  # what is in memory has no names
    yield trends_page(series, words, title or f"{run}{ends}")
    for name in series.tracks if every else moved_most(series):
        yield ridges_page(series, name, words)


def _plain(values: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
