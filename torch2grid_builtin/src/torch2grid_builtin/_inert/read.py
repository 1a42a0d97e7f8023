"""From the values of a pickle to a ``Checkpoint``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.groups import optimizer_facts
from torch2grid_builtin._inert.hidden import read_strings
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.remains import note_remains
from torch2grid_builtin._inert.report import describe, not_run, refusal, summary
from torch2grid_builtin._inert.unused import unused_note
from torch2grid_builtin._inert.values import Pairs, text
from torch2grid_builtin._inert.walk import collect
from torch2grid_core import Checkpoint, LoadError
from torch2grid_core.sources import Source, find_parts
from torch2grid_core.text import visible

_TOLD = 50


def load_error(source: Source, error: Malformed | LoadError, actions: Actions | None = None) -> LoadError:
    """*error* with the name of the file, and with what its pickles wanted done until then."""
    path = error.path if isinstance(error, LoadError) else source.shown
    if actions is not None:
        note_remains(actions)
    return LoadError(path, error.reason if actions is None else refusal(error.reason, actions), error.advice)


def make_checkpoint(
    source: Source,
    root: Any,
    *,
    by: str,
    format: str,
    actions: Actions | None = None,
    work: Work | None = None,
    metadata: Mapping[str, Any] | None = None,
    notes: Iterable[str] = (),
    unverified: Iterable[Any] = (),
) -> Checkpoint:
    """The tensors in *root*, with the parts of a training checkpoint. work: what is left of what the pickle may cost.

    actions: what the pickles want done; those in byte strings are looked at here. Raises ``LoadError`` where there are no
    tensors, or where looking for them costs too much.
    """
    actions, work = actions if actions is not None else Actions(), work or Work()
    try:
        read_strings(actions, work)
        found = collect(root, by, work)
        parts, default = find_parts(found.tensors, found.containers)
        facts = optimizer_facts(root, work)
    except Malformed as error:
        raise load_error(source, error, actions) from error
    if not found.tensors:
        reason = f"holds no tensors: {summary(root)}"
        if found.skipped:
            first = found.skipped[0]
            reason += f"; {len(found.skipped)} cannot be read ({visible(first.name, 60) or 'the first'}: {first.reason})"
        raise LoadError(source.shown, refusal(reason, actions), "give a checkpoint with weights")
    return Checkpoint(
        found.tensors,
        source=source.shown,
        format=format,
        metadata={**told(root), **facts, **(metadata or {})},
        skipped=found.skipped,
        parts=parts,
        default_part=default,
        not_run=not_run(actions),
        notes=[*notes, *found.notes, *filter(None, [unused_note(found.tensors.values())])],
        unverified=unverified,
        described=found.described,
    )


def told(root: Any) -> dict[str, str]:
    """The numbers and short texts beside the tensors of a mapping, such as an epoch or a loss."""
    facts: dict[str, str] = {}
    for key, value in root.pairs[:10_000] if isinstance(root, Pairs) else ():
        name = text(key)
        if name is None or type(value) not in (str, int, float, bool) or len(facts) >= _TOLD:
            continue
        facts[visible(name, 100)] = visible(value[:1000], 200) if type(value) is str else describe(value)
    return facts
