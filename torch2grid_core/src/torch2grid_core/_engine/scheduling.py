"""Tasks handed out ahead of their turn, and taken back in their turn: the order of results never depends on the workers."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from functools import partial
from typing import Any, Literal, TypeVar

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.fetching import fetch, fetched_ahead
from torch2grid_core._engine.reading import Outcome, Piece, Task, perform
from torch2grid_core._errors import Torch2GridError
from torch2grid_core._guard import Origin

Item = TypeVar("Item")
Made = TypeVar("Made")

_AHEAD = 32  # batches submitted before their turn: enough to keep workers busy, few enough to keep results small
_AHEAD_BYTES, _AHEAD_TENSORS = 1 << 30, 1 << 13  # and what they read together, at most
_AHEAD_EACH = 2  # batches for each worker, where that is more: one that it has, and one that waits for it
_BATCH_BYTES, _BATCH = 4 << 20, 2048  # what one worker gets at once, where tensors are small
_BATCHES_EACH, _BATCH_MOST = 8, 256 << 20  # of a large local file, fewer and larger: a task costs a cluster milliseconds
_LARGE, _WORTH_ALONE = 1 / 32, 1 << 20  # share of all bytes, and bytes, from which a tensor is begun before any other
_SHARES = 8  # of all bytes, at least, where one share is as much as a remote source fetches ahead; and of that, at most
_TURNS = 2  # of all workers, at least, with what is left of a remote source
_PAGES_AHEAD = 8
# Of a plugin's view, need or panel that cannot travel: the work is done here again, where a true fault shows itself too.
NOT_PICKLED = (pickle.PicklingError, TypeError, AttributeError)

Order = Sequence[str] | Literal["file", "ready"]
Tasks = Callable[[str], Sequence[Task]]


def is_not_pickled(error: BaseException) -> bool:
    """True for an error that says that something cannot travel, whoever raised it."""
    return isinstance(error, pickle.PicklingError) or (
        isinstance(error, NOT_PICKLED) and any(word in str(error) for word in ("pickle", "Can't get", "__reduce"))
    )


def outcomes(
    checkpoint: Checkpoint, tasks: Tasks, executor: Executor | None, order: Order = "file"
) -> Iterator[tuple[str, list[Outcome]]]:
    """What the tasks of each tensor brought, tensor by tensor.

    order: ``"file"``, as in the checkpoint; names, as they stand there; ``"ready"``, whichever comes first. tasks: what is to
    be read with a tensor, by its name. Small tensors travel to a worker together; the largest are begun first, wherever they
    are in the file, so that no worker is left alone with one at the end.
    """
    names = list(checkpoint) if isinstance(order, str) else order
    sizes = {name: checkpoint[name].nbytes for name in names}
    waiting: deque[_Batch] = deque()
    early: dict[str, _Batch] = {}
    ahead = fetched_ahead(checkpoint[name] for name in names)
    workers = workers_of(executor)
    take = _first_done if order == "ready" else deque[_Batch].popleft
    try:
        if executor is not None:
            largest = _largest(sizes, workers, ahead)
            early = {name: _Batch(name, tasks(name)).submitted(executor) for name in largest}
            if order == "ready":  # what is begun first stands first
                names = [*largest, *(name for name in names if name not in early)]
        share = partial(_share, sum(sizes.values()), workers, ahead)
        for batch in _batches(names, sizes, tasks, early, share):
            waiting.append(batch if executor is None else batch.submitted(executor))
            if ahead and not batch.handed_out:
                batch.fetch()  # while those before it are measured
            while (executor is None and len(waiting) > bool(ahead)) or _enough(waiting, workers):
                yield from take(waiting).settled(not ahead)
        while waiting:
            yield from take(waiting).settled(not ahead)
    except BrokenExecutor as error:
        raise Torch2GridError("a worker process was killed, perhaps for memory; try again with --jobs 1") from error
    finally:
        for each in [*waiting, *early.values()]:
            each.cancel()


def _first_done(waiting: deque[_Batch]) -> _Batch:
    """Take from *waiting* the batch that is done first; one for this process only where no worker is at work."""
    while True:
        found = next((each for each in waiting if each.done), None)
        pending = [future for each in waiting for future in each.pending]
        if found is None and not pending:
            found = waiting[0]
        if found is not None:
            waiting.remove(found)
            return found
        wait(pending, return_when=FIRST_COMPLETED)


def workers_of(executor: Executor | None) -> int:
    """How many workers *executor* has, 0 where it does not say. Executors of MPI say it in ``num_workers``, those of Python in
    ``_max_workers``.
    """
    found = getattr(executor, "num_workers", None) or getattr(executor, "_max_workers", 0)
    return found if isinstance(found, int) and found > 0 else 0


def _enough(waiting: Sequence[_Batch], workers: int) -> bool:
    """True where no more is handed out before something came back: each worker has some, and results do not pile up."""
    if len(waiting) < max(workers * _AHEAD_EACH, 2):
        return False
    many = len(waiting) >= _AHEAD or sum(len(each.tasks) for each in waiting) > _AHEAD_TENSORS
    return many or sum(each.bytes for each in waiting) > _AHEAD_BYTES


def _largest(sizes: Mapping[str, int], workers: int, ahead: int) -> list[str]:
    """What is begun first: it would keep one worker busy, at the end, when the others have nothing left to do."""
    total = sum(sizes.values())
    turn = total // (workers * _TURNS * 2) if workers else total
    least = max(total * _LARGE, _WORTH_ALONE, min(ahead, turn))
    return sorted((name for name in sizes if sizes[name] > least), key=lambda name: -sizes[name])


def _share(total: int, workers: int, ahead: int, left: int) -> int:
    """Bytes of a batch, while *left* of all bytes are in none."""
    share = _BATCH_BYTES
    if workers and not ahead:
        share = max(share, min(total // (workers * _BATCHES_EACH), _BATCH_MOST))
    if ahead:  # one wait for many tensors, rather than one for each; less at the end, for which nobody waits long
        share = max(share, min(ahead, max(left // (workers * _TURNS), ahead // _SHARES) if workers else total // _SHARES))
    return share


def _batches(
    names: Sequence[str], sizes: Mapping[str, int], tasks: Tasks, early: dict[str, _Batch], share: Callable[[int], int]
) -> Iterator[_Batch]:
    """The tasks of all tensors, neighbours together; *early* ones, which are begun, in their turn.

    share: how many bytes a batch has, about, by those that are in none so far.
    """
    batch = _Batch()
    left = sum(sizes[name] for name in names if name not in early)
    wanted = share(left)
    for name in names:
        alone = early.pop(name, None)
        if alone is None:
            own, size = tasks(name), sizes[name]
            left -= size
            if own and not (len(own) == 1 and own[0].alike is not None):
                if size > wanted or any(task.then is not None or not task.shippable for task in own):
                    alone = _Batch(name, own)
                elif batch.tasks and batch.bytes + size - wanted > wanted - batch.bytes:  # further from it than without
                    yield batch
                    batch, wanted = _Batch(), share(left + size)
        if alone is not None:
            if batch.tasks:
                yield batch
            yield alone
            batch, wanted = _Batch(), share(left)
            continue
        batch.add(name, own)
        if batch.bytes >= wanted or len(batch.tasks) >= _BATCH:
            yield batch
            batch, wanted = _Batch(), share(left)
    if batch.tasks:
        yield batch


class _Batch:
    """The tasks of one tensor, or of small ones, on their way: to a worker, in pieces to several, or kept for this process."""

    def __init__(self, name: str | None = None, tasks: Sequence[Task] = ()) -> None:
        self.tasks: list[tuple[str, Sequence[Task]]] = []
        self.bytes = 0
        self._futures: list[Future[Any]] = []
        self._pieces = False
        if name is not None:
            self.add(name, tasks)

    def add(self, name: str, tasks: Sequence[Task]) -> None:
        """Take in the tasks of one more tensor."""
        self.tasks.append((name, tasks))
        for task in tasks:
            for tensor in task.tensors:
                self.bytes += tensor.nbytes

    def submitted(self, executor: Executor) -> _Batch:
        """Itself, handed out where that can be, and has not been before."""
        every = [task for _, tasks in self.tasks for task in tasks]
        if self._futures or all(task.alike is not None for task in every):  # those are done here before a worker had them
            return self
        if not all(task.shippable for task in every):
            return self
        pieces = every[0].pieces() if len(every) == 1 else ()
        self._pieces = len(pieces) > 1
        if self._pieces:
            self._futures = [executor.submit(gather, piece) for piece in pieces]
        else:
            self._futures = [executor.submit(perform, every)]
        return self

    @property
    def handed_out(self) -> bool:
        """True where it is not for this process."""
        return bool(self._futures)

    def fetch(self) -> None:
        """Let what it reads come to this process."""
        fetch(each for _, tasks in self.tasks for task in tasks for each in task.readings())

    @property
    def pending(self) -> list[Future[Any]]:
        """What workers have not brought back yet."""
        return [future for future in self._futures if not future.done()]

    @property
    def done(self) -> bool:
        """True where workers have brought all of it back."""
        return bool(self._futures) and not self.pending

    def settled(self, fetched: bool = False) -> Iterator[tuple[str, list[Outcome]]]:
        """What became of each tensor's tasks. fetched: nothing that this process reads has to be fetched."""
        every: Iterator[Outcome] = iter(())
        try:
            if self._pieces:
                every = iter([self.tasks[0][1][0].finish([_listed(future) for future in self._futures])])
            elif self._futures:
                every = iter(_listed(self._futures[0]))
            else:
                every = iter(perform([task for _, tasks in self.tasks for task in tasks], fetched))
        except NOT_PICKLED:
            every = iter(perform([task for _, tasks in self.tasks for task in tasks], fetched))
        for name, tasks in self.tasks:
            yield name, [next(every) for _ in tasks]

    def cancel(self) -> None:
        """Take back what no worker has begun."""
        for future in self._futures:
            future.cancel()


def _listed(future: Future[Any]) -> list[Any]:
    """What a worker brought back. Raises ``Torch2GridError`` for what none of them can have made."""
    found = future.result()
    if not isinstance(found, list):
        told = f"brought back {type(found).__name__}, which is not a result of the work it was given"
        origin = getattr(future, "origin", None)  # of an executor that a plugin brings
        raise origin.error(told) if isinstance(origin, Origin) else Torch2GridError(f"the executor {told}")
    return found


def gather(piece: Piece) -> list[Any]:
    """``piece.gather()``, for an executor."""
    piece.fetch()
    return piece.gather()


def made_ahead(
    items: Iterable[Item], make: Callable[[Item], Made], executor: Executor | None, travels: Callable[[Item], bool]
) -> Iterator[tuple[Item, Made]]:
    """Each item with what *make* makes of it, in their order, a few of them ahead of it in workers.

    travels: False for an item that takes longer to send than to make. One that cannot be sent is made here.
    """
    waiting: deque[tuple[Item, Future[Made] | None]] = deque()

    def made(item: Item, future: Future[Made] | None) -> tuple[Item, Made]:
        if future is not None:
            try:
                return item, future.result()
            except NOT_PICKLED:
                pass
        return item, make(item)

    try:
        for item in items:
            waiting.append((item, executor.submit(make, item) if executor is not None and travels(item) else None))
            if executor is None or len(waiting) >= _PAGES_AHEAD:
                yield made(*waiting.popleft())
        while waiting:
            yield made(*waiting.popleft())
    except BrokenExecutor as error:
        raise Torch2GridError("a worker process was killed, perhaps for memory; try again with --jobs 1") from error
    finally:
        for _, future in waiting:
            if future is not None:
                future.cancel()
