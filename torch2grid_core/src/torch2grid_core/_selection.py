"""Which tensors of a checkpoint are drawn: by part, by filter, and by what a user types, in the menu as on the command line."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint, Skip
from torch2grid_core._data.indexing import parse_index
from torch2grid_core._data.parts import ALL, MODEL
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._errors import NotDrawable, UsageError
from torch2grid_core._guard import call, origin_of, returned
from torch2grid_core._kinds.reading import TensorFilter
from torch2grid_core._text import counted, did_you_mean, nearest, visible

# Buffers that count steps or hold indices; never trained, and of another scale than weights.
_BOOKKEEPING_NAMES = {"num_batches_tracked", "position_ids", "token_type_ids", "relative_position_index", "n_averaged", "step"}
_ONLY_BOOKKEEPING = "nothing but bookkeeping is there, so it is drawn"
_FEW = 4  # names that are all given where none was meant
_COMPARED = 5000  # names among which the nearest is looked for, which takes a second for more
_NAME = 80  # characters of a name in an error
_RANGE = re.compile(r"\d{1,9}(-\d{1,9})?")
_NUMBERS = re.compile(r"[\d\s,-]+")
_DEEPEST = 64  # components of a name that count: no model is deeper, but a hostile name may have millions


def is_bookkeeping(tensor: LazyTensor) -> bool:
    """True for integer or bool tensors that are a single number or have the name of a known counter or index."""
    return tensor.dtype.kind in "iub" and (tensor.size == 1 or tensor.name.rpartition(".")[2] in _BOOKKEEPING_NAMES)


@dataclass
class Selection:
    """The checkpoint that is drawn, and what to say about how it was chosen.

    Args:
        checkpoint: with the chosen tensors alone.
        part: its name if the user chose one.
        remarks: lines for the user.
        hidden: what is not shown of the file → how many tensors. With the chosen ones, they are all of the file.
        skipped: the entries of the file that its loader could not read.
        slice: what was taken of each tensor, empty for all.
    """

    checkpoint: Checkpoint
    part: str = ""
    remarks: list[str] = field(default_factory=list)
    hidden: dict[str, int] = field(default_factory=dict)
    skipped: tuple[Skip, ...] = ()
    slice: str = ""


def select(
    checkpoint: Checkpoint,
    part: str = "",
    filters: Iterable[TensorFilter] = (),
    include_buffers: bool = False,
    slice: str = "",
    verified: bool = False,
    everything: bool = False,
) -> Selection:
    """Choose the part (the loader's default when empty), apply *filters* in order, leave out bookkeeping and empty tensors.

    The tensors come in the order of the file, numbered siblings by number, as everything shows them. If there is nothing but
    bookkeeping, it is drawn after all, with a remark. If all tensors are empty, they are listed. A filter that is
    ``listed_only`` gets what a run without the filters behind it lists, so that it counts as the lists do.

    Args:
        checkpoint: what to choose from.
        part: its name; ``all`` is every tensor of the file under its full name.
        filters: applied in this order.
        include_buffers: keep bookkeeping, too.
        slice: what to take of each tensor that is left, as ``Settings.slice`` has it. Tensors that it takes nothing of are left
            out. Little else is read of the others. So checksums, which are of whole records, are verified only with *verified*.
        verified: verify checksums with a *slice*, too.
        everything: leave out no bookkeeping, though it is not listed.

    Raises:
        UsageError: there is no such part.
        NotDrawable: nothing is left.
    """
    chosen = part or checkpoint.default_part or ""
    if not checkpoint.parts and chosen in ("", MODEL):  # a state dict is a model and nothing else
        chosen = ""
    selection = Selection(checkpoint.part(chosen) if chosen else checkpoint, part and chosen, skipped=checkpoint.skipped)
    selection.checkpoint = selection.checkpoint.ordered()  # before filters, which may choose by position
    if chosen not in ("", ALL):
        selection.hidden = {
            f"copy {each.name}" if each.kind == "copy" else each.name: len(each.names)
            for each in checkpoint.parts
            if each.name != chosen
        }
    for each in filters:
        if each.listed_only:
            selection = _listed(selection, include_buffers, slice)
        before = selection.checkpoint
        result = call(each, each.apply, before)
        if not isinstance(result, Checkpoint):
            raise origin_of(each).error(returned("apply", result, "a Checkpoint"))
        if not result:
            raise NotDrawable(f"{before.source}: filter {each.name!r} keeps none of {counted(len(before), 'tensor')}")
        selection.checkpoint = result._within(before)
        _hide(selection, "filtered out", sum(name not in result for name in before))
    selection = _listed(selection, include_buffers or everything, slice)
    return _sliced(selection, slice, verified) if slice else selection


def _listed(selection: Selection, include_buffers: bool, slice: str) -> Selection:
    """What is listed of what is left: without bookkeeping and empty tensors, and without those that *slice* does not reach."""
    selection = selection if include_buffers else _without_bookkeeping(selection)
    return _reached(selection, slice) if slice else selection


def _reached(selection: Selection, text: str) -> Selection:
    """Without the tensors that the slice takes nothing of. Raises ``NotDrawable`` where no other is there."""
    index, before = parse_index(text), selection.checkpoint
    least = sum(each is not Ellipsis for each in index)
    reasons = {
        name: "too few dimensions" if tensor.ndim < least else "out of range"
        for name, tensor in before.items()
        if _view(tensor, index) is None
    }
    counts = Counter(reasons.values())
    if len(reasons) == len(before):
        why = ", ".join(f"{count} of {reason}" if "few" in reason else f"{count} {reason}" for reason, count in counts.items())
        raise NotDrawable(f"{before.source}: the slice [{text}] takes nothing of {counted(len(before), 'tensor')} ({why})")
    if reasons:
        selection.checkpoint = before.select(name for name in before if name not in reasons)
    for reason, count in counts.items():
        _hide(selection, reason, count)
    return selection


def _sliced(selection: Selection, text: str, verified: bool) -> Selection:
    """With what the slice takes of each tensor in its place."""
    index, before = parse_index(text), selection.checkpoint
    views = {name: view for name, tensor in before.items() if (view := _view(tensor, index)) is not None}
    if not verified:
        views = {name: view.unchecked() for name, view in views.items()}
    unverified = any(view.storage is not before[name].storage for name, view in views.items())
    passed = ["checksums"] * unverified + ["what other readers make of the file"] * before._asks_later
    if passed:
        selection.remarks.append(f"not looked at for a slice: {', '.join(passed)}; `torch2grid check` looks at all of it")
    selection.slice, selection.checkpoint = text, before._taking(views, lambda tensor: _view(tensor, index) or tensor)
    return selection


def _view(tensor: LazyTensor, index: tuple[Any, ...]) -> LazyTensor | None:
    """What *index* takes of *tensor*; ``None`` where that is nothing."""
    try:
        view = tensor.view(index)
    except IndexError:
        return None
    return view if view.size or not tensor.size else None


def _hide(selection: Selection, what: str, count: int) -> None:
    if count:
        selection.hidden[what] = selection.hidden.get(what, 0) + count


def _without_bookkeeping(selection: Selection) -> Selection:
    checkpoint = selection.checkpoint
    dropped = {name: "bookkeeping" for name, tensor in checkpoint.items() if is_bookkeeping(tensor)}
    dropped.update({name: "empty" for name, tensor in checkpoint.items() if 0 in tensor.shape})
    drawable = [name for name in checkpoint if name not in dropped]
    if not drawable:
        if _ONLY_BOOKKEEPING not in selection.remarks and any(tensor.size for tensor in checkpoint.values()):
            selection.remarks.append(_ONLY_BOOKKEEPING)
        return selection
    skipped = [Skip(name, reason, "torch2grid") for name, reason in dropped.items()]
    selection.checkpoint = checkpoint.select(drawable, skipped=skipped)
    for reason in ("bookkeeping", "empty"):
        _hide(selection, reason, sum(each == reason for each in dropped.values()))
    return selection


def matching(names: Sequence[str], pattern: str) -> list[str]:
    """Return the *names* that a glob pattern matches (``*``, ``?``, ``[…]``; case counts), in their order.

    A pattern that is itself a name matches that name, including its brackets.
    """
    return [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]


def numbered(names: Sequence[str], text: str) -> list[str]:
    """Return the *names* at positions such as ``1,3-5,7``, counted from 1, in their order.

    Raises:
        UsageError: a number is out of range, a range runs backwards, or something is not a number.
    """
    chosen: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", piece)
        if match is None:
            raise UsageError(f"{piece.strip()!r} is not a number or a range; write 1,3-5")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UsageError(f"the range {piece.strip()} runs backwards; write {last}-{first}")
        if first < 1 or last > len(names):
            there = f"there are {len(names)} tensors, 1-{len(names)}" if len(names) > 1 else "there is one tensor, 1"
            raise UsageError(f"{piece.strip()} is out of range: {there}")
        chosen.update(range(first - 1, last))
    return [name for position, name in enumerate(names) if position in chosen]


def chosen(names: Sequence[str], text: str) -> list[str]:
    """Return the *names* that *text* means: numbers, ranges and patterns, separated by commas or spaces.

    Raises:
        UsageError: one of them matches nothing; the error names it, and the nearest names.
    """
    if _NUMBERS.fullmatch(text) and any(char.isdigit() for char in text) and text not in names:
        return numbered(names, text.strip().strip(","))
    pieces = [text] if text in names else [piece for piece in re.split(r"[,\s]+", text) if piece]
    if not pieces:
        raise UsageError(f"{text!r} names nothing; write numbers or a pattern")
    kept: set[str] = set()
    for piece in pieces:
        found = matching(names, piece)
        if not found and _RANGE.fullmatch(piece):
            found = numbered(names, piece)
        if not found:
            raise UsageError(f"no tensor matches {visible(piece, _NAME)!r}{_nearest_names(piece, names)}")
        kept.update(found)
    return [name for name in names if name in kept]


def _nearest_names(piece: str, names: Sequence[str]) -> str:
    """What there is to say of the few of *names* that *piece* may mean."""
    if len(names) <= _FEW:
        return did_you_mean(piece, names)
    close = nearest(piece, names) if len(names) < _COMPARED else []
    if close:
        return "; did you mean " + " or ".join(repr(visible(name, _NAME)) for name in close) + "?"
    return f"; there are {len(names):,} names, such as {visible(names[0], _NAME)!r}"


def modules(names: Iterable[str]) -> dict[str, list[str]]:
    """Return *names* of tensors by the part of the model that they belong to, in order of first appearance.

    A part is a layer of a numbered stack (``model.layers.0`` holds ``model.layers.0.mlp.up_proj.weight``). If a name has no
    number, the part is the first component behind what nearly all names begin with (``model.embed_tokens``). A tensor outside
    of any module is in the part named "".
    """
    paths = {name: name.split(".", _DEEPEST)[:-1] for name in names}
    shared: list[str] = []
    alike = list(paths.values())
    while True:
        depth = len(shared)
        alike = [path for path in alike if len(path) > depth + 1]
        most = Counter(path[depth] for path in alike).most_common(1)
        if not most or most[0][0].isdigit() or most[0][1] < 0.6 * len(paths):
            break
        shared.append(most[0][0])
        alike = [path for path in alike if path[depth] == most[0][0]]
    found: dict[str, list[str]] = {}
    for name, path in paths.items():
        depth = next((index + 1 for index, part in enumerate(path) if index and part.isdigit()), 0)
        if not depth:
            same = (here == there for here, there in zip(path, shared, strict=False))
            depth = 1 + sum(takewhile(bool, same))
        found.setdefault(".".join(path[:depth]), []).append(name)
    return found
