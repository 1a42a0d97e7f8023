"""The one grammar for a plugin with options, ``NAME:key=value,key="quoted, value"``."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from torch2grid_core._conversion import convert, type_text
from torch2grid_core._errors import UsageError
from torch2grid_core._guard import describe_value


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a plugin: a dataclass field.

    Args:
        name: of the field.
        type: of its values.
        default: ``dataclasses.MISSING`` if it has none.
        help: what ``--help`` says.
    """

    name: str
    type: Any
    default: Any
    help: str

    @property
    def type_text(self) -> str:
        """The type as a user reads it: ``bool``, ``int or none``, ``one of a, b``."""
        return type_text(self.type)


def split_spec(spec: Any) -> tuple[str, dict[str, Any]]:
    """``"spiral:clockwise=false"`` → ``("spiral", {"clockwise": "false"})``, and ``{"spiral": {"clockwise": False}}`` as it is.

    Raises ``UsageError`` for bad grammar.
    """
    if isinstance(spec, Mapping):
        ((name, options),) = spec.items()
        return name, dict(options or {})
    name, colon, rest = spec.partition(":")
    if not name.strip():
        raise UsageError(f"{spec!r}: a name comes first, as in NAME:key=value")
    return name.strip(), _pairs(spec, rest) if colon else {}


def _no_pair(spec: str, found: str, before: dict[str, str]) -> str:
    """What is wrong where *found* stands for key=value; after a value it may be more of that."""
    key, value = list(before.items())[-1] if before else ("", "")
    quoted = f'; a value with commas is quoted: {key}="{value},{found}"' if key else ""
    return f"{spec!r}: {found!r} is not key=value{quoted}"


def _pairs(spec: str, text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    place = 0
    while place < len(text):
        equals = text.find("=", place)
        if equals < 0:
            raise UsageError(_no_pair(spec, text[place:], pairs))
        key = text[place:equals].strip()
        if "," in key:
            raise UsageError(_no_pair(spec, key.partition(",")[0].strip(), pairs))
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
            found[each.name] = Option(each.name, hints[each.name], _plain(default), str(each.metadata.get("help", "")))
    return found


def _plain(value: Any) -> Any:
    """*value* with Python's own numbers and texts for numpy's scalars, also in a tuple or a list."""
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    numpy = sys.modules.get("numpy")  # what has such a value has imported it
    return value.item() if numpy is not None and isinstance(value, numpy.generic) else value


def wrong_setting(option: Option) -> str:
    """Why *option* cannot be a flag of the command line: of its type, or as ``wrong_default`` says; empty where it can."""
    if not _can_be_text(option.type):
        return f"takes {type_text(option.type)}, which no option can give: take it out, or give it another type"
    return wrong_default(option)


def _can_be_text(wanted: Any) -> bool:
    """False for mappings and arrays, and for what holds nothing else: no text of a command line becomes one."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(_can_be_text(each) for each in arguments if each is not types.NoneType)
    if origin in _SEVERAL:
        return all(_can_be_text(each) for each in arguments if each is not Ellipsis)
    kind = origin or wanted
    return not (isinstance(kind, type) and (issubclass(kind, Mapping) or hasattr(kind, "__array__")))


def no_options(cls: type) -> str:
    """Why nothing that *cls* annotates is an option, as it is no dataclass; empty where it is one, and annotates nothing."""
    if dataclasses.is_dataclass(cls):
        return ""
    own = [each for each in cls.__mro__ if not each.__module__.startswith(("torch2grid_core.", "builtins", "abc"))]
    fixed = {name for each in cls.__mro__ if each not in own for name in (*vars(each), *vars(each).get("__annotations__", ()))}
    hints = {name: str(hint) for each in own for name, hint in vars(each).get("__annotations__", {}).items()}
    lost = [name for name, hint in hints.items() if name not in fixed and name[0] != "_" and "ClassVar" not in hint]
    return (
        f"{cls.__name__} is not a dataclass, so {', '.join(lost)} is ignored; put @dataclass(frozen=True) above it"
        if lost
        else ""
    )


def wrong_default(option: Option) -> str:
    """Why the default of *option* cannot stand, as what a user gives cannot; empty where it can."""
    if option.default is dataclasses.MISSING:
        return "has no default: give it one"
    told = f"takes {type_text(option.type)}, and its default is {describe_value(option.default)}: give it one of that type"
    try:
        return "" if _same(convert(option.default, option.type), option.default) else told
    except ValueError:
        return told


def _same(one: Any, other: Any) -> bool:
    """True for equal values of one type: ``True`` is not ``1``, a list no tuple. ``1`` is ``1.0``, and NaN is itself.

    An array is nothing's default: whether it equals another value has no answer.
    """
    if type(one) is not type(other):
        return (type(one), type(other)) == (float, int) and bool(one == other)
    if hasattr(one, "__array__"):
        return False
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one is other or one == other or one != one)


_SEVERAL = (tuple, list, set, frozenset)


def _as_text(value: Any, wanted: Any) -> Any:
    """What a file gives for an option that is a text: a number as its text, a list as a text with commas between.

    In an option of several texts, each is such a text.
    """
    choices = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    texts = [typing.get_args(each)[:1] == (str,) for each in choices if typing.get_origin(each) in _SEVERAL]
    if texts and all(texts) and len(texts) == len([each for each in choices if each is not types.NoneType]):
        items = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        scalar = all(type(each) in (str, int, float, bool) for each in items)
        return [_as_text(each, str) for each in items] if scalar and not isinstance(value, str) else value
    if str not in choices or isinstance(value, (str, Mapping, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        items = [_as_text(each, str) for each in value]
        nested = any(isinstance(each, (list, tuple, Mapping)) for each in value)
        return value if nested else ",".join(items)
    return str(value).lower() if isinstance(value, bool) else str(value)


def flag_value(value: Any, wanted: Any) -> Any:
    """What a flag was given, once or several times, for an option of type *wanted*.

    Where the option holds any number of texts, each stays as it was typed, commas and all; of other values, and for an option
    that is one text, several have commas between.
    """
    given = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    choices = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    holders = [each for each in choices if typing.get_origin(each) in _SEVERAL]
    elements = [typing.get_args(each) for each in holders]
    if not elements or (typing.get_origin(holders[0]) is tuple and elements[0][-1] is not Ellipsis):
        return given[0] if len(given) == 1 else given
    if elements[0][0] is str:
        return given
    return tuple(part.strip() if isinstance(part, str) else part for each in given for part in _pieces(each))


def opens(wanted: Any) -> bool:
    """True for the type ``Checkpoint``, or that or nothing: such an option is a location, which is opened."""
    choices = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    found = sys.modules.get("torch2grid_core._data.checkpoint")  # what has such an option has imported it
    return found is not None and any(isinstance(each, type) and issubclass(each, found.Checkpoint) for each in choices)


def takes_truth(wanted: Any) -> bool:
    """True for an option that may be true."""
    try:
        return convert(True, wanted) is True
    except ValueError:
        return False


def takes_one(wanted: Any) -> bool:
    """True for an option of one value that is no text, as a number: it cannot be given several times."""
    choices = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    several = any(typing.get_origin(each) in _SEVERAL for each in choices)
    return not several and str not in choices and Any not in choices


def _pieces(value: Any) -> list[Any]:
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else [value]


def converted(known: Mapping[str, Option], given: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The options *given*, each as the type of the one that is *known* by its name. Raises ``UsageError`` as ``build`` does."""
    values = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in known:
            valid = ", ".join(known) if known else "it has none"
            raise UsageError(f"{label} has no option {key!r}; its options: {valid}")
        try:
            values[name] = convert(_as_text(value, known[name].type), known[name].type)
        except ValueError as error:
            raise UsageError(f"{label}: option {key}={value!r}: {error}") from None
    return values


def build(cls: type, given: Mapping[str, Any], label: str) -> Any:
    """An instance of *cls* with the options *given* (text from a command line, or typed values from a file).

    label: how messages name it, such as ``transformer 'spiral'``. Raises ``UsageError`` for an unknown key, listing the
    valid ones, and for a value that is not of the field's type.
    """
    if given and (lost := no_options(cls)):
        raise UsageError(f"{label} has no option: {lost}")
    try:
        return cls(**converted(options_of(cls), given, label))
    except ValueError as error:  # a dataclass that checks its own ranges in __post_init__
        raise UsageError(f"{label}: {error}") from None
