"""What views answer, checked before anything else sees it: a wrong answer is its author's error, not the renderer's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_args

from torch2grid_core.errors import NotDrawable, PluginError
from torch2grid_core.kinds.transformer import GridTransformer
from torch2grid_core.kinds.view import View
from torch2grid_core.needs import Need, Of, Raster, Transformed
from torch2grid_core.pictures.layout import Layout
from torch2grid_core.pictures.page import Page
from torch2grid_core.pictures.raster import REDUCTIONS
from torch2grid_core.plugins.guard import MOST_PAGES, collect, describe, guarded, origin_of

Stop = PluginError | NotDrawable  # what ends one view and not the run: it fails, or declines
STOPS = (PluginError, NotDrawable)

_NEEDS = get_args(Need)


def needs_of(asked: Any, method: Callable[..., Mapping[str, Need]], *arguments: Any, whole: bool = False) -> dict[str, Need]:
    """What *method* of a view or rule names, a need under each key. whole: of the whole checkpoint, not of one tensor.

    Raises ``PluginError`` for anything but a mapping of text to needs.
    """
    origin, doing = origin_of(asked), method.__name__
    with guarded(origin, doing):
        found = method(*arguments)
        if not isinstance(found, Mapping):
            raise origin.error(f"{doing} returned {type(found).__name__}, not a mapping of key to need")
        needs = dict(found)
    for key, asks in needs.items():
        if not isinstance(asks, _NEEDS):
            raise origin.error(f"{doing}: {key!r} is {type(asks).__name__}, not a need such as Summary() or Raster(layout)")
        need = asks.need if isinstance(asks, Of) else asks
        if isinstance(need, Transformed) and not whole:
            raise origin.error(f"{doing}: {key!r} is Transformed, which is of the whole: name it in needs")
        if isinstance(need, Transformed) and not isinstance(need.transformer, GridTransformer):
            what = type(need.transformer).__name__
            raise origin.error(f"{doing}: the transformer of {key!r} is {what}, not a GridTransformer")
        if isinstance(need, (Raster, Transformed)) and need.reduce not in REDUCTIONS:
            raise origin.error(f"{doing}: {key!r} reduces by {need.reduce!r}; valid: {', '.join(REDUCTIONS)}")
        if isinstance(need, Raster) and not isinstance(need.layout, Layout):
            raise origin.error(f"{doing}: the layout of {key!r} is {type(need.layout).__name__}, not a Layout")
        if isinstance(need, Transformed) and (wrong := _unhashable(need.transformer)):
            raise origin_of(need.transformer).error(wrong)
        if wrong := _unhashable(asks):
            raise origin.error(f"{doing}: {key!r}: {wrong}")
    return needs


def _unhashable(asked: object) -> str:
    """Why *asked* cannot be compared with what other views ask for; empty where it can."""
    try:
        hash(asked)
    except Exception as error:  # a __hash__ of the plugin's own may raise anything
        what = type(asked).__name__
        return f"{what} has no hash ({describe(error)}); it must hold tuples, not lists, and be a dataclass(frozen=True)"
    return ""


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
