"""The pickles that tests of scanners spell in their source, put together without running any of it.

Two spellings are known: bytes that are added or joined (``pickle.GLOBAL + b"os\\nsystem\\n"``), and fickling's lists of opcodes
(``Pickled([op.Global("os system"), …])``). What cannot be told from the source alone is left out.
"""

from __future__ import annotations

import ast
import pickle
import pickletools
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

_OPCODES = {opcode.name.replace("_", "").lower(): opcode for opcode in pickletools.opcodes}
# What fickling calls otherwise than pickletools.
_OTHERS = {"tupleone": "tuple1", "tupletwo": "tuple2", "tuplethree": "tuple3", "noneopcode": "none"}
_SHORTEST = 8


def pickles(path: Path) -> Iterator[bytes]:
    """Every pickle that the file of Python source spells, the longest form of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):  # from the outside in: a part of a sum is not looked at again
        if node in inside:
            continue
        raw = _listed(node) if isinstance(node, ast.Call) else None
        raw = raw if raw is not None else _bytes(node)
        if raw is not None:
            inside.update(ast.walk(node))
            if len(raw) >= _SHORTEST and raw.rstrip(b"\n").endswith(b"."):
                yield raw
    yield from _grown(tree)


def _bytes(node: ast.AST) -> bytes | None:
    """The bytes that an expression is certain to be."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, bytes) else None
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle":
        found = getattr(pickle, node.attr, None)
        return found if isinstance(found, bytes) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _bytes(node.left), _bytes(node.right)
        return None if left is None or right is None else left + right
    joined = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join"
    if joined and isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0], ast.List | ast.Tuple):
        parts = [_bytes(each) for each in node.args[0].elts]
        return None if None in parts else b"".join(each for each in parts if each is not None)
    return None


def _grown(tree: ast.AST) -> Iterator[bytes]:
    """``p = …`` and what is added to it (``p += …``) in the same block."""
    for block in ast.walk(tree):
        held: dict[str, bytes] = {}
        for line in getattr(block, "body", ()) if isinstance(getattr(block, "body", ()), list) else ():
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                raw = _bytes(line.value)
                held.pop(line.targets[0].id, None)
                if raw is not None:
                    held[line.targets[0].id] = raw
            elif isinstance(line, ast.AugAssign) and isinstance(line.target, ast.Name) and line.target.id in held:
                raw = _bytes(line.value)
                if raw is None:
                    held.pop(line.target.id)
                else:
                    held[line.target.id] += raw
        yield from (raw for raw in held.values() if len(raw) >= _SHORTEST and raw.endswith(b"."))


def _listed(node: ast.Call) -> bytes | None:
    """The pickle of ``Pickled([op.…, …])``."""
    if not (isinstance(node.func, ast.Name) and node.func.id == "Pickled" and node.args):
        return None
    if not isinstance(node.args[0], ast.List):
        return None
    pieces = [_opcode(each) for each in node.args[0].elts]
    return None if None in pieces else b"".join(each for each in pieces if each is not None)


def _opcode(node: ast.expr) -> bytes | None:
    """``op.Name(argument)`` or ``op.Name.create(arguments)`` as its bytes."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    path = node.func.value if node.func.attr == "create" else node.func
    if not isinstance(path, ast.Attribute):
        return None
    word = path.attr.lower()
    opcode = _OPCODES.get(_OTHERS.get(word, word))
    try:
        values = [ast.literal_eval(each) for each in node.args]
    except ValueError:
        return None
    return None if opcode is None else _written(opcode, values)


def _written(opcode: pickletools.OpcodeInfo, values: list[object]) -> bytes | None:
    code = opcode.code.encode("latin-1")
    if opcode.arg is None:
        return code
    kind = opcode.arg.name
    value = values[0] if values else None
    if kind == "stringnl_noescape_pair":
        words = [str(each) for each in values] if len(values) == 2 else str(value).split(" ", 1)
        return code + "".join(f"{word}\n" for word in words).encode()
    if kind in ("stringnl", "unicodestringnl", "stringnl_noescape", "decimalnl_short", "decimalnl_long"):
        return code + (repr(value) if kind == "stringnl" else str(value)).encode() + b"\n"
    raw = value.encode() if isinstance(value, str) else value
    if isinstance(raw, bytes):
        length = {"1": "<B", "4": "<I", "8": "<Q"}.get(kind[-1])
        return code + struct.pack(length, len(raw)) + raw if length else None
    number = {"uint1": "<B", "uint2": "<H", "uint4": "<I", "int4": "<i", "uint8": "<Q"}.get(kind)
    return code + struct.pack(number, raw) if number and isinstance(raw, int) else None
