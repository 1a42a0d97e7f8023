"""What a run measures: needs, checked, of which tensors, as tasks; and what comes back, put together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._engine.reading import (
    BY_NAME,
    COUNTING,
    STOPS,
    Ask,
    Outcome,
    Stop,
    Task,
    Then,
    attempt,
    counting,
    is_small,
    measured_together,
    merge_into,
)
from torch2grid_core._engine.scheduling import outcomes
from torch2grid_core._errors import UsageError
from torch2grid_core._guard import Origin, describe_value, guarded, origin_of, returned, unhashable
from torch2grid_core._measures.need import First, Need
from torch2grid_core._methods import never_run
from torch2grid_core._settings import Settings
from torch2grid_core._summary.not_finite import NotFiniteCount
from torch2grid_core._text import did_you_mean, visible


@dataclass(eq=False)
class Asked:
    """A need of the run. groups: which tensors each of its results is about. results: by group, as far as there are any.

    error: why it was dropped: it failed, or declined.
    """

    number: int
    need: Need[Any]
    origin: Origin
    groups: Mapping[Hashable, tuple[str, ...]]
    results: dict[Hashable, Any] = field(default_factory=dict)
    error: Stop | None = None
    _parts: dict[Hashable, Any] = field(default_factory=dict)
    _left: dict[Hashable, int] = field(default_factory=dict)

    @property
    def result(self) -> Any:
        """The result about the model as a whole, else those of all groups by key. Raises what the need was dropped for."""
        if self.error is not None:
            raise self.error
        return self.results[None] if None in self.groups else self.results

    def take(self, key: Hashable, gathered: Any) -> bool:
        """Keep what one task brought; True when the group has its result now."""
        if self.error is not None:
            return False
        if key not in self._left:
            return self._keep(key, gathered)
        before = self._parts.get(key)
        both = gathered if before is None else merge_into(before, gathered, self.need, self.origin)
        if isinstance(both, STOPS):
            return self._keep(key, both)
        self._parts[key] = both
        self._left[key] -= 1
        return not self._left[key] and self.finish(key, self._parts.pop(key))

    def finish(self, key: Hashable, gathered: Any) -> bool:
        """Keep the result of a group that was *gathered*; False where finishing it fails."""
        return self._keep(key, attempt(self.need, self.origin, lambda: self.need.finish(gathered)))

    def _keep(self, key: Hashable, result: Any) -> bool:
        if isinstance(result, STOPS):
            self.error = result
            self._parts.clear()
            return False
        self.results[key] = result
        return True

    def only(self, name: str, key: Hashable) -> Need[Any] | None:
        """The need as far as it is about *name*, one tensor of the group *key*; ``None`` where it was dropped."""
        return self.of_one(name) if key in self._left or self.error is not None else self.need

    def of_one(self, name: str) -> Need[Any] | None:
        """The need as far as it is about the tensor *name* by itself; ``None`` where it was dropped."""
        if self.error is not None:
            return None
        found: Need[Any] | Stop = attempt(self.need, self.origin, lambda: self.need.only((name,)))
        if isinstance(found, STOPS):
            self.error = found
            return None
        return found

    def is_spread(self, key: Hashable) -> bool:
        """True where the group is read tensor by tensor."""
        return key in self._left

    def spread(self, key: Hashable) -> None:
        """The group is read tensor by tensor, and what was gathered of each is merged."""
        self._left[key] = len(self.groups[key])


class Plan:
    """The needs of a run, and the tasks that gather them. not_finite: NaN and Inf in what was read, by tensor.

    counts: NaN and Inf are counted in whatever is read.
    """

    def __init__(self, checkpoint: Checkpoint, counts: bool = False) -> None:
        self.checkpoint, self.counts = checkpoint, counts
        self.asked: list[Asked] = []
        self.not_finite: dict[str, NotFiniteCount] = {}
        self._known: dict[tuple[Need[Any], int], Asked] = {}  # by need, and what it is about
        self._earlier: dict[tuple[tuple[str, ...], int], Plan] = {}  # passes before this one, by what they are about
        self._waiting: list[tuple[Asked, Checkpoint, dict[str, Asked]]] = []  # needs that are bound after these, and for what
        self._each: list[Asked] = []  # needs of single tensors, under the names of these
        self._alike = True  # each tensor is asked the same by all of these
        self._alone: dict[str, list[tuple[Asked, Hashable]]] = {}  # needs of one tensor, and those whose parts are merged
        self._together: dict[str, list[tuple[Asked, Hashable]]] = {}  # needs of several, by the last of them
        self._usual: dict[tuple[Hashable, ...], tuple[tuple[Ask, ...], int | None]] = {}  # what most tensors are asked alike
        self._kinds: dict[Hashable, int] = {}  # of tasks of small tensors that are done together

    def ask(self, need: Need[Any], origin: Origin, about: Checkpoint | None = None) -> Asked:
        """Plan *need* of the tensors of *about*, all unless given; once, however many ask for it.

        Raises ``PluginError`` for a need that fails, ``NotDrawable`` for one that declines.
        """
        about = self.checkpoint if about is None else about
        found = self._known.get((need, id(about)))
        if found is None:
            kind: type = type(need)
            if wrong := never_run(kind, Need):
                raise origin.error(f"{kind.__name__}: {wrong[0]}")
            with guarded(origin, type(need).__name__):
                first = need._first(about)
                bound = need if first is not None else need.bind(about)
                groups = {} if first is not None else _groups_of(bound, about, origin, need)
            earlier = None if first is None else self._ask_first(first, about)
            found = Asked(len(self.asked), bound.gathered_by, origin, groups)
            self.asked.append(found)  # its number is taken, whatever comes of it
            if earlier is not None:
                self._waiting.append((found, about, earlier))
            else:
                placed = attempt(bound, origin, lambda: self._place(found))
                if isinstance(placed, STOPS):
                    found.error = placed
                    raise placed
            self._known[need, id(about)] = found
        return found

    def _ask_first(self, first: First, about: Checkpoint) -> dict[str, Asked]:
        """Plan what a need has to know before it can be bound; needs that are about the same tensors share a pass."""
        where = first.names, id(about)
        plan = self._earlier.get(where)
        if plan is None:
            plan = self._earlier[where] = Plan(about.select(first.names))
        needs = check_needs(first.needs, first.origin, "needs", whole=True)
        return {key: plan.ask(each, first.origin) for key, each in needs.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, those that are read twice counted twice."""
        return sum(tensor.nbytes for tensor in self.checkpoint.values()) + sum(each.nbytes for each in self._earlier.values())

    def prepare(self, executor: Executor | None, read: Callable[[LazyTensor], None] | None = None) -> None:
        """Measure what needs have to know before they can be bound, and bind them. Call it once, before the first task.

        read: told of each tensor that has been read. A need that fails has its ``error``. Raises ``LoadError``.
        """
        for plan in self._earlier.values():
            plan.prepare(executor, read)
            for name, found in outcomes(plan.checkpoint, plan.tasks, executor):
                for outcome in found:
                    plan.take(outcome)
                if read is not None:
                    read(plan.checkpoint[name])
        waiting, self._waiting = self._waiting, []
        for asked, about, earlier in waiting:
            failed = attempt(asked.need, asked.origin, partial(self._bind, asked, about, earlier))
            if isinstance(failed, STOPS):
                asked.error = failed

    def _bind(self, asked: Asked, about: Checkpoint, earlier: Mapping[str, Asked]) -> None:
        need, results = asked.need, {key: each.result for key, each in earlier.items()}
        bound = need._after(about, results)
        asked.need, asked.groups = bound.gathered_by, _groups_of(bound, about, asked.origin, need)
        self._place(asked)

    def _place(self, asked: Asked) -> None:
        """Note with which tensors each group is read."""
        need, tensors = asked.need, self.checkpoint
        if not need.reads_itself and all(len(names) == 1 and names[0] is key for key, names in asked.groups.items()):
            self._each.append(asked)
            self._alike = self._alike and type(need).only is Need.only
            return
        for key, names in asked.groups.items():
            if not names:
                work = need.compute if need.reads_itself else need.collector
                asked.finish(key, attempt(need, asked.origin, partial(work, {})))
            elif len(names) == 1 and not need.reads_itself:
                self._alone.setdefault(names[0], []).append((asked, key))
            elif not need.reads_itself and all(need.merges(tensors[name]) for name in names):
                asked.spread(key)
                for name in names:
                    self._alone.setdefault(name, []).append((asked, key))
            else:
                self._together.setdefault(names[-1], []).append((asked, key))

    def tasks(self, name: str, more: Sequence[Ask] = (), then: Then | None = None) -> list[Task]:
        """What is to be read with the tensor *name*. more: needs of it alone, for *then*, which is called where it is read.

        A need that reads by itself is a task of its own, so that others do not wait for it, unless *more* has an equal one.
        """
        tensor = self.checkpoint[name]
        of_each = [each for each in self._each if each.error is None and name in each.groups]
        alone, together = self._alone.get(name, ()), self._together.get(name, ())
        apart: list[Ask] = []
        if more or alone or together or type(tensor) is not LazyTensor or not self._alike:
            asks, apart = self._asks(tensor, of_each, more)
            kind = None if then is not None else self._kind(asks)
        else:  # one of many thousands, perhaps, which share what is asked of them
            usual = tensor.dtype.kind, *[each.number for each in of_each]
            known = self._usual.get(usual)
            if known is None:
                asks, _ = self._asks(tensor, of_each, ())
                known = self._usual[usual] = asks, self._kind(asks)
            asks, kind = known
        found = []
        if asks:
            found.append(Task((tensor,), asks, then, (tensor.dtype, kind) if kind is not None and is_small(tensor) else None))
        for ask in apart:
            found.append(Task(tuple(self.checkpoint[each] for each in self.asked[ask.number].groups[ask.key]), (ask,)))
        return found

    def _asks(self, tensor: LazyTensor, of_each: Sequence[Asked], more: Sequence[Ask]) -> tuple[tuple[Ask, ...], list[Ask]]:
        """What is asked where *tensor* is read, and what is a task of its own."""
        name = tensor.name
        asks = [
            Ask(each.number, BY_NAME, part, each.origin, True) for each in of_each if (part := each.of_one(name)) is not None
        ]
        asks += [
            Ask(asked.number, key, part, asked.origin, len(asked.groups[key]) == 1)
            for asked, key in self._alone.get(name, ())
            if (part := asked.only(name, key)) is not None
        ]
        asks += more
        apart: list[Ask] = []
        for asked, key in self._together.get(name, ()):
            if asked.error is None:
                ask = Ask(asked.number, key, asked.need, asked.origin, True)
                equal = asked.groups[key] == (name,) and any(each.need == ask.need for each in more)
                (asks if equal else apart).append(ask)
        if self.counts:
            wanted = counting(tensor, [ask.need for ask in asks])
            asks += [Ask(COUNTING, each, each, _ORIGIN, True) for each in wanted]
        return tuple(asks), apart

    def _kind(self, asks: Sequence[Ask]) -> int | None:
        """A number that tasks which ask the same of small tensors share; ``None`` where each is done alone."""
        if not measured_together(asks):
            return None
        return self._kinds.setdefault(tuple((ask.number, ask.need, ask.origin) for ask in asks), len(self._kinds))

    def take(self, outcome: Outcome, merged: bool = True) -> list[tuple[Asked, Hashable]]:
        """Keep what a task brought back; the groups whose results are there now.

        merged: False leaves in *outcome* what is to be merged with that of other tensors.
        """
        self.not_finite.update(outcome.not_finite)
        done = []
        for brought in (outcome.gathered, outcome.failed):
            for number, key in list(brought):
                if 0 <= number < len(self.asked):
                    asked = self.asked[number]
                    if (merged or not asked.is_spread(key)) and asked.take(key, brought.pop((number, key))):
                        done.append((asked, key))
        return done


_ORIGIN = Origin("need", "not_finite")


def _groups_of(bound: Need[Any], about: Checkpoint, origin: Origin, need: Need[Any]) -> dict[Hashable, tuple[str, ...]]:
    """Which tensors each result of *bound* is about. Raises ``PluginError`` for anything but groups of names of *about*."""
    given = bound.groups(about)
    if not isinstance(given, Mapping):
        raise origin.error(returned(f"{type(need).__name__}.groups", given, "a mapping"))
    groups = dict(given)
    for key, names in groups.items():
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise origin.error(
                f"{type(need).__name__}.groups: {key!r} is of {describe_value(names)}, not of a tuple of names of tensors"
            )
        if missing := next((name for name in names if name not in about), ""):
            told = f"{key!r} names {visible(missing, 60)!r}, and there is no such tensor{did_you_mean(missing, about)}"
            raise origin.error(f"{type(need).__name__}.groups: {told}")
        if len(names) > 1 and len({*names}) < len(names):
            raise origin.error(f"{type(need).__name__}.groups: {key!r} names a tensor twice")
    if None in groups and len(groups) > 1:
        raise origin.error(f"{type(need).__name__}.groups: None, the model as a whole, stands beside other groups")
    return groups


def needs_of(
    asked: Any, method: Callable[..., Mapping[str, Need[Any]]], *arguments: Any, whole: bool = False
) -> dict[str, Need[Any]]:
    """What *method* of a view or rule names, a need under each key. whole: of the whole checkpoint, not of one tensor.

    Raises ``PluginError`` for anything but a mapping of text to needs.
    """
    origin, doing = origin_of(asked), method.__name__
    with guarded(origin, doing):
        found = method(*arguments)
    return check_needs(found, origin, doing, whole)


def check_needs(found: object, origin: Origin, doing: str, whole: bool) -> dict[str, Need[Any]]:
    """*found*, needs under keys. Raises ``PluginError`` of *origin* for anything else."""
    with guarded(origin, doing):
        if not isinstance(found, Mapping):
            raise origin.error(returned(doing, found, "a mapping of key to need"))
        needs = dict(found)
    if wrong := wrong_needs(needs, whole):
        raise origin.error(f"{doing}: {wrong}")
    return needs


def wrong_needs(found: object, whole: bool) -> str:
    """Why *found* is not a mapping of key to need; an empty text where it is. whole: needs of the whole may be there."""
    if not isinstance(found, Mapping):
        return f"the needs are {type(found).__name__}, not a mapping of key to need"
    for key, need in found.items():
        if not isinstance(need, Need):
            return f"{key!r} is {type(need).__name__}, not a need such as Summary() or Raster(layout)"
        if need.of_whole and not whole:
            return f"{key!r} is {type(need).__name__}, which is of the whole: name it in needs"
        if wrong := unhashable(need):
            return f"{key!r}: {wrong}"
    return ""


def check_arguments(doing: str, checkpoint: object, run: object = None) -> None:
    """Raise ``UsageError`` where the caller of *doing* gives something else for a checkpoint or the settings."""
    if not isinstance(checkpoint, Checkpoint):
        raise UsageError(
            f"{doing} takes a Checkpoint, not {type(checkpoint).__name__}; PluginManager.discover().open(…) makes one"
        )
    if not isinstance(run, (Settings, type(None))):
        raise UsageError(f"{doing} takes Settings as its third argument, not {type(run).__name__}")
