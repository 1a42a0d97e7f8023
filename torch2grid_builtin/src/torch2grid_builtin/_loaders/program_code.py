"""What a program of ``torch.export`` has run: texts that PyTorch evaluates, and operators that touch the machine.

Format: ``torch/_export/serde/schema.py``. ``torch.export.load`` has sympy evaluate the sizes, compiles Python code in which the
names stand as they are, and imports the factory of a mapping; ``module()`` compiles the guards; calling it calls the targets of
the nodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.allowed import IMPORT
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
# Texts that stand in the code of a graph as they are: names of values, also as keys of a mapping of them ...
_NAMES = """
    name as_name user_input_name forward_arg_names as_string_to_argument
    tensor_values sym_int_values sym_bool_values sym_float_values custom_obj_values
"""
_OF_VALUES = frozenset(_NAMES.split())
# ... and, between quotes, where a tensor stands in the module, the keys of what the program is given, and texts among that.
_OF_TENSORS = frozenset(("parameter_name", "buffer_name", "tensor_constant_name", "custom_obj_name", "fqn"))
_SPECS = frozenset(("in_spec", "out_spec"))
# What ends the text that they are put into: PyTorch puts tensors between double quotes, the rest between single ones.
_ENDS_DOUBLE, _ENDS_SINGLE = re.compile(r'["\\\r\n]'), re.compile(r"['\\\r\n]")


def note_program(raw: bytes, actions: Actions, work: Work) -> None:
    """Add to *actions* what the program in the JSON text *raw* has run. Raises ``Malformed`` where the work is used up."""
    if len(raw) > JSON_BYTES or sum(map(raw.count, (b",", b":", b"[", b"{"))) > _STRUCTURE:
        actions.holds(f"a program of {len(raw):,} bytes that is not examined")
        return
    work.text(len(raw))
    try:
        program: Any = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        actions.holds("a program that is not read")  # how deep a text may be nested depends on who calls the parser
        return
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
            _note_code(guard, actions)
    for key in ("target", "as_operator"):
        target = here.get(key)
        if isinstance(target, str) and not is_operator(target):
            module, _, name = target.rpartition(".")
            actions.note("call", Global(module, name), certain=True)
    for key in _OF_VALUES & here.keys():
        _note_names(here[key], actions, work)
    for key in _OF_TENSORS & here.keys():
        if isinstance(here[key], str):
            work.text(len(here[key]))
            if _ENDS_DOUBLE.search(here[key]):
                _note_code(here[key], actions)
    for constant in _constants(here):
        work.text(len(constant))
        if _ENDS_SINGLE.search(constant):
            _note_code(constant, actions)
    for key in _SPECS & here.keys():
        if isinstance(here[key], str):
            _note_spec(here[key], actions, work)


def _constants(here: dict[str, Any]) -> Iterator[str]:
    """Texts that the program is given each time: ``module()`` compiles a guard that compares them."""
    inputs, constant = here.get("inputs"), here.get("constant_input")
    given = inputs if isinstance(inputs, list) else []
    value = constant.get("value") if isinstance(constant, dict) else None
    for each in (*given, value):
        found = each.get("as_string") if isinstance(each, dict) else None
        if isinstance(found, str):
            yield found


def _note_names(named: Any, actions: Actions, work: Work) -> None:
    """Names of values of a graph, of which each is an identifier: anything else is code where it stands."""
    names = [named] if isinstance(named, str) else named if isinstance(named, (list, dict)) else []
    work.spend(_NODE * len(names))
    for each in names:
        if isinstance(each, str) and each and not each.isidentifier():
            work.text(len(each))
            _note_code(each, actions)


def _note_spec(text: str, actions: Actions, work: Work) -> None:
    """The structure of what a program is given or gives back, as JSON with JSON in it.

    PyTorch imports the factory of a ``defaultdict``, whatever its module runs, and writes keys between quotes.
    """
    waiting: list[Any] = [text]
    while waiting:
        here = waiting.pop()
        work.spend(_NODE)
        if isinstance(here, dict):
            module, name = here.get("default_factory_module"), here.get("default_factory_name")
            if module is not None or name is not None:
                factory = Global(str(module), str(name))
                if factory.allowed < IMPORT:
                    actions.note(
                        "call", Global("importlib", "import_module"), _call(Global("importlib", "import_module"), factory.path)
                    )
            waiting += here
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here
        elif isinstance(here, str) and here:
            work.text(2 * len(here))
            if here[0] in '[{"':
                try:
                    waiting.append(json.loads(here))
                    continue
                except ValueError:
                    pass
                except RecursionError:
                    actions.holds("a program that is not read")
            if _ENDS_SINGLE.search(here):
                _note_code(here, actions)


def _note_code(text: str, actions: Actions) -> None:
    actions.note("call", Global("builtins", "exec"), _call(Global("builtins", "exec"), text), certain=True)


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
