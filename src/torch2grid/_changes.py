"""Change over time from Python: two checkpoints, a run of them, an optimizer's state."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch2grid._pages import Pages
from torch2grid._session import as_checkpoint, choosing, manager, settings_from, view_with
from torch2grid_core import Checkpoint, GridTransformer, Page, Settings, UsageError, View
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.pages import PageOrigin
from torch2grid_core.sources import ObjectSource
from torch2grid_core.text import counted

if TYPE_CHECKING:
    from typing import Unpack

    import torch

    from torch2grid._keywords import Filters, Named, PageFields, Patterns, Positions, SharedFields

_OWN_PAGES = {"view": "a comparison has pages of its own; layers=True draws those of each tensor"}
_NO_GRID = {"plugin": "a series draws no grid of the whole model here; torch2grid compare --atlas does"}


class Comparison(Pages):
    """The pages of ``compare``. same: nothing differs; report: the figures as plain data, as ``--format json`` prints them."""

    def __init__(
        self, drawn: Any, run: Settings, checkpoint: Checkpoint, report: Mapping[str, Any], origin: PageOrigin
    ) -> None:
        super().__init__(drawn, run, checkpoint, origin=origin)
        self.report = dict(report)

    def __repr__(self) -> str:
        found = "same" if self.same else "different"
        return f"<Comparison of {self.checkpoint.source!r}: {found}, {counted(len(self), 'page')}>"

    @property
    def same(self) -> bool:
        return bool(self.report["same"])


class Series(Pages):
    """The pages of ``series``. labels: what each snapshot is called, in their order; tensors: how many were followed."""

    def __init__(
        self, drawn: Any, run: Settings, checkpoint: Checkpoint, labels: Sequence[str], tensors: int, origin: PageOrigin | None
    ) -> None:
        super().__init__(drawn, run, checkpoint, origin=origin)
        self.labels, self.tensors = tuple(labels), tensors

    def __repr__(self) -> str:
        ends = " … ".join(dict.fromkeys([*self.labels[:1], *self.labels[-1:]]))
        followed = f"{counted(self.tensors, 'tensor')} over {counted(len(self.labels), 'snapshot')}"
        return f"<Series of {followed}, {ends}: {counted(len(self), 'page')}>"


def compare(
    a: Any,
    b: Any,
    plugin: Named | GridTransformer | None = None,
    *,
    tolerance: float = 0.0,
    ignore_dtype: bool = False,
    merge: Any = None,
    names: str | os.PathLike[str] | Mapping[str | re.Pattern[str], str] | None = None,
    layers: bool = False,
    lineage: bool = False,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[SharedFields],
) -> Comparison:
    """What changed from *a* to *b*: a table, Δ of the whole model, and with *layers* a page for each tensor that changed.

    a, b: paths, modules, state dicts or checkpoints, the model of a training checkpoint. plugin: the grid transformer of the
    whole model. tolerance: |Δ| up to it is no difference; ignore_dtype: nor is another dtype. merge: an adapter that is merged
    into *a* before; what rounding does to a merge is no difference. names: which tensor of *a* is which of *b* (the path of a
    CSV file, or a mapping of old to new names, of which an old one may be a compiled pattern); names of known libraries are
    found without. lineage: a page ``lineage`` says whether the weights show a shared training, which takes scipy. The rest:
    see ``draw``.
    """
    from torch2grid_builtin.adapters import merge as merged
    from torch2grid_builtin.compare import (
        PAIR_CELLS,
        Comparing,
        DeltaAtlas,
        PairPages,
        SameTensors,
        Tolerance,
        comparison_table,
        lineage_of,
        lineage_page,
        overview_page,
        read_names,
        transformer_of,
    )

    chosen = Tolerance(tolerance, ignore_dtype)
    picked = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    asked = settings_from({**picked, "plugin": plugin}, _OWN_PAGES, tensor_cells=PAIR_CELLS)
    known = read_names(names) if names is not None else ()
    same = SameTensors([manager().create("filter", spec) for spec in asked.filter], known)
    opened = (as_checkpoint(each, asked.loader or "", asked.raw) for each in (a, b))
    base, other = (same.select(each, asked).checkpoint for each in opened)
    base = base if merge is None else merged(base, as_checkpoint(merge)).beside(other)
    comparing = Comparing(base, other, known)
    transformer = transformer_of(manager(), asked)
    run = replace(asked, transformer=transformer)
    atlas = DeltaAtlas(transformer, comparing.names, comparing.quantised)
    views: list[View] = [PairPages(chosen.need, comparing.names, quantised=comparing.quantised)] if layers else []
    drawn: list[tuple[Page, View]] = []
    pages = len(comparing.joint) if layers else 0
    with workers(comparing.joint, run.jobs, pages, opener=executor_of(manager(), run.executor)) as executor:
        comparison = comparing.compare(
            chosen, [*views, atlas], lambda page, view, _: drawn.append((page, view)), run, executor=executor
        )
    table = comparison_table(comparison, comparing.names)
    overview = overview_page(comparison, comparing.names)
    title = f"A: {comparing.names.a}, B: {comparing.names.b}"
    evidence = lineage_page(lineage_of(comparison), title) if lineage else None
    first: list[tuple[Page, View]] = [(page, atlas) for page in (table, overview, evidence) if page is not None]
    return Comparison([*first, *(drawn if comparison.moved else [])], run, comparing.joint, table.data or {}, comparing.origin)


def series(
    checkpoints: Any,
    *,
    given: bool = False,
    layers: bool = False,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[SharedFields],
) -> Series:
    """How the weights went from checkpoint to checkpoint: a table, trends, and histograms over time.

    checkpoints: two or more paths, modules, state dicts or checkpoints; a folder of files; or a recording of gradients (its
    path, or the ``GradientRecorder``). They are ordered by the step that the files or their names state, else by
    name; *given*: as they are. layers: histograms over time of every tensor, not only of those that moved most. The rest:
    see ``draw``.
    """
    from torch2grid_builtin import compare as made
    from torch2grid_builtin.transformers import Flatten

    picked = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    run = settings_from(picked, {**_OWN_PAGES, **_NO_GRID})
    found = _several(checkpoints, run)
    if len(found) == 1 and made.is_recording(found[0]):
        (tracked, title), quantity = made.recorded_series(found[0]), made.GRADIENTS
    elif len(found) < 2:
        raise UsageError("a series takes two checkpoints or more")
    else:
        ordered, quantity = made.in_order(found, given), made.Quantity()
        joint = made.joint_series(ordered)
        with workers(joint[0], run.jobs, opener=executor_of(manager(), run.executor)) as executor:
            tracked = made.compare_many(ordered, run=run, executor=executor, joint=joint)
        title = ""
    view = made.Frames(Flatten(), tracked.ordered.labels)
    pages = made.series_pages(tracked, quantity, run.title or title, layers)
    origin = PageOrigin.of(*tracked.ordered.checkpoints) if tracked.ordered.checkpoints else None
    shown = [(page, view) for page in pages]
    return Series(shown, run, found[-1], tracked.ordered.labels, len(tracked.tracks), origin)


def optimizer(
    model: Any,
    state: torch.optim.Optimizer | None = None,
    *,
    each: bool | None = None,
    overview: bool | None = None,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    **settings: Unpack[PageFields],
) -> Pages:
    """The optimizer's moments of each parameter, and the last update with its ratio to the weight.

    model: a training checkpoint (a path, a ``Checkpoint``, or what ``torch.load`` returns), or a module together with its
    optimizer as *state*. each, overview: with a page for each parameter, with one of all. The rest: see ``draw``. Raises
    ``NotDrawable`` where there is no optimizer state.
    """
    from torch2grid._api import draw

    spec = view_with("optimizer", each=each, overview=overview)
    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    return draw(model if state is None else live_training(model, state), [spec], **chosen)


def live_training(model: torch.nn.Module, state: torch.optim.Optimizer) -> Checkpoint:
    """A module and its optimizer as the training checkpoint that ``{"model": …, "optimizer": …}`` would make."""
    saved = state.state_dict()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [
        {
            **{key: _plain(value) for key, value in group.items()},
            "param_names": [names.get(id(each), "") for each in held["params"]],
        }
        for group, held in zip(saved["param_groups"], state.param_groups, strict=True)
    ]
    optimizer = {"state": saved["state"], "param_groups": groups}
    return manager().open(ObjectSource({"model": model, "optimizer": optimizer}, type(model).__name__))


def _plain(value: Any) -> Any:
    """A setting of a parameter group as a number, where it is a tensor (the ``lr`` of a capturable optimizer)."""
    return value.item() if hasattr(value, "item") else value


def _several(checkpoints: Any, settings: Settings) -> list[Checkpoint]:
    from torch2grid._gradients import GradientRecorder
    from torch2grid_builtin.compare import SameTensors, checkpoints_in, is_recording

    same = SameTensors([manager().create("filter", spec) for spec in settings.filter])

    def chosen(model: Any) -> Checkpoint:
        opened = as_checkpoint(model, settings.loader or "", settings.raw)
        return same.select(opened, settings, is_recording(opened)).checkpoint

    if isinstance(checkpoints, GradientRecorder):
        return [checkpoints.checkpoint()]
    if isinstance(checkpoints, (str, os.PathLike)):
        if os.path.isdir(checkpoints):
            return checkpoints_in(os.fspath(checkpoints), chosen)[0]
        checkpoints = [checkpoints]
    return [chosen(each) for each in checkpoints]
