"""Where the work is done, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import ClassVar


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
