"""Settings of plugins: one that keeps every promise of its kind, and for each check one that breaks that promise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support.testing.broken.registry import breaks

from torch2grid_core import PluginSettings


@dataclass(frozen=True)
class GoodSettings(PluginSettings):
    """how deep it goes"""

    name = "toy"
    depth: int = field(default=3, metadata={"help": "How deep."})


@breaks("settings", "is_a_value")
@dataclass(frozen=True)
class NeverEqual(GoodSettings):
    """is not what it was"""

    def __eq__(self, other: Any) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@breaks("settings", "defaults_are_options")
@dataclass(frozen=True)
class Mistyped(GoodSettings):
    """is of another type than it says"""

    often: bool = field(default=0, metadata={"help": "How often."})  # type: ignore[assignment]


@breaks("settings", "has_options")
@dataclass(frozen=True)
class NothingToSet(PluginSettings):
    """has no field"""

    name = "toy"
