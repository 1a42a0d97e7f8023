"""A decoder: the weights that are meant, of what is stored. They are computed when they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch2grid_core import Checkpoint, Decoder, LazyTensor
from torch2grid_core.sources import DerivedNumbers, Storage


class Scaled(DerivedNumbers):
    """float32: each code times the scale of its row."""

    def __init__(self, codes: LazyTensor, scale: LazyTensor) -> None:
        self.codes, self.scale, self.count = codes, scale, codes.size

    @property
    def parts(self) -> Sequence[Storage]:
        return [self.codes.storage, self.scale.storage]

    def over(self, parts: Sequence[Storage]) -> Scaled:
        return Scaled(replace(self.codes, storage=parts[0]), replace(self.scale, storage=parts[1]))

    def elements(self, start: int, stop: int) -> Any:
        rows = np.arange(start, stop) // self.codes.shape[1]
        scale = self.scale.read(int(rows[0]), int(rows[-1]) + 1)
        return self.codes.read(start, stop) * scale[rows - rows[0]]


class RowScales(Decoder):
    """codes with a scale for each row, NAME.codes and NAME.scale, become weights"""

    name = "row_scales"

    def claims(self, checkpoint: Checkpoint) -> Mapping[str, Sequence[str]]:
        names = [name.removesuffix(".codes") for name in checkpoint if name.endswith(".codes")]
        return {name: [f"{name}.codes", f"{name}.scale"] for name in names if f"{name}.scale" in checkpoint}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        claims, weights = self.claims(checkpoint), []
        for name, stored in claims.items():
            codes, scale = (checkpoint[each] for each in stored)
            storage = Scaled(codes, scale)
            weights.append(LazyTensor(name, codes.shape, storage.dtype, storage, note="int8 × scale"))
        return checkpoint.compose(weights, claims, self.name)
