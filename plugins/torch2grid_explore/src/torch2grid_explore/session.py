"""What is being looked at: pictures of checkpoints, the pass that fills them, and what a person asks of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, wait
from typing import Any

import numpy as np

from torch2grid_core import Checkpoint, LazyTensor, Need, Torch2GridError, measure
from torch2grid_core.grids import Array, Rect, Window
from torch2grid_core.measures import Distribution, Largest, Planes, Profile, Summary, workers
from torch2grid_core.sources import JointTensor, as_float
from torch2grid_core.text import visible, without_secrets
from torch2grid_explore.picture import Map, Picture
from torch2grid_explore.pyramid import PLANES

_ENDING = 5.0  # seconds that a pass may take to notice that it is to end
_APART = 0.4  # seconds between two tellings of what was read; each makes the page ask for cells and draw them
_BATCH_BYTES = 256 << 20  # read before the order of what is left is thought over
_PROFILED = 512  # points of a profile that the page gets
_BARS = 96
_LARGEST = 12


class Session:
    """Pictures on one map, filled in the background, those that are looked at first.

    notes: what to say about what is shown. locations: what a command line calls the checkpoints, and *transformer* their map.
    """

    def __init__(
        self,
        place: Map,
        pictures: Sequence[Picture],
        title: str,
        notes: Sequence[str],
        locations: Sequence[str],
        transformer: str,
    ) -> None:
        self.map, self.pictures, self.title, self.notes = place, list(pictures), title, list(notes)
        self.locations, self.transformer = [without_secrets(each) for each in locations], transformer
        self.brief: dict[str, dict[str, Any]] = {}
        self.summed = False
        self._wanted: list[str] = []
        self._log: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._stopped = threading.Event()
        self._executor: Executor | None = None
        self._more = threading.Semaphore(len(self.pictures))  # pictures that wait to be filled
        self._thread = threading.Thread(target=self._fill, name="explore: pass", daemon=True)

    def start(self, executor: Executor | None = None) -> None:
        """Begin to read, on *executor*; without one, where ``workers`` would."""
        self._executor = executor
        self._thread.start()

    def fill(self, executor: Executor | None = None) -> None:
        """Read everything now, with figures of each tensor. Raises ``Torch2GridError`` where that fails."""
        self.summed = True
        for number, picture in enumerate(self.pictures):
            self._fill_one(number, picture, executor)

    def stop(self) -> None:
        """Read no more."""
        self._stopped.set()
        self._more.release()
        with self._news:
            self._news.notify_all()
        if self._thread.is_alive():
            self._thread.join(_ENDING)

    @property
    def stopped(self) -> bool:
        """True when nothing is read any more."""
        return self._stopped.is_set()

    def look(self, names: Sequence[str]) -> None:
        """What is looked at, most wanted first."""
        self._wanted = list(names)

    def news(self, after: int, seconds: float) -> list[dict[str, Any]]:
        """What happened since the *after* first events; waits for one at most *seconds*."""
        with self._news:
            if len(self._log) <= after and not self._stopped.is_set():
                self._news.wait(seconds)
            return self._log[after:]

    def tell(self, event: dict[str, Any]) -> None:
        """Add an event that the page hears of."""
        with self._news:
            self._log.append(event)
            self._news.notify_all()

    def add(self, picture: Picture) -> None:
        """Take in another picture, which is filled when those before it are."""
        self.pictures.append(picture)
        self.tell({"grown": [picture_facts(picture)]})
        self._more.release()

    def _fill(self) -> None:
        number = 0
        with contextlib.ExitStack() as stack:
            executor = self._executor or stack.enter_context(workers(self.pictures[0].checkpoint))
            while self._more.acquire() and not self._stopped.is_set():
                try:
                    self._fill_one(number, self.pictures[number], executor)
                except Torch2GridError as error:
                    self.tell({"error": visible(str(error), 1000)})
                number += 1

    def _fill_one(self, number: int, picture: Picture, executor: Executor | None) -> None:
        needs: dict[str, Need[Any]] = {"planes": Planes(picture.map.layout, PLANES)}
        if self.summed and not number:
            needs["summary"] = Summary()
        checkpoint = picture.checkpoint
        left = dict.fromkeys(name for name in checkpoint.in_file_order() if name in picture.tensors)
        total, done, told, cells = len(left), 0, 0.0, []
        for name in picture.pyramid.filled:
            left.pop(name, None)
        while left:
            batch = self._next(left, picture.tensors)
            for key, results in measure(checkpoint, needs, executor=executor, order=batch):
                if self._stopped.is_set():
                    return
                window = results["planes"]
                picture.pyramid.put(str(key), window)
                if "summary" in results:
                    self.brief[str(key)] = _figures(results["summary"])
                done += 1
                cells.append(window.rectangle)
                if (now := time.monotonic()) - told > _APART or done == total:
                    self.tell({"picture": number, "done": done, "total": total, "cells": cells})
                    told, cells = now, []
            for name in batch:
                left.pop(name, None)
        picture.pyramid.settle()

    def _next(self, left: Mapping[str, None], tensors: Mapping[str, LazyTensor]) -> list[str]:
        """The next to read: what is looked at, then the others in the order of the file, about ``_BATCH_BYTES`` of them."""
        batch, size = [], 0
        for name in dict.fromkeys([*(each for each in self._wanted if each in left), *left]):
            batch.append(name)
            size += tensors[name].nbytes
            if size >= _BATCH_BYTES:
                break
        return batch

    def cells(self, number: int, level: int, rectangle: Rect, planes: Sequence[str], beside: Executor | None = None) -> bytes:
        """Cells: float32 planes one after the other, then a byte a cell, 1 where there are weights.

        beside: threads, one of which is free to read half of what is not in memory. Raises ``KeyError`` for cells that are not
        there, or more than a tile has; ``LoadError`` where the file cannot be read.
        """
        rectangle = self.map.inside(level, rectangle)
        if beside is not None and level < self.map.base and rectangle[2] > 1:
            windows = self._halves(number, level, rectangle, planes, beside)
        else:
            windows = [self.pictures[number].window(level, rectangle, planes)]
        parts = [np.ascontiguousarray(each.planes[name], dtype="<f4").tobytes() for name in planes for each in windows]
        return b"".join([*parts, *((each.counts > 0).tobytes() for each in windows)])

    def _halves(self, number: int, level: int, rectangle: Rect, planes: Sequence[str], beside: Executor) -> list[Window]:
        """The upper and the lower half of *rectangle*, read side by side."""
        window, (top, left, height, width), half = self.pictures[number].window, rectangle, rectangle[2] // 2
        upper = beside.submit(window, level, (top, left, half, width), planes)
        try:
            lower = window(level, (top + half, left, height - half, width), planes)
        finally:
            wait([upper])
        return [upper.result(), lower]

    def cell(self, number: int, level: int, row: int, column: int) -> dict[str, Any]:
        """A cell at the base or finer: what its weights are, and how many."""
        self.map.inside(level, (row, column, 1, 1))
        picture, found = self.pictures[number], self.map.weights(level, row, column)
        window = picture.window(level, (row, column, 1, 1))
        planes = {name: _text(plane[0, 0]) for name, plane in window.planes.items()}
        weights = []
        for each in found:
            tensor = picture.tensors.get(each.tensor)
            first, last = (np.unravel_index(place, self.map.shapes[each.tensor]) for place in (each.first, each.last))
            entry: dict[str, Any] = {
                "tensor": self.map.tensors.index(each.tensor),
                "first": [int(place) for place in first],
                "last": [int(place) for place in last],
                "weights": each.weights,
            }
            if each.weights == 1 and tensor is not None:
                entry["value"] = stored_text(np.asarray(tensor[tuple(int(place) for place in first)]))
            weights.append(entry)
        return {"planes": planes, "count": int(window.counts[0, 0]), "weights": weights}

    def figures(self, number: int, tensor: int) -> dict[str, Any]:
        """Statistics, histogram, profiles and the largest weights of one tensor."""
        picture, name = self.pictures[number], self.map.tensors[tensor]
        needs: dict[str, Need[Any]] = {"summary": Summary(), "profile": Profile(), "largest": Largest(_LARGEST)}
        ((_, found),) = measure(picture.checkpoint.select([name]), needs)
        summary, profile, largest = found["summary"], found["profile"], found["largest"]
        shape = self.map.shapes[name]
        return {
            **_figures(summary),
            "rows": _thinned(profile.output_absmax),
            "columns": None if profile.input_absmax is None else _thinned(profile.input_absmax),
            "largest": _places(shape, largest.indices, largest.values),
            "not_finite": _places(shape, largest.lost_indices, largest.lost_values),
        }


def _figures(summary: Distribution) -> dict[str, Any]:
    """Figures as text, counts, quantiles, and a histogram of the finite weights."""
    names = ("mean", "std", "min", "max", "absmax", "rms", "l2", "skewness", "kurtosis")
    shares = (0.001, 0.01, 0.5, 0.99, 0.999) if summary.finite else ()
    edges = np.linspace(summary.min, summary.max, _BARS + 1) if summary.finite and summary.min < summary.max else np.empty(0)
    bars = summary.histogram(edges)[0].tolist() if len(edges) and bool((np.diff(edges) > 0).all()) else []
    return {
        "figures": {each: _text(getattr(summary, each)) for each in names},
        "counts": {each: int(getattr(summary, each)) for each in ("count", "zeros", "nan", "posinf", "neginf")},
        "quantiles": [[share, _text(summary.quantile(share))] for share in shares],
        "edges": [float(f"{edge:.6g}") for edge in edges.tolist()],
        "bars": bars,
    }


def picture_facts(picture: Picture) -> dict[str, Any]:
    """What the page knows of a picture."""
    return {"label": visible(picture.label, 200), "scale": picture.scale, "frame": picture.frame, "filled": picture.filled}


def _places(shape: tuple[int, ...], indices: Array, values: Array) -> list[dict[str, Any]]:
    places = zip(indices.tolist(), values.tolist(), strict=True)
    return [
        {"index": [int(each) for each in np.unravel_index(index, shape)], "flat": index, "value": _text(value)}
        for index, value in places
    ]


def _thinned(values: Array) -> dict[str, Any]:
    """At most ``_PROFILED`` of *values*, each the largest of its run: a peak stays a peak, NaN stays NaN."""
    step = max(-(-len(values) // _PROFILED), 1)
    found = np.maximum.reduceat(values, np.arange(0, len(values), step)) if len(values) else values
    return {"step": step, "values": [float(f"{value:.4g}") if np.isfinite(value) else None for value in found.tolist()]}


def _text(value: Any) -> str:
    """A float as a person reads it, and as JavaScript can: NaN and Inf have no number in JSON."""
    number = float(value)
    return f"{number:.6g}" if np.isfinite(number) else {True: "NaN"}.get(np.isnan(number), "Inf" if number > 0 else "-Inf")


def stored_text(value: Array) -> str:
    """The stored number, exactly: the shortest text that reads back as it in its own dtype."""
    number = value[()]
    if value.dtype.kind in "iub":
        return str(int(number))
    return str(number) if value.dtype.kind in "fc" else str(float(as_float(value.reshape(1))[0]))


def difference(a: Checkpoint, b: Checkpoint, names: Sequence[str]) -> Checkpoint:
    """B − A of the tensors *names*, computed as it is read."""
    tensors = [JointTensor.of(name, {"a": a[name], "b": b[name]}, _minus) for name in names]
    return Checkpoint(tensors, source=f"{b.source} − {a.source}", format="difference", aliases={}, parts=())


def _minus(arrays: Mapping[str, Array]) -> Array:
    found: Array = np.subtract(as_float(arrays["b"]), as_float(arrays["a"]), dtype=np.float32)
    return found
