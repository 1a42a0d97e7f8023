"""What is in a model, from Python."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from torch2grid._session import DRAWS_NOTHING, as_checkpoint, choosing, manager, settings_from
from torch2grid_core import Checkpoint
from torch2grid_core.pages import Table
from torch2grid_core.selection import select
from torch2grid_core.text import counted

if TYPE_CHECKING:
    from torch2grid._keywords import Filters, Patterns, Positions
    from torch2grid_builtin.tree import Asked, Contents


class Tree:
    """Modules and tensors with their totals: ``str()`` is the text that the command prints.

    checkpoint: the tensors that are listed.
    """

    def __init__(self, contents: Contents, asked: Asked) -> None:
        self._contents, self._asked = contents, asked
        self.checkpoint: Checkpoint = contents.selection.checkpoint

    def __repr__(self) -> str:
        from torch2grid_builtin.tree import size_text

        counts = f"{counted(self.tensors, 'tensor')}, {counted(self.weights, 'weight')}, {size_text(self.bytes)}"
        return f"<Tree of {self.checkpoint.source!r}: {counts}>"

    def __str__(self) -> str:
        from torch2grid_builtin.tree import as_text

        return as_text(self._contents, self._asked).rstrip("\n")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    @property
    def tensors(self) -> int:
        """How many tensors are listed."""
        return self._contents.totals.tensors

    @property
    def weights(self) -> int:
        """Their weights, those of a tied tensor once."""
        return self._contents.totals.weights

    @property
    def bytes(self) -> int:
        """Bytes of these weights when they are read."""
        return self._contents.totals.bytes

    @property
    def table(self) -> Table:
        """A row for each tensor, or module at the depth that was asked for, and for each part that is not shown."""
        from torch2grid_builtin.tree import COLUMNS, rows_of

        return Table(COLUMNS, tuple(rows_of(self._contents, self._asked)), formats={"weights": ",", "bytes": ","})

    def to_pandas(self) -> Any:
        """``table`` as a ``pandas.DataFrame``. Raises ``UsageError`` where pandas is not installed."""
        return self.table.to_pandas()

    def to_dict(self) -> dict[str, Any]:
        """What ``--format json`` prints, as plain data: totals, parts, modules, kinds of tensors, tensors."""
        from torch2grid_builtin.tree import as_data

        return as_data(self._contents, self._asked)


def tree(
    model: Any,
    *,
    depth: int = 0,
    flat: bool = False,
    every: bool = False,
    only: Patterns | None = None,
    skip: Patterns | None = None,
    tensors: Positions | None = None,
    filter: Filters | None = None,
    part: str | None = None,
    slice: Any = None,
    include_buffers: bool = False,
    raw: bool = False,
    loader: str | None = None,
    **settings: Any,
) -> Tree:
    """What is in *model*, as ``torch2grid tree`` lists it. No weight is read.

    Args:
        model: a path, a ``Checkpoint``, an ``nn.Module``, a state dict, or whatever else a loader opens.
        depth: list modules down to this depth; 0 lists all.
        flat: the text has full names, each tensor on a line.
        every: the text has list every numbered block, also those of equal build, as ``--all`` does.
        only, skip, tensors, filter, part, slice: what is listed; see ``draw``.
        include_buffers: list counters and index buffers too.
        raw: list what is stored, without decoders.
        loader: the name of the loader that reads the file.
        settings: options of plugins.

    Raises:
        UsageError: an unknown filter, part or setting. LoadError: the file cannot be read.
    """
    from torch2grid_builtin.tree import Asked, Contents

    chosen = choosing(settings, only=only, skip=skip, tensors=tensors, filter=filter, part=part, slice=slice)
    chosen.update(include_buffers=include_buffers, raw=raw, loader=loader)
    run = settings_from(chosen, {**DRAWS_NOTHING, **dict.fromkeys(("jobs", "executor"), "no weight is read here")})
    filters = [manager().create("filter", spec) for spec in run.filter]
    opened = as_checkpoint(model, run.loader or "", run.raw)
    selection = select(opened, run.part, filters, run.include_buffers, run.slice)
    return Tree(Contents.of(opened.source, opened, selection), Asked(depth, flat, every))
