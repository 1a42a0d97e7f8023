"""The engine itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial

from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.engine.ahead import outcomes, prepared
from torch2grid_core.engine.asking import STOPS, Stop, pages_of, until_stopped
from torch2grid_core.engine.plan import Plan
from torch2grid_core.engine.seen import Seen
from torch2grid_core.engine.tasks import Drawn, Prepare
from torch2grid_core.errors import NotDrawable, PluginError
from torch2grid_core.kinds.view import View
from torch2grid_core.pictures.page import Page
from torch2grid_core.plugins.guard import call, origin_of
from torch2grid_core.run import Run

Sink = Callable[[Drawn], None]


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
        failed: Callable[[View, PluginError], None] | None = None,
        declined: Callable[[View, NotDrawable], None] | None = None,
    ) -> Seen:
        """Draw every page of *views*, each handed to *sink* as soon as it is there.

        The pages of one tensor come when it has been read, in the order of the checkpoint; overviews come at the end, in the
        order of *views*. prepare: called with each page and its view where the page was drawn, perhaps in a worker, so
        picklable; what it returns is what *sink* gets. progress: told of each tensor that is done. failed: told at the end
        of each view that failed, or whose transformer did, and its error; declined: of each that declined, and why.
        ``None`` raises the first of these errors instead, failures before those that declined.

        A view that fails or declines is left out from then on, and the others go on. Raises ``LoadError`` for unreadable
        bytes, ``PluginError`` for a view or transformer that fails, ``NotDrawable`` for one that declines, and when no
        tensor is left.

        Returns what was seen on the way: NaN and Inf in the tensors that were read, and which of them each view showed.
        """
        run = run or Run()
        if not checkpoint:
            raise NotDrawable(f"{checkpoint.source}: no tensor is left to draw")
        stopped: list[tuple[View, Stop]] = []
        seen = Seen()
        for subject, group in _subjects(checkpoint, views, run, stopped):
            seen.merge(self._pass(_without_repetition(subject), group, sink, run, prepare, progress, stopped))
        for view, error in stopped:
            if isinstance(error, PluginError):
                if failed is None:
                    raise error
                failed(view, error)
        for view, error in stopped:
            if isinstance(error, NotDrawable):
                if declined is None:
                    raise error
                declined(view, error)
        return seen

    def _pass(
        self,
        checkpoint: Checkpoint,
        views: Sequence[View],
        sink: Sink,
        run: Run,
        prepare: Prepare,
        progress: Callable[[LazyTensor], None] | None,
        stopped: list[tuple[View, Stop]],
    ) -> Seen:
        """One pass over *checkpoint* for the views that are about it; *stopped* takes those that fail or decline."""
        plan = Plan(checkpoint, views, run, prepare)
        for name, outcome in outcomes(plan, self.executor) if plan.active else ():
            pages = plan.take(name, outcome)
            if progress is not None:
                progress(checkpoint[name])
            for drawn in pages:
                sink(drawn)
            if not plan.active:
                break
        for drawn in prepared(_overviews(plan), prepare, self.executor):
            sink(drawn)
        stopped += [(views[index], error) for index, error in sorted(plan.stopped.items())]
        return plan.seen()


def _subjects(
    checkpoint: Checkpoint, views: Sequence[View], run: Run, stopped: list[tuple[View, Stop]]
) -> list[tuple[Checkpoint, list[View]]]:
    """Which views are about which tensors, in the order of the first of each."""
    found: dict[int, tuple[Checkpoint, list[View]]] = {}
    for view in views:
        try:
            subject = call(view, view.subject, checkpoint, run)
            if not isinstance(subject, Checkpoint):
                raise origin_of(view).error(f"subject returned {type(subject).__name__}, not a Checkpoint")
            if not subject:
                raise NotDrawable(f"{checkpoint.source}: no tensor is left for view {view.name!r}")
        except STOPS as error:
            stopped.append((view, error))
            continue
        found.setdefault(id(subject), (subject, []))[1].append(view)
    return list(found.values())


def _overviews(plan: Plan) -> Iterator[tuple[Page, View]]:
    """The overview pages of all views, as far as they neither fail nor decline."""
    for index, view in plan.active:
        for page in until_stopped(_overview(plan, index, view), partial(plan.stop, index)):
            yield plan.look(index, page), view


def _overview(plan: Plan, index: int, view: View) -> Iterator[Page]:
    yield from pages_of(view, view.pages, plan.checkpoint, plan.overview_results(index), plan.run)


def _without_repetition(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with expanded views drawn as what they store (see ``LazyTensor.distinct``)."""
    distinct = [tensor.distinct() for tensor in checkpoint.values()]
    if all(new is old for new, old in zip(distinct, checkpoint.values(), strict=True)):
        return checkpoint
    return checkpoint.with_tensors(distinct)
