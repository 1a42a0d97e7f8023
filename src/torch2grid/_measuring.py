"""What is measured of weights, from Python: results by the names of their tensors, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torch2grid._frames import frame_of, index_text
from torch2grid._session import DRAWS_NOTHING, choosing, drawable, manager, settings_from
from torch2grid_builtin.stacks import PerMatrix, matrices
from torch2grid_core import Checkpoint, LazyTensor, Need, UsageError, measure as measure_weights
from torch2grid_core.measures import (
    Distribution,
    Duplicates,
    DuplicateUnits,
    Largest,
    LargestWeights,
    NotFinite,
    NotFiniteCount,
    Profile,
    Summary,
    UnitProfile,
    executor_of,
    workers,
)
from torch2grid_core.pages import Table
from torch2grid_core.sources import stated_shape
from torch2grid_core.text import counted, did_you_mean

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from torch2grid._keywords import Filters, Patterns, Positions

STATISTICS = "statistics"
NEEDS: Mapping[str, Callable[[float], Need[Any]]] = {  # name → what is measured, by the near-zero threshold
    STATISTICS: lambda threshold: Summary((threshold,)),
    "units": lambda threshold: PerMatrix(Profile()),
    "largest": lambda threshold: Largest(),
    "not_finite": lambda threshold: NotFinite(),
    "duplicates": lambda threshold: Duplicates(),
}
LEVELS = {"1%": 0.01, "25%": 0.25, "50%": 0.5, "75%": 0.75, "99%": 0.99}
_FIGURES = ("mean", "std", "min", "max", "absmax", "rms", "l1", "l2", "skewness", "kurtosis")
_COUNTS = ("zeros", "nan", "posinf", "neginf")
_INDEX = "index"
Row = tuple[Any, ...]
Asked = str | Need[Any] | Sequence[str | Need[Any]] | Mapping[str, "str | Need[Any]"]


class Measured(Mapping[Hashable, Any]):
    """What ``measure`` found: name of a tensor → its result, or, where several things were measured, → a dict of them.

    checkpoint: the tensors that were measured. needs: the names of what was measured.
    """

    def __init__(
        self, results: Mapping[Hashable, Mapping[str, Any]], needs: Sequence[str], alone: bool, of: Checkpoint
    ) -> None:
        self._results, self.needs, self._alone, self.checkpoint = dict(results), tuple(needs), alone, of

    def __getitem__(self, name: Hashable) -> Any:
        if name not in self._results:
            raise KeyError(f"nothing was measured of {name!r}{did_you_mean(str(name), list(map(str, self._results)))}")
        found = self._results[name]
        return found[self.needs[0]] if self._alone else dict(found)

    def __contains__(self, name: object) -> bool:
        return name in self._results

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        what = ", ".join(self.needs)
        return f"<Measured of {self.checkpoint.source!r}: {what} of {counted(len(self), 'tensor')}>"

    def table(self, need: str = "") -> Table:
        """The results of one need as a table: rows for each tensor, figures at full precision.

        need: its name, where several were measured. Raises ``UsageError`` for an unknown name, and for results that are not
        rows of figures.
        """
        name = need or self.needs[0]
        if name not in self.needs or (not need and len(self.needs) > 1):
            raise UsageError(f"several needs were measured; name one of them: {', '.join(self.needs)}, not {need!r}")
        columns, rows = self._rows(name)
        if _INDEX in columns:
            place = columns.index(_INDEX)
            rows = [(*row[:place], index_text(row[place]), *row[place + 1 :]) for row in rows]
        return Table(columns, tuple(rows))

    def to_pandas(self, need: str = "") -> Any:
        """``table`` as a ``pandas.DataFrame``; an *index* is a tuple of integers.

        Raises ``UsageError`` as ``table`` does, and where pandas is not installed.
        """
        table = self.table(need)
        if _INDEX not in table.columns:
            return table.to_pandas()
        columns, rows = self._rows(need or self.needs[0])
        return frame_of(table, index=[row[columns.index(_INDEX)] for row in rows])

    def _rows(self, need: str) -> tuple[tuple[str, ...], list[Row]]:
        """Columns and rows of one need; an index is a tuple."""
        found = {key: results[need] for key, results in self._results.items() if need in results}
        of: dict[str, LazyTensor] = dict(self.checkpoint.distinct().items())
        apart: dict[Hashable, Any] = {}
        for key, result in found.items():
            if isinstance(result, tuple) and str(key) in of:  # of a stack: its matrices in its place
                parts = [each.tensor for each in matrices(of[str(key)])]
                of.update({part.name: part for part in parts})
                apart.update(zip((part.name for part in parts), result, strict=True))
            else:
                apart[key] = result
        found = apart
        kinds = {type(result) for result in found.values()} or {Distribution}
        for kind, (columns, rows) in _ROWS.items():
            if all(issubclass(each, kind) for each in kinds):
                return ("name", *columns), [
                    (str(key), *row) for key, result in found.items() for row in rows(result, of.get(str(key)))
                ]
        if all(issubclass(each, (int, float, np.number, str, type(None))) for each in kinds):
            plain = {key: each.item() if isinstance(each, np.number) else each for key, each in found.items()}
            return ("name", need), [(str(key), each) for key, each in plain.items()]
        raise UsageError(f"{need}: a {min(kinds, key=str).__name__} is not a row of figures; take the results themselves")


def _statistics(found: Distribution, tensor: LazyTensor | None) -> Iterator[Row]:
    shape, dtype = ("", "") if tensor is None else (str(tuple(stated_shape(tensor.shape))), tensor.dtype.name)
    figures = [getattr(found, name) for name in _FIGURES]
    near = found.near_zero(found.thresholds[0]) if found.thresholds else None
    yield (
        shape,
        dtype,
        found.count,
        *figures,
        *found.quantiles(LEVELS.values()).tolist(),
        near,
        *(getattr(found, name) for name in _COUNTS),
    )


def _units(found: UnitProfile, tensor: LazyTensor | None) -> Iterator[Row]:
    sides = [("output", found.output_absmax, found.output_norm)]
    if found.input_absmax is not None and found.input_norm is not None:
        sides.append(("input", found.input_absmax, found.input_norm))
    for dimension, (side, absmax, norm) in enumerate(sides):
        places: Sequence[int] = range(len(absmax))
        if tensor is not None and tensor.taken is not None and dimension < len(tensor.taken.ranges):
            places = tensor.taken.ranges[dimension]
        for place, largest, length in zip(places, absmax.tolist(), norm.tolist(), strict=True):
            yield side, place, largest, length


def _largest(found: LargestWeights, tensor: LazyTensor | None) -> Iterator[Row]:
    for places, values in ((found.lost_indices, found.lost_values), (found.indices, found.values)):
        for place, value in zip(places.tolist(), values.tolist(), strict=True):
            index = (place,) if tensor is None else tuple(int(each) for each in np.unravel_index(place, tensor.shape))
            yield (index if tensor is None or tensor.taken is None else tensor.taken.index(index)), value


def _not_finite(found: NotFiniteCount, tensor: LazyTensor | None) -> Iterator[Row]:
    yield found.nan, found.inf


def _duplicates(found: DuplicateUnits, tensor: LazyTensor | None) -> Iterator[Row]:
    yield found.units, found.repeated if found.compared else None


_ROWS: Mapping[type, tuple[tuple[str, ...], Callable[[Any, LazyTensor | None], Iterator[Row]]]] = {
    Distribution: (("shape", "dtype", "count", *_FIGURES, *LEVELS, "near_zero", *_COUNTS), _statistics),
    UnitProfile: (("side", "unit", "absmax", "norm"), _units),
    LargestWeights: ((_INDEX, "value"), _largest),
    NotFiniteCount: (("nan", "inf"), _not_finite),
    DuplicateUnits: (("units", "repeated"), _duplicates),
}


def measure(
    model: Any,
    needs: Asked = STATISTICS,
    *,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    threshold: float = 1e-6,
    include_buffers: bool = False,
    raw: bool = False,
    loader: str | None = None,
    jobs: int = 0,
    executor: str | Executor | None = None,
    **settings: Any,
) -> Measured:
    """Figures of each tensor, from one pass over the weights: ``measure("model.pth")["fc1.weight"].std``.

    Args:
        model: a path, a ``Checkpoint``, an ``nn.Module``, a state dict, or whatever else a loader opens.
        needs: what to measure: ``"statistics"`` (a ``Distribution``), ``"units"`` (a ``UnitProfile``: |max| and norm of rows
            and columns; of a stack of matrices, as of experts, a tuple of one for each),
            ``"largest"`` (``LargestWeights``), ``"not_finite"`` (a ``NotFiniteCount``), ``"duplicates"``
            (``DuplicateUnits``), or any ``Need``. Several in a list of names, or as a mapping of a name of yours to each.
        only, skip, tensors, filter, part, slice: which tensors, and which part of each; see ``draw``.
        threshold: |weight| below it is near zero.
        include_buffers: measure counters and index buffers too.
        raw: measure what is stored, without decoders.
        loader: the name of the loader that reads the file.
        jobs: processes; 0 is one for each core, as needed. No digit depends on it.
        executor: where the work is done.
        settings: options of plugins.

    Returns:
        The result of each tensor by its name; a dict of results by the names of the needs where *needs* is several. Indices
        inside results count from the start of *slice*; those of ``table`` and ``to_pandas`` are of the whole tensor.

    Raises:
        UsageError: an unknown need, filter, part or setting. LoadError: the file cannot be read. NotDrawable: no tensor is
            left.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    chosen.update(threshold=threshold, include_buffers=include_buffers, raw=raw, loader=loader, jobs=jobs, executor=executor)
    run = settings_from(chosen, {name: why for name, why in DRAWS_NOTHING.items() if name != "threshold"})
    alone = isinstance(needs, str) or not isinstance(needs, (Mapping, Sequence))
    several: Any = [needs] if alone else needs
    named = several if isinstance(several, Mapping) else {_name(each): each for each in several}
    asked = {name: _need(each, run.threshold) for name, each in named.items()}
    if not asked:
        raise UsageError(f"nothing to measure; there are {', '.join(NEEDS)}")
    checkpoint = drawable(model, run)
    found: dict[Hashable, dict[str, Any]] = {}
    with workers(checkpoint, run.jobs, opener=executor_of(manager(), run.executor)) as pool:
        for key, results in measure_weights(checkpoint, asked, executor=pool):
            found.setdefault(key, {}).update(results)
    return Measured(found, list(asked), alone, checkpoint)


def _name(need: Any) -> str:
    return need if isinstance(need, str) else type(need).__name__


def _need(given: Any, threshold: float) -> Need[Any]:
    if isinstance(given, Need):
        return given
    if isinstance(given, type) or not isinstance(given, str):
        said = given.__name__ if isinstance(given, type) else type(given).__name__
        raise UsageError(f"needs: expected a name or an instance of a Need, not {said}")
    if given not in NEEDS:
        raise UsageError(f"no figures {given!r} to measure{did_you_mean(given, NEEDS)}")
    return NEEDS[given](threshold)
