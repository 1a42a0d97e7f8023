"""What types the fields of a layout are of, which a plugin made: numpy would say that one is wrong, and not which."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from torch2grid_core._guard import describe_value
from torch2grid_core._pictures.blocks import Block, Curve, Region

_WHOLE = (int, Integral)  # the first is what they are, and is found at once


def check_types(layout: Any) -> None:
    """Raise ``ValueError`` for a field of another type: numpy would say so, and not of what."""
    for what, value in (("rows", layout.rows), ("columns", layout.columns)):
        if not isinstance(value, _WHOLE):
            raise ValueError(f"the {what} of a layout are {describe_value(value)}, not a whole number")
    if not _are_whole(layout.cell, 2):
        raise ValueError(f"the cell of a layout is {_shown(layout.cell)}, not two whole numbers: (rows, columns)")
    for what, wanted in (("blocks", (Block, Curve)), ("regions", (Region,)), ("labels", (Region,)), ("marks", (Region,))):
        found: Any = getattr(layout, what)
        kinds = " or ".join(each.__name__ for each in wanted)
        if not isinstance(found, tuple):
            raise ValueError(f"the {what} of a layout are {describe_value(found)}, not a tuple: ({kinds}, …)")
        other = next((each for each in found if not isinstance(each, wanted)), None)
        if other is not None:
            raise ValueError(f"one of the {what} of a layout is {describe_value(other)}, not a {kinds}")
    known: set[Any] = set()  # thousands of blocks have a few forms
    for block in layout.blocks:
        numbers = [block.start, block.row, block.column] if isinstance(block, Block) else [block.start, block.size]
        numbers += [] if isinstance(block, Block) else [block.first, block.step]
        if not all(isinstance(each, _WHOLE) for each in numbers):
            raise ValueError(f"a {type(block).__name__.lower()} of {block.tensor!r} has {_shown(numbers)} for whole numbers")
        if isinstance(block, Block) and id(block.dims) not in known:
            known.add(id(block.dims))
            if not isinstance(block.dims, tuple) or not all(_are_whole(each, 3) for each in block.dims):
                wanted_dims = "a tuple of tuples of whole numbers: ((length, row step, column step), …)"
                raise ValueError(f"the dims of a block of {block.tensor!r} are {_shown(block.dims)}, not {wanted_dims}")


def _are_whole(values: Any, count: int) -> bool:
    return isinstance(values, tuple) and len(values) == count and all(isinstance(each, _WHOLE) for each in values)


def _shown(value: Any) -> str:
    return str(value)[:60] if isinstance(value, (tuple, list)) else describe_value(value)
