"""From tensors to pages and findings, and from pages to bytes: views, rules and renderers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

from torch2grid_core._data.checkpoint import Checkpoint, Severity as Severity
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._measures.need import Need
from torch2grid_core._pictures.page import Page
from torch2grid_core._settings import Settings


class View:
    """Draws pages from what it asked for. It is stateless: everything comes in the arguments.

    ``tensor_needs`` and ``needs`` name what the view wants under keys of its own. The engine collects the needs of all views,
    reads each tensor once, and hands back results under the same keys:

    - a need of a tensor → its result (``Summary`` → ``Distribution``, ``Raster`` → ``Grid``; each need says what it gives);
    - in ``needs``, one about the model as a whole → its result; any other → mapping of what each result is about, such as a
      tensor's name, to the result.

    The summary line counts the tensors that a view passes over: those without pages of their own, without a place in its grids,
    and, for overviews, not among the names in ``Page.about["tensors"]``. It says nothing about a view that gives none of this.
    """

    name: ClassVar[str]
    default_format: ClassVar[str] = "png"  # "text" for tables that belong on stdout
    uses_transformer: ClassVar[bool] = True  # False for a view that never looks at ``run.transformer``: none is made then

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """Return the tensors that the view is about: those chosen, others of ``checkpoint.whole``, or computed ones.

        Raises:
            NotDrawable: the file has nothing for the view.
        """
        return checkpoint

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        """Return what the pages of one tensor need; empty if the view has none for it."""
        return {}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """Return the pages of one tensor. Called once it has been read, and only if ``tensor_needs`` asked for something."""
        return ()

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        """Return what the overview pages need."""
        return {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """Return the overview pages. Called after all tensors have been read."""
        return ()


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found.

    Args:
        message: one line, about the tensor without naming it.
        tensor: its name, empty for the whole file.
        index: of the weight, where there is one.
        severity: where it differs from the rule's.
    """

    message: str
    tensor: str = ""
    index: tuple[int, ...] | None = None
    severity: Severity | None = None


class Rule(ABC):
    """Finds one defect. It is stateless; its thresholds are options.

    Attributes:
        code: short and stable, a letter and three digits (``T101``), for ``--select`` and ``--ignore``.
        severity: what ``--fail-on`` compares with.
        judges: what the rule is about: ``"values"``, NaN, Inf and structure, which concern any numbers of the file;
            ``"weights"``, only weights of the model and of copies of it; ``"file"``, the file as a whole.
        together: how the text report says in one line what the rule finds in many tensors. It maps a regular expression,
            searched in a message, to what is said of the tensors that have such a message; the first that fits is taken
            (``{"": "hold NaN"}``). Text behind a semicolon is written behind their names, and ``{first}`` is the message about
            the first of them.
    """

    name: ClassVar[str]
    code: ClassVar[str]
    severity: ClassVar[Severity] = "error"
    judges: ClassVar[Literal["values", "weights", "file"]] = "weights"
    together: ClassVar[Mapping[str, str]] = {}

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """Return the tensors that the rule is about: those of ``judges``, unless it chooses among them, or computes others.

        No other tensor is read for the rule, or counted as checked. A finding about another tensor is an error. If no tensor is
        left, the rule finds nothing.

        Raises:
            NotDrawable: the file has nothing for the rule.
        """
        return checkpoint

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        """Return what the rule needs of the tensors, as the overview of a view does. All rules and views share one pass.

        Raises:
            NotDrawable: the file has nothing for the rule, which then finds nothing.
        """
        return {}

    @abstractmethod
    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Finding]:
        """Return the findings, in the order of the checkpoint.

        Args:
            checkpoint: the tensors that the rule is about.
            results: under the keys of ``needs``, tensor name → result.
            run: the settings.
        """


@dataclass(frozen=True)
class Style:
    """How pages look, for every renderer.

    Args:
        colormap: a name; ``None`` for the default of each scale.
        width: columns of a terminal, where that matters.
        dark: draw on a dark background.
    """

    colormap: str | None = None
    width: int | None = None
    dark: bool = False


class Renderer(ABC):
    """Writes pages in one or more formats.

    Attributes:
        formats: the formats that it writes.
        combines: formats in which one file can take the pages of a whole run, by ``render_all``.
        tables: formats that suit tables, ``None`` for all; with the others, a table goes to the screen as text.
        screen: formats that are shown on stdout unless a file is asked for.
        folders: formats that are written as a folder, by ``render_folder``: all pages of the run, in files whose names the
            renderer chooses. A renderer that has no other formats needs no ``render``.
    """

    name: ClassVar[str]
    formats: ClassVar[tuple[str, ...]]
    folders: ClassVar[tuple[str, ...]] = ()
    combines: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...] | None] = None
    screen: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        formats, folders = getattr(cls, "formats", ()), cls.folders
        told = isinstance(formats, (tuple, list)) and isinstance(folders, (tuple, list)) and formats
        if told and {*formats} <= {*folders} and cls.render is Renderer.render:
            cls.render = _no_file  # type: ignore[method-assign]

    @abstractmethod
    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write *page* as *format* to *target*, a binary file that the caller opened and will move into place.

        A panel that the renderer does not know is shown through its ``as_table()``.
        """

    def warm_up(self) -> None:  # noqa: B027
        """Import what rendering needs. Called in a thread of its own while weights are read, if that saves time."""

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Write all *pages*, two at least, as one file. Called only for a format among ``combines``.

        Args:
            pages: read from disk one at a time, as often as they are iterated. Do not hold them all.
            target: a binary file that the caller opened and will move into place.
            style: how the pages look.
            format: of the file.
        """
        raise TypeError(f"renderer {self.name!r} writes one page a file")

    def render_folder(self, pages: Iterable[Page], folder: Path, style: Style, format: str) -> None:
        """Write all *pages*, one at least, into *folder*. Called only for a format among ``folders``.

        The files, and folders of files, are then moved into the output folder. Each replaces a file of its name; a link is an
        error. ``page.origin`` says what a page is of.

        Args:
            pages: read from disk one at a time, as often as they are iterated. Do not hold them all.
            folder: new and empty.
            style: how the pages look.
            format: of the files.
        """
        raise TypeError(f"renderer {self.name!r} writes no folder")


def _no_file(self: Renderer, page: Page, target: BinaryIO, style: Style, format: str) -> None:
    raise TypeError(f"renderer {self.name!r} writes a folder, not {format} files")
