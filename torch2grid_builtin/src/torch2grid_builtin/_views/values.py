"""The numbers themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._views.describing import about, source_name, tensor_title
from torch2grid_core import Checkpoint, LazyTensor, Need, Page, Settings, UsageError, View
from torch2grid_core.measures import Values
from torch2grid_core.pages import Cell, Numbers, Table
from torch2grid_core.text import counted, visible

FOLDER = "values"
ON_SCREEN = 10_000  # numbers that are printed
TOGETHER = 1_000_000  # numbers of several tensors in one table
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
            raise UsageError(f"values: {numbers:,} numbers are too many: {most}; {advice}")
        if numbers > TOGETHER and len(checkpoint) > 1 and _in_one(run):
            most = f"at most {TOGETHER:,} go into one csv"
            raise UsageError(f"values: {numbers:,} numbers of {len(checkpoint):,} tensors are too many: {most}; give a folder")
        return checkpoint

    def tensor_needs(self, tensor: LazyTensor, run: Settings) -> Mapping[str, Need[Any]]:
        return {} if _in_one(run) else {"values": Values(max(tensor.size, 1))}

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"values": Values(max(1, *(tensor.size for tensor in checkpoint.values())))} if _in_one(run) else {}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """For one csv: of one tensor its page, of several a row for each number, with the tensor's name and the index."""
        found = results.get("values", {})
        if len(found) == 1:
            yield from self.tensor_pages(checkpoint[next(iter(found))], {"values": next(iter(found.values()))}, run)
        elif found:
            rows = [row for name, values in found.items() for row in _rows(checkpoint[name], values)]
            title = run.title or f"{source_name(checkpoint)} · {counted(len(found), 'tensor')}"
            yield Page("values", title, (Table(("tensor", "index", "value"), tuple(rows)),), kind="table")

    def tensor_pages(self, tensor: LazyTensor, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        """One page, named as the tensor, in the folder ``values``."""
        values = results["values"]
        taken = tensor.taken if tensor.taken is not None and tuple(map(len, tensor.taken.ranges)) == values.shape else None
        indices, dimensions = ((), ()) if taken is None else (taken.ranges, taken.dimensions)
        title = tensor_title(tensor)
        formats = _files(run)
        stated = tensor.dtype.type.__module__ != "numpy"
        notes = (f"npy has no {tensor.dtype.name}: its numbers are written as float32",) if stated and "npy" in formats else ()
        yield Page(
            tensor.name,
            f"{run.title} · {title}" if run.title else title,
            (Numbers(values, indices, dimensions=dimensions),),
            folder=FOLDER,
            kind="table",
            about=about(tensor),
            formats=formats if "npy" in formats else (),  # which no other table goes to
            notes=notes,
        )


def _in_one(run: Settings) -> bool:
    """True where the numbers of all tensors go into one csv file, which has one table."""
    one = run.output == "-" or os.path.splitext(run.output)[1].lower() == ".csv"
    return one and _files(run) == ("csv",)


def _rows(tensor: LazyTensor, values: Any) -> Iterator[tuple[Cell, ...]]:
    """The name, the index in the whole tensor and the number, of each number."""
    flat = Numbers(values.reshape(-1))
    ranges = () if tensor.taken is None else tensor.taken.ranges
    fits = tuple(map(len, ranges)) == values.shape and tensor.taken is not None
    for (_, number), own in zip(flat.as_table().rows, np.ndindex(values.shape), strict=True):
        index = tensor.taken.index(own) if fits and tensor.taken is not None else own
        yield visible(tensor.name, 10_000), f"[{', '.join(map(str, index))}]", number


def _files(run: Settings) -> tuple[str, ...]:
    """The formats of data that are asked for, none where the numbers go to the screen."""
    ending = os.path.splitext(run.output)[1].lstrip(".").lower()
    return tuple(name for name in run.format if name in DATA) or ((ending,) if ending in DATA and not run.format else ())
