"""What every picture and table of a tensor says about it, what is NaN or Inf in it too: counted, never averaged away."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.measures import Distribution, NotFiniteCount
from torch2grid_core.sources import stated_shape
from torch2grid_core.text import shape_text, visible

TOTAL = "(all tensors)"  # the name of the last row of tables
LOST_COLUMNS = ("NaN", "Inf")  # appended to a table where any of its tensors has some
LOST_FORMATS = dict.fromkeys(LOST_COLUMNS, ",d")


def formats_of(columns: Iterable[str], formats: Mapping[str, str]) -> dict[str, str]:
    """The *formats* of those *columns* that are in a table."""
    return {name: formats[name] for name in columns if name in formats}


def placed_name(tensor: LazyTensor) -> str:
    """The name of a tensor, of a part with where it lies in the whole: ``fc.weight[0:64, :]``."""
    return visible(tensor.name) + ("" if tensor.taken is None else str(tensor.taken))


def tensor_title(tensor: LazyTensor, dtype: str = "") -> str:
    """Name, original shape and dtype, and how the numbers were stored where that is not how they are read.

    dtype: what is said of it, where the tensor is computed from others.
    """
    shape = shape_text(tensor.shape)
    if tensor.taken is not None:
        shape += f" of {shape_text(tensor.taken.shape)}"
    facts = [placed_name(tensor), shape, dtype or tensor.dtype.name]
    return " · ".join([*facts, visible(tensor.note)] if tensor.note else facts)


def about(tensor: LazyTensor) -> dict[str, Any]:
    """The same for the index of the output folder."""
    facts: dict[str, Any] = {"tensor": tensor.name, "shape": list(stated_shape(tensor.shape)), "dtype": tensor.dtype.name}
    if tensor.taken is not None:  # of each dimension, the index, or [start, stop, step]
        facts["taken"] = [[e.start, e.stop, e.step] if isinstance(e, range) else e for e in tensor.taken.places]
    return facts


def source_name(checkpoint: Checkpoint) -> str:
    """The last part of the path that a checkpoint came from, ``model`` for one from memory."""
    return visible(PurePath(checkpoint.source).name or "model", 80)


def honest(figure: float, count: NotFiniteCount) -> float:
    """A norm or mean of the finite weights as it is of all of them: NaN where one is NaN, Inf where one is Inf."""
    return math.nan if count.nan else math.inf if count.inf else figure


def norm_of(found: Distribution) -> float:
    """The norm of all weights, NaN and Inf among them."""
    return honest(found.l2, found.not_finite)


def columns_for(counts: Sequence[NotFiniteCount]) -> tuple[str, ...]:
    """The columns that a table of these tensors gets besides its own."""
    return LOST_COLUMNS if any(counts) else ()


def flag(count: NotFiniteCount, size: int) -> str:
    """What stands beside a tensor in an overview: ``all NaN``, ``3 NaN, 2 Inf``; empty where all is finite."""
    for number, what in ((count.nan, "NaN"), (count.inf, "Inf")):
        if size and number == size:
            return f"all {what}"
    return count.text


def flags_of(names: Sequence[str], found: Mapping[str, Distribution]) -> dict[int, str]:
    """``flag`` by place, for those of *names* that have any."""
    return {i: flag(found[name].not_finite, found[name].count) for i, name in enumerate(names) if found[name].not_finite}


def nothing_finite(count: NotFiniteCount, size: int, thing: str = "weight") -> str:
    """What stands where a picture of numbers would be: ``all 4,096 weights are NaN``."""
    if not size:
        return f"there is no {thing}"
    for number, what in ((count.nan, "NaN"), (count.inf, "Inf")):
        if number == size:
            return f"all {size:,} {thing}s are {what}" if size > 1 else f"the only {thing} is {what}"
    return f"no {thing} is finite: {count.text}"


def figure_text(value: float, spec: str = ".3g") -> str:
    """A number as all pictures write it: with minus signs, also of its exponent."""
    return f"{value:{spec}}".replace("-", "−")
