"""What is checked, and a check of it: its name, the kind it is for, and the function that runs it."""

from __future__ import annotations

import importlib
import inspect
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch2grid_core._errors import PluginError
from torch2grid_core._guard import stamp
from torch2grid_core._hookspecs import Lazy
from torch2grid_core._kinds import KINDS
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import build
from torch2grid_core._plugins.record import PluginRecord, Provided, kind_of

WriteFiles = Callable[[Path], Iterable[Any]]
_WITH_FILES = ("loader", "source", "decoder", "executor")


class NotConforming(AssertionError):
    """A plugin does not keep what its kind promises."""


def expect(condition: object, message: str) -> None:
    """Raise ``NotConforming`` unless *condition*; unlike ``assert``, under ``-O`` too."""
    if not condition:
        raise NotConforming(message)


@dataclass(frozen=True)
class Subject:
    """A class under test. lazy: how the plugin announced it, where it did so lazily.

    files: gets a folder, and returns what to check: of a loader, the paths of files of its format, which it writes, or the
    objects that it opens; of a source, locations; of a decoder, checkpoints; of an executor, addresses (one that is empty
    unless given).
    """

    kind: str
    name: str
    cls: type
    lazy: Lazy | None = None
    files: WriteFiles | None = None
    provided: Provided | None = None

    def make(self, **options: Any) -> Any:
        """A new instance with *options*, as the manager makes it."""
        instance = build(self.cls, options, f"{self.kind} {self.name!r}")
        if self.provided is not None:
            stamp(instance, self.provided.origin)
        return instance

    @contextmanager
    def made(self, what: str) -> Iterator[list[Any]]:
        """What *files* makes, for as long as this lasts. Fails the check where there is nothing of it; what: its name."""
        expect(self.files is not None, f"a {self.kind} is checked on {what}: conformance(…, files=make_them)")
        assert self.files is not None
        with tempfile.TemporaryDirectory() as folder:
            found = list(self.files(Path(folder)))
            expect(bool(found), f"files= returned no {what}")
            yield found


def subjects(target: Any, files: WriteFiles | dict[str, WriteFiles] | None = None) -> list[Subject]:
    """What *target* brings, by kind and name: a class, a plugin (a module, its import path, or an object with hooks), or the
    names of a ``PluginManager``.

    files: what makes that on which its loaders and the like are checked, or one for each by name. Raises ``PluginError`` for a
    plugin that cannot be used.
    """
    found = sorted(_provided(target), key=lambda each: (list(KINDS).index(each.kind), each.name))
    if not found:
        raise PluginError("plugin", str(target), "", "", "brings nothing")
    made = []
    for each in found:
        lazy = each.target if isinstance(each.target, Lazy) else None
        write = files.get(each.name) if isinstance(files, dict) else files
        made.append(Subject(each.kind, each.name, each.load(), lazy, write if each.kind in _WITH_FILES else None, each))
    return made


def _provided(target: Any) -> list[Provided]:
    if isinstance(target, Provided):
        return [target]
    if isinstance(target, PluginManager):
        return [each for kind in KINDS for each in target.names(kind).values()]
    if isinstance(target, type) and kind_of(target) is None:
        raise PluginError("plugin", target.__name__, "", "", f"is of no kind that a plugin can bring: {', '.join(KINDS)}")
    plugin = importlib.import_module(target) if isinstance(target, str) else target
    record = PluginRecord(getattr(plugin, "__name__", type(plugin).__name__), "", "", "checked")
    record.register(plugin)
    brought = [each for kind in KINDS for each in record.provides(kind)]
    if record.error:
        raise PluginError("plugin", record.name, "", "", record.error)
    return brought


RunCheck = Callable[[Subject], None]


@dataclass(frozen=True)
class Check:
    """One promise. kind: of the classes that make it, empty for all of them."""

    name: str
    kind: str
    run: RunCheck

    @property
    def description(self) -> str:
        """What is promised, in one line."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]


CHECKS: list[Check] = []


def check(*kinds: str) -> Callable[[RunCheck], RunCheck]:
    """Register a function as a check of *kinds*, of every kind without any; its name is the check's."""

    def register(run: RunCheck) -> RunCheck:
        CHECKS.extend(Check(getattr(run, "__name__", ""), kind, run) for kind in kinds or ("",))
        return run

    return register
