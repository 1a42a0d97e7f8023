"""The numbers themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch2grid_builtin._views.describing import about, tensor_title
from torch2grid_core import Checkpoint, LazyTensor, Need, Page, Settings, UsageError, View
from torch2grid_core.measures import Values
from torch2grid_core.pages import Numbers

FOLDER = "values"
ON_SCREEN = 10_000  # numbers that are printed
DATA = ("csv", "json", "npy")  # formats of files


@dataclass(frozen=True)
class ValuesView(View):
    """The numbers of each tensor, each with its index."""

    name = "values"
    uses_transformer = False
    default_format = "text"

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        """All that was chosen. Raises ``UsageError`` where that is more than a screen takes, and no file is asked for.

        Pages that stay in memory (``run.output`` is empty) are on no screen yet.
        """
        numbers = sum(tensor.distinct().size for tensor in checkpoint.values())
        if numbers > ON_SCREEN and run.output and not _files(run):
            most = f"at most {ON_SCREEN:,} are printed"
            advice = f"take fewer with --only or --slice, or a file with --format {', '.join(DATA[:-1])} or {DATA[-1]}"
            raise UsageError(f"values: {numbers:,} numbers are many, {most}; {advice}")
        return checkpoint

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        return {"values": Values(max(tensor.size, 1))} if tensor.size else {}

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """One page, named as the tensor, in the folder ``values``."""
        values = results["values"]
        ranges = () if tensor.taken is None else tensor.taken.ranges
        indices = ranges if tuple(map(len, ranges)) == values.shape else ()
        title = tensor_title(tensor)
        formats = _files(run)
        stated = tensor.dtype.type.__module__ != "numpy"
        notes = (f"npy has no {tensor.dtype.name}: its numbers are written as float32",) if stated and "npy" in formats else ()
        yield Page(
            tensor.name,
            f"{run.title} · {title}" if run.title else title,
            (Numbers(values, indices),),
            folder=FOLDER,
            kind="table",
            about=about(tensor),
            formats=formats if "npy" in formats else (),  # which no other table goes to
            notes=notes,
        )


def _files(run: Settings) -> tuple[str, ...]:
    """The formats of data that are asked for, none where the numbers go to the screen."""
    ending = os.path.splitext(run.output)[1].lstrip(".").lower()
    return tuple(name for name in run.format if name in DATA) or ((ending,) if ending in DATA and not run.format else ())
