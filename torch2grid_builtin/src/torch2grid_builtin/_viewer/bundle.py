"""ES modules as files for a server, or as one script for a page that may fetch nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

_COMMENT = re.compile(r"^[ \t]*(?:/\*\*(?:(?!\*/).)*\*/[ \t]*\n|//[^\n]*\n)", re.MULTILINE | re.DOTALL)
_IMPORT = re.compile(r'^import \{([^{}]*)\} from "\./([\w-]+\.js)";$', re.MULTILINE)
_BINDING = re.compile(r"([A-Za-z_$][\w$]*)(?: as ([A-Za-z_$][\w$]*))?")
_EXPORT = re.compile(r"^export (?=(?:(?:async )?function\*? ?|class |const )([A-Za-z_$][\w$]*)\b)", re.MULTILINE)
_LEFT_OVER = re.compile(r"^.*(?:(?:^|[;}])[ \t]*(?:import|export)\b|\bimport[ \t]*[(.]).*$", re.MULTILINE)


@cache
def modules() -> Mapping[str, bytes]:
    """The ES modules and style sheets by file name, for a server that offers them beside each other."""
    folder = resources.files(__package__) / "client"
    files = sorted((each for each in folder.iterdir() if each.name.endswith((".js", ".css"))), key=lambda each: each.name)
    return MappingProxyType({each.name: each.read_bytes() for each in files})


@cache
def imported(entry: str) -> frozenset[str]:
    """The file names of the module *entry* and of all that it imports."""
    found, waiting = set[str](), [entry]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += [each[2] for each in _IMPORT.finditer(modules()[name].decode())]
    return frozenset(found)


@cache
def bundled(entry: str, module: bool = False) -> str:
    """The module *entry* and all that it imports, as one classic script that leaves no global name behind.

    Args:
        entry: A file name of ``modules()``, such as ``report.js``.
        module: One ES module instead, which imports nothing and exports what *entry* does.

    Returns:
        The script. Each module has a scope of its own in it, and runs once, after the modules that it imports.

    Raises:
        ValueError: If a module imports or exports in another way than ``import { a, b as c } from "./file.js";`` at the
            beginning of a line and ``export`` before the declaration of a function, a class or a constant; if it imports
            itself through others; or if something that it imports is not there.
    """
    return bundle({name: text.decode() for name, text in modules().items() if name.endswith(".js")}, entry, module)


def bundle(sources: Mapping[str, str], entry: str, module: bool = False) -> str:
    """*entry* of *sources* and all that it imports, as :func:`bundled` returns it."""
    done: dict[str, str] = {}
    exported: dict[str, tuple[str, ...]] = {}

    def add(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(f"modules import each other: {' → '.join((*path, name))}")
        if name in done:
            return
        if name not in sources:
            raise ValueError(f"{path[-1] if path else 'the page'} imports {name}, which is not there")
        text = _COMMENT.sub("", sources[name])
        for found in _IMPORT.finditer(text):
            add(found[2], (*path, name))
            if missing := [wanted for wanted, _ in _bindings(name, found[1]) if wanted not in exported[found[2]]]:
                raise ValueError(f"{name} imports {missing[0]}, which {found[2]} does not export")
        exported[name] = tuple(found[1] for found in _EXPORT.finditer(text))
        text = _IMPORT.sub(lambda found: _taken(name, found), text)
        text = _EXPORT.sub("", text)
        if ("import" in text or "export" in text) and (left := _LEFT_OVER.search(text)):
            raise ValueError(f"{name} imports or exports in a way that is not known: {left[0].strip()}")
        inside = text.strip("\n")
        given = f"\nreturn {{ {', '.join(exported[name])} }};" if exported[name] else ""
        done[name] = f"const {_scope(name)} = (() => {{\n{inside}{given}\n}})();\n"

    add(entry, ())
    if module:
        given = f"export const {{ {', '.join(exported[entry])} }} = {_scope(entry)};\n" if exported[entry] else ""
        return "".join(done.values()) + given
    return '"use strict";\n(() => {\n' + "".join(done.values()) + "})();\n"


def _scope(name: str) -> str:
    """The name of what a module exports; modules have no such names themselves, as they may not begin with ``$``."""
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))


def _bindings(name: str, text: str) -> Iterable[tuple[str, str]]:
    for each in filter(None, (part.strip() for part in text.split(","))):
        found = _BINDING.fullmatch(each)
        if found is None:
            raise ValueError(f"{name} imports in a way that is not known: {each}")
        yield found[1], found[2] or found[1]


def _taken(name: str, found: re.Match[str]) -> str:
    pairs = [wanted if wanted == own else f"{wanted}: {own}" for wanted, own in _bindings(name, found[1])]
    return f"const {{ {', '.join(pairs)} }} = {_scope(found[2])};"
