"""The tree of a file as text, JSON and CSV."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch2grid_builtin._csv import CsvWriter
from torch2grid_builtin._tree.modules import Branch, Node, Totals, branches, cut, kinds_of, modules_of, tree_of
from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.selection import Selection
from torch2grid_core.sources import stated_shape
from torch2grid_core.text import counted, display_width, json_text, percentage, visible, without_secrets

FORMAT = "torch2grid tree 1"
COLUMNS = ("part", "name", "shape", "dtype", "tensors", "weights", "bytes", "note")
_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_KINDS = 12  # lines of the table of kinds
_NAME = 200  # characters of a name
_LEFT, _RIGHT = "left", "right"
Line = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What is to be written: down to which depth, as a list of full names, each of numbered blocks on its own."""

    depth: int = 0
    flat: bool = False
    every: bool = False


@dataclass(frozen=True)
class PartOf:
    """A part of the file. shown: its tensors by the names that they are shown under; ``None`` where it is only counted."""

    name: str
    totals: Totals
    shown: Checkpoint | None = None


@dataclass(frozen=True)
class Contents:
    """What the reports say. parts: of the file, in its order; one without a name where all is the model."""

    model: str
    selection: Selection
    parts: tuple[PartOf, ...]
    totals: Totals = field(default_factory=Totals)

    @classmethod
    def of(cls, model: str, opened: Checkpoint, selection: Selection) -> Contents:
        """opened: the whole file; selection: what is shown of it. Both are counted as what they store."""
        opened, chosen = opened.distinct(), selection.checkpoint.distinct()
        groups: dict[str, list[str]] = {}
        for name in chosen:
            part = chosen.part_of.get(name)
            groups.setdefault(part.name if part else "", []).append(name)
        parts = []
        for part in opened.parts:
            shown = chosen.select(groups.pop(part.name)) if part.name in groups else None
            names, tensors = (shown, shown) if shown is not None else (part.names, opened)
            parts.append(PartOf(part.name, Totals.of(tensors, names, tensors.aliases), shown))
        if groups:
            rest = chosen.select(name for names in groups.values() for name in names)
            parts.insert(0, PartOf("", Totals.of(rest, rest, rest.aliases), rest))
        stored, totals = replace(selection, checkpoint=chosen), Totals.of(chosen, chosen, chosen.aliases)
        return cls(without_secrets(model), stored, tuple(parts), totals)

    def note(self, tensor: LazyTensor) -> str:
        """What there is to say of a tensor besides."""
        first = self.selection.checkpoint.aliases.get(tensor.name)
        part = "" if tensor.taken is None else f"{tensor.taken} of {shape_text(tensor.taken.shape)}"
        tied = f"tied to {first}" if first else ""
        owner = self.selection.checkpoint.get(first) if first else None
        if owner is not None and stated_shape(owner.shape) != stated_shape(tensor.shape):
            tied = f"a view of {first}"
        return ", ".join(filter(None, (tied, part, tensor.note)))


def shape_text(shape: tuple[int, ...]) -> str:
    """The stated shape as Python writes it: ``(2048,)``."""
    shape = stated_shape(shape)
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def size_text(size: int) -> str:
    """Bytes with a unit: ``2.20 GB``."""
    for factor, unit in _UNITS:
        if size >= factor:
            return (
                f"{size / factor:#.3g}".removesuffix(".") + f" {unit}"
                if size < 999.5 * factor
                else f"{size / factor:.0f} {unit}"
            )
    return f"{size} B"


def as_text(contents: Contents, asked: Asked) -> str:
    """A line for each module and tensor, its place in the tree by its indent, totals, and the kinds of tensors below.

    In a flat list, the tensors have their numbers: those that ``--tensors`` takes.
    """
    lines: list[Line] = []
    numbers: list[str] = []
    places = {name: place for place, name in enumerate(contents.selection.checkpoint, 1)}
    parted = any(part.name for part in contents.parts)
    for part in contents.parts:
        lowered = int(parted and not asked.flat)
        if lowered:
            told = "" if part.shown is not None else "not shown"
            lines.append((visible(part.name, 60) or "(no part)", *_counted(part.totals), told))
        if part.shown is not None:
            root = tree_of(part.shown)
            if asked.flat:
                nodes = list(cut(root, asked.depth))
                lines += [_flat_line(node, contents) for node in nodes]
                numbers += ["" if node.tensor is None else str(places[node.name]) for node in nodes]
            else:
                lines += [_line(branch, lowered, contents) for branch in branches(root, asked.depth, asked.every)]
    known = {part.name for part in contents.parts}
    for what, count in contents.selection.hidden.items():
        if what not in known and what.removeprefix("copy ") not in known:
            lines.append((visible(what, 60), *_counted(Totals(count))[:2], "", "", "not shown"))
    total = (
        "total shown" if contents.selection.hidden else "total",
        *_counted(contents.totals),
        "",
    )
    sides: tuple[str, ...] = (_LEFT, _LEFT, _LEFT, _RIGHT, _RIGHT, _LEFT)
    head: Line = ("Name", "Shape", "Dtype", "Weights", "Bytes", "")
    rows: list[Line] = [*lines, total]
    if any(numbers):
        numbers += [""] * (len(rows) - len(numbers))
        head, sides = ("No.", *head), (_RIGHT, *sides)
        rows = [(number, *row) for number, row in zip(numbers, rows, strict=True)]
    written = aligned(head, rows, sides)
    found = kinds_of(contents.selection.checkpoint)
    if len(found) < len(contents.selection.checkpoint) and not asked.flat:
        written += ["", *_kind_lines(found, contents)]
    return "".join(f"{line}\n" for line in written)


def _counted(totals: Totals, times: int = 1) -> Line:
    """The cells of a line about several tensors, *times* over."""
    each = f"{times} × " if times > 1 else ""
    tensors = f"{each}{counted(totals.tensors, 'tensor')}"
    return tensors, "", f"{each}{totals.weights:,}", f"{each}{size_text(totals.bytes)}"


def _line(branch: Branch, lowered: int, contents: Contents) -> Line:
    node, indent = branch.node, "  " * (branch.indent + lowered)
    return (f"{indent}{visible(branch.label, _NAME) or '(no name)'}", *_cells(node, contents, branch.times))


def _flat_line(node: Node, contents: Contents) -> Line:
    return (visible(node.name, _NAME) or "(no name)", *_cells(node, contents))


def _cells(node: Node, contents: Contents, times: int = 1) -> Line:
    if node.tensor is None:
        return *_counted(Totals(node.tensors, node.weights, node.bytes), times), ""
    each, tensor = f"{times} × " if times > 1 else "", node.tensor
    weights, size = f"{each}{tensor.size:,}", f"{each}{size_text(tensor.nbytes)}"
    return f"{each}{shape_text(tensor.shape)}", tensor.dtype.name, weights, size, visible(contents.note(tensor), _NAME)


def _kind_lines(found: dict[str, list[str]], contents: Contents) -> list[str]:
    checkpoint, lines = contents.selection.checkpoint, list[Line]()
    for kind, names in list(found.items())[:_KINDS]:
        totals = Totals.of(checkpoint, names, checkpoint.aliases)
        share = percentage(totals.weights / contents.totals.weights, 1) if contents.totals.weights else ""
        counts = f"{totals.tensors:,}", f"{totals.weights:,}", share, size_text(totals.bytes)
        lines.append((visible(kind, _NAME), _common_shape(checkpoint, names), *counts))
    sides = (_LEFT, _LEFT, _RIGHT, _RIGHT, _RIGHT, _RIGHT)
    written = aligned(("Kind", "Shape", "Tensors", "Weights", "Share", "Bytes"), lines, sides)
    more = len(found) - len(lines)
    return [*written, f"… and {more:,} more kind{'s' if more > 1 else ''}"] if more else written


def _common_shape(checkpoint: Checkpoint, names: Iterable[str]) -> str:
    shapes = {checkpoint[name].shape for name in names}
    return shape_text(shapes.pop()) if len(shapes) == 1 else f"{len(shapes)} shapes"


def aligned(head: Line, lines: Sequence[Line], sides: Sequence[str]) -> list[str]:
    """*lines* under *head* with a rule between, each column as wide as its widest cell, wide characters counted as two."""
    columns = [
        [_padded(texts, max(map(display_width, texts)), side)]
        for texts, side in zip(zip(head, *lines, strict=True), sides, strict=True)
    ]
    rows = ["  ".join(cells).rstrip() for cells in zip(*(column[0] for column in columns), strict=True)]
    rule = "  ".join("-" * display_width(column[0][0]) for column in columns if column[0][0].strip())
    return [rows[0], rule, *rows[1:]]


def _padded(texts: Sequence[str], width: int, side: str) -> list[str]:
    if side == _RIGHT:
        return [" " * (width - display_width(text)) + text for text in texts]
    return [text + " " * (width - display_width(text)) for text in texts]


def as_data(contents: Contents, asked: Asked) -> dict[str, Any]:
    """Totals, parts, what is not shown, modules, kinds and tensors, the last two with full names, as plain data."""
    checkpoint = contents.selection.checkpoint
    modules, tensors = list[dict[str, Any]](), list[dict[str, Any]]()
    for part, root in _roots(contents):
        modules += [{"part": part, "name": node.name, **_numbers(node)} for node in modules_of(root, asked.depth)]
        tensors += [_entry(part, node, contents) for node in cut(root, asked.depth) if node.tensor is not None]
    kinds = [
        {"kind": kind, **_numbers(Totals.of(checkpoint, names, checkpoint.aliases))}
        for kind, names in kinds_of(checkpoint).items()
    ]
    return {
        "format": FORMAT,
        "model": visible(contents.model, 1000),
        "file_format": checkpoint.format,
        "slice": contents.selection.slice or None,
        "totals": _numbers(contents.totals),
        "not_shown": contents.selection.hidden,
        "parts": [
            {"name": part.name or None, "shown": part.shown is not None, **_numbers(part.totals)} for part in contents.parts
        ],
        "modules": modules,
        "kinds": kinds,
        "tensors": tensors,
    }


def as_json(contents: Contents, asked: Asked) -> str:
    """``as_data`` as one object."""
    return json_text(as_data(contents, asked), indent=1) + "\n"


def _roots(contents: Contents) -> Iterator[tuple[str | None, Node]]:
    for part in contents.parts:
        if part.shown is not None:
            yield part.name or None, tree_of(part.shown)


def _numbers(counted: Totals | Node) -> dict[str, int]:
    return {"tensors": counted.tensors, "weights": counted.weights, "bytes": counted.bytes}


def _entry(part: str | None, node: Node, contents: Contents) -> dict[str, Any]:
    tensor = node.tensor
    assert tensor is not None
    return {
        "part": part,
        "name": node.name,
        "shape": list(stated_shape(tensor.shape)),
        "dtype": tensor.dtype.name,
        "weights": tensor.size,
        "bytes": tensor.nbytes,
        "tied_to": contents.selection.checkpoint.aliases.get(node.name),
        "note": contents.note(tensor) or None,
    }


def as_csv(contents: Contents, asked: Asked) -> str:
    """A row for each tensor, or for each module at the depth that is asked for, with full names."""
    stream = io.StringIO(newline="")
    writer = CsvWriter(stream, "\n")
    writer.row(COLUMNS)
    for row in rows_of(contents, asked):
        writer.row(row)
    return stream.getvalue()


def rows_of(contents: Contents, asked: Asked) -> Iterator[tuple[str | int, ...]]:
    """The rows under ``COLUMNS``; a part that is not shown is one."""
    for part, root in _roots(contents):
        for node in cut(root, asked.depth):
            tensor = node.tensor
            shape = "" if tensor is None else shape_text(tensor.shape)
            dtype = "" if tensor is None else tensor.dtype.name
            weights, size = (node.weights, node.bytes) if tensor is None else (tensor.size, tensor.nbytes)
            note = "" if tensor is None else visible(contents.note(tensor), 1000)
            yield part or "", visible(node.name, 10_000), shape, dtype, node.tensors, weights, size, note
    for each in contents.parts:
        if each.shown is None:
            totals = each.totals
            yield each.name, "", "", "", totals.tensors, totals.weights, totals.bytes, "not shown"


REPORTS = {"text": as_text, "json": as_json, "csv": as_csv}
