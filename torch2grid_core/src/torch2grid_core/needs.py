"""What a view may ask of the weights. Needs are plain, hashable and compared by value, so that views share one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch2grid_core.data.tensor import LazyTensor
    from torch2grid_core.kinds.transformer import GridTransformer
    from torch2grid_core.pictures.layout import Layout


@dataclass(frozen=True)
class Summary:
    """The ``Distribution`` of a tensor. thresholds: near-zero thresholds, counted exactly on the stored numbers.

    brief: counts, extremes, mean, std, norm and RMS are enough, which takes half the time. What comes back may hold more
    than was asked for, because several views share it.
    """

    thresholds: tuple[float, ...] = ()
    brief: bool = False


@dataclass(frozen=True)
class Profile:
    """The ``UnitProfile`` of a tensor: |max| and L2 norm of each output unit (row, filter) and input unit (column)."""


@dataclass(frozen=True)
class NotFinite:
    """The ``NotFiniteCount`` of a tensor: how many of its weights are NaN, and how many Inf."""


@dataclass(frozen=True)
class Duplicates:
    """The ``DuplicateUnits`` of a tensor: output units (rows, filters) that are equal, or with a greater *cosine*.

    Tensors of more than *max_units* units are not compared: that takes longer than reading them. Candidates for
    duplicates are read a second time.
    """

    cosine: float = 0.999
    max_units: int = 8192


@dataclass(frozen=True)
class Raster:
    """The ``Grid`` that *layout* describes, its weights reduced to cells by *reduce* while they stream past."""

    layout: Layout
    reduce: str = "mean"


@dataclass(frozen=True)
class Transformed:
    """The ``Grid`` of the whole model by *transformer*, at most *max_cells* a side.

    A ``LayoutTransformer`` is streamed; any other gets the arrays, and what it returns is reduced the same way.
    """

    transformer: GridTransformer
    reduce: str = "mean"
    max_cells: int = 2048


@dataclass(frozen=True)
class Values:
    """The numbers of a tensor as an array of its dtype, if it has at most *limit* weights, else ``None``."""

    limit: int = 1 << 20


class Measure(ABC):
    """A need of one's own: a frozen dataclass, picklable, with a ``collector`` that sees every weight once.

    What comes back under its key is what the collector's ``result`` returns.
    """

    @abstractmethod
    def collector(self, tensor: LazyTensor) -> MeasureCollector:
        """What will see the chunks of *tensor* in one pass."""


class MeasureCollector(Protocol):
    """Sees the weights of one tensor in the order of their flat indices."""

    def update(self, start: int, chunk: Any) -> None:
        """Take the weights with flat indices *start* and on: a 1-D array of the stored dtype.

        Of a ``JointTensor``: a mapping of member name to such an array. Valid until the next call.
        """

    def result(self) -> Any:
        """What was measured: small and picklable."""


@dataclass(frozen=True)
class Of:
    """*need* of one *member* of each ``JointTensor``, not of what the joint tensor computes.

    ``None`` comes back for a tensor without that member.
    """

    member: str
    need: Summary | Profile | NotFinite | Duplicates | Raster | Transformed | Values


Need = Summary | Profile | NotFinite | Duplicates | Raster | Transformed | Values | Measure | Of
