"""What a transformer promises: alone on arrays, and drawn by the engine."""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import is_floating
from torch2grid_core._errors import NotDrawable, PluginError
from torch2grid_core._measures.grids import ArrayMapping
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._pictures.transformer import LayoutTransformer
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core.testing._samples import grid_of, sample_checkpoints
from torch2grid_core.testing._subject import ADVICE, Subject, check, expect

_LAYOUT_SECONDS = 5.0
_BIG = {"embedding.weight": (1 << 17, 1 << 12), "conv.weight": (2048, 1024, 3, 3), "bias": (1 << 20,), "scale": ()}


def _arrays(about: str) -> dict[str, Array]:
    return dict(ArrayMapping(sample_checkpoints()[about]))


def _meant_for(subject: Subject) -> dict[str, dict[str, Array]]:
    """What it must draw, as arrays: its own samples, or the ordinary one."""
    return {about: dict(ArrayMapping(checkpoint)) for about, checkpoint in subject.meant_for.items()}


def _drawn(transformer: Any, arrays: Mapping[str, Array]) -> Any:
    """What the transformer makes of arrays, ``None`` where it declines them."""
    try:
        found = transformer(arrays)
    except NotDrawable:
        return None
    expect(found is not None, "transform returned None; is a 'return' missing?")
    return found


def _values(result: Any) -> tuple[Array, Array]:
    grid = result if isinstance(result, Grid) else Grid(np.asarray(result))
    return grid.values, grid.counts


@check("transformer")
def result_is_a_grid(subject: Subject) -> None:
    """transform returns a 2-D array of numbers, or a Grid, with a cell at least. declines=True says that none has to come."""
    results = {about: _drawn(subject.make(), arrays) for about, arrays in _meant_for(subject).items()}
    if all(result is None for result in results.values()) and not subject.declines:
        what = "every one of samples=" if subject.samples else "ordinary float32 tensors"
        expect(False, f"it declines {what}" + ("" if subject.samples else ADVICE))
    for about, result in results.items():
        if result is None:
            continue
        if not isinstance(result, Grid):
            expect(
                isinstance(result, np.ndarray), f"{about}: transform returned {type(result).__name__}, not an array or a Grid"
            )
            expect(result.ndim == 2, f"{about}: transform returned an array of shape {result.shape}, not two dimensions")
            numbers = result.dtype.kind in "biufc" or is_floating(result.dtype)
            expect(numbers, f"{about}: transform returned an array of dtype {result.dtype}")
        expect(0 not in result.shape, f"{about}: transform returned {result.shape[0]}×{result.shape[1]} cells")


@check("transformer")
def deterministic(subject: Subject) -> None:
    """The same tensors give the same grid, from the same instance and from another."""
    for about, checkpoint in subject.meant_for.items():
        instance = subject.make()
        results = [_drawn(each, dict(ArrayMapping(checkpoint))) for each in (instance, instance, subject.make())]
        if results[0] is None:
            expect(all(each is None for each in results), f"{about}: it is declined at first, and drawn the second time")
            continue
        made = [_values(each) for each in results]
        for values, counts in made[1:]:
            expect(np.array_equal(values, made[0][0], equal_nan=True), f"{about}: the same tensors give other values")
            expect(np.array_equal(counts, made[0][1]), f"{about}: the same tensors give other counts")


@check("transformer")
def inputs_stay(subject: Subject) -> None:
    """The mapping and its arrays are as before after a call."""
    for about, arrays in {**_meant_for(subject), "not_finite": _arrays("not_finite")}.items():
        before = {name: array.copy() for name, array in arrays.items()}
        _drawn(subject.make(), arrays)
        expect(list(arrays) == list(before), f"{about}: tensors were added or removed")
        for name, array in before.items():
            same = arrays[name].shape == array.shape and np.array_equal(arrays[name], array, equal_nan=True)
            expect(same, f"{about}: the array of {name!r} was changed")


@check("transformer")
def can_handle_answers(subject: Subject) -> None:
    """can_handle answers True or False for every sample."""
    for about, checkpoint in subject.checkpoints.items():
        if about == "huge":
            continue  # an array of 2**40 weights does not exist; the engine hands out what is stored
        found = subject.make().can_handle(dict(ArrayMapping(checkpoint)))
        expect(isinstance(found, (bool, np.bool_)), f"{about}: can_handle returned {type(found).__name__}")


@check("transformer")
def every_input_is_drawn(subject: Subject) -> None:
    """Empty, single-number, odd-dtype, constant, expanded and strided tensors are drawn, or declined as not drawable."""
    for about, checkpoint in subject.checkpoints.items():
        try:
            grid = grid_of(checkpoint, subject.make())
        except PluginError as error:
            if error.reason.startswith("cannot handle"):
                continue
            raise
        if grid is not None:
            expect(0 not in grid.shape, f"{about}: a grid of {grid.shape[0]}×{grid.shape[1]} cells")
            expect(max(grid.shape) <= 64, f"{about}: {grid.shape} cells where 64 a side were allowed")


@check("transformer")
def nan_stays_in_its_place(subject: Subject) -> None:
    """A few weights that are not finite do not spoil the picture: other cells have finite values."""
    arrays = _arrays("not_finite")
    del arrays["all.weight"]
    transformer = subject.make()
    if not transformer.can_handle(arrays):
        return
    result = _drawn(transformer, arrays)
    if result is None:
        return
    values, counts = _values(result)
    finite = np.isfinite(values[counts > 0])
    expect(finite.mean() > 0.5, f"3 weights that are not finite made {np.mean(~finite):.0%} of the cells so")


@check("transformer")
def layout_is_valid(subject: Subject) -> None:
    """A layout gives every weight one place, within max_cells, for every sample; and it pickles."""
    transformer = subject.make()
    if not isinstance(transformer, LayoutTransformer):
        return
    for about, checkpoint in subject.checkpoints.items():
        shapes = {name: tensor.distinct().shape for name, tensor in checkpoint.items()}
        for max_cells in (None, 7, 64):
            try:
                layout = transformer.layout(shapes, max_cells)
            except NotDrawable:
                continue
            expect(isinstance(layout, Layout), f"layout returned {type(layout).__name__}, not a Layout")
            try:
                layout.validate(shapes, max_cells)
            except ValueError as error:
                expect(False, f"{about}, max_cells={max_cells}: {error}")
            expect(pickle.loads(pickle.dumps(layout)) == layout, f"{about}: a pickled layout is another one")
            expect(transformer.layout(shapes, max_cells) == layout, f"{about}: the same shapes give another layout")


@check("transformer")
def layout_of_a_large_model(subject: Subject) -> None:
    """A layout of 500 million weights takes time by cells, not by weights."""
    transformer = subject.make()
    if not isinstance(transformer, LayoutTransformer):
        return
    started = time.perf_counter()
    try:
        transformer.layout(_BIG, 256).validate(_BIG, 256)
    except NotDrawable as error:
        expect(bool(subject.samples) or subject.declines, f"the layout of a large model is declined: {error}")
    seconds = time.perf_counter() - started
    expect(seconds < _LAYOUT_SECONDS, f"the layout of a large model took {seconds:.0f} s")


@check("transformer")
def scale_answers(subject: Subject) -> None:
    """scale answers None, or (factor, offset), both finite, for tensors of the model, even where no weight is finite."""
    transformer = subject.make()
    if not isinstance(transformer, LayoutTransformer):
        return
    for about in ("ordinary", "not_finite", "constant", "scalars"):
        arrays = _arrays(about)
        summaries = {}
        for name, array in arrays.items():
            summaries[name] = Distribution()
            summaries[name].update(array.reshape(-1))
        found = transformer.scale(summaries)
        for name, (factor, offset) in (found or {}).items():
            expect(name in arrays, f"{about}: scale names {name!r}, which is none of the tensors")
            expect(np.isfinite([factor, offset]).all(), f"{about}: scale of {name!r} is ({factor}, {offset})")
