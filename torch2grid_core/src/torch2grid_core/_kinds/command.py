"""A subcommand of ``torch2grid``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import click


class Command(ABC):
    """Adds ``torch2grid NAME``. ``build`` is called only when the command is run or asked for help."""

    name: ClassVar[str]

    @abstractmethod
    def build(self) -> click.Command:
        """The click command; it gets the plugin manager as ``click.get_current_context().obj``."""
