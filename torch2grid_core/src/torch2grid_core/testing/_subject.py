"""What is checked, and a check of it: its name, the kind it is for, and the function that runs it."""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._errors import PluginError
from torch2grid_core._guard import Origin, describe_value, returned, stamp
from torch2grid_core._hookspecs import Lazy
from torch2grid_core._kinds import KINDS
from torch2grid_core._methods import lacking
from torch2grid_core._plugins.added import added
from torch2grid_core._plugins.manager import PluginManager
from torch2grid_core._plugins.options import build
from torch2grid_core._plugins.record import PluginRecord, Provided, kind_below, kind_of
from torch2grid_core.testing._samples import sample_checkpoints

WriteFiles = Callable[[Path], Iterable[Any]]
Samples = Iterable[Any] | WriteFiles
_WITH_FILES = ("loader", "source", "decoder", "executor")


ADVICE = "; give checkpoints that it is for, conformance(…, samples=make_them), or say declines=True"


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
    objects that it opens; of a source, locations; of a decoder, checkpoints, or the paths of some; of an executor, addresses
    (one that is empty unless given).

    samples: checkpoints that it is meant for, beside those of the kit. declines: it may draw none of them, and find nothing.
    """

    kind: str
    name: str
    cls: type
    lazy: Lazy | None = None
    files: WriteFiles | None = None
    provided: Provided | None = None
    samples: SampleSet | None = None
    declines: bool = False

    @property
    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """Every checkpoint to try it on, by what it is about: the kit's, and its own."""
        return {**sample_checkpoints(), **self.meant_for}

    @property
    def meant_for(self) -> Mapping[str, Checkpoint]:
        """Those that it must do something with: its own where it has some, else the kit's ordinary one."""
        return self.samples.checkpoints if self.samples else {"ordinary": sample_checkpoints()["ordinary"]}

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
            given = self.files(Path(folder))
            expect(isinstance(given, Iterable), returned("files=", given, what))
            found = list(given)
            expect(bool(found), f"files= returned no {what}")
            yield found


class SampleSet:
    """Checkpoints that a test gave: themselves, what a loader opens as one, or a function that makes either in a folder.

    They are made when a check first asks, and their files stay as long as this does.
    """

    def __init__(self, given: Samples, manager: PluginManager | None = None) -> None:
        self._given, self._manager = given, manager
        self._made: dict[str, Checkpoint] | None = None

    @property
    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """The checkpoints, by what they are called. Fails the check where there are none."""
        if self._made is None:
            given = self._given
            if callable(given):
                folder = tempfile.mkdtemp()
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                given = given(Path(folder))
                expect(given is not None, returned("the function of samples=", None, "checkpoints"))
            one = isinstance(given, (str, os.PathLike, Checkpoint))
            several = one or isinstance(given, Iterable)
            expect(several, f"samples= gives {describe_value(given)}, not checkpoints, nor a function that makes some")
            opened = [self._opened(each) for each in ([given] if one else given)]
            expect(bool(opened), "samples= gives no checkpoint")
            self._made = {f"sample {number} ({each.source})": each for number, each in enumerate(opened, 1)}
        return self._made

    def _opened(self, each: Any) -> Checkpoint:
        if isinstance(each, Checkpoint):
            return each
        self._manager = self._manager or PluginManager.discover()
        return self._manager.open(each)


def subjects(
    target: Any,
    files: WriteFiles | Mapping[str, WriteFiles] | None = None,
    *,
    samples: Samples | Mapping[str, Samples] | None = None,
    declines: bool | Collection[str] = False,
) -> list[Subject]:
    """What *target* brings, by kind and name: a class, a plugin (a module, its import path, or an object with hooks), or the
    names of a ``PluginManager``.

    files: what makes that on which its loaders and the like are checked. samples: checkpoints that its classes are meant for,
    or paths and objects that open as one, or a function that makes them in a folder. declines: they may decline all of those.
    Each may be a mapping (*declines* a collection) by name, by kind, or by ``KIND-NAME``.

    Raises ``ValueError`` for a name that is nothing's, ``PluginError`` for a plugin that cannot be used, and for classes that
    cannot be imported.
    """
    brought, broken = _provided(target)
    found = sorted(brought, key=lambda each: (list(KINDS).index(each.kind), each.name))
    lazies = {id(each): each.target for each in found if isinstance(each.target, Lazy)}
    for each in found:
        try:
            each.load()
        except PluginError as error:
            broken.append(f"{each.kind} {each.name!r}: {error.reason}")
    if broken or not found:
        of = found[0].record.origin if found else Origin("plugin", getattr(target, "__name__", str(target)))
        raise of.error("; ".join(broken) or "brings nothing")
    declines = (declines,) if isinstance(declines, str) else declines
    known = list(dict.fromkeys(word for each in found for word in _words(each)))
    named = samples if isinstance(samples, Mapping) else ()
    for what, keys in (("samples", named), ("declines", () if isinstance(declines, bool) else declines)):
        for key in keys:
            if key not in known:
                raise ValueError(f"{what}: nothing that is checked is called {key!r}; there are {', '.join(known)}")
    manager = target if isinstance(target, PluginManager) else None
    sets: dict[int, SampleSet] = {}  # what several classes share is made once
    made = []
    for each in found:
        write = _chosen(files, each)
        chosen = _chosen(samples, each)
        own = None if chosen is None else sets.setdefault(id(chosen), SampleSet(chosen, manager))
        may = bool(declines) if isinstance(declines, bool) else any(word in declines for word in _words(each))
        makes = write if each.kind in _WITH_FILES else None
        made.append(Subject(each.kind, each.name, each.load(), lazies.get(id(each)), makes, each, own, may))
    return made


def _words(each: Provided) -> tuple[str, str, str]:
    """What a test may call a class by, the most exact first."""
    return f"{each.kind}-{each.name}", each.name, each.kind


def _chosen(given: Any, each: Provided) -> Any:
    if not isinstance(given, Mapping):
        return given
    return next((given[word] for word in _words(each) if word in given), None)


def _provided(target: Any) -> tuple[list[Provided], list[str]]:
    """What *target* brings, and what is wrong with what it does not."""
    if isinstance(target, Provided):
        return [target], []
    if isinstance(target, PluginManager):
        return [each for kind in KINDS for each in target.names(kind).values()], []
    if isinstance(target, type) and kind_of(target) is None and kind_below(target):
        raise PluginError("plugin", target.__name__, "", "", lacking(target, str(kind_below(target))))
    if isinstance(target, type) and kind_of(target) is None:
        raise PluginError(
            "plugin", target.__name__, "", "", f"is not one of the kinds that a plugin brings: {', '.join(KINDS)}"
        )
    plugin = importlib.import_module(target) if isinstance(target, str) else target
    record = PluginRecord(getattr(plugin, "__name__", type(plugin).__name__), "", "", "checked")
    record.register(plugin)
    brought = [each for kind in KINDS for each in record.provides(kind)]
    wrong = [text for text, _ in record.faults.values()]
    alone = PluginManager([record])
    added(alone)
    wrong += [note for note in alone.notes if "is taken by its own" in note]
    return brought, wrong


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
