"""Adapters of low rank: the change of each weight, in place of the two matrices that are stored of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch2grid_builtin._adapters import DECODER, SOUGHT
from torch2grid_builtin._adapters.pairs import adapter_of, remarks_on
from torch2grid_core import Checkpoint, Decoder


class AdapterPairs(Decoder):
    """``delta.NAME`` = (α/r)·B·A of each pair of LoRA, whoever wrote it; DoRA's needs the base, and stays as it is stored."""

    name: ClassVar[str] = DECODER
    within: ClassVar[tuple[str, ...]] = SOUGHT

    def claims(self, checkpoint: Checkpoint) -> Mapping[str, Sequence[str]]:
        return {pair.name: pair.stored for pair in adapter_of(checkpoint).pairs if pair.magnitude is None}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        adapter = adapter_of(checkpoint)
        changes = [pair for pair in adapter.pairs if pair.magnitude is None]
        notes = remarks_on(adapter)
        if changes:
            checkpoint = checkpoint.compose(
                [pair.tensor() for pair in changes], {pair.name: pair.stored for pair in changes}, self.name
            )
        return checkpoint.with_notes(notes) if notes else checkpoint
