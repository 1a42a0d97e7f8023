"""Running a plugin's code for the first time: what it prints stays out of stdout, and whether this core fits it."""

from __future__ import annotations

import contextlib
import io
import operator
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch2grid_core._guard import staying
from torch2grid_core._version import __version__

if TYPE_CHECKING:
    from importlib.metadata import Distribution
    from pathlib import Path

_SHOWN = 60
_CORE = "torch2grid-core"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*")  # of a requirement
_PART = re.compile(r"(>=|<=|<|>)\s*(\d+(?:\.\d+)*)")
_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}


@contextlib.contextmanager
def first_run(remark: Callable[[str], None], doing: str) -> Iterator[None]:
    """A plugin's code runs inside: what it prints becomes a *remark* of its record, not a line on stdout.

    Whoever keeps the stream that is ``sys.stdout`` inside, a handler of logging say, writes to the true one afterwards. The
    working folder is the one from before again.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    head: Any = _Head(sys.stdout, encoding)
    # A text layer over bytes, as sys.stdout is: code that asks for its buffer, or reconfigures it, finds what it expects.
    stream = io.TextIOWrapper(head, encoding=encoding, errors="backslashreplace", write_through=True)
    try:
        with staying(), contextlib.redirect_stdout(stream):
            yield
    finally:
        with contextlib.suppress(ValueError):  # it was closed inside
            stream.flush()
        head.ended = True
        text = " ".join(head.kept.decode(encoding, "replace").split())
        if text:
            told = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
            remark(f"prints {told!r} {doing}; it was kept out of stdout")


class _Head(io.BufferedIOBase):
    """Keeps the first 4,096 bytes written until it has *ended*; from then on, all goes to *out*, which it stood for."""

    def __init__(self, out: Any, encoding: str) -> None:
        self.kept, self.ended = b"", False
        self._out, self._encoding = out, encoding

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if not self.ended:
            self.kept += bytes(view[: 4096 - len(self.kept)])
        elif hasattr(self._out, "buffer"):
            self._out.flush()  # what was written as text comes before
            self._out.buffer.write(view)
        else:
            self._out.write(bytes(view).decode(self._encoding, "replace"))
        return len(view)

    def close(self) -> None:
        """Stay open: the text layer closes it when nobody keeps that, and others may keep the bytes."""

    def fileno(self) -> int:
        return (self._out if self.ended else sys.stderr).fileno()  # for a child process


def wrong_core(wanted: Any) -> str:
    """Why this core does not fit ``requires_core = wanted``, empty where it does. wanted: a text such as ``>=0.2,<0.3``."""
    fits = _fits(wanted) if isinstance(wanted, str) else None
    if fits is None:
        return f"requires_core = {wanted!r} is not a range of versions such as '>=0.2,<0.3'"
    return "" if fits else _other(wanted)


def wrong_core_of(distribution: Distribution | None, remark: Callable[[str], None]) -> str:
    """The same for what the metadata of a distribution requires; nothing of the distribution is imported.

    remark: hears of a requirement that says nothing.
    """
    for line in (distribution.requires if distribution else None) or ():
        name = _NAME.match(line)
        if name is None or re.sub(r"[-_.]+", "-", name[0].strip()).lower() != _CORE:
            continue
        rest = line[name.end() :].strip()
        if ";" in rest or "[" in rest or "@" in rest:
            rest = _in_force(line, remark)
        rest = rest.removeprefix("(").removesuffix(")").strip()
        fits = _fits(rest) if rest else True
        if fits is None:
            remark(_broken(line))
        elif not fits:
            return _other(rest)
    return ""


def wrong_core_of_file(file: Path) -> str:
    """The same for ``requires_core = ">=0.2,<0.3"``, a literal at the top level of a file, which is not run."""
    try:
        source = file.read_bytes()
        if b"requires_core" not in source:
            return ""
        import ast

        body = ast.parse(source).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ""  # importing it says what is wrong
    for line in body:
        targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        named = any(isinstance(each, ast.Name) and each.id == "requires_core" for each in targets)
        if named and isinstance(line, (ast.Assign, ast.AnnAssign)) and isinstance(line.value, ast.Constant):
            return wrong_core(line.value.value)
    return ""


def _other(wanted: str) -> str:
    return f"needs {_CORE} {wanted}, and {__version__} is installed"


def _fits(wanted: str) -> bool | None:
    """True where this core is in the range *wanted*, ``None`` where that is no range."""
    here = _plain(__version__)
    parts = [_PART.fullmatch(part.strip()) for part in wanted.split(",")]
    try:
        if here and all(parts):  # numbers alone, as most ranges: packaging takes longer to import than all the rest to start
            return all(_COMPARE[part[1]](here, _plain(part[2])) for part in parts if part)
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(wanted).contains(__version__, prereleases=True)
    except ValueError:  # packaging's InvalidSpecifier, or a number of too many digits
        return None


def _plain(version: str) -> tuple[int, ...]:
    """A version of numbers alone, without the zeros at its end; empty for any other."""
    numbers = [int(each) for each in version.split(".")] if re.fullmatch(r"\d+(\.\d+)*", version) else [0]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _broken(line: str) -> str:
    return f"its metadata have {f'Requires-Dist: {line}'[:100]!r}, which is not a range of versions, and is ignored"


def _in_force(line: str, remark: Callable[[str], None]) -> str:
    """The range of a requirement with a marker, extras or an address; empty where the marker leaves it out."""
    from packaging.requirements import Requirement

    try:
        requirement = Requirement(line)
        holds = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    except Exception:  # what does not parse, and a marker that cannot be evaluated, of which there are kinds
        remark(_broken(line))
        return ""
    return str(requirement.specifier) if holds else ""
