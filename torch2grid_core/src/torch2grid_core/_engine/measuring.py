"""Measuring: the one way through the weights, on which drawing, checking and comparing stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Literal

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._engine.planning import Asked, Plan, check_arguments, wrong_needs
from torch2grid_core._engine.reading import STOPS, Outcome, Stop
from torch2grid_core._engine.scheduling import outcomes
from torch2grid_core._errors import UsageError
from torch2grid_core._guard import Origin
from torch2grid_core._measures.need import Need

Progress = Callable[[LazyTensor, int], None]


def measure(
    checkpoint: Checkpoint,
    needs: Mapping[str, Need[Any]],
    *,
    executor: Executor | None = None,
    order: Sequence[str] | Literal["file", "ready"] = "file",
    progress: Progress | None = None,
    failed: Callable[[str, Stop], None] | None = None,
) -> Iterator[tuple[Hashable, dict[str, Any]]]:
    """Measure *needs* of *checkpoint* in one pass over its weights.

    Args:
        checkpoint: what to measure. Expanded views are measured as what they store (see ``LazyTensor.distinct``).
        needs: what to measure, each under a name of the caller's.
        executor: where the work is done; ``None`` does it here. No digit depends on it.
        order: of the tensors. ``"file"`` takes that of the checkpoint; a sequence of names takes that of the caller, who may
            leave some out; ``"ready"`` takes whichever has been read first, which differs each time. The results are the same.
        progress: told of each tensor that has been read, and how many bytes all that will be read have.
        failed: told the name of each need that fails or declines, and its error; the need is left out from then on. Without it,
            the first such error is raised at the end.

    Yields:
        (key, results): the key of a group of tensors (a tensor's name, ``None`` for the whole; see ``Need.groups``), and the
            results about it by the names of the needs, as soon as they are there.

    Raises:
        LoadError: bytes cannot be read.
        PluginError: a need fails, and there is no *failed*.
        NotDrawable: a need declines, and there is no *failed*.
        UsageError: an argument is of another type.
    """
    check_arguments("measure", checkpoint)
    if wrong := wrong_needs(needs, whole=True):
        raise UsageError(f"measure: {wrong}")
    tensors = without_repetition(checkpoint)
    plan, asked, stopped = Plan(tensors), dict[str, Asked](), dict[str, Stop]()
    for name, need in needs.items():
        try:
            asked[name] = plan.ask(need, _ORIGIN)
        except STOPS as error:
            stopped[name] = error
    distinct = {each.number: each for each in asked.values()}
    held: dict[Hashable, None] = {}  # keys with results that wait for others of theirs

    def ready(keys: Iterable[Hashable]) -> Iterator[tuple[Hashable, dict[str, Any]]]:
        """What is complete of *keys*, each handed out once."""
        for key in keys:
            going = [each for each in distinct.values() if each.error is None and key in each.groups]
            if any(key not in each.results for each in going):
                held[key] = None
                continue
            held.pop(key, None)
            results = {name: each.results[key] for name, each in asked.items() if each in going}
            for each in going:
                del each.results[key]
            if results:
                yield key, results

    late, turns = dict[str, list[Outcome]](), deque(tensors if order == "ready" else ())

    def taken(name: str, found: list[Outcome]) -> Iterator[Hashable]:
        """The keys that *found* completes. What is merged of several tensors waits for its turn, so that digits stay."""
        for outcome in found:
            yield from (key for _, key in plan.take(outcome, merged=order != "ready"))
        if turns:
            late[name] = found
        while turns and turns[0] in late:
            for outcome in late.pop(turns.popleft()):
                yield from (key for _, key in plan.take(outcome))

    total = sum(tensors[name].nbytes for name in (tensors if isinstance(order, str) else order))
    total += plan.nbytes - sum(tensor.nbytes for tensor in tensors.values())  # what is read before
    plan.prepare(executor, None if progress is None else partial(_tell, progress, total))
    yield from ready({key: None for each in distinct.values() for key in each.results})
    for name, found in outcomes(tensors, plan.tasks, executor, order) if asked else ():
        going = sum(each.error is None for each in distinct.values())
        done = dict.fromkeys(taken(name, found))
        if progress is not None:
            progress(checkpoint[name], total)
        if going != sum(each.error is None for each in distinct.values()):
            done.update(held)
            if going == 1:
                break
        yield from ready(done)
    stopped.update({name: each.error for name, each in asked.items() if each.error is not None})
    for name in [name for name in needs if name in stopped]:
        if failed is None:
            raise stopped[name]
        failed(name, stopped[name])


def _tell(progress: Progress, total: int, tensor: LazyTensor) -> None:
    progress(tensor, total)


def without_repetition(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with expanded views measured as what they store (see ``LazyTensor.distinct``).

    Raises ``LoadError`` for a file that other readers take for another one, which a pass asks first. One over parts of tensors
    does not, as it does not verify checksums either: a row costs a row.
    """
    checkpoint.check_readers()
    return checkpoint.distinct()


_ORIGIN = Origin("need", "measure")
