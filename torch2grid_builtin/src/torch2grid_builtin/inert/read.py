"""From the values of a pickle to a ``Checkpoint``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch2grid_builtin.inert.parts import find_parts
from torch2grid_builtin.inert.report import not_run, summary
from torch2grid_builtin.inert.values import Malformed, Stub
from torch2grid_builtin.inert.walk import collect
from torch2grid_core import Checkpoint, LoadError, Source


def load_error(source: Source, error: Malformed) -> LoadError:
    """*error* with the name of the file."""
    return LoadError(source.shown, error.reason, error.advice)


def make_checkpoint(
    source: Source,
    root: Any,
    *,
    by: str,
    format: str,
    calls: Iterable[Stub] = (),
    metadata: Mapping[str, Any] | None = None,
    notes: Iterable[str] = (),
) -> Checkpoint:
    """The tensors in *root*, with the parts of a training checkpoint. Raises ``LoadError`` where there are none."""
    lines = not_run(calls)
    try:
        found = collect(root, by)
    except Malformed as error:
        raise load_error(source, error) from error
    if not found.tensors:
        reason = f"holds no tensors: {summary(root)}"
        if found.skipped:
            first = found.skipped[0]
            reason += f"; {len(found.skipped)} entries cannot be read ({first.name or 'the first'}: {first.reason})"
        if lines:
            reason += "; not run: " + ", ".join(lines[:3])
        raise LoadError(source.shown, reason, "give a checkpoint with weights")
    parts, default = find_parts(root, found.tensors)
    return Checkpoint(
        found.tensors,
        source=source.shown,
        format=format,
        metadata=metadata,
        skipped=found.skipped,
        parts=parts,
        default_part=default,
        not_run=lines,
        notes=[*notes, *found.notes],
    )
