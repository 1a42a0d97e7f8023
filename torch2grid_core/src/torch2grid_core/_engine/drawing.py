"""Drawing: views over a checkpoint, their pages as soon as what they need has been measured, and what a run saw on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.storage import stamp_storages
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._engine.measuring import Progress, without_repetition
from torch2grid_core._engine.planning import Asked, Plan, check_arguments, needs_of
from torch2grid_core._engine.reading import STOPS, Ask, Outcome, Stop, Task
from torch2grid_core._engine.scheduling import made_ahead, outcomes
from torch2grid_core._errors import NotDrawable, PluginError
from torch2grid_core._guard import MOST_PAGES, Origin, call, collect, origin_of, returned
from torch2grid_core._kinds.view import View
from torch2grid_core._measures.need import Need
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import Heatmap, Page, Table
from torch2grid_core._settings import Settings
from torch2grid_core._summary.not_finite import NotFiniteCount

Made = TypeVar("Made")
Pages = list[tuple[int, tuple[Page, Made]]]  # number of the view, page, what was made of it
Prepare = Callable[[Page, View], tuple[Page, Made]]
_MOST_CELLS = 1 << 20  # a page of more cells takes longer to send than to prepare
_ROW_CELLS = 64  # as many of them as a row of a table takes


@dataclass(frozen=True)
class Shown:
    """What a view showed.

    Args:
        view: its name.
        tensors: their names, as far as the view gives them (see ``View``), else ``None``.
        of: the names of all tensors that the view was about.
        chosen_by: the transformer that chose fewer than all, where one did.
    """

    view: str
    tensors: frozenset[str] | None
    of: frozenset[str]
    chosen_by: str = ""

    def merge(self, other: Shown) -> Shown:
        """Return what the view showed in both of two runs."""
        known = None if self.tensors is None or other.tensors is None else self.tensors | other.tensors
        return Shown(self.view, known, self.of | other.of, self.chosen_by or other.chosen_by)


@dataclass
class Seen:
    """What was seen in a pass.

    Attributes:
        not_finite: the counts of NaN and Inf, by the name of each tensor that was read and holds any.
        shown: what each view showed that came to its end.
    """

    not_finite: dict[str, NotFiniteCount] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)

    def merge(self, other: Seen) -> None:
        """Take in what another run of the same file saw."""
        self.not_finite.update(other.not_finite)
        shown = {each.view: each for each in self.shown}
        for each in other.shown:
            shown[each.view] = shown[each.view].merge(each) if each.view in shown else each
        self.shown = list(shown.values())


def as_it_is(page: Page, view: View) -> tuple[Page, None]:
    """The page, and nothing made of it."""
    return page, None


def draw(
    checkpoint: Checkpoint,
    views: Sequence[View],
    run: Settings | None = None,
    *,
    prepare: Prepare[Made] = as_it_is,  # type: ignore[assignment]
    executor: Executor | None = None,
    beside: Mapping[str, Need[Any]] | None = None,
    measured: Callable[[str, Any], None] | None = None,
    progress: Progress | None = None,
    failed: Callable[[View, PluginError], None] | None = None,
    declined: Callable[[View, NotDrawable], None] | None = None,
    seen: Seen | None = None,
    origin: PageOrigin | None = None,
) -> Iterator[tuple[Page, View, Made]]:
    """Draw every page of *views* in one pass over the weights of *checkpoint*.

    The pass begins when the first page is asked for.

    Args:
        checkpoint: what to draw.
        views: what draws. A view that fails or declines is left out from then on, and the others go on.
        run: the settings, the defaults unless given.
        prepare: called with each page and its view where the page was drawn, perhaps in a worker, so it must be picklable.
            Returns the page as it has to travel, without its panels if nobody looks at them any more, and what was made of it.
        executor: where the work is done; ``None`` does it here.
        beside: what else to measure of *checkpoint* in the same pass.
        measured: gets the result of each of these under its name, after the last tensor and before the overviews.
        progress: told of each tensor that has been read, and how many bytes all that will be read have.
        failed: told at the end of each view that failed, or whose transformer did, and its error.
        declined: told at the end of each view that declined, and why. Without one of the two, the first such error is raised
            instead, failures before those that declined.
        seen: takes what was seen on the way: NaN and Inf in what was read, and which tensors each view showed.
        origin: what the pages are of, if that is not *checkpoint*: the checkpoints that are compared in it, say.

    Yields:
        (page, view, what *prepare* made of it). The pages of one tensor come when it has been read, in the order of the
            checkpoint. Overviews come at the end, in the order of *views*.

    Raises:
        LoadError: bytes cannot be read.
        PluginError: a view, transformer or need fails.
        NotDrawable: a view declines, or no tensor is left.
        UsageError: an argument is of another type.
    """
    check_arguments("draw", checkpoint, run)
    run = run or Settings()
    if run.listener:  # an instance of which may hold what cannot travel to a worker
        run = replace(run, listener=())
    if not checkpoint:
        raise NotDrawable(f"{checkpoint.source}: no tensor is left to draw")
    stopped: list[tuple[View, Stop]] = []
    passes = []
    origin = origin or PageOrigin.of(checkpoint)
    for subject, group in _subjects(checkpoint, views, run, stopped, bool(beside)):
        here = beside if subject is checkpoint else None
        of = _origin_of_subject(origin, subject, checkpoint)
        passes.append(_Pass(without_repetition(subject), group, run, prepare, executor, here, measured, seen is not None, of))
    for each in passes:
        stopped += each.stopped
    if stopped and not any(each.views or each.beside for each in passes):
        _tell(stopped, failed, declined)
    return _drawn(passes, stopped, progress, failed, declined, seen)


def _origin_of_subject(origin: PageOrigin, subject: Checkpoint, checkpoint: Checkpoint) -> PageOrigin:
    """*origin*, with another part where a view draws another one of the same file."""
    if subject is checkpoint or subject.whole is not checkpoint.whole:
        return origin
    return replace(origin, part=PageOrigin.of(subject).part)


def _drawn(
    passes: list[_Pass[Made]],
    stopped: list[tuple[View, Stop]],
    progress: Progress | None,
    failed: Callable[[View, PluginError], None] | None,
    declined: Callable[[View, NotDrawable], None] | None,
    seen: Seen | None,
) -> Iterator[tuple[Page, View, Made]]:
    total = sum(each.plan.nbytes for each in passes)
    told = bool(stopped) and not any(each.views or each.beside for each in passes)
    for each in passes:
        yield from each.pages(progress, total)
        stopped += [(drawing.view, drawing.stop) for drawing in each.views if drawing.stop is not None]
        if seen is not None:
            seen.merge(each.seen())
    if not told:
        _tell(stopped, failed, declined)


def _tell(
    stopped: list[tuple[View, Stop]],
    failed: Callable[[View, PluginError], None] | None,
    declined: Callable[[View, NotDrawable], None] | None,
) -> None:
    """Tell of the views that stopped, or raise the first error, failures before those that declined."""
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


def _subjects(
    checkpoint: Checkpoint, views: Sequence[View], run: Settings, stopped: list[tuple[View, Stop]], always: bool
) -> list[tuple[Checkpoint, list[View]]]:
    """Which views are about which tensors, in the order of the first of each. always: *checkpoint* itself is read anyway."""
    found: dict[int, tuple[Checkpoint, list[View]]] = {id(checkpoint): (checkpoint, [])} if always else {}
    for view in views:
        try:
            subject = call(view, view.subject, checkpoint, run)
            if not isinstance(subject, Checkpoint):
                raise origin_of(view).error(returned("subject", subject, "a Checkpoint"))
            if subject is not checkpoint:  # who computes what is new in it is told when that fails
                new = [each.storage for key, each in subject.items() if checkpoint.get(key) is not each]
                stamp_storages(new, origin_of(view), deep=False)
            if not subject:
                raise NotDrawable(f"{checkpoint.source}: no tensor is left for view {view.name!r}")
        except STOPS as error:
            stopped.append((view, error))
            continue
        found.setdefault(id(subject), (subject, []))[1].append(view)
    return list(found.values())


@dataclass
class _Drawing:
    """A view that is at work. told: tensors that pages were drawn for, or say they show; drew: any page."""

    number: int
    view: View
    of_tensor: dict[str, dict[str, Need[Any]]]
    of_whole: dict[str, Asked]
    stop: Stop | None = None
    told: set[str] = field(default_factory=set)
    drew: bool = False

    def end(self, error: Stop) -> None:
        """Leave the view out from now on. The first error is kept."""
        self.stop = self.stop or error


class _Pass(Generic[Made]):
    """One pass over *checkpoint* for the views that are about it."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        views: Sequence[View],
        run: Settings,
        prepare: Prepare[Made],
        executor: Executor | None,
        beside: Mapping[str, Need[Any]] | None,
        measured: Callable[[str, Any], None] | None,
        counts: bool,
        of: PageOrigin,
    ) -> None:
        self.origin = of
        self.checkpoint, self.run, self.prepare, self.executor = checkpoint, run, prepare, executor
        self.plan, self.measured = Plan(checkpoint, counts), measured
        self.stopped: list[tuple[View, Stop]] = []
        self.beside = {name: self.plan.ask(need, Origin("need", name)) for name, need in (beside or {}).items()}
        self.views: list[_Drawing] = []
        for view in views:
            origin = origin_of(view)
            try:
                named = checkpoint.items() if type(view).tensor_needs is not View.tensor_needs else ()
                of_tensor = {name: needs_of(view, view.tensor_needs, each, run) for name, each in named}
                wanted = needs_of(view, view.needs, checkpoint, run, whole=True)
                of_whole = {key: self.plan.ask(need, origin) for key, need in wanted.items()}
            except STOPS as error:
                self.stopped.append((view, error))
                continue
            self.views.append(_Drawing(len(self.views), view, of_tensor, of_whole))
        self._by_tensor = [each for each in self.views if each.of_tensor]

    @property
    def active(self) -> list[_Drawing]:
        """The views that neither failed nor declined so far."""
        return [each for each in self.views if each.stop is None]

    def pages(self, progress: Progress | None, total: int) -> Iterator[tuple[Page, View, Made]]:
        """Every page, prepared."""
        self.plan.prepare(self.executor, None if progress is None else lambda tensor: progress(tensor, total))
        self._end_failed()
        for name, found in outcomes(self.checkpoint, self._tasks, self.executor) if self.active or self.beside else ():
            drawn = [each for outcome in found for each in self._take(name, outcome)]
            if progress is not None:
                progress(self.checkpoint[name], total)
            yield from drawn
            if not self.active and not self.beside:
                break
        for name, asked in self.beside.items():
            if self.measured is not None:
                self.measured(name, asked.result)
        executor = None if self.prepare is as_it_is else self.executor
        for (page, view), (sent, made) in made_ahead(self._overviews(), partial(_prepared, self.prepare), executor, _light):
            yield sent or page, view, made

    def _tasks(self, name: str) -> list[Task]:
        drawings = [each for each in self._by_tensor if each.of_tensor[name] and each.stop is None]
        asks = [
            Ask(-2 - each.number, key, need, origin_of(each.view), True)
            for each in drawings
            for key, need in each.of_tensor[name].items()
        ]
        views = tuple((each.number, each.view) for each in drawings)
        then = _Then(views, self.run, self.prepare, self.origin) if views else None
        return self.plan.tasks(name, asks, then)

    def _take(self, name: str, outcome: Outcome) -> list[tuple[Page, View, Made]]:
        """Keep what one task brought; the pages of views that had not stopped before this tensor.

        A worker may have drawn later tensors for a view that has stopped since: one process would not have.
        """
        found: list[tuple[Page, View, Made]] = []
        drawn, stops = outcome.drawn or ((), ())
        for number, (page, made) in drawn:
            drawing = self.views[number]
            if drawing.stop is None:
                drawing.told.add(name)
                drawing.drew = True
                found.append((page.with_origin(self.origin), drawing.view, made))
        self.plan.take(outcome)
        for number, error in stops:
            self.views[number].end(error)
        self._end_failed()
        return found

    def _end_failed(self) -> None:
        """Leave out the views with a need that was dropped."""
        for view in self.views:
            for asked in view.of_whole.values():
                if asked.error is not None:
                    view.end(asked.error)

    def _overviews(self) -> Iterator[tuple[Page, View]]:
        """The overview pages of all views, as far as they neither fail nor decline."""
        for each in self.active:
            for page in until_stopped(self._overview(each), each.end):
                tensors = page.about.get("tensors")
                if isinstance(tensors, (list, tuple)):
                    each.told.update(name for name in tensors if isinstance(name, str))
                each.drew = True
                yield page.with_origin(self.origin), each.view

    def _overview(self, drawing: _Drawing) -> Iterator[Page]:
        view, results = drawing.view, {key: asked.result for key, asked in drawing.of_whole.items()}
        yield from pages_of(view, view.pages, self.checkpoint, results, self.run)

    def seen(self) -> Seen:
        """What the pass saw, once it is over."""
        found, names = Seen(dict(self.plan.not_finite)), frozenset(self.checkpoint)
        for each in self.active:
            told = set(each.told)
            by = next(filter(None, (asked.need._chosen_by for asked in each.of_whole.values())), "")
            for asked in each.of_whole.values() if each.drew else ():
                told.update(asked.groups.get(None, ()))
            found.shown.append(Shown(each.view.name, frozenset(told) if told or not each.drew else None, names, by))
        return found


@dataclass(frozen=True)
class _Then(Generic[Made]):
    """What is done where a tensor was read: its pages are drawn, and made ready."""

    views: tuple[tuple[int, View], ...]
    run: Settings
    prepare: Prepare[Made]
    origin: PageOrigin

    def __call__(self, tensor: LazyTensor, outcome: Outcome) -> tuple[Pages[Made], list[tuple[int, Stop]]]:
        drawn: Pages[Made] = []
        stops: list[tuple[int, Stop]] = []
        for number, view in self.views:
            of_view = -2 - number
            wrong = next((error for (ask, _), error in outcome.failed.items() if ask == of_view), None)
            if wrong is not None:
                stops.append((number, wrong))
                continue
            mine: dict[Any, Any] = {key: found for (ask, key), found in outcome.gathered.items() if ask == of_view}
            pages = pages_of(view, view.tensor_pages, tensor, mine, self.run)
            for page in until_stopped(pages, lambda error, number=number: stops.append((number, error))):  # type: ignore[misc]
                seen, made = self.prepare(page.with_origin(self.origin), view)
                drawn.append((number, (seen.with_origin(None), made)))  # every page has the same one: it does not travel
        for where in [where for where in (*outcome.gathered, *outcome.failed) if where[0] < 0]:
            outcome.gathered.pop(where, None)  # they do not travel
            outcome.failed.pop(where, None)
        return drawn, stops


def _prepared(prepare: Prepare[Made], item: tuple[Page, View]) -> tuple[Page | None, Made]:
    """What *prepare* made; its page only where it is another than the one that the parent has."""
    page, made = prepare(*item)
    return None if page is item[0] else page, made


def _light(item: tuple[Page, View]) -> bool:
    panels = item[0].panels
    cells = sum(panel.grid.values.size for panel in panels if isinstance(panel, Heatmap))
    return cells + sum(len(panel.rows) * _ROW_CELLS for panel in panels if isinstance(panel, Table)) <= _MOST_CELLS


def pages_of(view: View, method: Callable[..., Iterable[Page]], *arguments: Any) -> Iterator[Page]:
    """The pages that *method* of a view yields. Raises ``PluginError`` for anything else, and for ever more of them."""
    origin, doing = origin_of(view), method.__name__
    for number, page in enumerate(collect(view, method, *arguments)):
        if not isinstance(page, Page):
            raise origin.error(f"{doing} yields {type(page).__name__}, not a Page")
        if not isinstance(page.name, str):  # a tensor may have the empty name, and its page with it
            raise origin.error(f"{doing}: a page is named {type(page.name).__name__} {str(page.name)[:40]!r}, not a text")
        if not isinstance(page.panels, (tuple, list)):
            raise origin.error(f"{doing}: the panels of page {page.name!r} are {type(page.panels).__name__}, not a tuple")
        for panel in page.panels:
            if not callable(getattr(panel, "as_table", None)):
                raise origin.error(f"{doing}: page {page.name!r} has a panel of {type(panel).__name__}, which has no as_table")
            if not type(panel).__module__.startswith("torch2grid_core."):  # one of its own, which renderers show as a table
                table = call(view, panel.as_table)
                if not isinstance(table, Table):
                    raise origin.error(f"page {page.name!r}: {returned(f'{type(panel).__name__}.as_table', table, 'a Table')}")
        if number >= MOST_PAGES:
            raise origin.error(f"{doing} yields more than {MOST_PAGES:,} pages")
        yield page.of_slice(arguments[-1].slice)


def until_stopped(pages: Iterator[Page], stopped: Callable[[Stop], None]) -> Iterator[Page]:
    """*pages* until the plugin behind them fails or declines; then *stopped* is told, and there are no more."""
    try:
        yield from pages
    except STOPS as error:
        stopped(error)
