"""What a pickle holds and what it would have called, as short text. Everything here comes from the file."""

from __future__ import annotations

from typing import Any

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions, Asked
from torch2grid_builtin._inert.values import (
    Bag,
    DtypeName,
    Global,
    LongBytes,
    NumpyArray,
    OldString,
    Pairs,
    StorageRef,
    Stub,
    Tensor,
    number_text,
    text,
)
from torch2grid_core import Severity
from torch2grid_core.sources import Action
from torch2grid_core.text import visible

_ITEMS = 4
_DEPTH = 3
_TOLD = 3


def describe(value: Any, depth: int = _DEPTH) -> str:
    """A value of a pickle in a few words, as Python would write it where that is short."""
    if isinstance(value, (str, bytes)):
        short = value[:60]
        return repr(short) if len(short) == len(value) else f"{short!r}…"
    if isinstance(value, (bool, int, float, type(None))):
        return number_text(value) if isinstance(value, int) and not isinstance(value, bool) else repr(value)
    if isinstance(value, Global):
        return f"{value.module[:100]}.{value.name[:100]}"
    if isinstance(value, Stub):
        if depth <= 0:
            return f"{_path(value, depth)}(…)"
        inside = [describe(arg, depth - 1) for arg in value.args[:_ITEMS]] + ["…"] * (len(value.args) > _ITEMS)
        return f"{_path(value, depth)}({', '.join(inside)})"
    if isinstance(value, (list, tuple)):
        opening, closing = "[]" if isinstance(value, list) else "()"
        if depth <= 0 and value:
            return f"{opening}…{closing}"
        inside = [describe(item, depth - 1) for item in value[:_ITEMS]] + ["…"] * (len(value) > _ITEMS)
        return opening + ", ".join(inside) + ("," if len(value) == 1 and opening == "(" else "") + closing
    if isinstance(value, Pairs):
        return f"a {value.kind} of {len(value.pairs)}"
    if isinstance(value, Bag):
        return f"a set of {len(value.items)}"
    if isinstance(value, Tensor):
        return "a tensor" if value.lazy is None else f"a tensor of {list(value.lazy.shape)}"
    if isinstance(value, NumpyArray):
        return "a numpy array"
    if isinstance(value, StorageRef):
        return "a storage"
    if isinstance(value, LongBytes):
        return f"{value.storage.size} bytes"
    return value.name if isinstance(value, DtypeName) else type(value).__name__


def _path(stub: Stub, depth: int) -> str:
    if isinstance(stub.function, Stub):
        return describe(stub.function, depth - 1) if depth > 0 else "…"
    return describe(stub.function) if isinstance(stub.function, Global) else "…"


def not_run(actions: Actions) -> list[Action]:
    """What the pickles want done, an action for each name, the most dangerous first; those beyond the limit are counted."""
    asked = actions.sorted()
    listed = [_action(each) for each in asked[: limits.NOT_RUN]]
    rest = asked[limits.NOT_RUN :]
    if rest:
        severity: Severity = "error" if any(each.severity == "error" for each in rest) else "note"
        listed.append(Action("import", f"{len(rest):,} other names", "", severity, len(rest)))
    return listed


def _action(asked: Asked) -> Action:
    name = visible(f"{asked.module[:100]}.{asked.name[:100]}".lstrip("."), 200)
    shown = asked.shown
    if asked.kind == "hold":
        return Action("hold", visible(asked.name, 400), "", asked.severity, asked.times)
    if asked.kind == "run":
        return Action("run", visible(f"{asked.name[:300]} of the archive", 400), name, asked.severity, asked.times)
    if asked.kind != "call" and isinstance(shown, Stub) and not (asked.kind == "make" and shown.args):
        shown = shown.function
    return Action(asked.kind, visible(describe(shown), 400), name, asked.severity, asked.times)


def refusal(reason: str, actions: Actions) -> str:
    """*reason* why a file is refused, with what its pickles wanted done until then: the first in full, more by name."""
    found = not_run(actions)
    if not found or "; not run: " in reason:
        return reason
    told = [str(action) for action in found[:_TOLD]]
    told += [action.name for action in found[_TOLD : limits.NAMED] if action.name]
    more = sum(action.count if not action.name else 1 for action in found) - len(told)
    return f"{reason}; not run: {', '.join(told)}" + (f", and {more:,} more" if more else "")


def summary(value: Any) -> str:
    """What the file holds instead of tensors."""
    if isinstance(value, Pairs):
        names = [f"{visible(str(text(key) or describe(key, 1)), 40)}: {_kind(item)}" for key, item in value.pairs[:6]]
        more = f", … ({len(value.pairs)} in all)" if len(value.pairs) > 6 else ""
        return f"a {value.kind} with {', '.join(names)}{more}" if names else f"an empty {value.kind}"
    if isinstance(value, (list, tuple, Bag)):
        items = value.items if isinstance(value, Bag) else value
        return f"a {type(value).__name__.lower()} of {len(items)}" + (f", the first {_kind(items[0])}" if items else "")
    return visible(_kind(value) if not isinstance(value, Stub) else f"an object of {value.path}", 120)


def _kind(value: Any) -> str:
    if isinstance(value, (Pairs, Bag, Tensor, NumpyArray, StorageRef)):
        return describe(value, 0)
    if isinstance(value, Stub):
        return f"an object of {visible(value.path, 60)}"
    if isinstance(value, Global):
        return f"the name {visible(value.path, 60)}"
    names = {
        str: "text",
        bytes: "bytes",
        OldString: "bytes",
        int: "a number",
        float: "a number",
        bool: "a truth value",
        type(None): "nothing",
    }
    return names.get(type(value), f"a {type(value).__name__}")
