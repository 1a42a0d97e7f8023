"""The types of ours that public signatures mention, read from the annotations, so that none of them is private."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

import torch2grid_core

_SPECIAL = ("__init__", "__call__", "__getitem__", "__iter__")


def public_modules() -> list[str]:
    """``torch2grid_core`` and its modules whose names have no underscore, but for those that are entered and not imported."""
    inner = [each.name for each in pkgutil.iter_modules(torch2grid_core.__path__) if not each.name.startswith("_")]
    return ["torch2grid_core", *(f"torch2grid_core.{name}" for name in inner)]


def public_values() -> dict[str, Any]:
    """Every public name of the core and what it is."""
    modules = [importlib.import_module(name) for name in public_modules()]
    return {name: getattr(module, name) for module in modules for name in module.__all__}


def private_types() -> list[str]:
    """``value: type`` for each type of the core's own that stands in a public signature and is not public."""
    values = public_values()
    found = set()
    for name, value in values.items():
        for where, module, annotation in _annotations(name, value):
            for word in _names(annotation):
                home = _imported_from(module).get(word, "")
                if home.startswith("torch2grid_core") and word not in values and not _is_variable(home, word):
                    found.add(f"{where}: {word} of {home}")
    return sorted(found)


def _annotations(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """(where, module, annotation) of everything that a caller of *value* sees."""
    if inspect.isclass(value):
        for cls in value.__mro__:
            if not cls.__module__.startswith("torch2grid_core"):
                continue
            for field, annotation in vars(cls).get("__annotations__", {}).items():
                if not field.startswith("_"):
                    yield f"{name}.{field}", cls.__module__, str(annotation)
            for key, member in vars(cls).items():
                if key.startswith("_") and (
                    key not in ("__init__", "__call__", "__getitem__") or dataclasses.is_dataclass(cls)
                ):
                    continue
                function = (
                    member.fget
                    if isinstance(member, property)
                    else getattr(member, "func", getattr(member, "__func__", member))
                )
                if inspect.isfunction(function):
                    yield from ((f"{name}.{key}", cls.__module__, each) for each in map(str, function.__annotations__.values()))
    elif callable(value):
        function = inspect.unwrap(value)
        yield from ((name, value.__module__, each) for each in map(str, getattr(function, "__annotations__", {}).values()))


def _is_variable(home: str, name: str) -> bool:
    return isinstance(getattr(importlib.import_module(home), name, None), TypeVar)


def _names(annotation: str) -> set[str]:
    try:
        return {node.id for node in ast.walk(ast.parse(annotation, mode="eval")) if isinstance(node, ast.Name)}
    except SyntaxError:
        return set()


@cache
def _imported_from(module: str) -> dict[str, str]:
    """The names that *module* imports, for type checkers too, or defines, each with where it is defined."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    homes = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            homes |= {alias.asname or alias.name: node.module for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            homes[node.name] = module
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            homes |= {each.id: module for each in targets if isinstance(each, ast.Name)}
    return homes
