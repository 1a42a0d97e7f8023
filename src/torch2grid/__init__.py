"""See every weight of any PyTorch checkpoint, on any machine, without running its code.

    import torch2grid as t2g

    t2g.grid("model.safetensors").save("model.png")
    t2g.stats("model.safetensors")

Every function takes a path, an open ``Checkpoint``, a live ``nn.Module`` or a state dict, and returns ``Pages``: they
show themselves in a notebook and have ``save``. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torch2grid_core import __version__ as __version__

_API = ("conv", "dead_neurons", "grid", "histograms", "layers", "load", "stats")
_ELSEWHERE = {
    **dict.fromkeys(("Comparison", "compare", "optimizer", "series"), "torch2grid.changes"),
    **dict.fromkeys(("gradients", "save_gradients"), "torch2grid.live_gradients"),
    "GradientRecorder": "torch2grid.recorder",
}
_CORE = ("Checkpoint", "Distribution", "Grid", "LazyTensor", "Page")
__all__ = sorted((*_API, *_CORE, *_ELSEWHERE, "Pages"))

if TYPE_CHECKING:
    from torch2grid.api import conv as conv
    from torch2grid.api import dead_neurons as dead_neurons
    from torch2grid.api import grid as grid
    from torch2grid.api import histograms as histograms
    from torch2grid.api import layers as layers
    from torch2grid.api import load as load
    from torch2grid.api import stats as stats
    from torch2grid.changes import Comparison as Comparison
    from torch2grid.changes import compare as compare
    from torch2grid.changes import optimizer as optimizer
    from torch2grid.changes import series as series
    from torch2grid.live_gradients import gradients as gradients
    from torch2grid.live_gradients import save_gradients as save_gradients
    from torch2grid.pages import Pages as Pages
    from torch2grid.recorder import GradientRecorder as GradientRecorder
    from torch2grid_core import Checkpoint as Checkpoint
    from torch2grid_core import Distribution as Distribution
    from torch2grid_core import Grid as Grid
    from torch2grid_core import LazyTensor as LazyTensor
    from torch2grid_core import Page as Page


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'torch2grid' has no attribute {name!r}")
    usual = "torch2grid.api" if name in _API else "torch2grid_core" if name in _CORE else "torch2grid.pages"
    home = _ELSEWHERE.get(name, usual)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
