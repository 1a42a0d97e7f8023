"""What a program of ``torch.export`` has run: texts that PyTorch evaluates, and operators that touch the machine.

Format: ``torch/_export/serde/schema.py``. ``torch.export.load`` has sympy evaluate the sizes; ``module()`` compiles the guards;
calling it calls the targets of the nodes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.limits import Work
from torch2grid_builtin._inert.script_code import touches
from torch2grid_builtin._inert.values import Global, Stub

JSON_BYTES = 64 << 20
_STRUCTURE = 4_000_000  # commas, colons and brackets, each of which costs memory when parsed
_NODE = 4  # of work, for a value that is looked at
_COMPUTE = """
    Abs Add And BitwiseFn_bitwise_and BitwiseFn_bitwise_or BitwiseFn_bitwise_xor CeilDiv CeilToInt CleanDiv Eq Equality Float
    FloatPow FloatTrueDiv FloorDiv FloorToInt GreaterThan Ge Gt Identity IntTrueDiv Integer IsNonOverlappingAndDenseIndicator
    LShift Le LessThan Lt Max Min Mod ModularIndexing Mul Ne Not Or OpaqueUnaryFn_cos OpaqueUnaryFn_cosh OpaqueUnaryFn_exp
    OpaqueUnaryFn_log OpaqueUnaryFn_log2 OpaqueUnaryFn_sin OpaqueUnaryFn_sinh OpaqueUnaryFn_sqrt OpaqueUnaryFn_tan
    OpaqueUnaryFn_tanh Piecewise Pow PowByNatural PythonMod RShift Rational Relational RoundDecimal RoundToInt
    StrictGreaterThan StrictLessThan ToFloat TruncToFloat TruncToInt Unequality Where Xor ceiling floor sqrt
    abs max min bool int float
"""
_FUNCTIONS = frozenset(_COMPUTE.split())
_SYMBOL = re.compile(r"Symbol\('\w+'(?:, \w+=(?:True|False))*\)")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d*)?(?:e[+-]?\d+)?(?![\w.])|(?<![\w.])\.\d+(?:e[+-]?\d+)?(?![\w.])")
_PLAIN = re.compile(r"[\w +\-*/%<>=!&|~^(),]*")
_CALL = re.compile(r"((?<!\w)\w+|\))\s*\(")
_WORDS = frozenset(("and", "or", "not", "if", "else"))  # an opening bracket behind them makes no call
# What a guard says of an input: where that is, and its sizes.
_INPUT = re.compile(r"L(?:\['[^'\\]{1,200}'\]|\[\d{1,6}\]|\.[A-Za-z]\w*(?!\w|\())+")
_ASKED = re.compile(r"(?:(?<=__input__)|(?<=\)))\.(?:(?:size|stride)\(\)\[\d{1,6}\]|(?:storage_offset|item|numel|dim)\(\))")
_MATH = re.compile(r"\b(?:math)\.(?=(?:ceil|floor|trunc|sqrt|log|log2|exp|pow)\()")
_OF_MATH = frozenset(("ceil", "trunc", "log", "log2", "exp", "pow"))
_TARGETS = (
    re.compile(r"torch\.ops\.\w+\.\w+(?:\.\w+)?"),
    re.compile(r"torch\._?sym_\w+"),
    re.compile(r"torch\._(?:check|assert)\w*"),
    re.compile(r"math\.\w+"),
)
_CALLERS = frozenset(("attrgetter", "methodcaller", "itemgetter", "call"))
_OF_TEXT = 300


def note_program(raw: bytes, actions: Actions, work: Work) -> None:
    """Add to *actions* what the program in the JSON text *raw* has run. Raises ``Malformed`` where the work is used up."""
    if len(raw) > JSON_BYTES or sum(map(raw.count, (b",", b":", b"[", b"{"))) > _STRUCTURE:
        actions.holds(f"a program of {len(raw):,} bytes that is not examined")
        return
    work.text(len(raw))
    try:
        program: Any = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return  # PyTorch reads none of it either
    waiting = [program]
    while waiting:
        here = waiting.pop()
        work.spend(_NODE)
        if isinstance(here, dict):
            waiting += here.values()
            _note_texts(here, actions, work)
        elif isinstance(here, list):
            waiting += here


def _note_texts(here: dict[str, Any], actions: Actions, work: Work) -> None:
    size, guards = here.get("expr_str"), here.get("guards_code")
    if isinstance(size, str):
        work.text(len(size))
        if not is_size(size):
            actions.note("call", Global("sympy", "sympify"), _call(Global("sympy", "sympify"), size), certain=True)
    for guard in guards if isinstance(guards, list) else ():
        if isinstance(guard, str) and not is_guard(guard):
            actions.note("call", Global("builtins", "exec"), _call(Global("builtins", "exec"), guard), certain=True)
    for key in ("target", "as_operator"):
        target = here.get(key)
        if isinstance(target, str) and not is_operator(target):
            module, _, name = target.rpartition(".")
            actions.note("call", Global(module, name), certain=True)


def _call(function: Global, text: str) -> Stub:
    return Stub(function, (text[:_OF_TEXT],))


def is_size(text: str) -> bool:
    """True for what sympy prints of a size: symbols, numbers, and functions that do nothing but compute."""
    return _is_expression(_SYMBOL.sub(" s ", text), _FUNCTIONS)


def is_guard(text: str) -> bool:
    """True for a condition on the sizes of inputs."""
    plain = _ASKED.sub("", _INPUT.sub("__input__", text)).replace("__input__", "s")
    return _is_expression(_MATH.sub("", plain), _FUNCTIONS | _OF_MATH)


def _is_expression(text: str, functions: frozenset[str]) -> bool:
    plain = _NUMBER.sub("1", text)
    if not _PLAIN.fullmatch(plain) or "__" in plain:
        return False
    return all(call in functions or call in _WORDS for call in _CALL.findall(plain))


def is_operator(target: str) -> bool:
    """True for a target that only computes: an operator of a library, arithmetic of Python's.

    Targets that name nothing of ``torch``, ``math`` or ``operator`` stay texts to PyTorch.
    """
    if not target.startswith(("torch", "math", "_operator")):
        return True
    if "__" in target or touches(target):
        return False
    if target.startswith("_operator."):
        name = target.removeprefix("_operator.")
        return name.isidentifier() and name not in _CALLERS
    return any(pattern.fullmatch(target) for pattern in _TARGETS)
