"""See every weight of any PyTorch checkpoint, on any machine, without running its code.

    import torch2grid as t2g

    t2g.grid("model.safetensors").save("model.png")
    t2g.stats("model.safetensors")

Every function takes a path, an open ``Checkpoint``, a live ``nn.Module`` or a state dict. Those that draw return ``Pages``:
they show themselves in a notebook and have ``save`` and ``plot``. ``check``, ``tree`` and ``measure`` return what was found.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import sys

# "python -m torch2grid" begins here, and puts the working folder first: a numpy.py beside a checkpoint is nobody's numpy.
if sys.argv[:1] == ["-m"] and {"torch2grid", "-mtorch2grid"} & {*sys.orig_argv} and not getattr(sys.flags, "safe_path", False):
    del sys.path[0]

import importlib
from typing import TYPE_CHECKING, Any

from torch2grid_core import __version__ as __version__

_WHERE = {
    "torch2grid._api": (
        "conv",
        "dead_neurons",
        "draw",
        "experts",
        "grid",
        "heads",
        "histograms",
        "layers",
        "load",
        "outliers",
        "quantization",
        "spectrum",
        "stats",
        "vocabulary",
    ),
    "torch2grid._checking": ("CheckResult", "check"),
    "torch2grid._changes": ("Comparison", "Series", "compare", "optimizer", "series"),
    "torch2grid._gradients": ("GradientRecorder", "gradients", "save_gradients"),
    "torch2grid._measuring": ("Measured", "measure"),
    "torch2grid._pages": ("Pages",),
    "torch2grid._tree": ("Tree", "tree"),
    "torch2grid_core": ("Checkpoint", "Grid", "LazyTensor", "Page"),
    "torch2grid_core.measures": ("Distribution",),
}
_HOMES = {name: home for home, names in _WHERE.items() for name in names}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from torch2grid._api import (
        conv as conv,
        dead_neurons as dead_neurons,
        draw as draw,
        experts as experts,
        grid as grid,
        heads as heads,
        histograms as histograms,
        layers as layers,
        load as load,
        outliers as outliers,
        quantization as quantization,
        spectrum as spectrum,
        stats as stats,
        vocabulary as vocabulary,
    )
    from torch2grid._changes import (
        Comparison as Comparison,
        Series as Series,
        compare as compare,
        optimizer as optimizer,
        series as series,
    )
    from torch2grid._checking import CheckResult as CheckResult, check as check
    from torch2grid._gradients import (
        GradientRecorder as GradientRecorder,
        gradients as gradients,
        save_gradients as save_gradients,
    )
    from torch2grid._measuring import Measured as Measured, measure as measure
    from torch2grid._pages import Pages as Pages
    from torch2grid._tree import Tree as Tree, tree as tree
    from torch2grid_core import Checkpoint as Checkpoint, Grid as Grid, LazyTensor as LazyTensor, Page as Page
    from torch2grid_core.measures import Distribution as Distribution


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'torch2grid' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
