"""What a run itself can be given: executors, options of a plugin as a whole, and subcommands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import click


class ExecutorFactory(ABC):
    """Opens executors for ``--executor NAME``.

    What is submitted is a function of torch2grid's with tensors that pickle by their address: a worker on another machine must
    reach the same files. No digit depends on who does the work.
    """

    name: ClassVar[str]

    @abstractmethod
    def open(self, address: str, jobs: int) -> AbstractContextManager[Executor]:
        """An executor, which ends with its context, as every ``concurrent.futures.Executor`` does.

        Args:
            address: where it is, as in ``NAME:tcp://HOST:PORT``; empty unless given.
            jobs: how many workers are asked for; 0 leaves it to the executor.
        """


class PluginSettings:
    """Options beside those of a plugin's classes. A subclass is a frozen dataclass, each field with a default and a help text.

    A field is ``--NAME-FIELD`` on the command line, ``NAME_FIELD`` in a settings file and for Python, and
    ``TORCH2GRID_NAME_FIELD`` in the environment. Several are ``--set NAME:field=value,…``, a section ``NAME:`` of a settings
    file, and a mapping ``NAME={…}`` in Python. Views and rules read them with ``run.options(MySettings)``.
    """

    name: ClassVar[str]


class Command(ABC):
    """Adds ``torch2grid NAME``. ``build`` is called only when the command is run or asked for help."""

    name: ClassVar[str]

    @abstractmethod
    def build(self) -> click.Command:
        """The click command; it gets the plugin manager as ``click.get_current_context().obj``."""
