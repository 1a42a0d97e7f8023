"""Decoders over a checkpoint that was opened: what each claims, and what it makes of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._errors import UsageError
from torch2grid_core._guard import call
from torch2grid_core._plugins.record import Provided, describe_value


def decoded(checkpoint: Checkpoint, decoders: Iterable[Provided]) -> Checkpoint:
    """The checkpoint with the tensors that *decoders* compose.

    What each claims is asked of the stored tensors. Raises ``UsageError`` where two claim one tensor, ``PluginError`` for a
    decoder that fails or does not keep to its claims.
    """
    made = [(each, each.create()) for each in decoders]
    claims = [_claims(each, decoder, checkpoint) for each, decoder in made]
    users: dict[str, Provided] = {}
    for (each, _), claimed in zip(made, claims, strict=True):
        for name in {name for new, stored in claimed.items() for name in (new, *stored)}:
            other = users.setdefault(name, each)
            if other is not each:
                both = f"decoders {other.qualified} and {each.qualified} both claim {name!r}"
                advice = "disable one with --disable-plugin, or give --raw to see what is stored"
                raise UsageError(f"{checkpoint.source}: {both}; {advice}")
    for (each, decoder), claimed in zip(made, claims, strict=True):
        found = call(decoder, decoder.decode, checkpoint)
        if not isinstance(found, Checkpoint):
            raise each.origin.error(f"decode returned {describe_value(found)}, not a Checkpoint")
        for name in claimed:
            if name not in found.composed or found.composed[name].by != each.name:
                raise each.origin.error(f"decode did not compose {name!r}, which it claims")
        checkpoint = found
    return checkpoint


def _claims(provided: Provided, decoder: Any, checkpoint: Checkpoint) -> Mapping[str, Any]:
    claimed = call(decoder, decoder.claims, checkpoint)
    if not isinstance(claimed, Mapping):
        raise provided.origin.error(f"claims returned {describe_value(claimed)}, not a mapping of names")
    for name, stored in claimed.items():
        known = isinstance(stored, (list, tuple)) and stored and all(each in checkpoint for each in stored)
        if not isinstance(name, str) or not known:
            raise provided.origin.error(f"claims: {str(name)[:60]!r} is not of a list of stored tensors")
    return claimed
