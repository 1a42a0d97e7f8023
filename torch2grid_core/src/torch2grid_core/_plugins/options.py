"""The one grammar for a plugin with options, ``NAME:key=value,key="quoted, value"``, and how values get their types."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from torch2grid_core._errors import UsageError

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a plugin: a dataclass field. default: ``dataclasses.MISSING`` where it has none."""

    name: str
    type: Any
    default: Any
    help: str

    @property
    def type_text(self) -> str:
        """The type as a user reads it: ``bool``, ``int or none``, ``one of a, b``."""
        return _type_text(self.type)


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """``"spiral:clockwise=false"`` → ``("spiral", {"clockwise": "false"})``. Raises ``UsageError`` for bad grammar."""
    name, colon, rest = spec.partition(":")
    if not name.strip():
        raise UsageError(f"{spec!r}: a name comes first, as in NAME:key=value")
    return name.strip(), _pairs(spec, rest) if colon else {}


def _pairs(spec: str, text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    place = 0
    while place < len(text):
        equals = text.find("=", place)
        if equals < 0:
            raise UsageError(f"{spec!r}: {text[place:]!r} is not key=value")
        key = text[place:equals].strip()
        if "," in key:
            raise UsageError(f"{spec!r}: {key.partition(',')[0]!r} is not key=value")
        value, place = _value(spec, text, equals + 1)
        if not key or key in pairs:
            raise UsageError(f"{spec!r}: " + (f"{key!r} is given twice" if key else "a key is missing before '='"))
        pairs[key] = value
    return pairs


def _value(spec: str, text: str, place: int) -> tuple[str, int]:
    """The value at *place* and where the next pair begins. In quotes, a backslash takes the next character as it is."""
    while text[place : place + 1] == " ":
        place += 1
    if text[place : place + 1] not in ('"', "'"):
        comma = text.find(",", place)
        end = len(text) if comma < 0 else comma
        return text[place:end].strip(), end + 1
    quote, place, taken = text[place], place + 1, []
    while place < len(text) and text[place] != quote:
        place += text[place] == "\\" and place + 1 < len(text)
        taken.append(text[place])
        place += 1
    if place >= len(text):
        raise UsageError(f"{spec!r}: a quote is not closed")
    place += 1
    while text[place : place + 1] == " ":
        place += 1
    if place < len(text) and text[place] != ",":
        raise UsageError(f"{spec!r}: {text[place:]!r} follows a closing quote; a comma separates options")
    return "".join(taken), place + 1


def quoted(value: Any) -> str:
    """*value* as the grammar takes it, whatever text it holds; the items of a list or tuple with commas between them.

    Raises ``UsageError`` for a mapping, and for a list in a list.
    """
    text = ",".join(map(_plain, value)) if isinstance(value, (list, tuple)) else _plain(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(value: Any) -> str:
    if isinstance(value, (Mapping, list, tuple)):
        what = "a mapping" if isinstance(value, Mapping) else "a list in a list"
        raise UsageError(f"{what} is no value of an option: a text, a number, true or false, or a list of these")
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def options_of(cls: type) -> dict[str, Option]:
    """The options of a plugin class: the fields of a dataclass, nothing for a plain class."""
    if not dataclasses.is_dataclass(cls):
        return {}
    hints = typing.get_type_hints(cls)
    found = {}
    for each in dataclasses.fields(cls):
        if each.init:
            default = each.default
            if default is dataclasses.MISSING and each.default_factory is not dataclasses.MISSING:
                default = each.default_factory()
            found[each.name] = Option(each.name, hints[each.name], default, str(each.metadata.get("help", "")))
    return found


def build(cls: type, given: Mapping[str, Any], label: str) -> Any:
    """An instance of *cls* with the options *given* (text from a command line, or typed values from a file).

    label: how messages name it, such as ``transformer 'spiral'``. Raises ``UsageError`` for an unknown key, listing the
    valid ones, and for a value that is not of the field's type.
    """
    known = options_of(cls)
    values = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in known:
            valid = ", ".join(known) if known else "it has none"
            raise UsageError(f"{label} has no option {key!r}; its options: {valid}")
        try:
            values[name] = convert(value, known[name].type)
        except ValueError as error:
            raise UsageError(f"{label}: option {key}={value!r}: {error}") from None
    try:
        return cls(**values)
    except ValueError as error:  # a dataclass that checks its own ranges in __post_init__
        raise UsageError(f"{label}: {error}") from None


def convert(value: Any, wanted: Any) -> Any:
    """*value* as type *wanted*; text is parsed, other values are checked. Raises ``ValueError`` with what was expected."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return value
    if origin is Literal:
        for choice in arguments:
            if value == choice or str(value) == str(choice):
                return choice
        raise ValueError(f"expected {_type_text(wanted)}")
    if origin in (Union, types.UnionType):
        if type(None) in arguments and (value is None or (isinstance(value, str) and value.lower() in ("none", ""))):
            return None
        for choice in (each for each in arguments if each is not type(None)):
            try:
                return convert(value, choice)
            except ValueError:
                continue
        raise ValueError(f"expected {_type_text(wanted)}")
    if origin in (tuple, list, frozenset, set):
        return _convert_sequence(value, origin, arguments, wanted)
    return _convert_scalar(value, wanted)


def _convert_sequence(value: Any, origin: Any, arguments: tuple[Any, ...], wanted: Any) -> Any:
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(parts) != len(arguments):
            raise ValueError(f"expected {_type_text(wanted)}")
        return tuple(convert(part, each) for part, each in zip(parts, arguments, strict=True))
    return origin(convert(part, arguments[0] if arguments else str) for part in parts)


def _convert_scalar(value: Any, wanted: Any) -> Any:
    if wanted is bool:
        text = str(value).strip().lower()
        if isinstance(value, bool) or text in _TRUE | _FALSE:
            return value if isinstance(value, bool) else text in _TRUE
        raise ValueError("expected true or false")
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        for member in wanted:
            if str(value) in (member.name, str(member.value)):
                return member
        raise ValueError(f"expected {_type_text(wanted)}")
    if wanted in (int, float):
        if isinstance(value, bool) or (isinstance(value, float) and wanted is int and not value.is_integer()):
            raise ValueError(f"expected {_type_text(wanted)}")
        try:
            return wanted(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"expected {_type_text(wanted)}") from None
    if wanted is str:
        if not isinstance(value, str):
            raise ValueError("expected text")
        return value
    if isinstance(wanted, type) and not isinstance(value, wanted):
        return wanted(value)
    return value


def _type_text(wanted: Any) -> str:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join("none" if each is type(None) else _type_text(each) for each in arguments)
    if origin in (tuple, list, frozenset, set):
        return ",".join("…" if each is Ellipsis else _type_text(each) for each in arguments)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return "one of " + ", ".join(member.name for member in wanted)
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
        wanted, getattr(wanted, "__name__", str(wanted))
    )
