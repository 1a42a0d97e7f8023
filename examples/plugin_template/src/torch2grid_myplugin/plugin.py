"""What this plugin brings. torch2grid imports this module at every start: import heavy things where they are used."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl


@hookimpl
def torch2grid_transformers() -> list[Lazy]:
    return [
        Lazy("torch2grid_myplugin.sorted_units:SortedUnits", "sorted_units", "each layer's output units, sorted by norm"),
    ]
