"""The public names of the core and their signatures, as text: ``python -m tests.core.public_api`` writes the snapshot again."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.core.signatures import public_modules

SNAPSHOT = Path(__file__).with_name("public_api.txt")


def described() -> str:
    """Every public name of the core's public modules, a line for each thing that callers may use."""
    from torch2grid_core import _hookspecs

    lines: list[str] = []
    for module in map(importlib.import_module, public_modules()):
        lines += [f"[{module.__name__}]", *_module(module), ""]
    lines.append("[hooks]")
    lines += [
        f"{name}{_signature(hook)}" for name, hook in sorted(vars(_hookspecs.Hooks).items()) if name.startswith("torch2grid_")
    ]
    return "\n".join(lines) + "\n"


def digest(text: str) -> str:
    """What the changelog holds of the snapshot, so that one cannot change without the other."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _module(module: ModuleType) -> Iterator[str]:
    for name in sorted(module.__all__):
        value = getattr(module, name)
        if inspect.isclass(value):
            yield from _class(name, value)
        elif callable(value) and not hasattr(value, "__args__"):
            yield f"{name}{_signature(value)}"
        elif hasattr(value, "__args__"):
            yield f"{name} = {_plain(str(value))}"
        else:
            yield f"{name}: {type(value).__name__}"


def _class(name: str, cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if not field.name.startswith("_"):
                yield f"    {field.name}: {field.type}{_default(field)}"
    elif "__init__" in vars(cls):
        yield f"    __init__{_signature(vars(cls)['__init__'])}"
    fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    for annotated in sorted(set(vars(cls).get("__annotations__", {})) - fields):
        if not annotated.startswith("_"):
            yield f"    {annotated}: {vars(cls)['__annotations__'][annotated]}"
    for key, member in sorted(vars(cls).items()):
        if key.startswith("_") and key != "__call__":
            continue
        if isinstance(member, (staticmethod, classmethod)):
            yield f"    {type(member).__name__} {key}{_signature(member.__func__)}"
        elif inspect.isfunction(member):
            yield f"    {key}{_signature(member)}"
        elif isinstance(member, property) or type(member).__name__ == "cached_property":
            yield f"    property {key}"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {_plain(repr(field.default))}"
    return " = …" if field.default_factory is not dataclasses.MISSING else ""


class _Bare(str):
    """An annotation that is written without quotes, whatever the version of Python."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(function: Any) -> str:
    found = inspect.signature(function)
    parameters = [each.replace(annotation=_bare(each.annotation)) for each in found.parameters.values()]
    return _plain(str(found.replace(parameters=parameters, return_annotation=_bare(found.return_annotation))))


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _plain(text: str) -> str:
    """*text* without what differs between runs and Python versions."""
    text = re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)
    text = re.sub(r"<built-in function (\w+)>", r"\1", text)
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    return text.replace("typing.", "").replace("collections.abc.", "")


if __name__ == "__main__":
    SNAPSHOT.write_text(described(), encoding="utf-8")
    print(f"{SNAPSHOT} is written; say in CHANGELOG.md what changed, and put there: public interface {digest(described())}")
