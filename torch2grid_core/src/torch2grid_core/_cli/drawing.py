"""Drawing one model by the settings of the line, from a path to files and a summary line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch2grid_core._cli import usual
from torch2grid_core._cli.console import Preview, remarks, say, skips, summary_line, tell
from torch2grid_core._cli.problems import clauses
from torch2grid_core._cli.progress import progress_bar, watched
from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.drawing import draw
from torch2grid_core._engine.executors import executor_of
from torch2grid_core._engine.seen import Seen
from torch2grid_core._engine.workers import workers
from torch2grid_core._errors import NotDrawable, PluginError, Torch2GridError
from torch2grid_core._kinds.view import View
from torch2grid_core._output.writing import Output
from torch2grid_core._pictures.colors import colormap
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._run import Run
from torch2grid_core._selection.selection import Selection, select


@dataclass(frozen=True)
class Done:
    """What became of one model: for the summary of a batch."""

    files: int
    tensors: int
    parameters: int


class Drawing:
    """The settings of one command line, checked before any file is read. given: the drawing command's parameters."""

    def __init__(self, manager: PluginManager, given: dict[str, Any]) -> None:
        self.manager, self.given = manager, given
        self.quiet, self.verbose = given["quiet"], given["verbose"]
        self.views, self.run = self._views_and_run()
        self.executor = executor_of(manager, given["executor"])
        self.output(given["output"], self.run)  # a wrong format ends the run here

    def one(self, model: str, output: str, limits: tuple[float, float] | None = None) -> Done:
        """Open *model*, draw its pages below *output*, and say on stderr what it was."""
        started = time.perf_counter()
        selection = self.open(model)
        run = replace(self.run, limits=limits) if limits else self.run
        if self.given["interactive"]:
            seen = self._interact(selection.checkpoint, output, run)
            if not self.quiet:
                say(_summary(selection, seen, time.perf_counter() - started))
            return Done(0, len(selection.checkpoint), selection.checkpoint.parameters)
        destination = self.output(output, run)
        preview = Preview(run)
        on_screen = any(map(destination.prepare.on_screen, self.given["formats"]))  # the screen shows the pages themselves
        if watched(self.quiet) and not on_screen:
            destination.shown = preview.look
        seen = self._pass(selection.checkpoint, self.views, destination, run)
        if not self.quiet:
            say(_summary(selection, seen, time.perf_counter() - started))
        preview.show()
        return Done(len(destination.written), len(selection.checkpoint), selection.checkpoint.parameters)

    def open(self, model: str) -> Selection:
        """The tensors of *model* that this run is about; remarks go to stderr."""
        selection = self.quietly_open(model)
        if not self.quiet:
            for line in [*remarks(selection.checkpoint), *selection.remarks]:
                say(line)
        if self.verbose:
            for line in skips(selection.checkpoint):
                say(line)
        return selection

    def quietly_open(self, model: str) -> Selection:
        """The same without a word."""
        checkpoint = self.manager.open(model, self.given["loader"] or "", raw=self.given["raw"])
        return select(checkpoint, self.given["part"], self._filters(), self.given["include_buffers"])

    def output(self, target: str | Path, run: Run) -> Output:
        """Where pages go."""
        formats, renderer = self.given["formats"], self.given["renderer"] or ""
        return Output(self.manager, target, run, formats=formats, renderer=renderer, say=tell)

    def _pass(self, checkpoint: Checkpoint, views: Sequence[View], destination: Output, run: Run) -> Seen:
        """One run of the engine into *destination*, in as many processes as it is worth; what it saw on the way."""
        destination.for_views(views)
        failures: dict[str, PluginError] = {}  # one transformer may fail several views, with one error
        declined: dict[str, NotDrawable] = {}
        pages = len(checkpoint) if any(type(view).tensor_pages is not View.tensor_pages for view in views) else 0
        with (
            destination,
            progress_bar(checkpoint, watched(self.quiet)) as progress,
            workers(checkpoint, self.given["jobs"], pages, fork=True, opener=self.executor) as executor,
        ):
            drew: set[str] = set()
            seen = Seen()

            def fail(view: View, error: PluginError) -> None:
                failures[str(error)] = error

            def decline(view: View, error: NotDrawable) -> None:
                declined[view.name] = error

            for page, view, rendered in draw(
                checkpoint,
                views,
                run,
                prepare=destination.prepare,
                executor=executor,
                progress=progress,
                failed=fail,
                declined=decline,
                seen=seen,
            ):
                drew.add(view.name)
                destination.take(page, view, rendered)
        errors: list[Torch2GridError] = [*failures.values(), *declined.values()]
        idle = [view.name for view in views if view.name not in drew and view.name not in declined]
        if not failures and len(idle) == len(views):
            raise NotDrawable(f"{checkpoint.source}: {', '.join(idle)}: nothing to draw in these {len(checkpoint)} tensors")
        in_vain = bool(failures) or drew <= declined.keys()  # a view that declines at its end may have drawn
        for error in errors[in_vain:]:
            self.manager.trace(error)
            say(str(error))
        for name in () if failures else idle:
            say(f"{name}: nothing to draw")
        if in_vain:
            raise errors[0]
        destination.require_drawn()
        return seen

    def _interact(self, checkpoint: Checkpoint, output: str, run: Run) -> Seen:
        """The menu; what all runs that were asked for there saw together."""
        from torch2grid_core._cli.menu import Menu

        seen = Seen()

        def draw_chosen(names: Sequence[str], views: Sequence[str]) -> None:
            instances = [self.manager.create("view", spec) for spec in views]
            try:
                seen.merge(self._pass(checkpoint.select(names), instances, self.output(output, run), run))
            except Torch2GridError as error:
                self.manager.trace(error)
                raise

        views = [*dict.fromkeys(self.given["views"])] or [self._default("view", usual.VIEW_OF_A_CHOICE)]
        Menu(checkpoint, draw_chosen, views, list(self.manager.names("view"))).run()
        return Seen(seen.not_finite)  # what a choice leaves out is no view's doing

    def _filters(self) -> list[Any]:
        """The filters asked for, by ``--filter`` or by a flag of their own, in the order of the line."""
        return [
            self.manager.create("filter", name) if value is None else self.manager.create_by_flag(name, value)
            for name, value in self.given["filters"]
        ]

    def _views_and_run(self) -> tuple[list[View], Run]:
        """The views asked for (the default one where none is) and the settings they follow."""
        given = self.given
        self._filters()  # a wrong filter ends the run before a file is read
        specs = list(dict.fromkeys(given["views"])) or [self._default("view", usual.VIEW)]
        views = [self.manager.create("view", spec) for spec in specs]
        spec = given["plugin"] if given["plugin"] is not None else self._only_loaded_transformer()
        transformer = None  # made only where something asks for it: plugins are not called for what a run does not need
        if spec is not None or self.given["interactive"] or any(view.uses_transformer for view in views):
            chosen = self._default("transformer", usual.TRANSFORMER) if spec is None else spec
            transformer = self.manager.create("transformer", chosen)
        if given["colormap"]:
            colormap(given["colormap"])  # so does an unknown colour map
        return views, Run(
            transformer=transformer,
            transformer_name=(spec or "").partition(":")[0].rpartition("/")[2],
            limits=given["limits"] if isinstance(given["limits"], tuple) else None,
            **{key: given[key] for key in ("reduce", "scale", "clip", "threshold", "title", "colormap", "max_cells")},
        )

    def _default(self, kind: str, name: str) -> str:
        """The usual one of a kind, or the only one there is."""
        names = self.manager.names(kind)
        if name in names or len(names) != 1:
            return name
        return next(iter(names))

    def _only_loaded_transformer(self) -> str | None:
        """The transformer of the ``--load-plugin`` files, if they bring exactly one."""
        brought = [name for name, each in self.manager.names("transformer").items() if each.record.is_file]
        return brought[0] if len(brought) == 1 else None


def _summary(selection: Selection, seen: Seen, seconds: float) -> str:
    """The summary line of one model."""
    return summary_line(selection, seconds, clauses(seen, selection.checkpoint))
