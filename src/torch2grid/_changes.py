"""Change over time from Python: two checkpoints, a run of them, an optimizer's state."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from torch2grid._pages import Pages
from torch2grid._session import as_checkpoint, drawable, make_run, manager, view_spec
from torch2grid_core import Checkpoint, Page, Run, UsageError, View
from torch2grid_core.measures import executor_of, workers
from torch2grid_core.sources import ObjectSource

if TYPE_CHECKING:
    import torch


class Comparison(Pages):
    """The pages of ``compare``. same: nothing differs; report: the figures as plain data, as ``--format json`` prints them."""

    def __init__(self, drawn: Any, run: Run, checkpoint: Checkpoint, report: Mapping[str, Any]) -> None:
        super().__init__(drawn, run, checkpoint)
        self.report = dict(report)

    @property
    def same(self) -> bool:
        return bool(self.report["same"])


def compare(
    a: Any,
    b: Any,
    plugin: str = "",
    *,
    tolerance: float = 0.0,
    ignore_dtype: bool = False,
    layers: bool = False,
    part: str = "",
    filters: tuple[str, ...] = (),
    include_buffers: bool = False,
    raw: bool = False,
    executor: str | Executor | None = None,
    **settings: Any,
) -> Comparison:
    """What changed from *a* to *b*: a table, Δ of the whole model, and with *layers* a page for each tensor that changed.

    a, b: paths, modules, state dicts or checkpoints, the model of a training checkpoint. plugin: the grid transformer of the
    whole model. tolerance: |Δ| up to it is no difference; ignore_dtype: nor is another dtype. raw: without decoders.
    settings: fields of ``Run``.
    """
    from torch2grid_builtin.compare import (
        PAIR_CELLS,
        Comparing,
        ComparisonSettings,
        DeltaAtlas,
        PairPages,
        comparison_table,
        overview_page,
        transformer_of,
    )

    chosen = ComparisonSettings(tolerance, ignore_dtype)
    comparing = Comparing(*(drawable(each, part, filters, include_buffers, raw) for each in (a, b)))
    transformer = transformer_of(manager(), plugin)
    run = make_run(transformer, settings, tensor_cells=PAIR_CELLS)
    atlas = DeltaAtlas(transformer, comparing.names)
    views: list[View] = [PairPages(chosen.need, comparing.names)] if layers else []
    drawn: list[tuple[Page, View]] = []
    with workers(comparing.joint, jobs=1, opener=executor_of(manager(), executor)) as where:
        comparison = comparing.compare(
            chosen, [*views, atlas], lambda page, view, _: drawn.append((page, view)), run, executor=where
        )
    table = comparison_table(comparison, comparing.names)
    if not any(delta.changed for delta in comparison.deltas.values()):
        drawn = []
    overview = overview_page(comparison, comparing.names)
    drawn = [(table, atlas), *([(overview, atlas)] if overview is not None else []), *drawn]
    return Comparison(drawn, run, comparing.joint, table.data or {})


def series(
    checkpoints: Any,
    *,
    given: bool = False,
    part: str = "",
    filters: tuple[str, ...] = (),
    layers: bool = False,
    raw: bool = False,
    executor: str | Executor | None = None,
    **settings: Any,
) -> Pages:
    """How the weights went from checkpoint to checkpoint: a table, trends, and histograms over time.

    checkpoints: two or more paths, modules, state dicts or checkpoints; a folder of files; or a recording of gradients (its
    path, or the ``GradientRecorder``). They are ordered by the step that the files state, else by name; *given*: as they
    are. layers: histograms over time of every tensor, not only of those that moved most. jobs: processes, one
    for each core unless given.
    """
    from torch2grid_builtin import compare as made
    from torch2grid_builtin.transformers import Flatten

    run = make_run(Flatten(), settings)
    found = _several(checkpoints, part, filters, raw)
    if len(found) == 1 and made.is_recording(found[0]):
        (tracked, title), quantity = made.recorded_series(found[0]), made.GRADIENTS
    elif len(found) < 2:
        raise UsageError("a series takes two checkpoints or more")
    else:
        ordered, quantity = made.in_order(found, given), made.Quantity()
        joint = made.joint_series(ordered)
        with workers(joint[0], jobs=1, opener=executor_of(manager(), executor)) as where:
            tracked = made.compare_many(ordered, run=run, executor=where, joint=joint)
        title = f"{len(found)} checkpoints, {ordered.said}"
    view = made.Frames(Flatten(), tracked.ordered.labels)
    names = list(tracked.tracks) if layers else made.moved_most(tracked)
    pages = [made.series_table(tracked, quantity, run.title or title), made.trends_page(tracked, quantity, run.title or title)]
    pages += [made.ridges_page(tracked, name, quantity) for name in names]
    return Pages([(page, view) for page in pages], run, found[-1])


def optimizer(model: Any, state: torch.optim.Optimizer | None = None, **settings: Any) -> Pages:
    """The optimizer's moments of each parameter, and the last update with its ratio to the weight.

    model: a training checkpoint (a path, a ``Checkpoint``, or what ``torch.load`` returns), or a module together with its
    optimizer as *state*. settings: the view's ``each`` and ``overview``, and fields of ``Run``. Raises ``NotDrawable`` where
    there is no optimizer state.
    """
    from torch2grid._api import draw

    spec = view_spec("optimizer", settings, ("each", "overview"))
    return draw(model if state is None else live_training(model, state), [spec], **settings)


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


def _several(checkpoints: Any, part: str, filters: Sequence[str], raw: bool) -> list[Checkpoint]:
    from torch2grid._recorder import GradientRecorder
    from torch2grid_builtin.compare import checkpoints_in, is_recording

    def chosen(model: Any) -> Checkpoint:
        opened = as_checkpoint(model, raw)
        return drawable(opened, part, filters, is_recording(opened))

    if isinstance(checkpoints, GradientRecorder):
        return [checkpoints.checkpoint()]
    if isinstance(checkpoints, (str, os.PathLike)):
        if os.path.isdir(checkpoints):
            return checkpoints_in(os.fspath(checkpoints), chosen)[0]
        checkpoints = [checkpoints]
    return [chosen(each) for each in checkpoints]
