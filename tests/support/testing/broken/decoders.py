"""Decoders: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tests.support.testing.broken.registry import breaks

from torch2grid_core import Checkpoint, Decoder, LazyTensor
from torch2grid_core.sources import DerivedNumbers
from torch2grid_core.testing._samples import tensor


def compose_toy(folder: Path) -> list[Checkpoint]:
    codes = np.arange(-300, 300, dtype=np.int16).reshape(20, 30)
    return [Checkpoint([tensor("a", np.ones(3, np.float32)), tensor("w.codes", codes)])]


class Halved(DerivedNumbers):
    """Codes over two."""

    def __init__(self, codes: LazyTensor) -> None:
        self.inner, self.count = codes.storage, codes.size

    def elements(self, start: int, stop: int) -> Any:
        return self.read(2 * start, 2 * (stop - start)).view(np.int16).astype(np.float32) / 2


class GoodDecoder(Decoder):
    """codes become weights"""

    name = "toy"
    storage: ClassVar[type[Halved]] = Halved

    def claims(self, checkpoint: Checkpoint) -> Any:
        return {name.removesuffix(".codes"): [name] for name in checkpoint if name.endswith(".codes")}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        claims = GoodDecoder.claims(self, checkpoint)
        return checkpoint.compose([self.made(name, checkpoint[stored]) for name, (stored,) in claims.items()], claims, "toy")

    def made(self, name: str, codes: LazyTensor) -> LazyTensor:
        return LazyTensor(name, codes.shape, Halved.dtype, self.storage(codes))


@breaks("decoder", "claims_are_stored")
class ClaimsWhatIsNotThere(GoodDecoder):
    """claims a scale, too"""

    def claims(self, checkpoint: Checkpoint) -> Any:
        return {name: [*stored, f"{name}.scale"] for name, stored in super().claims(checkpoint).items()}


@breaks("decoder", "what_it_claims_is_composed")
class Renames(GoodDecoder):
    """puts tensors in by itself, which keeps no part"""

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint.with_tensors([checkpoint["a"], replace(checkpoint["w.codes"], name="w")])


class _Forgets(Halved):
    def elements(self, start: int, stop: int) -> Any:
        return super().elements(start, stop) + np.float32(start)


@breaks("decoder", "composed_reads_agree")
class ReadsDiffer(GoodDecoder):
    """numbers that depend on where a read begins"""

    storage = _Forgets


@breaks("decoder", "others_are_left_alone")
class Cleans(GoodDecoder):
    """drops empty tensors on the way"""

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        found = super().decode(checkpoint)
        return found.select(name for name, each in found.items() if each.size)
