"""Reading what ``GradientRecorder`` saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin.compare.track import Track, recorded_tracks
from torch2grid_core import Checkpoint, Distribution, LoadError, counted_distribution

Array = np.ndarray[Any, Any]
FORMAT = "torch2grid recording"
_PLACES = ("codes", "counts", "ends", "figures")


@dataclass(frozen=True)
class Recording:
    """The steps of the records, and the track of each parameter's gradient."""

    steps: tuple[float, ...]
    tracks: dict[str, Track]


def is_recording(checkpoint: Checkpoint) -> bool:
    """True for a file that a ``GradientRecorder`` saved."""
    return str(checkpoint.metadata.get("format", "")).startswith(FORMAT)


def read_recording(checkpoint: Checkpoint) -> Recording:
    """The recording in *checkpoint*. Raises ``LoadError`` where it is damaged."""
    whole = checkpoint.whole
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
                series.append(None if np.isnan(figure["zeros"]) else _one(codes[first:last], counts[first:last], figure))
            distributions[name] = series
            norms[name] = figures[:, keys.index("weight_norm")]
    except (KeyError, ValueError, IndexError) as error:
        raise LoadError(whole.source, f"is a damaged recording: {error}", "record again") from error
    if not distributions:
        raise LoadError(whole.source, "is a recording of no gradients", "record again")
    return Recording(tuple(steps.tolist()), recorded_tracks(distributions, norms))


def _one(codes: Array, counts: Array, figure: dict[str, float]) -> Distribution:
    low, high = figure["min"], figure["max"]
    return counted_distribution(
        codes,
        counts,
        mean=min(max(figure["mean"], low), high),  # it was rounded to float32
        std=figure["std"],
        low=low,
        high=high,
        **{key: int(figure[key]) for key in ("zeros", "nan", "posinf", "neginf")},
    )
