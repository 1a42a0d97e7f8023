"""Checkpoints opened and compared without the command line."""

from __future__ import annotations

from typing import Any

from torch2grid_builtin._compare.pages import DeltaAtlas, PairPages
from torch2grid_builtin._compare.two import Comparing, Comparison, Tolerance
from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_core import Checkpoint, PluginManager, Settings
from torch2grid_core.selection import select

MANAGER = PluginManager.discover(third_party=False)


def comparison_of(a: Any, b: Any, pictures: bool = False, **settings: Any) -> Comparison:
    """What differs between two files; *pictures*: with the pages drawn in the same pass."""
    return compared(*(select(MANAGER.open(str(path))).checkpoint for path in (a, b)), pictures=pictures, **settings)


def compared(a: Checkpoint, b: Checkpoint, pictures: bool = False, **settings: Any) -> Comparison:
    """What differs between two opened checkpoints."""
    comparing = Comparing(a, b)
    chosen = Tolerance(**settings)
    views = [PairPages(chosen.need, comparing.names), DeltaAtlas(Flatten(), comparing.names)] if pictures else []
    pages: list[Any] = []
    comparison = comparing.compare(chosen, views, lambda page, *_: pages.append(page), Settings())
    assert len(pages) == (len([each for each in comparison.deltas.values() if each.changed]) + 1 if pictures else 0)
    return comparison
