"""The functions of ``import torch2grid as t2g``, thin over the engine."""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial
from typing import Any

from torch2grid._pages import Pages
from torch2grid._session import as_checkpoint, drawable, make_run, manager, view_spec
from torch2grid_core import Checkpoint, GridTransformer, draw as draw_pages
from torch2grid_core.measures import executor_of


def load(model: Any, *, raw: bool = False) -> Checkpoint:
    """Every tensor and numeric array of *model*, all parts and buffers, nothing read yet.

    model: a path, an ``nn.Module`` on any device, a state dict, or whatever else a loader opens. raw: what is stored, without
    what decoders make of it. Raises ``LoadError`` for a file that cannot be read.
    """
    return as_checkpoint(model, raw)


def grid(model: Any, plugin: str | GridTransformer | None = None, **settings: Any) -> Pages:
    """One grid of all weights. plugin: a transformer's name with options, or an instance; *settings*: fields of ``Run``."""
    return draw(model, ["grid"], plugin, **settings)


def layers(model: Any, **settings: Any) -> Pages:
    """A page for each tensor, and the overview."""
    return draw(model, ["layers"], **settings)


def histograms(model: Any, **settings: Any) -> Pages:
    """A histogram for each tensor, and the overview."""
    return draw(model, ["histogram"], **settings)


def conv(model: Any, **settings: Any) -> Pages:
    """The kernels of every convolution. average: of each output channel, the mean over input channels."""
    return draw(model, [view_spec("conv", settings, ("average",))], **settings)


def stats(model: Any, **settings: Any) -> Pages:
    """The statistics table; ``print`` shows it as text."""
    return draw(model, [view_spec("stats", settings, ("detail", "sort"))], **settings)


def dead_neurons(model: Any, **settings: Any) -> Pages:
    """Units whose every weight is below ``threshold``: a table, a report and an overview."""
    return draw(model, ["dead_neurons"], **settings)


def draw(
    model: Any,
    views: list[str],
    plugin: str | GridTransformer | None = None,
    *,
    part: str = "",
    include_buffers: bool = False,
    filters: tuple[str, ...] = (),
    raw: bool = False,
    jobs: int = 0,
    executor: str | Executor | None = None,
    **settings: Any,
) -> Pages:
    """Any views over *model*. raw: without decoders. jobs: processes, one for each core unless given.

    executor: where else the work is done: the name of a plugin's, as ``--executor`` takes it, or one of the caller's, which
    stays open.
    settings: fields of ``Run`` (``reduce``, ``scale``, ``limits``, ``threshold``, ``title`` …).

    Raises ``UsageError`` for an unknown view, transformer, filter or setting.
    """
    plugins = manager()
    transformer = plugin if isinstance(plugin, GridTransformer) else plugins.create("transformer", plugin or "flatten")
    name = plugin if isinstance(plugin, str) else getattr(plugin, "name", "")
    run = make_run(transformer, settings, transformer_name=name.partition(":")[0].rpartition("/")[2])
    instances = [plugins.create("view", spec) for spec in views]
    opener = executor_of(plugins, executor)
    checkpoint = drawable(model, part, filters, include_buffers, raw)
    draw_pages(checkpoint, instances, run)  # plans it, so that what is wrong is said here
    return Pages(partial(draw_pages, checkpoint, instances, run), run, checkpoint, jobs, opener, instances)
