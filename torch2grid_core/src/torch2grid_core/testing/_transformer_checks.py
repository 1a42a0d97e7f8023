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
from torch2grid_core._guard import returned
from torch2grid_core._measures.grids import ArrayMapping
from torch2grid_core._measures.in_memory import measured_here
from torch2grid_core._measures.transformer import (
    GridTransformer,
    LayoutTransformer,
    chosen_names,
    handles,
    last_step,
    layout_in_memory,
)
from torch2grid_core._pictures.grid import Grid
from torch2grid_core._pictures.layout import Layout
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core.testing._samples import grid_of, sample_checkpoints
from torch2grid_core.testing._subject import ADVICE, NotConforming, Subject, check, expect

_LAYOUT_SECONDS = 5.0
_BIG = {"embedding.weight": (1 << 17, 1 << 12), "conv.weight": (2048, 1024, 3, 3), "bias": (1 << 20,), "scale": ()}
_LESS = {"embedding.weight": (1 << 11, 1 << 9), "conv.weight": (256, 128, 3, 3), "bias": (1 << 16,), "scale": ()}


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
    expect(found is not None, returned(last_step(transformer), None, "a 2-D array of numbers or a Grid"))
    return found


def _chosen(transformer: GridTransformer, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Those of *tensors*, arrays or lazy tensors, that the transformer chooses. Raises ``NotDrawable`` for none."""
    return {name: tensors[name] for name in chosen_names(transformer, {name: each.shape for name, each in tensors.items()})}


def _layout(transformer: LayoutTransformer, tensors: Mapping[str, Any], max_cells: int | None) -> Layout:
    """The layout of those of *tensors* that it chooses, from ``layout`` or, with what it needs of them, from ``arrange``."""
    tensors = _chosen(transformer, tensors)
    return layout_in_memory(transformer, tensors, {name: each.shape for name, each in tensors.items()}, max_cells)


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
def depends_on_the_weights(subject: Subject) -> None:
    """Other weights of the same shapes give another grid. One that draws shapes alone says so by expected_failures=."""
    random = np.random.default_rng(2)
    drawn = False
    for arrays in _meant_for(subject).values():
        first = _drawn(subject.make(), {name: array.copy() for name, array in arrays.items()})
        if first is None:
            continue
        drawn = True
        for scale in (1.0, 0.0, 1e6):
            other = {
                name: np.asarray(scale * random.normal(size=array.shape)).astype(array.dtype) for name, array in arrays.items()
            }
            second = _drawn(subject.make(), other)
            if second is None or not _same(_values(first), _values(second)):
                return
    expect(not drawn, "whatever the weights are, the grid is the same; conformance(…, expected_failures=…) if that is meant")


def _same(first: tuple[Array, Array], second: tuple[Array, Array]) -> bool:
    (values, counts), (others, their_counts) = first, second
    return np.array_equal(values, others, equal_nan=True) and np.array_equal(counts, their_counts)


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
        transformer = subject.make()
        try:
            chosen = _chosen(transformer, dict(ArrayMapping(checkpoint)))
        except NotDrawable:
            continue
        found = transformer.can_handle(chosen)
        expect(isinstance(found, (bool, np.bool_)), f"{about}: {returned('can_handle', found, 'True or False')}")


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
    try:
        arrays = _chosen(transformer, arrays)
    except NotDrawable:
        return
    if not handles(transformer, arrays):
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
        tensors = {name: tensor.distinct() for name, tensor in checkpoint.items()}
        for max_cells in (None, 7, 64):
            try:
                layout = _layout(transformer, tensors, max_cells)
            except NotDrawable:
                continue
            try:
                layout.validate({name: each.shape for name, each in _chosen(transformer, tensors).items()}, max_cells)
            except ValueError as error:
                expect(False, f"{about}, max_cells={max_cells}: {error}")
            expect(pickle.loads(pickle.dumps(layout)) == layout, f"{about}: a pickled layout is another one")
            expect(_layout(transformer, tensors, max_cells) == layout, f"{about}: the same tensors give another layout")


@check("transformer")
def layout_of_a_large_model(subject: Subject) -> None:
    """A layout of 500 million weights takes time by cells, not by weights; where weights have to be measured, of 2 million."""
    transformer = subject.make()
    if not isinstance(transformer, LayoutTransformer):
        return
    try:
        shapes = {name: _BIG[name] for name in chosen_names(transformer, _BIG)}
        needs: Any = transformer.needs(shapes)
        arrays = {name: np.zeros(shape, np.float32) for name, shape in _LESS.items() if name in shapes} if needs else {}
        shapes = {name: _LESS[name] for name in arrays} or shapes
        results = measured_here(arrays, transformer.needs(shapes)) if needs else {}
        started = time.perf_counter()
        found: object = transformer.arrange(shapes, 256, results) if needs else transformer.layout(shapes, 256)
    except NotDrawable as error:
        expect(bool(subject.samples) or subject.declines, f"the layout of a large model is declined: {error}{ADVICE}")
        return
    if not isinstance(found, Layout):
        raise NotConforming(returned("arrange" if needs else "layout", found, "a Layout"))
    found.validate(shapes, 256)
    seconds = time.perf_counter() - started
    expect(seconds < _LAYOUT_SECONDS, f"the layout of a large model took {seconds:.0f} s")


@check("transformer")
def choice_is_names(subject: Subject) -> None:
    """choose names tensors that it was given, each once, and the same ones each time."""
    transformer = subject.make()
    for about, checkpoint in sample_checkpoints().items():
        shapes = {name: tensor.distinct().shape for name, tensor in checkpoint.items()}
        found = []
        for each in (transformer, subject.make()):
            try:
                found.append(chosen_names(each, shapes))
            except NotDrawable:
                found.append(())
            except PluginError as error:
                expect(False, f"{about}: {error.reason}")
        expect(found[0] == found[1], f"{about}: the same shapes give another choice")


@check("transformer")
def needs_are_arranged(subject: Subject) -> None:
    """A transformer that needs results has an arrange that takes them, and one that has arrange asks for something."""
    transformer = subject.make()
    if not isinstance(transformer, LayoutTransformer):
        return
    cls = type(transformer)
    needs, arrange = cls.needs is not LayoutTransformer.needs, cls.arrange is not LayoutTransformer.arrange
    expect(arrange or not needs, "needs is written and arrange is not: nobody looks at what is measured")
    expect(needs or not arrange, "arrange is written and needs is not: it is never called")


@check("transformer")
def scale_answers(subject: Subject) -> None:
    """scale answers None, or (factor, offset), both finite, for tensors of the model, even where no weight is finite."""
    transformer = subject.make()
    if not isinstance(transformer, LayoutTransformer):
        return
    for about in ("ordinary", "not_finite", "constant", "scalars"):
        try:
            arrays = _chosen(transformer, _arrays(about))
        except NotDrawable:
            continue
        summaries = {}
        for name, array in arrays.items():
            summaries[name] = Distribution()
            summaries[name].update(array.reshape(-1))
        found = transformer.scale(summaries)
        for name, (factor, offset) in (found or {}).items():
            expect(name in arrays, f"{about}: scale names {name!r}, which is not one of the tensors")
            expect(np.isfinite([factor, offset]).all(), f"{about}: scale of {name!r} is ({factor}, {offset})")
