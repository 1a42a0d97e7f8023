"""What a run itself can be given: executors, listeners, options of a plugin as a whole, and subcommands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    import click

    from torch2grid_core._pictures.origin import PageOrigin
    from torch2grid_core._pictures.page import Page
    from torch2grid_core._settings import Settings


class ExecutorFactory(ABC):
    """Opens executors for ``--executor NAME``.

    It is given functions of torch2grid, with tensors that pickle by their address, so a worker on another machine must reach
    the same files. No digit depends on who does the work.
    """

    name: ClassVar[str]

    @abstractmethod
    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        """Return an executor, which ends with its context, as every ``concurrent.futures.Executor`` does.

        Args:
            address: where it is, as in ``NAME:tcp://HOST:PORT``; empty unless given.
            jobs: how many workers are asked for; 0 leaves it to the executor.
        """


class Listener:
    """Hears of what a run writes: for a manifest, an upload, an experiment tracker. Its options are dataclass fields.

    Ask for it with ``--listener NAME``. It is at work without that where *always* is true, or where ``--load-plugin`` named its
    file.

    An instance serves one run: what is drawn of one model, or of the checkpoints that are compared with each other. For three
    models on one line, there are three instances. All methods are called in the process that writes. All but one may be left
    out. ``run.output`` is where the files of this run go.

    A listener that raises prints one line at the end of the run. All files are still written.
    """

    name: ClassVar[str]
    always: ClassVar[bool] = False

    def started(self, origin: PageOrigin, run: Settings) -> None:
        """Called before the first page is drawn. If it raises, nothing more is called."""

    def written(self, page: Page, path: Path, origin: PageOrigin, run: Settings) -> None:
        """Called for each page and each of its files, when the file is in place. Output on stdout is not a file.

        Args:
            page: that was written.
            path: the file. For a file that takes many pages, such as a PDF, that file, once for each page; for a format that is
                a folder, the folder.
            origin: what the page is of.
            run: the settings.
        """

    def finished(self, origin: PageOrigin, run: Settings, error: BaseException | None) -> None:
        """Called once at the end of every run that ``started`` heard of.

        Args:
            origin: what the pages are of.
            run: the settings.
            error: what ended the run, which may be a ``KeyboardInterrupt``; ``None`` if all is well.
        """


class PluginSettings:
    """Options beside those of a plugin's classes. A subclass is a frozen dataclass, each field with a default and a help text.

    - A field is ``--NAME-FIELD`` on the command line, ``NAME_FIELD`` in a settings file and for Python, and
      ``TORCH2GRID_NAME_FIELD`` in the environment.
    - Several fields together are ``--set NAME:field=value,…``, a section ``NAME:`` of a settings file, and a mapping
      ``NAME={…}`` in Python.
    - Views and rules read them with ``run.options(MySettings)``.
    """

    name: ClassVar[str]


class Command(ABC):
    """Adds ``torch2grid NAME``. ``build`` is called only when the command is run or its help is shown."""

    name: ClassVar[str]

    @abstractmethod
    def build(self) -> click.Command:
        """Return the click command. It gets the plugin manager as ``click.get_current_context().obj``."""
