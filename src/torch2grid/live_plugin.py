"""The loaders of live objects, by the hook that everybody's loaders come by. Torch is imported by none of them."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl


@hookimpl
def torch2grid_loaders() -> list[Lazy]:
    live = "torch2grid._live"
    return [
        Lazy(f"{live}:LiveModule", "module", "A live nn.Module, on any device.", accepts="objects"),
        Lazy(f"{live}:StateDict", "state-dict", "A mapping of names to tensors or arrays, or one tensor.", accepts="objects"),
    ]
