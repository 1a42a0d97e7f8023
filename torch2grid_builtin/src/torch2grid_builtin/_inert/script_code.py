"""TorchScript's code as text: which operators that touch the machine it names. Format: ``jit/frontend/lexer.h``."""

from __future__ import annotations

import re
from collections import deque

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.values import Global

# Write, read or send: by their names alone, as a variable may stand for ``torch`` or for a namespace of ``ops``.
_NAMES = frozenset(["save", "from_file", "read_file", "write_file", "load_tensor", "rpc_sync", "rpc_async", "rpc_remote"])
_DISTRIBUTED = frozenset(["c10d", "_c10d_functional", "_c10d_functional_autograd", "symm_mem", "dist_c10d", "dist_rpc"])
_PARTS = frozenset(["file", "files", "save", "load", "open", "read", "write", "rpc", "exec", "system"])  # of any operator's
_LIKELY = re.compile(r"file|save|load|open|read|write|rpc|exec|system|c10d|symm_mem")
_SELF = re.compile(r"(?<![\w.])self\s*=(?!=)")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_TOKEN = re.compile(
    r"""
    (?P<string>'''(?:[^\\]|\\.)*?(?:'''|\Z) | \"\"\"(?:[^\\]|\\.)*?(?:\"\"\"|\Z) | '(?:[^'\\\n]|\\.)*'? | "(?:[^"\\\n]|\\.)*"?)
    | (?P<comment>\#[^\n]*) | \d[\w.]* | [A-Za-z_]\w* | [^\s\\]""",
    re.VERBOSE | re.DOTALL,
)


def note_operators(code: str, actions: Actions, work: Work) -> None:
    """Add to *actions* each operator that touches files or the network, wherever *code* names it: forward would run it, too.

    Raises ``Malformed`` where the work is used up.
    """
    if not _LIKELY.search(code) and "getattr" not in code:  # which may be given a name in pieces
        return
    work.spend(limits.CODE * len(code))
    bound = _SELF.search(code) is not None
    by_text, spelled = "getattr" in code, ""
    before: deque[str] = deque(["", "", "", ""], 4)
    pending = ""  # a name of an attribute of self, which is an operator only where it is called
    for token in _TOKEN.finditer(code):
        here = token[0]
        if token["comment"]:
            continue
        if pending and here == "(":
            _note("torch", pending, actions)
        pending = ""
        if token["string"]:  # two side by side are one
            spelled = (spelled if before[-1][:1] in ("'", '"') else "") + _ESCAPE.sub(_unescaped, here.strip("'\""))
            if by_text and (spelled in _NAMES or spelled in _DISTRIBUTED):  # getattr(torch, "save")
                _note("torch", spelled, actions)
        elif before[-1] == "." and (here in _NAMES or here in _DISTRIBUTED):
            if before[-2] == "self" and not bound:
                pending = here
            else:
                _note(_owner(before), here, actions)
        elif before[-1] == "." and before[-3] == "." and before[-4] == "ops" and _PARTS & set(here.lower().split("_")):
            _note(_owner(before), here, actions)
        before.append(here)


def touches(operator: str) -> bool:
    """True for an operator, by its dotted name, that touches files or the network: what code would be a finding for."""
    parts = operator.split(".")
    if _NAMES & set(parts) or _DISTRIBUTED & set(parts):
        return True
    return len(parts) > 3 and bool(_PARTS & set(parts[3].lower().split("_")))


def _unescaped(escape: re.Match[str]) -> str:
    if escape[3] is not None:
        return escape[3]
    return chr(int(escape[1], 16) if escape[1] else int(escape[2], 8))


def _owner(before: deque[str]) -> str:
    """The module of the operator whose name follows, as Python has it."""
    if before[-3] == "." and before[-4] == "ops":
        return f"torch.ops.{before[-2]}"
    return "torch.ops" if before[-2] == "ops" else "torch"


def _note(module: str, name: str, actions: Actions) -> None:
    actions.note("call", Global(module, name), certain=True)
