"""The texts of a grid's labels: a module's name without what all begin with, a tensor's without its module's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch2grid_core import Grid, Layout
from torch2grid_core.grids import Region


def is_head(label: Region, own: Collection[str]) -> bool:
    """True where a label names a tensor, one of *own*, or one of each expert, as ``experts.*.w1``, rather than a module."""
    return label.name in own or ".*." in label.name


def modules_of(grid: Grid | Layout) -> list[str]:
    """The modules that have a label, each with a dot behind it."""
    own = {region.name for region in grid.regions}
    return [f"{label.name}." for label in grid.labels if not is_head(label, own)]


def titles(grid: Grid | Layout) -> list[str]:
    """What is written for each of the labels."""
    own = {region.name for region in grid.regions}
    modules = modules_of(grid)
    shared = shared_prefix([name[:-1] for name in modules])
    return [_without(modules, label.name) if is_head(label, own) else label.name[shared:] for label in grid.labels]


def inside(modules: Sequence[str], name: str) -> str:
    """The name of a tensor without that of its module (*modules* end with a dot), where that is written beside it.

    Beside a numbered layer stands its number alone: the rest is said where its own module is written above. What is numbered
    and has no label of its own stands elsewhere, not below the name of those that have.
    """
    return _without([title for title in modules if _says(title, modules, name)], name)


def _says(title: str, modules: Sequence[str], name: str) -> bool:
    above, _, last = title[:-1].rpartition(".")
    if last.isdecimal():
        return not above or f"{above}." in modules
    return not name[len(title) :].partition(".")[0].isdecimal()


def _without(modules: Sequence[str], name: str) -> str:
    return name[len(max((title for title in modules if name.startswith(title)), key=len, default="")) :].lstrip(".")


def shared_prefix(names: Sequence[str]) -> int:
    """How many characters all *names* begin with alike, up to a dot."""
    if len(names) < 2:
        return 0
    first, last = min(names), max(names)
    alike = next((index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first.rfind(".", 0, alike) + 1
