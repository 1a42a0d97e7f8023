"""What this distribution brings."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl


@hookimpl
def torch2grid_commands() -> list[Lazy]:
    return [Lazy("torch2grid_explore.command:Explore", "explore", "zoom from the whole model to one weight, in a browser")]
