"""Drawing one model by the settings of the line, from a path to files and a summary line."""

from __future__ import annotations

import glob
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from torch2grid_core._cli.console import Preview, clauses, progress_bar, remarks, say, skips, summary_line, tell, watched
from torch2grid_core._cli.options import setting_options
from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._engine.drawing import Seen, draw
from torch2grid_core._engine.workers import executor_of, workers
from torch2grid_core._errors import NotDrawable, PluginError, Torch2GridError, UsageError
from torch2grid_core._guard import PASSES, call, describe
from torch2grid_core._kinds.reading import TensorFilter
from torch2grid_core._kinds.view import View
from torch2grid_core._output.files import STDOUT
from torch2grid_core._output.writing import Output, Preparer
from torch2grid_core._pictures.origin import PageOrigin
from torch2grid_core._pictures.page import Page
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._selection import Selection, select
from torch2grid_core._settings import DEFAULT_TRANSFORMER, DEFAULT_VIEW, FIELDS, GIVEN, Settings
from torch2grid_core._text import counted, without_secrets

_VIEW_OF_A_CHOICE = "layers"  # what is drawn of tensors that were chosen from the menu
_COMMANDS = ("check", "tree")  # that the menu has too
_SCREEN = "terminal"  # the format that shows a picture without a display


@dataclass(frozen=True)
class Done:
    """What became of one model: for the summary of a batch."""

    files: int
    tensors: int
    parameters: int


class Drawing:
    """The settings of one command line, checked before any file is read."""

    def __init__(self, manager: PluginManager, settings: Settings) -> None:
        self.manager, self.quiet = manager, settings.quiet
        self._filters(settings)  # a wrong filter ends the run before a file is read
        specs = _distinct(settings.view) or [manager.usual("view", DEFAULT_VIEW)]
        self.views: list[View] = [manager.create("view", spec) for spec in specs]
        self.run = self._with_transformer(settings)
        self.executor = executor_of(manager, settings.executor)
        self.output(settings.output, self.run)  # a wrong format ends the run here

    def one(self, model: str, output: str, limits: tuple[float, float] | None = None) -> Done:
        """Open *model*, draw its pages below *output*, and say on stderr what it was."""
        started = time.perf_counter()
        selection = self.open(model)
        run = replace(self.run, limits=limits) if limits else self.run
        if run.interactive:
            seen, waited = self._interact(model, selection.checkpoint, output, run)
            if not self.quiet:
                say(_summary(selection, seen, time.perf_counter() - started - waited))
            return Done(0, len(selection.checkpoint), selection.checkpoint.parameters)
        destination = self.output(output, run)
        preview = Preview(run)
        on_screen = any(map(destination.prepare.on_screen, run.format))  # the screen shows the pages themselves
        if watched(self.quiet) and not on_screen:
            destination.shown = preview.look
        seen = self._pass(selection.checkpoint, self.views, destination, run)
        if not self.quiet:
            if not destination.written and run.output not in (STDOUT, FIELDS["output"].default):
                say(f"nothing was written to {without_secrets(output)}: tables are printed; --format csv writes them there")
            say(_summary(selection, seen, time.perf_counter() - started))
        preview.show()
        return Done(len(destination.written), len(selection.checkpoint), selection.checkpoint.parameters)

    def open(self, model: str) -> Selection:
        """The tensors of *model* that this run is about; remarks go to stderr."""
        selection = self.quietly_open(model)
        if not self.quiet:
            for line in [*remarks(selection.checkpoint), *selection.remarks]:
                say(line)
        if self.run.verbose:
            for line in skips(selection.checkpoint):
                say(line)
        return selection

    def quietly_open(self, model: str) -> Selection:
        """The same without a word."""
        checkpoint = self.manager.open(model, self.run.loader or "", raw=self.run.raw)
        run = self.run
        return select(checkpoint, run.part, self._filters(run), run.include_buffers, run.slice)

    def output(self, target: str | Path, run: Settings) -> Output:
        """Where pages go."""
        return Output(self.manager, target, run, formats=run.format, renderer=run.renderer or "", say=tell)

    def _pass(self, checkpoint: Checkpoint, views: Sequence[View], destination: Output, run: Settings) -> Seen:
        """One run of the engine into *destination*, in as many processes as it is worth; what it saw on the way."""
        destination.for_views(views)
        destination.origin = PageOrigin.of(checkpoint)
        with destination:  # listeners hear how the run ended
            return self._drawn(checkpoint, views, destination, run)

    def _drawn(self, checkpoint: Checkpoint, views: Sequence[View], destination: Output, run: Settings) -> Seen:
        failures: dict[str, PluginError] = {}  # one transformer may fail several views, with one error
        declined: dict[str, NotDrawable] = {}
        pages = len(checkpoint) if any(type(view).tensor_pages is not View.tensor_pages for view in views) else 0
        with (
            progress_bar(checkpoint, watched(self.quiet)) as progress,
            workers(checkpoint, run.jobs, pages, fork=True, opener=self.executor) as executor,
        ):
            if self.executor is not None:
                destination.shelved()
            drew: set[str] = set()
            seen = Seen()

            for page, view, rendered in draw(
                checkpoint,
                views,
                run,
                prepare=destination.prepare,
                executor=executor,
                progress=progress if executor is None or pages else destination.warming_up(progress),
                failed=lambda view, error: failures.update({str(error): error}),
                declined=lambda view, error: declined.update({view.name: error}),
                seen=seen,
            ):
                drew.add(view.name)
                destination.take(page, view, rendered)
        destination.close()
        errors: list[Torch2GridError] = [*failures.values(), *declined.values()]
        idle = [view.name for view in views if view.name not in drew and view.name not in declined]
        if not failures and len(idle) == len(views):
            kind = "tensor" if any(tensor.size for tensor in checkpoint.values()) else "empty tensor"
            raise NotDrawable(f"{checkpoint.source}: {', '.join(idle)}: nothing to draw among {counted(len(checkpoint), kind)}")
        in_vain = bool(failures) or drew <= declined.keys()  # a view that declines at its end may have drawn
        for error in errors[in_vain:]:
            self.manager.trace(error)
            say(f"torch2grid: {error}" if error in failures.values() else str(error))
        for name in () if failures else idle:
            say(f"{name}: nothing to draw")
        if in_vain:
            raise errors[0]
        destination.require_drawn()
        return seen

    def _interact(self, model: str, checkpoint: Checkpoint, output: str, run: Settings) -> tuple[Seen, float]:
        """The menu; what all runs that were asked for there saw together, and the seconds that the person took."""
        from torch2grid_core._cli.menu import Menu

        seen = Seen()

        def drawn(names: Sequence[str], views: Sequence[str], destination: Output) -> None:
            instances = [self.manager.create("view", spec) for spec in views]
            try:
                seen.merge(self._pass(checkpoint.select(names), instances, destination, destination.run))
            except Torch2GridError as error:
                self.manager.trace(error)
                raise

        # Another renderer than the one that was asked for may draw into the terminal.
        on_screen = replace(run, format=(_SCREEN,), renderer=None) if _SCREEN in self.manager.formats() else None

        def both(names: Sequence[str], views: Sequence[str]) -> None:
            assert on_screen is not None
            destination, screen = self.output(output, run), self.output(STDOUT, on_screen)
            destination.shown = _Shown(screen.prepare).look
            destination.prepare = replace(destination.prepare, whole=True)
            drawn(names, views, destination)

        files = output != STDOUT and not run.format and self.output(output, run).file is None  # by the default of each view
        blind = on_screen is not None and files and sys.stdout.isatty() and headless()
        menu = Menu(
            checkpoint,
            lambda names, views: drawn(names, views, self.output(output, run)),
            _distinct(run.view) or [self.manager.usual("view", _VIEW_OF_A_CHOICE)],
            list(self.manager.names("view")),
            show=(lambda names, views: drawn(names, views, self.output(STDOUT, on_screen))) if on_screen else None,
            both=both if blind else None,
            commands={
                name: partial(self._run_command, name, model, checkpoint)
                for name in _COMMANDS
                if name in self.manager.names("command")
            },
            threshold=run.threshold,
        )
        menu.run()
        return Seen(seen.not_finite), menu.waited  # what a choice leaves out is no view's doing

    def _run_command(self, name: str, model: str, checkpoint: Checkpoint, names: Sequence[str] | None) -> None:
        """A command on the model of the menu, with the settings of its line; of *names*, where some were chosen, alone."""
        run, provided = self.run, self.manager.names("command")[name]
        values = {each.name: getattr(run, each.name) for each in FIELDS.values() if getattr(run, each.name) != each.default}
        if names is not None:  # the names are those of the part that the menu shows
            only = {"only": tuple(glob.escape(each) for each in names)}
            values |= {"part": run.part or checkpoint.whole.default_part or "", "filter": (*run.filter, only)}
        instance = provided.create()
        command: click.Command = call(instance, instance.build)
        taken = {option.setting.name for option in setting_options(command)}
        try:
            with command.make_context(name, ["--", model], obj=self.manager) as context:
                context.meta[GIVEN] = [(FIELDS[key], value) for key, value in values.items() if key in taken]
                command.invoke(context)
        except click.exceptions.Exit:
            pass
        except click.ClickException as error:
            raise UsageError(f"{name}: {error.format_message()}") from error
        except (*PASSES, BrokenPipeError):
            raise
        except BaseException as error:
            raise provided.origin.error(describe(error)) from error

    def _filters(self, settings: Settings) -> list[TensorFilter]:
        """The filters asked for, by ``--filter`` or by a flag of their own, in the order of the line."""
        return [self.manager.create("filter", spec) for spec in settings.filter]

    def _with_transformer(self, settings: Settings) -> Settings:
        """With a transformer where something asks for it: plugins are not called for what a run does not need.

        The only one that the ``--load-plugin`` files bring is used without ``--plugin``; of several none, with a line.
        """
        brought = self.manager.given("transformer")
        if settings.plugin is None and len(brought) == 1:
            settings = replace(settings, plugin=brought[0])
        needed = settings.interactive or any(view.uses_transformer for view in self.views)
        if needed and settings.plugin is None and brought:
            self.manager.note(f"the files of --load-plugin bring {' and '.join(brought)}; choose one with --plugin NAME")
        return self.manager.with_transformer(settings, DEFAULT_TRANSFORMER if needed else None)


class _Shown:
    """Shows pages of pictures in the terminal while they are written; the sheet of what was shown one by one is left out."""

    def __init__(self, prepare: Preparer) -> None:
        self.prepare, self.single = prepare, False

    def look(self, page: Page) -> None:
        self.single |= bool(page.folder)
        if page.panels and page.kind != "table" and (page.folder or not self.single):
            tell(self.prepare.render(page, _SCREEN).decode("utf-8", "replace").rstrip("\n") + "\n")


def headless() -> bool:
    """True where this machine has no display for the person at the terminal: a server, a session of ssh."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return False
    far = any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"))
    return far or sys.platform not in ("darwin", "win32")


def _distinct(specs: Sequence[Any]) -> list[Any]:
    return [spec for number, spec in enumerate(specs) if spec not in specs[:number]]


def _summary(selection: Selection, seen: Seen, seconds: float) -> str:
    """The summary line of one model."""
    return summary_line(selection, seconds, clauses(seen, selection.checkpoint))
