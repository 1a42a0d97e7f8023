"""What views answer, checked before anything else sees it: a wrong answer is its author's error, not the renderer's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch2grid_core._engine.reading import STOPS, Stop
from torch2grid_core._guard import MOST_PAGES, Origin, collect, guarded, origin_of, unhashable
from torch2grid_core._kinds.view import View
from torch2grid_core._measures.need import Need
from torch2grid_core._pictures.page import Page


def needs_of(
    asked: Any, method: Callable[..., Mapping[str, Need[Any]]], *arguments: Any, whole: bool = False
) -> dict[str, Need[Any]]:
    """What *method* of a view or rule names, a need under each key. whole: of the whole checkpoint, not of one tensor.

    Raises ``PluginError`` for anything but a mapping of text to needs.
    """
    origin, doing = origin_of(asked), method.__name__
    with guarded(origin, doing):
        found = method(*arguments)
    return check_needs(found, origin, doing, whole)


def check_needs(found: object, origin: Origin, doing: str, whole: bool) -> dict[str, Need[Any]]:
    """*found*, needs under keys. Raises ``PluginError`` of *origin* for anything else."""
    with guarded(origin, doing):
        if not isinstance(found, Mapping):
            raise origin.error(f"{doing} returned {type(found).__name__}, not a mapping of key to need")
        needs = dict(found)
    for key, need in needs.items():
        if not isinstance(need, Need):
            raise origin.error(f"{doing}: {key!r} is {type(need).__name__}, not a need such as Summary() or Raster(layout)")
        if need.of_whole and not whole:
            raise origin.error(f"{doing}: {key!r} is {type(need).__name__}, which is of the whole: name it in needs")
        if wrong := unhashable(need):
            raise origin.error(f"{doing}: {key!r}: {wrong}")
    return needs


def pages_of(view: View, method: Callable[..., Iterable[Page]], *arguments: Any) -> Iterator[Page]:
    """The pages that *method* of a view yields. Raises ``PluginError`` for anything else, and for ever more of them."""
    origin, doing = origin_of(view), method.__name__
    for number, page in enumerate(collect(view, method, *arguments)):
        if not isinstance(page, Page):
            raise origin.error(f"{doing} yields {type(page).__name__}, not a Page")
        if not isinstance(page.name, str):  # a tensor may have the empty name, and its page with it
            raise origin.error(f"{doing}: a page is named {type(page.name).__name__} {str(page.name)[:40]!r}, not a text")
        if not isinstance(page.panels, (tuple, list)):
            raise origin.error(f"{doing}: the panels of page {page.name!r} are {type(page.panels).__name__}, not a tuple")
        for panel in page.panels:
            if not callable(getattr(panel, "as_table", None)):
                raise origin.error(f"{doing}: page {page.name!r} has a panel of {type(panel).__name__}, which has no as_table")
        if number >= MOST_PAGES:
            raise origin.error(f"{doing} yields more than {MOST_PAGES:,} pages")
        yield page


def until_stopped(pages: Iterator[Page], stopped: Callable[[Stop], None]) -> Iterator[Page]:
    """*pages* until the plugin behind them fails or declines; then *stopped* is told, and there are no more."""
    try:
        yield from pages
    except STOPS as error:
        stopped(error)
