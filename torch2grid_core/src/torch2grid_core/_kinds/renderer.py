"""From a page to bytes of some format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, ClassVar

from torch2grid_core._pictures.page import Page


@dataclass(frozen=True)
class Style:
    """How pages look, for every renderer. colormap: a name, ``None`` for the default of each scale.

    width: columns of a terminal, where that matters.
    """

    colormap: str | None = None
    width: int | None = None


class Renderer(ABC):
    """Writes pages in one or more formats.

    combines: those of its formats in which one file can take the pages of a whole run, by ``render_all``.
    tables: those that suit tables, ``None`` for all; in others a table goes to the screen as text.
    screen: those shown on stdout unless a file is asked for.
    """

    name: ClassVar[str]
    formats: ClassVar[tuple[str, ...]]
    combines: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...] | None] = None
    screen: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write *page* as *format* to *target*, a binary file that the caller opened and will move into place.

        A panel that the renderer does not know is shown through its ``as_table()``.
        """

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Write all *pages*, two at least, as one file; only called for a format among ``combines``.

        pages: read from disk one at a time, as often as they are iterated; do not hold them all.
        """
        raise TypeError(f"renderer {self.name!r} writes one page a file")
