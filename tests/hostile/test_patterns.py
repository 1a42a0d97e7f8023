"""No regular expression of the readers takes more than in proportion to the text: repeated characters are cheap to make."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

import torch2grid_builtin._inert
import torch2grid_builtin._loaders

LENGTH = 40_000  # of a text: its square would take seconds
SECONDS = 0.5
_LITERAL = re.compile(r"[A-Za-z_][A-Za-z_.]+")
_CHARACTERS = "acCiLSx01e_. \n\t'\"\\()[]{}<>=,:;/-+|\x93"
_NAMES_OF_FILES = ("deepspeed", "megatron", "ranks", "sharded", "sliced", "dcp")  # which are short, or of a folder


def patterns() -> Iterator[tuple[str, re.Pattern[Any], list[str]]]:
    """Each pattern of the readers, and the ways in which its module uses it."""
    for package in (torch2grid_builtin._inert, torch2grid_builtin._loaders):
        for found in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            source = inspect.getsource(module)
            for label, value in vars(module).items():
                for pattern in value if isinstance(value, tuple) else (value,):
                    if isinstance(pattern, re.Pattern):
                        ways = re.findall(rf"\b{label}\.(search|match|fullmatch|finditer|findall|sub)\(", source)
                        yield f"{found.name}.{label}", pattern, sorted(set(ways)) or ["fullmatch"]


def texts(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Long texts of the characters and the words that the pattern asks for, alone and in pairs."""
    words = sorted(
        set(_LITERAL.findall(pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")))
    )
    parts = [*_CHARACTERS, *(word for word in words[:12] if len(word) < 40)]
    for one in parts:
        yield one * (LENGTH // len(one))
        for end in ("!", "\n", "(", "\\", "'"):
            yield one * (LENGTH // len(one)) + end
    for one in parts:
        for other in ("a", "1", ".", "\n", " "):
            yield (one + other) * (LENGTH // (len(one) + 1))
            yield one + other * LENGTH


@pytest.mark.parametrize(("label", "pattern", "ways"), list(patterns()), ids=lambda each: each if isinstance(each, str) else "")
def test_no_pattern_is_quadratic(label: str, pattern: re.Pattern[Any], ways: list[str]) -> None:
    if label.startswith(_NAMES_OF_FILES):
        pytest.skip("asked of the names of files")
    for text in texts(pattern):
        given: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1")
        for way in ways:
            begun = time.process_time()
            if way == "sub":
                pattern.sub(given[:0], given)
            elif way == "finditer":
                sum(1 for _ in pattern.finditer(given))
            else:
                getattr(pattern, way)(given)
            took = time.process_time() - begun
            assert took < SECONDS, (way, text[:40], took)
