"""Reading tensors once for all that is wanted of them: one task's work, here or in another process."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache, partial, reduce
from itertools import pairwise, starmap
from typing import Any, NamedTuple

import numpy as np

from torch2grid_core._data.combined import JointTensor
from torch2grid_core._data.storage import CheckedStorage, has_checksum
from torch2grid_core._data.tensor import LazyTensor, read_together
from torch2grid_core._engine.fetching import Reading, fetch
from torch2grid_core._errors import NotDrawable, PluginError
from torch2grid_core._guard import PASSES, Origin, describe, describe_value, returned
from torch2grid_core._measures.figures import Checksum, NotFinite, Of
from torch2grid_core._measures.need import Chunk, Collector, Need
from torch2grid_core._methods import never_run
from torch2grid_core._summary.not_finite import NotFiniteCount

_LARGEST = 16 << 20  # bytes; larger than any scratch array of a pass
Stop = PluginError | NotDrawable  # what ends one need, view or rule, and not the run: it fails, or declines
STOPS = (PluginError, NotDrawable)
COUNTING = -1  # the number of an ask whose only use is what it counts
CHECKSUM = Origin("need", "checksum")
SMALL = 1 << 15  # bytes of a tensor, at most, that is measured together with others
PIECE = 1 << 27  # weights of a piece, at least: reading them must take longer than sending what was gathered


@lru_cache(maxsize=1)
def keep_scratch() -> None:
    """Make glibc take arrays of up to 16 MiB from its heap, and keep up to twice that free instead of giving it back.

    By default it maps and unmaps each array of a megabyte anew, and the system then clears every page again: three times
    the work of the pass itself. Freeing one larger mapped array raises its threshold (``M_MMAP_THRESHOLD`` in mallopt(3)).
    Not a page of the array is touched; other C libraries do not notice.
    """
    np.empty(_LARGEST, np.uint8)


class Own(Enum):
    """The group that consists of the tensor that is read, under its name."""

    BY_NAME = "by name"


BY_NAME = Own.BY_NAME


class Ask(NamedTuple):
    """A need of the tensors of one task. number: of the need in the run; key: of its group; origin: who asked.

    key: ``BY_NAME`` where each tensor is a group under its own name, so that all of them share one ask. finish: the tensors
    are all that the result is about, so that it is finished where they are read.
    """

    number: int
    key: Hashable
    need: Need[Any]
    origin: Origin
    finish: bool

    def about(self, tensor: LazyTensor) -> tuple[int, Hashable]:
        """Under what the outcome of a task of *tensor* keeps the answer."""
        return self.number, tensor.name if self.key is BY_NAME else self.key


@dataclass(slots=True)
class Outcome:
    """What a task brings back.

    gathered: by number and key of each need, its result where the task finished it, else its collector. failed: why others
    have none. drawn: what *then* returned. not_finite: how many weights of what was read are NaN or Inf, by tensor.
    """

    gathered: dict[tuple[int, Hashable], Any] = field(default_factory=dict)
    failed: dict[tuple[int, Hashable], Stop] = field(default_factory=dict)
    drawn: Any = None
    not_finite: dict[str, NotFiniteCount] = field(default_factory=dict)


Then = Callable[[LazyTensor, Outcome], Any]


class Task(NamedTuple):
    """Tensors to read, what is wanted of them, and what to do when it is there; picklable where their storages are.

    then: called where the tensor was read, with what was gathered of it. alike: what is equal for tasks of small tensors
    that can be done together, which ask the same (see ``measured_together``); ``None`` for one that is done alone.
    """

    tensors: tuple[LazyTensor, ...]
    asks: tuple[Ask, ...]
    then: Then | None = None
    alike: Hashable | None = None

    @property
    def shippable(self) -> bool:
        """True where another process could do it."""
        return bool(self.asks) and all(tensor.storage.shippable for tensor in self.tensors)

    def readings(self) -> Iterator[Reading]:
        """What will be read from end to end."""
        if any(not ask.need.reads_itself for ask in self.asks):
            for tensor in self.tensors:
                yield Reading(tensor, 0, tensor.size)

    def pieces(self) -> tuple[Piece, ...]:
        """The shares that the reading may be handed out in; most tasks have one.

        They follow from the tensor and the needs alone, never from the number of workers. A record with a checksum is split
        where the tensor is all of it: what each piece sees of the checksum is combined.
        """
        return self._pieces(gatherers_of(self.asks))

    def _pieces(self, gatherers: Sequence[Gatherer]) -> tuple[Piece, ...]:
        needs = tuple((each.need, each.origin) for each in gatherers)
        tensor = self.tensors[0]
        if tensor.size <= PIECE or not self._splits(tensor, gatherers):
            return (Piece(self.tensors, needs, 0, tensor.size),)
        if isinstance(tensor.storage, CheckedStorage):
            tensor = replace(tensor, storage=tensor.storage.unchecked)
            needs += ((Checksum(), CHECKSUM),)
        count = most_pieces(tensor)
        step = -(-math.lcm(*starmap(_aligned, needs)) // tensor.dtype.itemsize)
        bounds = [*(tensor.size * place // count // step * step for place in range(count)), tensor.size]
        return tuple(Piece((tensor,), needs, start, stop) for start, stop in pairwise(bounds) if start < stop)

    def _splits(self, tensor: LazyTensor, gatherers: Sequence[Gatherer]) -> bool:
        if len(self.tensors) > 1 or type(tensor) is not LazyTensor or not tensor.contiguous:
            return False
        if has_checksum(tensor.storage) and not (
            isinstance(tensor.storage, CheckedStorage) and tensor.nbytes == tensor.storage.size
        ):
            return False  # it has to be read from end to end by the same process
        return all(not each.need.reads_itself and each.answer(each.need.merges, tensor) for each in gatherers)

    def perform(self) -> Outcome:
        """Read, finish, and do what is left."""
        gatherers = gatherers_of(self.asks)
        return self._finish(gatherers, (piece.gather() for piece in self._pieces(gatherers)))

    def finish(self, parts: Iterable[list[Any]]) -> Outcome:
        """What is left to do when all pieces have been gathered. *parts* are taken one after the other, in their order."""
        return self._finish(gatherers_of(self.asks), parts)

    def _finish(self, gatherers: Sequence[Gatherer], parts: Iterable[list[Any]]) -> Outcome:
        outcome = Outcome()
        needs = [*((each.need, each.origin) for each in gatherers), (Checksum(), CHECKSUM)]  # as ``_pieces`` asks for them
        gathered = reduce(partial(_merged_all, needs), parts)
        for checksum in gathered[len(gatherers) :]:
            storage = self.tensors[0].storage
            assert isinstance(storage, CheckedStorage)
            storage.settle(checksum.crc32)
        for each, found in zip(gatherers, gathered, strict=False):
            if each.need.counts_not_finite and not isinstance(found, STOPS):
                outcome.not_finite.update(_counted(self.tensors, each, found))
            for ask in each.asks:
                if ask.number == COUNTING:
                    continue
                result = reissued(found, each.origin, ask.origin) if isinstance(found, STOPS) else found
                if ask.finish and not isinstance(result, STOPS):
                    result = attempt(ask.need, ask.origin, partial(ask.need.finish, found))
                where = ask.about(self.tensors[0])
                (outcome.failed if isinstance(result, STOPS) else outcome.gathered)[where] = result
        if self.then is not None:
            outcome.drawn = self.then(self.tensors[0], outcome)
        return outcome


def perform(tasks: Sequence[Task], fetched: bool = False) -> list[Outcome]:
    """What each task brings. Those that are ``alike`` are done together. fetched: there is nothing to fetch, any more."""
    if not fetched:
        fetch(each for task in tasks for each in task.readings())
    together: dict[Hashable, list[Task]] = {}
    for task in tasks:
        if task.alike is not None:
            together.setdefault(task.alike, []).append(task)
    done: dict[int, Outcome] = {}
    for each in together.values():
        done.update(zip(map(id, each), _together(each), strict=False))
    return [done.get(id(task)) or task.perform() for task in tasks]


def measured_together(asks: Sequence[Ask]) -> bool:
    """True where all that is asked of a small tensor can be measured of many at once."""
    return all(ask.finish and ask.need.together for ask in asks)


def is_small(tensor: LazyTensor) -> bool:
    """True for a tensor that is measured together with others, where all that is asked of it can be."""
    return type(tensor) is LazyTensor and 0 < tensor.nbytes <= SMALL and tensor.contiguous


def _together(tasks: Sequence[Task]) -> list[Outcome]:
    """What each task brings; nothing where something fails, so that it fails of the tensor alone that it is about."""
    tensors, asks = [task.tensors[0] for task in tasks], tasks[0].asks
    stored, found = read_together(tensors), [Outcome() for _ in tasks]
    try:
        for each in gatherers_of(asks):
            own = {id(ask) for ask in each.asks if ask.number != COUNTING}
            places = [place for place, ask in enumerate(asks) if id(ask) in own]
            collectors = each.need.collectors(tensors, stored)
            for task, outcome, collector in zip(tasks, found, collectors, strict=True):
                for name, count in each.need.counted(collector).items() if each.need.counts_not_finite else ():
                    if count:
                        outcome.not_finite[name] = count
                for place in places:
                    ask = task.asks[place]
                    outcome.gathered[ask.about(task.tensors[0])] = ask.need.finish(collector)
    except Exception:
        return []
    return found


def _aligned(need: Need[Any], origin: Origin) -> int:
    found: Any = need.aligned
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise origin.error(f"{type(need).__name__}.aligned is {describe_value(found)}, not a number of bytes")
    return found


def most_pieces(tensor: LazyTensor) -> int:
    """How many pieces a tensor of that size can have."""
    return max(-(-tensor.size // PIECE), 1)


@dataclass
class Gatherer:
    """A need that serves one ask, or several that unite."""

    need: Need[Any]
    origin: Origin
    asks: list[Ask]

    def answer(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """What *method* of the need says. Raises ``PluginError`` where it fails."""
        found = attempt(self.need, self.origin, partial(method, *arguments))
        if isinstance(found, STOPS):
            raise found
        return found


def gatherers_of(asks: Sequence[Ask]) -> list[Gatherer]:
    """What the reading gathers: each need once, those that unite as one. What is merged later stays by itself."""
    found: list[Gatherer] = []
    for ask in asks:
        for each in found if ask.finish else ():
            if not each.asks[0].finish:
                continue
            both = ask.need if ask.need == each.need else each.answer(each.need.unite, ask.need)
            if both is not None and not hasattr(both, "gathered_by"):
                raise each.origin.error(returned(f"{type(each.need).__name__}.unite", both, "a need, nor None"))
            if both is not None:
                each.need = both
                each.asks.append(ask)
                break
        else:
            found.append(Gatherer(ask.need, ask.origin, [ask]))
    return found


@dataclass(frozen=True)
class Piece:
    """What is wanted of tensors, or of the weights with flat indices *start* to *stop* (in C order) of one of them."""

    tensors: tuple[LazyTensor, ...]
    needs: tuple[tuple[Need[Any], Origin], ...]
    start: int
    stop: int

    def fetch(self) -> None:
        """Let what will be read come while the rest is made ready."""
        if any(not need.reads_itself for need, _ in self.needs):
            fetch(Reading(tensor, self.start, min(self.stop, tensor.size)) for tensor in self.tensors)

    def gather(self) -> list[Any]:
        """For each need its collector, what ``compute`` returned, or why it has neither.

        Raises ``LoadError`` for unreadable bytes.
        """
        keep_scratch()
        tensors = {tensor.name: tensor for tensor in self.tensors}
        found: list[Any] = []
        for need, origin in self.needs:
            work = need.compute if need.reads_itself else need.collector
            made = attempt(need, origin, partial(work, tensors))
            if not (need.reads_itself or isinstance(made, STOPS) or callable(getattr(made, "update", None))):
                made = origin.error(returned(f"{type(need).__name__}.collector", made, "a Collector"))
            kind: type = type(made)
            if wrong := never_run(kind, Collector):
                made = origin.error(f"{kind.__name__}: {wrong[0]}")
            found.append(made)
        running = {
            place: found[place].update
            for place, (need, _) in enumerate(self.needs)
            if not need.reads_itself and not isinstance(found[place], STOPS)
        }
        ordered = any(self.needs[place][0].ordered for place in running)
        for tensor in self.tensors if running else ():
            for chunk in self._chunks(tensor, ordered):
                for place, update in list(running.items()):
                    try:
                        update(chunk)
                    except BaseException as error:
                        found[place] = _failure(error, *self.needs[place])
                        del running[place]
        return found

    def _chunks(self, tensor: LazyTensor, ordered: bool) -> Iterator[Chunk]:
        if isinstance(tensor, JointTensor):
            for start, members in tensor.lockstep():
                yield Chunk(tensor.name, start, members=members, joint=tensor)
            return
        part = tensor
        if len(self.tensors) == 1 and self.stop - self.start < part.size:  # of a group, all of each is read
            part = replace(part, shape=(self.stop - self.start,), offset=part.offset + self.start, strides=None)
        if ordered:
            for start, stored in part.flat_chunks():
                yield Chunk(tensor.name, self.start + start, stored)
        else:
            for stored in part.chunks():
                yield Chunk(tensor.name, 0, stored)


def attempt(need: Need[Any], origin: Origin, work: Callable[[], Any]) -> Any:
    """What *work* of *need* returns, or its failure as an error of *origin*. Raises ``LoadError`` as it comes."""
    try:
        return work()
    except BaseException as error:
        return _failure(error, need, origin)


def _failure(error: BaseException, need: Need[Any], origin: Origin) -> Stop:
    """*error* as one of *origin*. Raises it where it is not of its making: unreadable bytes."""
    if isinstance(error, STOPS):
        return error
    if isinstance(error, PASSES):
        raise error
    found = origin.error(f"{type(need).__name__}: {describe(error)}")
    found.__cause__ = error
    return found


def reissued(error: Stop, first: Origin, origin: Origin) -> Stop:
    """*error*, which was made for *first*, as one of *origin*, who asked for the same."""
    if not isinstance(error, PluginError) or origin == first:
        return error
    by = Origin(error.kind, error.name, error.distribution, error.version)
    if by != first:
        return error
    found = origin.error(error.reason)
    found.__cause__ = error.__cause__
    return found


def _merged_all(needs: Sequence[tuple[Need[Any], Origin]], one: list[Any], other: list[Any]) -> list[Any]:
    """What two pieces gathered for *needs*, as one; the first takes the other in."""
    return [_merged(mine, its, *need) for mine, its, need in zip(one, other, needs, strict=False)]


def _merged(one: Any, other: Any, need: Need[Any], origin: Origin) -> Any:
    for each in (one, other):
        if isinstance(each, STOPS):
            return each
    return merge_into(one, other, need, origin)


def merge_into(one: Collector, other: Collector, need: Need[Any], origin: Origin) -> Any:
    """*one* with what *other* saw, or the failure of merging them."""
    failed = attempt(need, origin, lambda: one.merge(other))
    return failed if isinstance(failed, STOPS) else one


def _counted(tensors: Sequence[LazyTensor], gatherer: Gatherer, gathered: Any) -> dict[str, NotFiniteCount]:
    """What the need says of NaN and Inf, where there are any. What a joint tensor computes is not in the file."""
    if isinstance(tensors[0], JointTensor) and not gatherer.need.member:
        return {}
    return {name: count for name, count in gatherer.answer(gatherer.need.counted, gathered).items() if count}


def counting(tensor: LazyTensor, needs: Iterable[Need[Any]]) -> list[Need[Any]]:
    """What to ask beside *needs*, so that NaN and Inf are counted in whatever is read of *tensor*; nothing where nothing is."""
    asked = list(needs)
    if not isinstance(tensor, JointTensor):
        known = not asked or tensor.dtype.kind in "biu" or any(need.counts_not_finite for need in asked)
        return [] if known else [NotFinite()]
    known_members = {need.member for need in asked if need.counts_not_finite}
    loud = [member for member, each in tensor.members if each.dtype.kind not in "biu"]
    return [Of(member, NotFinite()) for member in loud if member not in known_members] if asked else []
