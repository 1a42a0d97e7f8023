"""A plugin of two decoders, and files for them: codes with a scale for each row, and a matrix that lies in two halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from torch2grid_core import Checkpoint, Decoder, LazyTensor
from torch2grid_core.sources import DerivedNumbers, Storage, Tiled

random = np.random.default_rng(19)
CODES = random.integers(-127, 128, (40, 30)).astype(np.int8)
SCALE = random.uniform(0.5, 2, 40).astype(np.float32)
HALVES = tuple(random.normal(size=(8, 30)).astype(np.float32) for _ in range(2))
BIAS = random.normal(size=40).astype(np.float32)
MEANT = {"fc1.weight": CODES * SCALE[:, None], "fc1.bias": BIAS, "fc2.weight": np.concatenate(HALVES)}
STORED = {"fc1.weight.codes": CODES, "fc1.weight.scale": SCALE, "fc1.bias": BIAS}
STORED |= {f"fc2.weight.half{number}": half for number, half in enumerate(HALVES)}


def write(path: Path, tensors: Mapping[str, Any] = STORED) -> Path:
    save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, path)
    return path


@dataclass
class ScaledRows(DerivedNumbers):
    """Codes, each row times its scale."""

    codes: LazyTensor
    scale: LazyTensor

    @property
    def count(self) -> int:  # type: ignore[override]
        return self.codes.size

    @property
    def parts(self) -> Sequence[Storage]:
        return self.codes.storage, self.scale.storage

    def over(self, parts: Sequence[Storage]) -> Storage:
        codes, scale = parts
        return ScaledRows(replace(self.codes, storage=codes), replace(self.scale, storage=scale))

    def elements(self, start: int, stop: int) -> np.ndarray[Any, Any]:
        rows = np.arange(start, stop) // self.codes.shape[1]
        scale = self.scale.read(int(rows[0]), int(rows[-1]) + 1)
        return self.codes.read(start, stop).astype(np.float32) * scale[rows - rows[0]]


class Int8(Decoder):
    """int8 codes with a scale for each row become weights"""

    name = "int8"

    def claims(self, checkpoint: Checkpoint) -> Mapping[str, Sequence[str]]:
        names = (name.removesuffix(".codes") for name in checkpoint if name.endswith(".codes"))
        return {name: (f"{name}.codes", f"{name}.scale") for name in names if f"{name}.scale" in checkpoint}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        claims, made = self.claims(checkpoint), []
        for name, stored in claims.items():
            codes, scale = (checkpoint[each] for each in stored)
            made.append(LazyTensor(name, codes.shape, ScaledRows.dtype, ScaledRows(codes, scale), note="int8 × scale"))
        alone = [name for name in checkpoint if name.endswith(".codes") and name.removesuffix(".codes") not in claims]
        return checkpoint.compose(made, claims, self.name).with_notes(
            f"{name} stays codes: its scale is not here" for name in alone
        )


class Halves(Decoder):
    """two halves of a matrix become one"""

    name = "halves"

    def claims(self, checkpoint: Checkpoint) -> Mapping[str, Sequence[str]]:
        names = (name.removesuffix(".half0") for name in checkpoint if name.endswith(".half0"))
        return {name: (f"{name}.half0", f"{name}.half1") for name in names if f"{name}.half1" in checkpoint}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        claims, made = self.claims(checkpoint), []
        for name, stored in claims.items():
            upper, lower = (checkpoint[each] for each in stored)
            shape = (upper.shape[0] + lower.shape[0], *upper.shape[1:])
            tiles = Tiled(shape, [((0, 0), upper), ((upper.shape[0], 0), lower)])
            made.append(LazyTensor(name, shape, upper.dtype, tiles, note="rows joined"))
        return checkpoint.compose(made, claims, self.name)
