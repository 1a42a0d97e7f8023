"""The functions of ``import torch2grid as t2g``, thin over the engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from torch2grid._pages import Pages
from torch2grid._session import as_checkpoint, drawable, manager, settings_from, view_with, with_transformer
from torch2grid_core import Checkpoint, GridTransformer, draw as draw_pages
from torch2grid_core.measures import executor_of

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import CommonFields, Named, SettingsFields


def load(model: Any, *, loader: str = "", raw: bool = False) -> Checkpoint:
    """Every tensor and numeric array of *model*, all parts and buffers, nothing read yet.

    model: a path, an ``nn.Module`` on any device, a state dict, or whatever else a loader opens. loader: the name of the one
    that reads it. raw: what is stored, without what decoders make of it. Raises ``LoadError`` for a file that cannot be read.
    """
    return as_checkpoint(model, loader, raw)


def grid(model: Any, plugin: Named | GridTransformer | None = None, **settings: Unpack[CommonFields]) -> Pages:
    """One grid of all weights. plugin: a transformer's name with options, or an instance."""
    return draw(model, ["grid"], plugin, **settings)


def layers(model: Any, **settings: Unpack[SettingsFields]) -> Pages:
    """A page for each tensor, and the overview."""
    return draw(model, ["layers"], **settings)


def histograms(model: Any, **settings: Unpack[SettingsFields]) -> Pages:
    """A histogram for each tensor, and the overview."""
    return draw(model, ["histogram"], **settings)


def conv(model: Any, *, average: bool | None = None, **settings: Unpack[SettingsFields]) -> Pages:
    """The kernels of every convolution. average: of each output channel, the mean over input channels."""
    return draw(model, [view_with("conv", average=average)], **settings)


def stats(model: Any, *, detail: bool | None = None, sort: str | None = None, **settings: Unpack[SettingsFields]) -> Pages:
    """The statistics table; ``print`` shows it as text. detail: more columns; sort: the column to sort by."""
    return draw(model, [view_with("stats", detail=detail, sort=sort)], **settings)


def dead_neurons(model: Any, **settings: Unpack[SettingsFields]) -> Pages:
    """Units whose every weight is below ``threshold``: a table, a report and an overview."""
    return draw(model, ["dead_neurons"], **settings)


def outliers(model: Any, *, count: int | None = None, z: float | None = None, **settings: Unpack[SettingsFields]) -> Pages:
    """The weights, rows and columns, and layers that stick out most: three tables, and a page that shows them.

    count: lines of each table. z: what sticks out by more robust spreads is an outlier.
    """
    return draw(model, [view_with("outliers", count=count, z=z)], **settings)


def draw(
    model: Any, views: Sequence[Named] = (), plugin: Named | GridTransformer | None = None, **settings: Unpack[CommonFields]
) -> Pages:
    """Any views over *model*; the grid of all weights where none is named. settings: as on the command line.

    Raises ``UsageError`` for an unknown view, transformer, filter or setting.
    """
    plugins = manager()
    run = with_transformer(settings_from({**settings, "plugin": plugin}))
    instances = [plugins.create("view", spec) for spec in (*views, *run.view) or ("grid",)]
    opener = executor_of(plugins, run.executor)
    checkpoint = drawable(model, run)
    draw_pages(checkpoint, instances, run)  # plans it, so that what is wrong is said here
    return Pages(partial(draw_pages, checkpoint, instances, run), run, checkpoint, run.jobs, opener, instances)
