"""Reading what ``GradientRecorder`` saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from torch2grid_builtin._compare.order import Ordered
from torch2grid_builtin._compare.series import Series
from torch2grid_builtin._compare.track import recorded_tracks
from torch2grid_core import Checkpoint, LoadError
from torch2grid_core.measures import Distribution, counted_distribution
from torch2grid_core.text import visible

Array = np.ndarray[Any, Any]
FORMAT = "torch2grid recording"
_PLACES = ("codes", "counts", "ends", "figures")


def is_recording(checkpoint: Checkpoint) -> bool:
    """True for a file that a ``GradientRecorder`` saved: all its arrays are needed, those of one number and empty ones too."""
    return str(checkpoint.metadata.get("format", "")).startswith(FORMAT)


def recorded_series(checkpoint: Checkpoint) -> tuple[Series, str]:
    """The gradient of each parameter at each record in *checkpoint*, and a title. Raises ``LoadError`` where it is damaged."""
    whole = checkpoint.whole
    for gone in whole.skipped:
        told = f"all arrays of a recording are needed, and {visible(gone.name)} was left out: {visible(gone.reason)}"
        raise LoadError(whole.source, told)
    try:
        steps = whole["steps"].numpy().astype(np.float64)
        names = [name.rpartition("/")[0] for name in whole if name.endswith("/codes")]
        keys = str(whole.metadata["figures"]).split(",")
        distributions, norms = {}, {}
        for name in names:
            codes, counts, ends, figures = (whole[f"{name}/{place}"].numpy() for place in _PLACES)
            if len(ends) != len(steps) or figures.shape != (len(steps), len(keys)) or (len(ends) and ends[-1] != len(codes)):
                raise ValueError(f"{name}: its arrays do not fit one another")
            series: list[Distribution | None] = []
            for first, last, row in zip([0, *ends[:-1].tolist()], ends.tolist(), figures, strict=True):
                figure = dict(zip(keys, row.tolist(), strict=True))
                buckets = codes[first:last], counts[first:last]
                series.append(None if np.isnan(figure["zeros"]) else recorded_distribution(*buckets, figure))
            distributions[name] = series
            norms[name] = figures[:, keys.index("weight_norm")]
    except (KeyError, ValueError, IndexError) as error:
        raise LoadError(whole.source, f"is a damaged recording: {error}", "record again") from error
    if not distributions:
        raise LoadError(whole.source, "is a recording of no gradients", "record again")
    tracks = recorded_tracks(distributions, norms)
    labels = tuple(f"step {step:g}" for step in steps.tolist())
    ordered = Ordered((checkpoint,), tuple(steps.tolist()), labels, "as recorded", "step")
    vectors = frozenset(name for name in tracks if name.endswith("bias"))  # by name: shapes are not recorded
    title = f"Gradients of {_some(len(tracks), 'parameter')} at {_some(len(labels), 'step')}"
    return Series(ordered, tracks, vectors), title


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def recorded_distribution(codes: Array, counts: Array, figures: Mapping[str, float]) -> Distribution:
    """The ``Distribution`` of one record: uint16 *codes* of buckets, int64 *counts* in each, and what a row of figures says."""
    low, high = figures["min"], figures["max"]
    return counted_distribution(
        codes,
        counts,
        mean=min(max(figures["mean"], low), high),  # it was rounded to float32
        std=figures["std"],
        low=low,
        high=high,
        **{key: int(figures[key]) for key in ("zeros", "nan", "posinf", "neginf")},
    )
