"""Work handed out ahead of its turn, and taken back in its turn: the order of results never depends on the workers."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace

from torch2grid_core.engine.measuring import Results
from torch2grid_core.engine.plan import Plan
from torch2grid_core.engine.tasks import Drawn, Outcome, Prepare, measure, perform
from torch2grid_core.errors import Torch2GridError
from torch2grid_core.kinds.view import View
from torch2grid_core.pictures.page import Heatmap, Page

_AHEAD = 32  # tasks submitted before their turn: enough to keep workers busy, few enough to keep results small
_LARGE = 1 / 32  # share of all bytes from which a tensor is begun before any other
_PAGES_AHEAD = 8
_MOST_CELLS = 1 << 20  # a page of more cells takes longer to send than to draw
# Of a plugin's view, need or panel that cannot travel: the work is done here again, where a true fault shows itself too.
_NOT_PICKLED = (pickle.PicklingError, TypeError, AttributeError)


def outcomes(plan: Plan, executor: Executor | None) -> Iterator[tuple[str, Outcome]]:
    """The outcome of each tensor's task, in the order of the checkpoint; at most a few are ahead of their turn.

    The largest tensors are begun first, wherever they are in the file, so that no worker is left alone with one at the end.
    """
    waiting: deque[_HandedOut] = deque()
    early: dict[str, _HandedOut] = {}
    try:
        if executor is not None:
            early = {name: _HandedOut(plan, name, executor) for name in _largest(plan)}
        for name in plan.checkpoint:
            waiting.append(early.pop(name) if name in early else _HandedOut(plan, name, executor))
            if executor is None or len(waiting) >= _AHEAD:
                yield waiting.popleft().settled()
        while waiting:
            yield waiting.popleft().settled()
    except BrokenExecutor as error:
        raise _broken() from error
    finally:
        for each in [*waiting, *early.values()]:
            each.cancel()


def _largest(plan: Plan) -> list[str]:
    sizes = {name: tensor.nbytes for name, tensor in plan.checkpoint.items()}
    least = sum(sizes.values()) * _LARGE
    return sorted((name for name in sizes if sizes[name] > least), key=lambda name: -sizes[name])


class _HandedOut:
    """The task of one tensor on its way: to one worker, in pieces to several, or kept for this process."""

    def __init__(self, plan: Plan, name: str, executor: Executor | None) -> None:
        self.name, self.task = name, plan.task(name)
        self._whole: Future[Outcome] | None = None
        self._pieces: list[Future[Results]] = []
        if executor is None or not self.task.tensor.storage.shippable or not self.task.needs:
            return
        pieces = self.task.pieces()
        if len(pieces) == 1:
            self._whole = executor.submit(perform, self.task)
        else:
            self._pieces = [executor.submit(measure, piece) for piece in pieces]

    def settled(self) -> tuple[str, Outcome]:
        """The tensor's name and what became of it."""
        try:
            if self._whole is not None:
                return self.name, self._whole.result()
            if self._pieces:
                return self.name, self.task.draw([future.result() for future in self._pieces])
        except _NOT_PICKLED:
            pass
        return self.name, self.task.perform()

    def cancel(self) -> None:
        """Take back what no worker has begun."""
        for future in (self._whole, *self._pieces):
            if future is not None:
                future.cancel()


def prepared(pages: Iterable[tuple[Page, View]], prepare: Prepare, executor: Executor | None) -> Iterator[Drawn]:
    """Overview *pages* made ready in workers, in their order. What cannot travel is made ready here."""
    waiting: deque[tuple[Page, View, Future[Drawn] | None]] = deque()
    try:
        for page, view in pages:
            away = executor is not None and _cells(page) <= _MOST_CELLS
            waiting.append((page, view, executor.submit(_prepare, prepare, page, view) if executor and away else None))
            if executor is None or len(waiting) >= _PAGES_AHEAD:
                yield _ready(prepare, *waiting.popleft())
        while waiting:
            yield _ready(prepare, *waiting.popleft())
    except BrokenExecutor as error:
        raise _broken() from error
    finally:
        for _, _, future in waiting:
            if future is not None:
                future.cancel()


def _cells(page: Page) -> int:
    return sum(panel.grid.values.size for panel in page.panels if isinstance(panel, Heatmap))


def _prepare(prepare: Prepare, page: Page, view: View) -> Drawn:
    """In a worker: what comes back need not hold the page again, which the parent has."""
    drawn = prepare(page, view)
    return replace(drawn, page=replace(page, panels=())) if isinstance(drawn, Drawn) and drawn.page is page else drawn


def _ready(prepare: Prepare, page: Page, view: View, future: Future[Drawn] | None) -> Drawn:
    if future is None:
        return prepare(page, view)
    try:
        drawn = future.result()
    except _NOT_PICKLED:
        return prepare(page, view)
    return replace(drawn, page=page) if isinstance(drawn, Drawn) else drawn


def _broken() -> Torch2GridError:
    return Torch2GridError("a worker process was killed, perhaps for memory; try again with --jobs 1")
