"""No regular expression takes more than in proportion to the text of a file: repeated characters are cheap to make."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

import torch2grid_builtin
import torch2grid_core

LENGTH = 20_000  # of a text: its square would take a second
SECONDS = 0.15
_LITERAL = re.compile(r"[A-Za-z_][A-Za-z_.]+")
_CHARACTERS = "acCiLSx01e_. \n\t'\"\\()[]{}<>=,:;/-+|\x93"
_NAMES_OF_FILES = ("deepspeed", "megatron", "ranks", "sharded", "sliced", "dcp", "neighbours")  # short, or of a folder
_OF_READERS = ("torch2grid_builtin._inert.", "torch2grid_builtin._loaders.")
# What sees no text of a checkpoint: the commands' own words, sources of torch2grid, plugins.
_NO_TEXT_OF_A_FILE = ("_commands", "_viewer", "_cli", "_plugins", "testing", "_text")
SHORT = 4000  # of a text of two pieces, of which there are many
SHORT_SECONDS = 0.02
Found = tuple[str, re.Pattern[Any], list[str]]


def patterns(readers: bool) -> Iterator[Found]:
    """Each pattern of the readers, or of everything else that sees names of a checkpoint, and how its module uses it."""
    for package in (torch2grid_builtin, torch2grid_core):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.startswith(_OF_READERS) != readers or found.name.split(".")[1] in _NO_TEXT_OF_A_FILE:
                continue
            module = importlib.import_module(found.name)
            if module.__file__ is None or found.ispkg:
                continue
            source = inspect.getsource(module)
            for label, value in vars(module).items():
                for pattern in value if isinstance(value, tuple) else (value,):
                    if isinstance(pattern, re.Pattern) and re.search(rf"^[\w, ]*\b{label}\b.* = ", source, re.MULTILINE):
                        ways = re.findall(rf"\b{label}\.(search|match|fullmatch|finditer|findall|sub)\(", source)
                        yield f"{found.name.rpartition('.')[2]}.{label}", pattern, sorted(set(ways)) or ["fullmatch"]


def text_of(pattern: re.Pattern[Any]) -> str:
    return pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")


def words(pattern: re.Pattern[Any]) -> list[str]:
    """The words that the pattern asks for."""
    plain = re.sub(r"\(\?P<\w+>|\\[A-Za-z]|\(\?[:=!<]*|\[[^\]]*\]", " ", text_of(pattern))
    return list(dict.fromkeys(re.findall(r"[A-Za-z]{2,}", plain)))


def texts(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Long texts of the characters and the words that the pattern asks for, alone and in pairs."""
    asked = sorted(set(_LITERAL.findall(text_of(pattern))))
    parts = [*_CHARACTERS, *(word for word in asked[:12] if len(word) < 40)]
    for one in parts:
        yield one * (LENGTH // len(one))
        for end in ("!", "\n", "(", "\\", "'"):
            yield one * (LENGTH // len(one)) + end
    for one in parts:
        for other in ("a", "1", ".", "\n", " "):
            yield (one + other) * (LENGTH // (len(one) + 1))
            yield one + other * LENGTH


def pairs(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Texts of two pieces in turn, as names have them: what the pattern asks for, and what stands between words."""
    parts = [*"_.1a", *words(pattern)[:12]]
    for one in parts:
        for other in ("", *parts):
            yield (one + other) * (SHORT // len(one + other)) + "!"


def seconds(pattern: re.Pattern[Any], way: str, text: str) -> float:
    given: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1")
    begun = time.process_time()
    if way == "sub":
        pattern.sub(given[:0], given)
    elif way == "finditer":
        sum(1 for _ in pattern.finditer(given))
    else:
        getattr(pattern, way)(given)
    return time.process_time() - begun


@cache
def _named(readers: bool) -> list[Any]:
    return [pytest.param(*each, id=each[0]) for each in patterns(readers) if not each[0].startswith(_NAMES_OF_FILES)]


@pytest.mark.parametrize(("label", "pattern", "ways"), _named(readers=True))
def test_no_pattern_of_a_reader_is_quadratic(label: str, pattern: re.Pattern[Any], ways: list[str]) -> None:
    for text in texts(pattern):
        for way in ways:
            took = seconds(pattern, way, text)
            assert took < SECONDS, (way, text[:40], took)


@pytest.mark.parametrize(("label", "pattern", "ways"), [*_named(readers=True), *_named(readers=False)])
def test_no_pattern_is_quadratic_in_a_name(label: str, pattern: re.Pattern[Any], ways: list[str]) -> None:
    """Names of tensors, modules and classes are as long as a file says: rules, views and adapters look for words in them."""
    for text in pairs(pattern):
        for way in ways:
            took = min(seconds(pattern, way, text) for _ in range(3)) if seconds(pattern, way, text) > SHORT_SECONDS else 0
            assert took < SHORT_SECONDS, (way, text[:40], took)
