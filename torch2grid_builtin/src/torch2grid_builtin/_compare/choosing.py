"""Which tensors of several checkpoints are compared: the same ones of each, also by filters that count."""

from __future__ import annotations

from collections.abc import Sequence

from torch2grid_builtin._compare.names_file import Named
from torch2grid_builtin._compare.naming import matched, origins_of
from torch2grid_core import Checkpoint, NotDrawable, Settings, TensorFilter
from torch2grid_core.selection import Selection, select
from torch2grid_core.sources import Skip
from torch2grid_core.text import visible


class SameTensors:
    """Selects from one checkpoint after another. A filter that counts tensors does so in the first one alone.

    Of the others, the tensors stay that belong to those of the first.
    """

    def __init__(self, filters: Sequence[TensorFilter], names: Sequence[Named] = ()) -> None:
        """names: which tensor of one is which of the other, as a person states it."""
        self.filters, self.names = filters, names
        self._counting = [each for each in filters if each.listed_only]
        self._others: list[TensorFilter] = []

    def select(self, opened: Checkpoint, settings: Settings, include_buffers: bool = False) -> Selection:
        """What is compared of *opened* by the part, the buffers and the slice of *settings*.

        Raises ``NotDrawable`` where nothing is left, and whatever the filters raise.
        """
        buffers = include_buffers or settings.include_buffers
        selection = select(opened, settings.part, self._others or self.filters, buffers, settings.slice)
        if self._counting and not self._others:
            whole = select(opened, settings.part, include_buffers=buffers).checkpoint
            told = " and ".join(dict.fromkeys(repr(each.name) for each in self._counting))
            belonging = Belonging(whole, frozenset(selection.checkpoint), self.names, told)
            self._others = [*(each for each in self.filters if not each.listed_only), belonging]
        return selection


class Belonging(TensorFilter):
    """The tensors that belong to those *kept* of the checkpoint *first*, which filters chose."""

    name = "belonging"

    def __init__(self, first: Checkpoint, kept: frozenset[str], names: Sequence[Named], told: str) -> None:
        self.first, self.kept, self.names, self.told = first, kept, names, told

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        found, translation = matched(self.first, checkpoint, self.names)
        origins = (origins_of(pair, translation) for pair in found.pairs)
        belonging = {two.stored for one, two in origins if one.stored in self.kept}
        if not belonging:
            which = f"what filter {self.told} keeps of {visible(self.first.source)}, such as {visible(min(self.kept))}"
            raise NotDrawable(f"{checkpoint.source}: has no tensor that belongs to {which}")
        gone = [Skip(name, f"filter {self.told}", "torch2grid") for name in checkpoint if name not in belonging]
        return checkpoint.select(belonging, skipped=gone)
