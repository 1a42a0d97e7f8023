"""Options of every type that a field may have: how text becomes a value, and what is said where it does not."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from torch2grid_core import Settings, UsageError
from torch2grid_core._plugins.options import build, convert, options_of, split_spec


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


@dataclass(frozen=True)
class Typed:
    side: Side = Side.LEFT
    pair: tuple[int, float] = (1, 0.5)
    names: list[str] = field(default_factory=lambda: ["a"])
    any_of: set[int] = field(default_factory=set)
    some: tuple[int, ...] = ()
    bag: frozenset[Any] = frozenset()
    either: int | Literal["all"] = 0
    file: Path = Path()
    free: Any = None
    made: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.pair[0] > 9:
            raise ValueError("the first of pair is at most 9")


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("side", "RIGHT", Side.RIGHT),
        ("side", "2", Side.RIGHT),
        ("pair", "3,1e-2", (3, 0.01)),
        ("pair", [3, 2], (3, 2.0)),
        ("names", "x, y", ["x", "y"]),
        ("names", 5, ["5"]),
        ("names", [5, True, "x,y"], ["5", "true", "x,y"]),
        ("some", 3, (3,)),
        ("some", "3", (3,)),
        ("any-of", 3, {3}),
        ("any-of", "3,1,3", {1, 3}),
        ("either", "7", 7),
        ("either", "all", "all"),
        ("file", "a/b", Path("a/b")),
        ("file", Path("c"), Path("c")),
        ("free", "as it is", "as it is"),
    ],
)
def test_a_value_of_each_type(key: str, given: Any, value: Any) -> None:
    made = build(Typed, {key: given}, "it")
    assert getattr(made, key.replace("-", "_")) == value


@pytest.mark.parametrize(
    ("key", "given", "told"),
    [
        ("side", "UP", "expected one of LEFT, RIGHT"),
        ("pair", "1", "expected a whole number,a number"),
        ("pair", "1,2,3", "expected a whole number,a number"),
        ("pair", "10,1", "^it: the first of pair is at most 9$"),
        ("names", [[5]], "expected text"),
        ("names", [None], "expected text"),
        ("names", None, "expected text"),
        ("names", b"ab", "expected text"),
        ("pair", 1, "expected a whole number,a number"),
        ("pair", None, "expected a whole number,a number"),
        ("some", None, "expected a whole number,…"),
        ("some", [3, None], "expected a whole number"),
        ("some", object(), "expected a whole number"),
        ("file", 3, "expected Path"),
        ("file", None, "expected Path"),
        ("bag", [[1]], "expected Any"),
        ("any-of", "1,x", "expected a whole number"),
        ("either", "some", "expected a whole number or one of all"),
        ("made", "1", "has no option 'made'"),
    ],
)
def test_a_wrong_value_of_each_type(key: str, given: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        build(Typed, {key: given}, "it")


@pytest.mark.parametrize(
    ("wanted", "given"), [(int, float("nan")), (int, float("inf")), (float, "0x1"), (int, []), (float, None)]
)
def test_what_is_no_number(wanted: Any, given: Any) -> None:
    with pytest.raises(ValueError, match="expected a"):
        convert(given, wanted)


def test_types_as_a_user_reads_them() -> None:
    told = {name: option.type_text for name, option in options_of(Typed).items()}
    assert told == {
        "side": "one of LEFT, RIGHT",
        "pair": "a whole number,a number",
        "names": "text",
        "any_of": "a whole number",
        "some": "a whole number,…",
        "bag": "Any",
        "either": "a whole number or one of all",
        "file": "Path",
        "free": "Any",
    }
    assert options_of(Typed)["names"].default == ["a"]
    assert options_of(int) == {}
    with pytest.raises(UsageError, match="int has no option 'x'; its options: it has none"):
        build(int, {"x": 1}, "int")


def test_commas_and_blanks_of_the_grammar() -> None:
    assert split_spec("x:a=  'b, c'  ,d=1") == ("x", {"a": "b, c", "d": "1"})
    for spec, told in (("x:a,b=1", "'a' is not key=value"), ("x:a=1,b", "'b' is not key=value")):
        with pytest.raises(UsageError, match=told):
            split_spec(spec)


def test_a_value_with_commas_that_was_not_quoted_is_told_how_to_quote_it() -> None:
    for spec, quoted in (("x:a=b,c", 'a="b,c"'), ("x:a=b,c,d=1", 'a="b,c"')):
        with pytest.raises(UsageError) as failure:
            split_spec(spec)
        assert str(failure.value).endswith(f"'c' is not key=value; a value with commas is quoted: {quoted}")
    with pytest.raises(UsageError, match=r"'a' is not key=value$"):
        split_spec("x:a,b=1")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"reduce": "median"}, "reduce: expected one of mean, absmax, rms, min, max, not 'median'"),
        ({"scale": "log"}, "scale: expected one of auto, symmetric, minmax, asinh, not 'log'"),
        ({"clip": 0.2}, "clip: expected a number from 0.5 to 1, not 0.2"),
        ({"max_cells": True}, "max_cells: expected a whole number, not True"),
        ({"threshold": float("inf")}, "threshold: expected a number from 0, not inf"),
        ({"limits": (2.0, 1.0)}, "limits: 2,1: both must be finite, and the first number must be below the second"),
        ({"limits": (0.0, float("inf"))}, "limits: 0,inf: both must be finite"),
    ],
)
def test_settings_that_no_picture_can_follow(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Settings(**settings)
