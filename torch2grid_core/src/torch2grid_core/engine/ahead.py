"""Work handed out ahead of its turn, and taken back in its turn: the order of results never depends on the workers."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace

from torch2grid_core.engine.plan import Plan
from torch2grid_core.engine.tasks import Drawn, Outcome, Prepare, Task, perform
from torch2grid_core.errors import Torch2GridError
from torch2grid_core.kinds.view import View
from torch2grid_core.pictures.page import Heatmap, Page

_AHEAD = 32  # tasks submitted before their turn: enough to keep workers busy, few enough to keep results small
_LARGE = 1 / 32  # share of all bytes from which a tensor is begun before any other
_PAGES_AHEAD = 8
_MOST_CELLS = 1 << 20  # a page of more cells takes longer to send than to draw


def outcomes(plan: Plan, executor: Executor | None) -> Iterator[tuple[str, Outcome]]:
    """The outcome of each tensor's task, in the order of the file; at most a few are ahead of their turn.

    The largest tensors are begun first, wherever they are in the file, so that no worker is left alone with one at the end.
    """
    waiting: deque[tuple[str, Task, Future[Outcome] | None]] = deque()
    early: dict[str, tuple[str, Task, Future[Outcome] | None]] = {}
    try:
        if executor is not None:
            early = {name: _submitted(plan, name, executor) for name in _largest(plan)}
        for name in plan.checkpoint:
            waiting.append(early.pop(name) if name in early else _submitted(plan, name, executor))
            if executor is None or len(waiting) >= _AHEAD:
                yield _settled(*waiting.popleft())
        while waiting:
            yield _settled(*waiting.popleft())
    except BrokenExecutor as error:
        raise _broken() from error
    finally:
        for _, _, future in [*waiting, *early.values()]:
            if future is not None:
                future.cancel()


def _largest(plan: Plan) -> list[str]:
    sizes = {name: tensor.nbytes for name, tensor in plan.checkpoint.items()}
    least = sum(sizes.values()) * _LARGE
    return sorted((name for name in sizes if sizes[name] > least), key=lambda name: -sizes[name])


def _submitted(plan: Plan, name: str, executor: Executor | None) -> tuple[str, Task, Future[Outcome] | None]:
    task = plan.task(name)
    if executor is None or not task.tensor.storage.shippable or not (task.kept or task.draws):
        return name, task, None
    return name, task, executor.submit(perform, task)


def _settled(name: str, task: Task, future: Future[Outcome] | None) -> tuple[str, Outcome]:
    return name, task.perform() if future is None else future.result()


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
    except (pickle.PicklingError, TypeError, AttributeError):  # a plugin's panel, or its view, that cannot be pickled
        return prepare(page, view)
    return replace(drawn, page=page) if isinstance(drawn, Drawn) else drawn


def _broken() -> Torch2GridError:
    return Torch2GridError("a worker process was killed, perhaps for memory; try again with --jobs 1")
