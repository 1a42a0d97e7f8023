"""What sees the weights of one tensor while they stream past: one collector for each need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.errors import Torch2GridError
from torch2grid_core.needs import Duplicates, Measure, Need, NotFinite, Of, Profile, Raster, Summary, Values
from torch2grid_core.pictures.raster import PartResult, RasterPart
from torch2grid_core.plugins.guard import describe
from torch2grid_core.summary.distribution import Distribution
from torch2grid_core.summary.duplicates import DuplicateUnits, duplicate_units, has_rows
from torch2grid_core.summary.not_finite import NotFiniteCount, count_not_finite
from torch2grid_core.summary.profile import UnitProfile
from torch2grid_core.summary.sketch import Sketch

Array = np.ndarray[Any, Any]


class Collector(Protocol):
    """Sees the chunks of one tensor.

    ``update(start, stored, values)``: the weights with flat indices *start* and on, 1-D, as they are stored and as float32
    or float64 (see ``dtypes.as_float``); of a ``Measure``, *stored* may be a mapping of member to array. ``result`` is
    picklable; one that is a distribution, a profile, a count or the parts of a raster can be merged with that of other weights.
    """

    def update(self, start: int, stored: Any, values: Any) -> None: ...

    def result(self) -> Any: ...


@dataclass(frozen=True)
class Failed:
    """What stands where the result of a need would be: the need itself is wrong, and the others are not to suffer."""

    reason: str


def collector_of(need: Need, tensor: LazyTensor) -> Collector:
    """What gathers *need* from *tensor*. Raises ``TypeError`` for one that is not of a single tensor."""
    if isinstance(need, Measure):
        return _MeasureCollector(need, tensor)
    if isinstance(need, Summary):
        return _SummaryCollector(need)
    if isinstance(need, Profile):
        return _ProfileCollector(tensor)
    if isinstance(need, NotFinite):
        return _NotFiniteCollector()
    if isinstance(need, Duplicates):
        return _DuplicatesCollector(need, tensor)
    if isinstance(need, Raster):
        return _RasterCollector(need, tensor)
    if isinstance(need, Values):
        return _ValuesCollector(need, tensor)
    if isinstance(need, Of):
        return _Nothing()
    raise TypeError(f"{type(need).__name__} is not a need of one tensor")


class _Nothing:
    """Of a member that the tensor has not."""

    def update(self, start: int, stored: Array, values: Array) -> None:
        """Nothing is taken."""

    def result(self) -> None:
        return None


class _SummaryCollector:
    def __init__(self, need: Summary) -> None:
        self.distribution = Distribution(need.thresholds, need.brief)

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.distribution.update(stored)

    def result(self) -> Distribution:
        return self.distribution.settle()


class _ProfileCollector:
    def __init__(self, tensor: LazyTensor) -> None:
        self.profile = UnitProfile(tensor.shape)

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.profile.update(start, values)

    def result(self) -> UnitProfile:
        return self.profile


class _NotFiniteCollector:
    def __init__(self) -> None:
        self.found = NotFiniteCount()

    def update(self, start: int, stored: Array, values: Array) -> None:
        self.found = self.found.merge(count_not_finite(values))

    def result(self) -> NotFiniteCount:
        return self.found


class _DuplicatesCollector:
    def __init__(self, need: Duplicates, tensor: LazyTensor) -> None:
        self.need, self.tensor = need, tensor
        self.sketch = Sketch(tensor.shape) if has_rows(tensor) and tensor.shape[0] <= need.max_units else None

    def update(self, start: int, stored: Array, values: Array) -> None:
        if self.sketch is not None:
            self.sketch.update(start, values)

    def result(self) -> DuplicateUnits:
        if self.sketch is None:
            return DuplicateUnits(self.tensor.shape[0] if has_rows(self.tensor) else 0, False)
        return duplicate_units(self.tensor, self.sketch, self.need.cosine)


class _RasterCollector:
    """A layout that a view made may be wrong: that is the view's failure, and other views share the task."""

    def __init__(self, need: Raster, tensor: LazyTensor) -> None:
        self.failed: Failed | None = None
        with self._noting(tensor.name):
            self.part = RasterPart(need.layout, tensor.name, need.reduce)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failed = Failed(f"the layout of {name!r}: {describe(error)}")

    def update(self, start: int, stored: Array, values: Array) -> None:
        if self.failed is None:
            with self._noting(self.part.tensor):
                self.part.update(start, values)

    def result(self) -> tuple[PartResult, ...] | Failed:
        return self.failed or (self.part.result(),)


class _ValuesCollector:
    def __init__(self, need: Values, tensor: LazyTensor) -> None:
        fits = tensor.size <= need.limit
        self.array = np.empty(tensor.size, tensor.dtype) if fits else None
        self.shape = tensor.shape

    def update(self, start: int, stored: Array, values: Array) -> None:
        if self.array is not None:
            self.array[start : start + len(stored)] = stored

    def result(self) -> Array | None:
        return None if self.array is None else self.array.reshape(self.shape)


class _MeasureCollector:
    """A plugin's own collector; what goes wrong in it is the view's failure, as with a layout."""

    def __init__(self, need: Measure, tensor: LazyTensor) -> None:
        self.what = type(need).__name__
        self.failed: Failed | None = None
        with self._noting():
            self.collector = need.collector(tensor)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Torch2GridError:
            raise
        except Exception as error:
            self.failed = Failed(f"{self.what}: {describe(error)}")

    def update(self, start: int, stored: Any, values: Any) -> None:
        if self.failed is None:
            with self._noting():
                self.collector.update(start, stored)

    def result(self) -> Any:
        if self.failed is None:
            with self._noting():
                return self.collector.result()
        return self.failed
