"""The engine itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.engine.plan import Plan
from torch2grid_core.engine.tasks import Drawn, Outcome, Prepare, Task, perform
from torch2grid_core.errors import NotDrawable, Torch2GridError
from torch2grid_core.kinds.view import View
from torch2grid_core.plugins.guard import collect
from torch2grid_core.run import Run

Sink = Callable[[Drawn], None]
_AHEAD = 32  # tasks submitted before their turn: enough to keep workers busy, few enough to keep results small


class Engine:
    """Runs views over a checkpoint. executor: where tasks run; ``None`` runs them here, one after the other."""

    def __init__(self, executor: Executor | None = None) -> None:
        self.executor = executor

    def run(
        self,
        checkpoint: Checkpoint,
        views: Sequence[View],
        sink: Sink,
        run: Run | None = None,
        prepare: Prepare = Drawn,
        progress: Callable[[LazyTensor], None] | None = None,
    ) -> None:
        """Draw every page of *views*, each handed to *sink* as soon as it is there.

        The pages of one tensor come when it has been read, in the order of the file; overviews come at the end, in the
        order of *views*. prepare: called with each page and its view where the page was drawn, perhaps in a worker, so
        picklable; what it returns is what *sink* gets. progress: told of each tensor that is done.

        Raises ``LoadError`` for unreadable bytes, ``PluginError`` for a view or transformer that fails, ``NotDrawable``
        when no tensor is left.
        """
        run = run or Run()
        if not checkpoint:
            raise NotDrawable(f"{checkpoint.source}: no tensor is left to draw")
        checkpoint = _without_repetition(checkpoint)
        plan = Plan(checkpoint, views, run, prepare)
        for name, outcome in self._performed(plan):
            plan.take(name, outcome)
            if progress is not None:
                progress(checkpoint[name])
            for drawn in outcome.drawn:
                sink(drawn)
        for view, results in zip(views, plan.overview_results(), strict=True):
            for page in collect(view, view.pages, checkpoint, results, run):
                sink(prepare(page, view))

    def _performed(self, plan: Plan) -> Iterator[tuple[str, Outcome]]:
        """The outcome of each tensor's task, in the order of the file; at most a few are ahead of their turn."""
        waiting: deque[tuple[str, Task, Future[Outcome] | None]] = deque()
        try:
            for name in plan.checkpoint:
                task = plan.task(name)
                away = self.executor is not None and task.tensor.storage.shippable and (task.kept or task.draws)
                waiting.append((name, task, self.executor.submit(perform, task) if away and self.executor else None))
                if self.executor is None or len(waiting) >= _AHEAD:
                    yield _settled(*waiting.popleft())
            while waiting:
                yield _settled(*waiting.popleft())
        except BrokenProcessPool as error:
            raise Torch2GridError("a worker process was killed, perhaps for memory; try again with --jobs 1") from error
        finally:
            for _, _, future in waiting:
                if future is not None:
                    future.cancel()


def _settled(name: str, task: Task, future: Future[Outcome] | None) -> tuple[str, Outcome]:
    return name, task.perform() if future is None else future.result()


def _without_repetition(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with expanded views drawn as what they store (see ``LazyTensor.distinct``)."""
    distinct = [tensor.distinct() for tensor in checkpoint.values()]
    if all(new is old for new, old in zip(distinct, checkpoint.values(), strict=True)):
        return checkpoint
    return checkpoint.with_tensors(distinct)
