"""The menu, from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch2grid._api import draw
from torch2grid._session import drawable, manager, settings_from
from torch2grid_core.commands import Menu

if TYPE_CHECKING:
    from typing import Unpack

    from torch2grid._keywords import DrawingFields


def interactive_mode(tensors: Any, output_dir: str | os.PathLike[str] = "grids", **settings: Unpack[DrawingFields]) -> None:
    """List the tensors, ask which to draw, and draw them below *output_dir*, until ``quit`` or the end of the input."""
    checkpoint = drawable(tensors, settings_from({}))
    settings["include_buffers"] = True  # what a choice leaves out was left out here

    def draw_chosen(names: Sequence[str], views: Sequence[str]) -> None:
        for path in draw(checkpoint.select(names), list(views), **settings).save(output_dir):
            print(path)

    Menu(checkpoint, draw_chosen, ["layers"], list(manager().names("view"))).run()
