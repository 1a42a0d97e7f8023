"""Grid transformers: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.support.testing.broken.registry import BREAKS, breaks

from torch2grid_core import GridTransformer, Layout, LayoutTransformer, Lazy, NotDrawable
from torch2grid_core.grids import Block, drawable_sizes
from torch2grid_core.measures import Summary


@dataclass(frozen=True)
class GoodTransformer(LayoutTransformer):
    """each tensor's weights as one row of cells"""

    name = "toy"
    needs_summaries = True
    factor: float = field(default=1.0, metadata={"help": "the scale"})

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        sizes = drawable_sizes(shapes)
        if max_cells and len(sizes) > max_cells:
            raise NotDrawable(f"{len(sizes)} tensors in {max_cells} rows")
        width = max(sizes.values())
        per_cell = -(-width // max_cells) if max_cells else 1
        blocks = tuple(Block(name, 0, row, 0, ((size, 0, 1),)) for row, (name, size) in enumerate(sizes.items()))
        return Layout(len(sizes), width, (1, per_cell), blocks)

    def scale(self, summaries: Mapping[str, Any]) -> Any:
        return dict.fromkeys(summaries, (self.factor, 0.0))


@breaks("transformer", "result_is_a_grid")
class Flat(GridTransformer):
    """one dimension"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.concatenate([array.reshape(-1) for array in tensors.values()])


@breaks("transformer", "deterministic")
class Noisy(GridTransformer):
    """another picture every time"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.random.default_rng().normal(size=(3, 3))


@breaks("transformer", "inputs_stay")
class InPlace(GridTransformer):
    """scales the arrays that it was given"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        for array in tensors.values():
            array *= 2
        finite = [array[np.isfinite(array)] for array in tensors.values()]
        return np.full((2, 2), sum(float(np.tanh(each).sum()) for each in finite))


@breaks("transformer", "depends_on_the_weights")
class Zeros(GridTransformer):
    """nothing of the weights"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.zeros((3, 4))


@breaks("transformer", "can_handle_answers")
class AnswersWithATensor(GoodTransformer):
    """the first tensor instead of yes"""

    def can_handle(self, tensors: Mapping[str, Any]) -> Any:
        return next(iter(tensors.values()))


@breaks("transformer", "every_input_is_drawn")
class Squares(GridTransformer):
    """fails where the first tensor is empty or a single number"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        first = next(iter(tensors.values()))
        return first.reshape(len(first), -1)[:1] / first.max()


@breaks("transformer", "nan_stays_in_its_place")
class Normalises(GridTransformer):
    """divides by the mean, NaN or not"""

    name = "toy"

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        values = np.concatenate([array.reshape(-1) for array in tensors.values()])[None]
        return values / values.mean()


@breaks("transformer", "layout_is_valid")
class OneBlockShort(GoodTransformer):
    """forgets the last block"""

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        found = super().layout(shapes, max_cells)
        return Layout(found.rows, found.columns, found.cell, found.blocks[:-1])


@breaks("transformer", "layout_of_a_large_model")
class WeightByWeight(GoodTransformer):
    """takes a second for every thousand million weights"""

    def layout(self, shapes: Mapping[str, tuple[int, ...]], max_cells: int | None) -> Layout:
        time.sleep(sum(int(np.prod(shape)) for shape in shapes.values()) / 1e9)
        return super().layout(shapes, max_cells)


@breaks("transformer", "scale_answers")
class DividesByTheSpread(GoodTransformer):
    """a constant tensor has no spread"""

    def scale(self, summaries: Mapping[str, Any]) -> Any:
        with np.errstate(all="ignore"):
            return {name: (float(np.float64(1) / (each.max - each.min)), 0.0) for name, each in summaries.items()}


@breaks("transformer", "choice_is_names")
class ChoosesTwice(GoodTransformer):
    """names its first tensor twice"""

    def choose(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        return [*shapes, next(iter(shapes))]


@breaks("transformer", "needs_are_arranged")
class MeasuresInVain(GoodTransformer):
    """needs what nothing looks at"""

    def needs(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        return {"figures": Summary()}


@breaks("transformer", "metadata")
class NoDocstring(GoodTransformer):
    name = "toy"


@breaks("transformer", "options")
@dataclass(frozen=True)
class NoHelp(GoodTransformer):
    """an option without help"""

    name = "toy"
    side: int = 3


@breaks("transformer", "pickling")
class HoldsALambda(GoodTransformer):
    """cannot travel"""

    def __init__(self) -> None:
        object.__setattr__(self, "key", lambda each: each)


@breaks("transformer", "announced")
class Renamed(GoodTransformer):
    """announced under another name"""

    name = "renamed"


BREAKS["transformer", "announced"] = Lazy(f"{__name__}:Renamed", "toy", "announced under another name")
