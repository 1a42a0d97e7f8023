"""TorchScript's code as text: which operators that touch the machine it names. Format: ``jit/frontend/lexer.h``."""

from __future__ import annotations

import re
from collections import deque
from keyword import iskeyword

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.values import Global

# Write, read or send: by their names alone, as a variable may stand for ``torch`` or for a namespace of ``ops``.
_NAMES = frozenset(["save", "from_file", "read_file", "write_file", "load_tensor", "rpc_sync", "rpc_async", "rpc_remote"])
_DISTRIBUTED = frozenset(["c10d", "_c10d_functional", "_c10d_functional_autograd", "symm_mem", "dist_c10d", "dist_rpc"])
_PARTS = frozenset(["file", "files", "save", "load", "open", "read", "write", "rpc", "exec", "system"])  # of any operator's
_LIKELY = re.compile(r"file|save|load|open|read|write|rpc|exec|system|c10d|symm_mem")
_LONGEST = max(map(len, _NAMES | _DISTRIBUTED))
_OPERATOR = re.compile(rb"(?<!\w)\w+::\w+", re.ASCII)
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
    by_text, spelled = "getattr" in code, ""
    before: deque[str] = deque(["", "", "", ""], 4)
    of_self: list[str] = []  # names of attributes of self, which are operators where it is something else
    own: set[str] = set()
    bound = False
    for token in _TOKEN.finditer(code):
        here = token[0]
        if token["comment"]:
            continue
        if before[-1] == "self" and here != "." and not (before[-2] == "(" and before[-4] == "def"):
            called = before[-3] in (")", "]") or (before[-3].isidentifier() and not iskeyword(before[-3]))
            if here == ")" and before[-2] == "(" and not called:
                before.extend(["", "self"])  # (self).forward(x, ), as PyTorch writes it
                continue
            bound = True  # or may be: it is a target, an argument, another parameter
        if token["string"]:  # two side by side are one
            spelled = spelled if before[-1][:1] in ("'", '"') else ""
            if len(spelled) <= _LONGEST:
                spelled += _ESCAPE.sub(_unescaped, here.strip("'\""))
                if by_text and (spelled in _NAMES or spelled in _DISTRIBUTED):  # getattr(torch, "save")
                    _note("torch", spelled, actions)
        elif before[-1] == "." and (here in _NAMES or here in _DISTRIBUTED):
            if before[-2] == "self":
                of_self.append(here)
            else:
                _note(_owner(before), here, actions)
        elif before[-1] == "." and before[-3] == "." and before[-4] == "ops" and _PARTS & set(here.lower().split("_")):
            _note(_owner(before), here, actions)
        elif here == ":" or before[-1] == "def":  # a field, or a method
            own.add(before[-1] if here == ":" else here)
        before.append(here)
    for name in of_self:
        if bound or name not in own:
            _note("torch", name, actions)


def note_instructions(code: bytes, actions: Actions, work: Work) -> None:
    """Add to *actions* each operator that touches files or the network of a program for mobile devices, whose pickle is *code*.

    It is searched, not interpreted: the unpickler of PyTorch in C++ is another. A name is one text there, behind its length.
    Raises ``Malformed`` where the work is used up.
    """
    work.spend(limits.CODE * len(code))
    known = sorted(_NAMES)
    for place in _OPERATOR.finditer(code):
        length = int.from_bytes(code[place.start() - 4 : place.start()], "little")
        space, _, name = (place[0][:length] if length else place[0]).decode("ascii").partition("::")
        begun = next((each for each in known if name.startswith(each)), name)  # opcodes may look like more of it
        if begun != name or touches(f"torch.ops.{space}.{name}"):
            _note(f"torch.ops.{space}" if space != "aten" else "torch", begun, actions)
    for space in sorted(_DISTRIBUTED):
        if space.encode() in code:
            _note("torch.ops", space, actions)


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
