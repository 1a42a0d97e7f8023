"""The functions of ``import torch2grid as t2g``, thin over the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from torch2grid._pages import Pages
from torch2grid._session import as_checkpoint, choosing, drawable, manager, settings_from, view_with, with_transformer
from torch2grid_core import Checkpoint, GridTransformer, draw as draw_pages
from torch2grid_core.measures import executor_of

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import Filters, Named, PageFields, Patterns, Positions, ViewFields


def load(model: Any, *, loader: str = "", raw: bool = False) -> Checkpoint:
    """Every tensor and numeric array of *model*, all parts and buffers, nothing read yet.

    ``checkpoint["name"]`` is a ``LazyTensor``: an index reads that part alone and gives an array (``checkpoint["name"][1234]``,
    ``[0:64, ::2]``), and ``numpy.asarray(checkpoint["name"])`` is all of it.

    model: a path, an ``nn.Module`` on any device, a state dict, or whatever else a loader opens. loader: the name of the one
    that reads it. raw: what is stored, without what decoders make of it. Raises ``LoadError`` for a file that cannot be read.
    """
    return as_checkpoint(model, loader, raw)


def grid(
    model: Any,
    plugin: Named | GridTransformer | None = None,
    *,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[ViewFields],
) -> Pages:
    """One grid of all weights. plugin: a transformer's name with options, or an instance; the rest: see ``draw``."""
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, ["grid"], plugin, **chosen)


def layers(
    model: Any,
    *,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """A page for each tensor, and the overview. Arguments: see ``draw``."""
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, ["layers"], **chosen)


def histograms(
    model: Any,
    *,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """A histogram for each tensor, and the overview. Arguments: see ``draw``."""
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, ["histogram"], **chosen)


def conv(
    model: Any,
    *,
    average: bool | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """The kernels of every convolution.

    average: of each output channel, the mean over input channels; the rest: see ``draw``.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, [view_with("conv", average=average)], **chosen)


def stats(
    model: Any,
    *,
    detail: bool | None = None,
    sort: str | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """The statistics table; ``print`` shows it as text, ``.to_pandas()`` is a DataFrame.

    detail: more columns; sort: the column to sort by; the rest: see ``draw``.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, [view_with("stats", detail=detail, sort=sort)], **chosen)


def dead_neurons(
    model: Any,
    *,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """Units whose every weight is below ``threshold``: a table, a report and an overview. Arguments: see ``draw``."""
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, ["dead_neurons"], **chosen)


def outliers(
    model: Any,
    *,
    count: int | None = None,
    z: float | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """The weights, rows and columns, and layers that stick out most: three tables, and a page that shows them.

    count: lines of each table. z: what sticks out by more robust spreads is an outlier. The rest: see ``draw``.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, [view_with("outliers", count=count, z=z)], **chosen)


def quantization(
    model: Any,
    *,
    schemes: Sequence[str] | None = None,
    keep: float | None = None,
    detail: bool | None = None,
    blocks: str | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """What storing the weights in fewer bits would cost: tables by scheme and tensor, and a page that shows them.

    schemes: their names, such as ``("int8", "nf4")``. keep: how many dB below the median a tensor is to be kept as it is.
    detail: also a table with a line for each tensor and scheme. blocks: a scheme of which the error is drawn by block. The
    rest: see ``draw``.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    named = None if schemes is None else tuple(schemes)
    return draw(model, [view_with("quantization", schemes=named, keep=keep, detail=detail, blocks=blocks)], **chosen)


def spectrum(
    model: Any,
    *,
    side: int | None = None,
    exact: bool | None = None,
    shuffled: bool | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """Singular values of every matrix and kernel: a page each, a table, and ranks and exponents by depth.

    side: the longest shorter side that is measured. exact: each matrix is decomposed itself, not its square. shuffled: beside
    it the largest singular value of the same weights in random places. The rest: see ``draw``.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, [view_with("spectrum", side=side, exact=exact, shuffled=shuffled)], **chosen)


def heads(
    model: Any,
    *,
    heads: int | None = None,
    composition: bool | None = None,
    tile: int | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """Attention heads: a page for each layer, a table of all, maps of layers and heads, and how heads compose.

    heads: how many a layer has, where shapes and ``config.json`` do not say it. composition: scores of heads of different
    layers, however long they take. tile: cells of a side of a head's tile. The rest: see ``draw``.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, [view_with("heads", heads=heads, composition=composition, tile=tile)], **chosen)


def experts(
    model: Any,
    *,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """Experts of mixtures: a page for each layer, a table of all, and maps of layers and experts. Arguments: see ``draw``."""
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, ["experts"], **chosen)


def vocabulary(
    model: Any,
    *,
    count: int | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """Rows of embeddings and heads, those that look as if never trained first, with their tokens where a tokenizer is beside.

    count: rows that the table lists of each tensor. The rest: see ``draw``.
    """
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model, [view_with("vocabulary", count=count)], **chosen)


def draw(
    model: Any,
    views: Named | Sequence[Named] = (),
    plugin: Named | GridTransformer | None = None,
    *,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[ViewFields],
) -> Pages:
    """Any views over *model*; the grid of all weights where none is named.

    Args:
        model: a path, a ``Checkpoint``, an ``nn.Module``, a state dict, or whatever else a loader opens.
        views: a name with options (``"stats:detail=true"``), such as ``torch2grid plugins`` lists, or several.
        plugin: a grid transformer's name with options, or an instance.
        only: the tensors whose names match a pattern, or one of several: ``"encoder.*"``, ``["*.q_proj.*", "*.k_proj.*"]``.
        skip: not those whose names match.
        tensors: their numbers among those that are left, as the menu and ``tree --flat`` have them: ``3``, ``"1,3-5"``.
        filter: any filter: ``"largest:count=5"``, an instance of ``TensorFilter``, or several. Filters apply in the order of
            these four; for another order, give all of them here: ``["largest:count=5", {"only": {"pattern": "*.weight"}}]``.
        part: another part of the file (``"optimizer"``); ``"all"`` is everything.
        slice: this part of each tensor: numpy's basic indexing, as text or as Python has it (``"0:64, :"``,
            ``numpy.s_[0:64, :]``, ``1234``).
        settings: as on the command line, with ``_`` for ``-``.

    Returns:
        The pages, of which nothing is read before one is asked for.

    Raises:
        UsageError: an unknown view, transformer, filter, part or setting. NotDrawable: no tensor is left.
    """
    plugins = manager()
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    run = with_transformer(settings_from({**chosen, "plugin": plugin}))
    named = [views] if isinstance(views, str | Mapping) else views
    instances = [plugins.create("view", spec) for spec in (*named, *run.view) or ("grid",)]
    opener = executor_of(plugins, run.executor)
    checkpoint = drawable(model, run)
    draw_pages(checkpoint, instances, run)  # plans it, so that what is wrong is said here
    return Pages(partial(draw_pages, checkpoint, instances, run), run, checkpoint, run.jobs, opener, instances)
