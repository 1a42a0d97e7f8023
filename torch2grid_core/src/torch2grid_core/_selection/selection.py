"""Which tensors of an opened checkpoint are drawn: a part, what filters keep, and no bookkeeping unless asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch2grid_core._data.checkpoint import Checkpoint, Skip
from torch2grid_core._data.parts import ALL, MODEL
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._errors import NotDrawable
from torch2grid_core._guard import call, origin_of
from torch2grid_core._kinds.tensor_filter import TensorFilter

# Buffers that count steps or hold indices; never trained, and of another scale than weights.
_BOOKKEEPING_NAMES = {"num_batches_tracked", "position_ids", "token_type_ids", "relative_position_index", "n_averaged", "step"}


def is_bookkeeping(tensor: LazyTensor) -> bool:
    """True for integer or bool tensors that are a single number or have the name of a known counter or index."""
    return tensor.dtype.kind in "iub" and (tensor.size == 1 or tensor.name.rpartition(".")[2] in _BOOKKEEPING_NAMES)


@dataclass
class Selection:
    """The checkpoint that is drawn, and what to say about how it was chosen.

    part: its name where the person chose one. hidden: what is not shown of the file → how many tensors; with the chosen ones
    they are all of the file. skipped: the entries of the file that its loader could not read.
    """

    checkpoint: Checkpoint
    part: str = ""
    remarks: list[str] = field(default_factory=list)
    hidden: dict[str, int] = field(default_factory=dict)
    skipped: tuple[Skip, ...] = ()


def select(
    checkpoint: Checkpoint, part: str = "", filters: Iterable[TensorFilter] = (), include_buffers: bool = False
) -> Selection:
    """Choose the part (the loader's default when empty), apply *filters* in order, leave out bookkeeping and empty tensors.

    The part ``all`` is every tensor of the file under its full name. The tensors come in the order of the file, numbered
    siblings by number, as everything shows them. Where nothing but bookkeeping is there, it is drawn after all, with a remark.
    Raises ``UsageError`` for an unknown part, ``NotDrawable`` when nothing is left.
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
        before = selection.checkpoint
        result = call(each, each.apply, before)
        if not isinstance(result, Checkpoint):
            raise origin_of(each).error(f"apply returned {type(result).__name__}, not a Checkpoint")
        if not result:
            raise NotDrawable(f"{before.source}: filter {each.name!r} keeps none of {len(before)} tensors")
        selection.checkpoint = result._within(before)
        _hide(selection, "filtered out", sum(name not in result for name in before))
    return selection if include_buffers else _without_bookkeeping(selection)


def _hide(selection: Selection, what: str, count: int) -> None:
    if count:
        selection.hidden[what] = selection.hidden.get(what, 0) + count


def _without_bookkeeping(selection: Selection) -> Selection:
    checkpoint = selection.checkpoint
    dropped = {name: "bookkeeping" for name, tensor in checkpoint.items() if is_bookkeeping(tensor)}
    dropped.update({name: "empty" for name, tensor in checkpoint.items() if 0 in tensor.shape})
    drawable = [name for name in checkpoint if name not in dropped]
    if not drawable:
        if all(tensor.size == 0 for tensor in checkpoint.values()):
            raise NotDrawable(f"{checkpoint.source}: all {len(checkpoint)} tensors are empty: there is no weight to draw")
        selection.remarks.append("nothing but bookkeeping is there, so it is drawn")
        return selection
    skipped = [Skip(name, reason, "torch2grid") for name, reason in dropped.items()]
    selection.checkpoint = checkpoint.select(drawable, skipped=skipped)
    for reason in ("bookkeeping", "empty"):
        _hide(selection, reason, sum(each == reason for each in dropped.values()))
    return selection
