"""One tensor's share of the work: read it, then draw its pages; picklable where its storage is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.engine.asking import Stop, pages_of, until_stopped
from torch2grid_core.engine.collectors import Failed
from torch2grid_core.engine.measuring import Piece, Results, answers, merged, pieces
from torch2grid_core.engine.seen import counted, counting
from torch2grid_core.errors import PluginError
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need, Of, Raster
from torch2grid_core.pictures.page import Page
from torch2grid_core.pictures.raster import assemble
from torch2grid_core.plugins.guard import describe, origin_of
from torch2grid_core.run import Run
from torch2grid_core.summary.not_finite import NotFiniteCount


@dataclass(frozen=True)
class Drawn:
    """A page on its way to a file. rendered: format → bytes, for formats that were rendered where it was drawn.

    entry: what the index of the output folder says of it; ``None`` until it is prepared. failures: formats that could not
    be rendered.
    """

    page: Page
    view: View
    rendered: Mapping[str, bytes] = field(default_factory=dict)
    entry: Mapping[str, Any] | None = None
    failures: Mapping[str, PluginError] = field(default_factory=dict)


Prepare = Callable[[Page, View], Drawn]


@dataclass(frozen=True)
class Outcome:
    """What a task brings back: the results that overviews wait for, and the tensor's pages.

    drawn: (place in the run's views, page). stops: (place, error) of each view that failed or declined to draw the tensor.
    not_finite: how many weights are NaN or Inf in what was read, by tensor, where there are any.
    """

    results: dict[Need, Any]
    drawn: list[tuple[int, Drawn]]
    stops: list[tuple[int, Stop]] = field(default_factory=list)
    not_finite: Mapping[str, NotFiniteCount] = field(default_factory=dict)


@dataclass(frozen=True)
class Draw:
    """A view that draws a tensor's pages. index: its place in the run's views; needs: under its own keys."""

    index: int
    view: View
    needs: Mapping[str, Need]


@dataclass(frozen=True)
class Task:
    """One tensor and what is wanted of it.

    kept: needs whose results go back; draws: each view that draws it. prepare: makes a page ready to be written,
    where the page was drawn.
    """

    tensor: LazyTensor
    kept: tuple[Need, ...]
    draws: tuple[Draw, ...]
    run: Run
    prepare: Prepare = Drawn

    @property
    def needs(self) -> dict[Need, None]:
        """What is wanted, each need once, and what counts NaN and Inf meanwhile."""
        asked = dict.fromkeys([*self.kept, *(need for draw in self.draws for need in draw.needs.values())])
        return {**asked, **dict.fromkeys(counting(self.tensor, asked))}

    def pieces(self) -> tuple[Piece, ...]:
        """The shares that the reading may be handed out in; most tensors have one."""
        return pieces(self.tensor, self.needs)

    def perform(self) -> Outcome:
        """Read the tensor once, then draw."""
        return self.draw([piece.measure() for piece in self.pieces()])

    def draw(self, measured: Sequence[Results]) -> Outcome:
        """What is left to do when all pieces have been *measured*."""
        results = answers(self.needs, merged(measured))
        outcome = Outcome({need: results[need] for need in self.kept}, [], not_finite=counted(self.tensor, results))
        for draw in self.draws:
            view, mine = draw.view, {key: _finished(need, results[need]) for key, need in draw.needs.items()}
            wrong = next((each.reason for each in mine.values() if isinstance(each, Failed)), None)
            if wrong is not None:
                outcome.stops.append((draw.index, origin_of(view).error(wrong)))
                continue

            def stopped(error: Stop, index: int = draw.index) -> None:
                outcome.stops.append((index, error))

            for page in until_stopped(pages_of(view, view.tensor_pages, self.tensor, mine, self.run), stopped):
                outcome.drawn.append((draw.index, self.prepare(page, view)))
        return outcome


def perform(task: Task) -> Outcome:
    """``task.perform()``, for an executor."""
    return task.perform()


def measure(piece: Piece) -> Results:
    """``piece.measure()``, for an executor."""
    return piece.measure()


def _finished(need: Need, result: Any) -> Any:
    """The result as a view sees it: the parts of a tensor's own raster are a grid already."""
    need = need.need if isinstance(need, Of) else need
    if not isinstance(need, Raster) or result is None or isinstance(result, Failed):
        return result
    try:
        return assemble(need.layout, need.reduce, result)
    except Exception as error:
        return Failed(f"the layout of {result[0].tensor!r}: {describe(error)}")
