"""From the values of a pickle to a ``Checkpoint``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch2grid_builtin.inert.groups import optimizer_facts
from torch2grid_builtin.inert.limits import Work
from torch2grid_builtin.inert.parts import find_parts
from torch2grid_builtin.inert.report import describe, not_run, summary
from torch2grid_builtin.inert.values import Malformed, Pairs, Stub, text
from torch2grid_builtin.inert.walk import collect
from torch2grid_core import Checkpoint, LoadError, Source, visible

_TOLD = 50


def load_error(source: Source, error: Malformed) -> LoadError:
    """*error* with the name of the file."""
    return LoadError(source.shown, error.reason, error.advice)


def make_checkpoint(
    source: Source,
    root: Any,
    *,
    by: str,
    format: str,
    calls: Sequence[Stub] = (),
    work: Work | None = None,
    metadata: Mapping[str, Any] | None = None,
    notes: Iterable[str] = (),
    unread: Iterable[Any] = (),
) -> Checkpoint:
    """The tensors in *root*, with the parts of a training checkpoint. work: what is left of what the pickle may cost.

    Raises ``LoadError`` where there are none, or where looking for them costs too much.
    """
    lines, work = not_run(calls), work or Work()
    try:
        found = collect(root, by, work)
        parts, default = find_parts(root, found.tensors, work)
        facts = optimizer_facts(root, work)
    except Malformed as error:
        raise load_error(source, error) from error
    if not found.tensors:
        reason = f"holds no tensors: {summary(root)}"
        if found.skipped:
            first = found.skipped[0]
            reason += f"; {len(found.skipped)} cannot be read ({visible(first.name, 60) or 'the first'}: {first.reason})"
        if lines:
            reason += "; not run: " + ", ".join(lines[:3])
        raise LoadError(source.shown, reason, "give a checkpoint with weights")
    return Checkpoint(
        found.tensors,
        source=source.shown,
        format=format,
        metadata={**told(root), **facts, **(metadata or {})},
        skipped=found.skipped,
        parts=parts,
        default_part=default,
        not_run=lines,
        notes=[*notes, *found.notes],
        unread=unread,
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
