"""How a value, text or typed, becomes one of a declared type: for the settings of a run and for the options of plugins."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def convert(value: Any, wanted: Any) -> Any:
    """*value* as type *wanted*; text is parsed, other values are checked. Raises ``ValueError`` with what was expected."""
    try:
        return _convert(value, wanted)
    except (TypeError, OverflowError, AttributeError):  # of a class of the plugin's, or of values that have no hash
        raise ValueError(f"expected {type_text(wanted)}") from None


def _convert(value: Any, wanted: Any) -> Any:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return value
    if origin is Literal:
        for choice in arguments:
            if value == choice or str(value) == str(choice):
                return choice
        raise ValueError(f"expected {type_text(wanted)}")
    if origin in (Union, types.UnionType):
        if type(None) in arguments and (value is None or (isinstance(value, str) and value.lower() in ("none", ""))):
            return None
        for choice in (each for each in arguments if each is not type(None)):
            try:
                return convert(value, choice)
            except ValueError:
                continue
        raise ValueError(f"expected {type_text(wanted)}")
    if (origin or wanted) in (tuple, list, frozenset, set):  # one that does not say of what is of texts
        return _convert_sequence(value, origin or wanted, arguments, wanted)
    return _convert_scalar(value, wanted)


def _convert_sequence(value: Any, origin: Any, arguments: tuple[Any, ...], wanted: Any) -> Any:
    if value is None or isinstance(value, Mapping):
        raise ValueError(f"expected {type_text(wanted)}")
    if isinstance(value, str):
        parts: list[Any] = [part.strip() for part in value.split(",") if part.strip()]
    else:  # a single value is one of one
        parts = list(value) if isinstance(value, Iterable) and not isinstance(value, bytes) else [value]
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(parts) != len(arguments):
            raise ValueError(f"expected {type_text(wanted)}")
        return tuple(convert(part, each) for part, each in zip(parts, arguments, strict=True))
    return origin(convert(part, arguments[0] if arguments else str) for part in parts)


def _convert_scalar(value: Any, wanted: Any) -> Any:
    if wanted is bool:
        text = str(value).strip().lower()
        if isinstance(value, bool) or text in _TRUE | _FALSE:
            return value if isinstance(value, bool) else text in _TRUE
        raise ValueError("expected true or false")
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        if isinstance(value, wanted):
            return value
        for member in wanted:
            if str(value) in (member.name, str(member.value)):
                return member
        raise ValueError(f"expected {type_text(wanted)}")
    if wanted in (int, float):
        if isinstance(value, bool) or (isinstance(value, float) and wanted is int and not value.is_integer()):
            raise ValueError(f"expected {type_text(wanted)}")
        try:
            return wanted(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"expected {type_text(wanted)}") from None
    if wanted is str:
        if not isinstance(value, str):
            raise ValueError("expected text")
        return value
    if isinstance(wanted, type) and not isinstance(value, wanted):
        kind: Any = wanted
        if issubclass(kind, Mapping):
            raise ValueError(f"expected {type_text(wanted)}, which cannot be written as text")
        return kind(value)
    return value


def type_text(wanted: Any) -> str:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join("none" if each is type(None) else type_text(each) for each in arguments)
    if wanted in (tuple, list, frozenset, set):
        return "text,…"
    if origin in (tuple, list, frozenset, set):
        return ",".join("…" if each is Ellipsis else type_text(each) for each in arguments)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return "one of " + ", ".join(member.name for member in wanted)
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
        wanted, getattr(wanted, "__name__", str(wanted))
    )
