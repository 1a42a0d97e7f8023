"""What a filter promises."""

from __future__ import annotations

from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._errors import Torch2GridError
from torch2grid_core.testing._checking import check
from torch2grid_core.testing._expectation import expect
from torch2grid_core.testing._samples import sample_checkpoints
from torch2grid_core.testing._subject import Subject


def _applied(instance: Any, checkpoint: Checkpoint) -> Checkpoint | None:
    """What the filter leaves, ``None`` where it declines with an error for the user."""
    try:
        result = instance.apply(checkpoint)
    except Torch2GridError:
        return None
    expect(isinstance(result, Checkpoint), f"apply returned {type(result).__name__}, not a Checkpoint")
    return result  # type: ignore[no-any-return]


@check("filter")
def keep_answers(subject: Subject) -> None:
    """keep answers True or False for every tensor, whatever its shape and type, and the same when it is asked again."""
    instance = subject.make()
    for about, checkpoint in sample_checkpoints().items():
        for tensor in checkpoint.values():
            answers = instance.keep(tensor), instance.keep(tensor)
            expect(all(isinstance(each, bool) for each in answers), f"{about}: keep returned {type(answers[0]).__name__}")
            expect(answers[0] == answers[1], f"{about}: keep changes its mind about {tensor.name[:40]!r}")


@check("filter")
def what_goes_is_recorded(subject: Subject) -> None:
    """Each tensor stays, in its place, or is recorded in skipped with the filter's name and a reason."""
    instance = subject.make()
    for about, checkpoint in sample_checkpoints().items():
        result = _applied(instance, checkpoint)
        if result is None:
            continue
        told = {skip.name: skip for skip in result.skipped}
        for name in checkpoint:
            expect(name in result or name in told, f"{about}: {name[:40]!r} is gone, and skipped does not say so")
        for skip in told.values():
            expect(skip.by == instance.name and skip.reason, f"{about}: {skip.name[:40]!r} is skipped by {skip.by!r}")
        kept = [name for name in checkpoint if name in result]
        expect([name for name in result if name in checkpoint] == kept, f"{about}: tensors have another order")


@check("filter")
def inputs_stay(subject: Subject) -> None:
    """The checkpoint that it is given keeps its tensors and what it skipped; a second call gives the same."""
    for about, checkpoint in sample_checkpoints().items():
        instance = subject.make()
        before = list(checkpoint.items()), checkpoint.skipped
        first, second = _applied(instance, checkpoint), _applied(instance, checkpoint)
        expect((list(checkpoint.items()), checkpoint.skipped) == before, f"{about}: the checkpoint was changed")
        same = (first is None) == (second is None) and list(first or ()) == list(second or ())
        expect(same, f"{about}: a second call keeps other tensors")
