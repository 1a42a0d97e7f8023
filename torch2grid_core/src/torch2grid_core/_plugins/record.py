"""What is known of one plugin, and of each thing that it brings: by kind and name before that is imported."""

from __future__ import annotations

import importlib
import inspect
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

import pluggy

from torch2grid_core._errors import PluginError, Torch2GridError, UsageError, traced
from torch2grid_core._guard import Origin, at_most, describe, describe_value, guarded, not_run, returned, stamp
from torch2grid_core._hookspecs import DEPRECATED, PROJECT, Hooks, Lazy
from torch2grid_core._kinds import KINDS
from torch2grid_core._methods import abstract_methods, lacking, mistakes, no_settings, wrong_folders
from torch2grid_core._plugins.importing import first_run, wrong_core
from torch2grid_core._plugins.options import Option, build, options_of, wrong_setting
from torch2grid_core._text import did_you_mean

Status = Literal["ok", "disabled", "failed"]


class Precedence(IntEnum):
    """Says which plugin keeps a name that several bring: the first of these.

    Among installed plugins none keeps it; they are reached by their full names.
    """

    BASE = 0  # what comes with torch2grid, by its entry point's group
    GIVEN = 1  # what the user named: a file, or something registered from Python
    INSTALLED = 2


@dataclass
class PluginRecord:
    """A plugin that was found.

    Attributes:
        source: its entry point, file or class.
        faults: why the plugin failed, or things that it brings: for each, one line and the traceback for ``--debug``.
        remarks: what its user should know although it works.
        seconds: time that its import took.
    """

    name: str
    distribution: str
    version: str
    source: str
    precedence: Precedence = Precedence.INSTALLED
    status: Status = "ok"
    faults: dict[str, tuple[str, str]] = field(default_factory=dict)
    provided: dict[str, list[Provided]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _hooks: pluggy.PluginManager | None = None
    _bare: list[type] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """The distribution that ships it; the plugin's own name for a file or live code."""
        return self.distribution or self.name

    @property
    def origin(self) -> Origin:
        """Who answers for what the plugin as a whole does."""
        return Origin("plugin", self.name, self.distribution, self.version)

    @property
    def error(self) -> str:
        """All faults in one text; empty where there are none."""
        return "; ".join(text for text, _ in self.faults.values())

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        """Unregister the whole plugin. *reason* is what its row and its line say."""
        self.status, self.faults = "failed", {"": (reason, traced(cause) if cause else "")}
        self._hooks, self._bare, self.provided = None, [], {}

    def disable(self, reason: str) -> None:
        """Use nothing of the plugin, for a *reason* of the user's."""
        self.status, self.faults = "disabled", {"": (reason, "")}

    def fault(self, text: str) -> None:
        """Note that something of the plugin cannot be used. The rest can."""
        self.faults.setdefault(text, (text, ""))

    def remark(self, text: str) -> None:
        """Note something about a plugin that works all the same."""
        if text not in self.remarks:
            self.remarks.append(text)

    def all_remarks(self) -> list[str]:
        """Return the remarks for its user, and those for its author, which stand in listings and nowhere else."""
        return [*self.remarks, *([DEPRECATED] if self.listens() else [])]

    def blame(self, error: Torch2GridError, about: str = "") -> None:
        """Keep the failure of something that the plugin brings.

        A line says which thing failed, and how; for one thing, the first.

        Args:
            error: what was raised.
            about: what failed, if the error does not say so.
        """
        of = error if isinstance(error, PluginError) else None
        if of and not about and of.kind != "plugin":
            about = f"{of.kind} {of.name!r}"
        reason = of.reason if of else str(error)
        told = f"{about}: {reason}" if about else reason
        self.faults.setdefault(about or told, (told, traced(error)))

    def lines(self) -> list[str]:
        """Return the lines that a user sees of it: one for each fault, or else one for its remarks."""
        told = [text for text, _ in self.faults.values()] or ["; ".join(self.remarks)]
        return [self._of_it(each) for each in told if each]

    def traces(self) -> list[str]:
        """Return the tracebacks of its faults."""
        return [trace for _, trace in self.faults.values() if trace]

    def _of_it(self, told: str) -> str:
        version = f" {self.version}" if self.version else ""
        owner = self.source if not self.distribution and self.precedence is Precedence.GIVEN else self.owner
        return f"plugin {self.name!r} of {owner}{version}: {told}"

    def register(self, plugin: Any) -> None:
        """Take *plugin*, a module or object with hook implementations, or a class of some kind.

        Its ``requires_core``, a range of versions such as ``">=0.2,<0.3"``, is checked before anything else of it is used.
        """
        wanted = getattr(plugin, "requires_core", None)
        wrong = wrong_core(wanted) if wanted is not None else ""
        if wrong:
            self.fail(wrong)
            return
        if isinstance(plugin, type) and kind_below(plugin):
            self._take_classes([plugin])
            return
        manager = pluggy.PluginManager(PROJECT)  # one for each plugin: no other plugin can spoil its calls
        manager.add_hookspecs(Hooks)
        try:
            manager.register(plugin)
            manager.check_pending()
        except (pluggy.PluginValidationError, Warning) as error:  # a warning where those are errors
            unknown = re.search(r"unknown hook '(\w+)'", str(error))
            hooks = [name for name in vars(Hooks) if name.startswith("torch2grid_")]
            told = f"unknown hook {unknown[1]!r}{did_you_mean(unknown[1], hooks)}" if unknown else str(error)
            if strange := re.search(r"for hook '(\w+)'\s.*Argument\(s\) \{(.*?)\} are declared", str(error), re.DOTALL):
                given = ", ".join(each for each in inspect.signature(vars(Hooks)[strange[1]]).parameters if each != "self")
                told = f"{strange[1]} takes {strange[2]}, which no hook gives; it is called with {given or 'no arguments'}"
            self.fail(" ".join(told.split()))
            return
        self._hooks = manager
        bare = _unmarked_hooks(plugin, manager)
        if manager.get_hookcallers(plugin):
            if bare:
                self.fault(bare)
            return
        members = vars(plugin).values() if inspect.ismodule(plugin) else ()
        self._take_classes([each for each in members if isinstance(each, type) and each.__module__ == plugin.__name__])
        if bare and self.status == "failed":
            self.fail(f"brings nothing: {bare}")

    def _take_classes(self, classes: Iterable[type]) -> None:
        """Bring those of a known kind. One with a name that lacks methods is told of; a base class without a name is none."""
        known = list(dict.fromkeys(cls for cls in classes if kind_below(cls)))
        self._bare = [cls for cls in known if kind_of(cls) and _has_name(cls)]
        for cls in known:
            if _is_unfinished(cls):
                self.fault(lacking(cls, str(kind_below(cls))))
        if not self._bare:
            nameless = f"{' and '.join(cls.__name__ for cls in known[:3])} has no 'name'" if known else ""
            nothing = nameless or "it has no hook implementation and no class of a known kind"
            self.fail(self.error or f"brings nothing: {nothing}")

    def provides(self, kind: str) -> list[Provided]:
        """Return what the plugin brings of one kind. Its hook is called once.

        If the hook or a thing of it fails, the record says so.
        """
        if self.status != "ok":
            return []
        if kind not in self.provided:
            try:
                self.provided[kind] = self._collect(kind)
            except PluginError as error:
                self.provided[kind] = []
                self.blame(error)
        return self.provided[kind]

    def _collect(self, kind: str) -> list[Provided]:
        hook = KINDS[kind].hook
        origin = self.origin
        items: list[Any] = [cls for cls in self._bare if kind_of(cls) == kind]
        if self._hooks is not None:
            with guarded(origin, hook), first_run(self.remark, f"in {hook}"):
                caller = getattr(self._hooks.hook, hook)
                results = caller()
                if len(results) < len([each for each in caller.get_hookimpls() if not (each.hookwrapper or each.wrapper)]):
                    raise origin.error(returned(hook, None, "an iterable of classes"))
                for result in results:
                    if isinstance(result, (str, bytes, type)) or not hasattr(result, "__iter__"):
                        raise origin.error(returned(hook, result, "an iterable of classes"))
                    items += at_most(result, origin)
        found = []
        for item in items:  # one that is wrong costs none of the others
            try:
                found.append(provided_by(self, item, kind))
            except PluginError as error:
                self.blame(error)
        twice = [name for name, count in Counter(each.name for each in found).items() if count > 1]
        if twice:
            raise origin.error(f"{hook} yields two of the name {' and two of '.join(map(repr, twice))}")
        return sorted(found, key=lambda each: each.name)

    def listens(self) -> bool:
        """Return True if it implements the event ``torch2grid_written``."""
        return self._hooks is not None and bool(self._hooks.hook.torch2grid_written.get_hookimpls())

    def written(self, **event: Any) -> None:
        """Tell the plugin of a file. Raises ``PluginError``."""
        if self._hooks is not None and self.status == "ok":
            with guarded(self.origin):
                answers = self._hooks.hook.torch2grid_written(**event)
            if wrong := next(filter(None, (not_run("it", each) for each in answers)), ""):
                raise self.origin.error(wrong)


def _unmarked_hooks(plugin: Any, manager: pluggy.PluginManager) -> str:
    """What to say of functions that have the name of a hook and nothing that makes them one; empty where there are none."""
    called = {each.name for each in manager.get_hookcallers(plugin) or ()}
    named = vars(plugin) if inspect.ismodule(plugin) else {}
    bare = [name for name in vars(Hooks) if name.startswith("torch2grid_") and name not in called and callable(named.get(name))]
    names = " and ".join(f"{name}()" for name in bare)
    return f"nothing calls {names}: write @hookimpl above {'it' if len(bare) == 1 else 'each'}" if bare else ""


def failure(error: BaseException) -> str:
    """Why a plugin could not be imported, in one line."""
    return f"cannot be imported: {describe(error)}"


@dataclass
class Provided:
    """One class (or ready instance) that a plugin brings, known by kind and name before it is imported."""

    kind: str
    name: str
    summary: str
    target: Any  # a class, a Lazy, or an instance
    record: PluginRecord
    taken_by: str = ""  # the distribution that keeps the short name, where this one lost it
    seconds: float | None = None  # what importing the class took, ``None`` before that or where it came with the plugin

    @property
    def qualified(self) -> str:
        """``distribution/name``, which always reaches it."""
        return f"{self.record.owner}/{self.name}"

    @property
    def origin(self) -> Origin:
        return Origin(self.kind, self.name, self.record.distribution, self.record.version)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known without an import; attributes of the class itself otherwise."""
        if isinstance(self.target, Lazy):
            return self.target.facts
        known = ("formats", "flag", "schemes", "accepts", "folders", "always", *DECODER_WORDS)
        return {name: getattr(self.target, name) for name in known if hasattr(self.target, name)}

    @cached_property
    def about(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """``ends`` and ``within`` of a decoder: the names that it is about. Raises ``PluginError`` if they are not texts."""
        ends, within = (self.facts.get(word) or () for word in DECODER_WORDS)
        for word, given in zip(DECODER_WORDS, (ends, within), strict=True):
            check_texts(word, given, repr(self.name), self.origin)
        return tuple(ends), tuple(within)

    def load(self) -> type:
        """Return the class. Raises ``PluginError`` if it cannot be imported or is of another kind."""
        if not isinstance(self.target, Lazy):
            return self.target if isinstance(self.target, type) else type(self.target)
        started = time.perf_counter()
        with guarded(self.origin, "import"), first_run(self.record.remark, f"while {self.kind} {self.name!r} is imported"):
            module, _, name = self.target.path.partition(":")
            cls = getattr(importlib.import_module(module), name)
        self.target = _of_kind(cls, self.kind, self.origin)
        self.seconds = time.perf_counter() - started
        return cls  # type: ignore[no-any-return]

    def options(self) -> dict[str, Option]:
        """Return its options by name; imports the class. Raises ``PluginError`` if their types or defaults cannot be read."""
        cls = self.load()
        with (
            guarded(self.origin, "options"),
            first_run(self.record.remark, f"while the options of {self.kind} {self.name!r} are read"),
        ):
            found = options_of(cls)
            if self.kind != "settings":
                return found
            wrong = {name: told for name, option in found.items() if (told := wrong_setting(option))}
        for name, told in wrong.items():  # each is an option of every command: those that stand work without it
            self.record.fault(f"settings {self.name!r}: field {name!r} of {cls.__name__} {told}; it is left out")
        if told := no_settings(cls):
            self.record.fault(f"settings {self.name!r}: {told}")
        return {name: option for name, option in found.items() if name not in wrong}

    def create(self, given: Mapping[str, Any] | None = None) -> Any:
        """Return a new instance with the options *given*. Raises ``UsageError`` for a wrong option."""
        if not isinstance(self.target, (type, Lazy)):
            return self.target
        cls = self.load()
        with guarded(self.origin), first_run(self.record.remark, f"while {self.kind} {self.name!r} is made"):
            instance = build(cls, given or {}, f"{self.kind} {self.name!r}")
        stamp(instance, self.origin)
        self.remark_mistakes()
        return instance

    def remark_mistakes(self) -> None:
        """Note methods of its class that nothing calls, such as misspelt ones.

        Listings call it, and a run that uses the class.
        """
        if self.record.precedence is not Precedence.BASE:
            for mistake in mistakes(self.load()):
                self.record.remark(f"{self.kind} {self.name!r}: {mistake}")


def provided_by(record: PluginRecord, item: Any, kind: str) -> Provided:
    """What *item*, which the hook of *kind* yielded, is. Raises ``PluginError`` for anything but a class of that kind."""
    origin, hook = record.origin, KINDS[kind].hook
    if isinstance(item, Lazy):
        _check_lazy(item, kind, origin, hook)
        _remark_facts(item, kind, record)
        return Provided(kind, item.name, item.summary, item, record)
    if not isinstance(item, type):
        raise origin.error(f"{hook} yields {describe_value(item)}, not a class")
    _of_kind(item, kind, origin)
    if inspect.isabstract(item):
        raise origin.error(lacking(item, kind))
    if kind == "renderer" and (wrong := wrong_folders(item)):
        raise origin.error(wrong)
    with guarded(origin, f"{hook}: {item.__name__}()"), first_run(record.remark, f"while {item.__name__} is made"):
        instance = item()
        name = instance.name
        _check_name(kind, name, f"{item.__name__}.name", origin)
        if kind in _WORDS:
            _check_words(kind, getattr(instance, _WORDS[kind][0], None), item.__name__, origin)
        _check_accepts(getattr(instance, "accepts", "bytes"), item.__name__, origin)
        if kind == "filter":
            _check_flag(getattr(instance, "flag", ""), item.__name__, origin)
        return Provided(kind, name, summary_of(instance), item, record)


def kind_of(cls: type) -> str | None:
    """The kind of a concrete class, ``None`` for any other class."""
    return None if inspect.isabstract(cls) else kind_below(cls)


def _is_unfinished(cls: type) -> bool:
    """True for a class that is meant to be used, as it has a name, and cannot be: it neither has nor declares some method."""
    return inspect.isabstract(cls) and "name" in vars(cls) and not abstract_methods(cls) & vars(cls).keys()


def _has_name(cls: type) -> bool:
    """False for a base class that others in a file share: neither it nor an instance has a name."""
    try:
        return hasattr(cls, "name") or hasattr(cls(), "name")
    except KeyboardInterrupt:
        raise
    except BaseException:  # it wants arguments, say
        return False


def kind_below(cls: type) -> str | None:
    """The kind whose base class *cls* derives from, abstract or not."""
    for kind in KINDS.values():
        base = _base(kind.name)
        if issubclass(cls, base) and not cls.__module__.startswith("torch2grid_core._kinds"):
            return kind.name
    return None


def _check_name(kind: str, name: Any, what: str, origin: Origin) -> None:
    """A name is typed as ``NAME:key=value`` and ``distribution/NAME``, so it holds neither ``:`` nor ``/``.

    That of settings begins the names of Python's keyword arguments.
    """
    if not isinstance(name, str) or not name:
        raise origin.error(f"{what} is {describe_value(name)}, not a text")
    if not name.isprintable() or any(char in ":/," or char.isspace() for char in name):
        raise origin.error(f"{what} is {name[:60]!r}; a name holds no space, ':', '/' or ','")
    if kind == "settings" and not name.isidentifier():
        raise origin.error(f"{what} is {name[:60]!r}; a name of settings holds letters, digits and underscores alone")


_WORDS = {"renderer": ("formats", "png"), "source": ("schemes", "s3")}  # what a kind is chosen by, and an example


SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")  # RFC 3986, section 3.1


def _check_words(kind: str, words: Any, what: str, origin: Origin) -> None:
    if not isinstance(words, (tuple, list)) or not words or not all(isinstance(each, str) and each for each in words):
        name, example = _WORDS[kind]
        raise origin.error(f"the {name} of {kind} {what} are {describe_value(words)}, not a tuple of texts: ({example!r},)")
    for each in words if kind == "source" else ():
        if each != each.lower() or not SCHEME.fullmatch(each):
            raise origin.error(
                f"{each[:60]!r} is not a scheme: a lower-case letter, then lower-case letters, digits, +, - and ."
            )


def _check_accepts(accepts: Any, what: str, origin: Origin) -> None:
    if accepts not in ("bytes", "objects"):
        raise origin.error(f"{what} accepts {describe_value(accepts)}, neither 'bytes' nor 'objects'")


def _check_flag(flag: Any, what: str, origin: Origin) -> None:
    if not isinstance(flag, (str, bool)):
        raise origin.error(f"the flag of {what} is {describe_value(flag)}; it is the text of its value, or True for none")


DECODER_WORDS = ("ends", "within")  # which names it is about
_FACTS = {  # what a Lazy of a kind may say
    "renderer": ("formats", "folders"),
    "source": ("schemes",),
    "filter": ("flag",),
    "loader": ("accepts",),
    "decoder": DECODER_WORDS,
    "listener": ("always",),
}


def _remark_facts(item: Lazy, kind: str, record: PluginRecord) -> None:
    """Note what a Lazy says that nobody reads: a misspelt word, or one of another kind. Attributes of the class may be said."""
    known = _FACTS.get(kind, ())
    for key in item.facts:
        if key not in known and not hasattr(_base(kind), key):
            told = did_you_mean(key, known) if known else ""
            record.remark(f"{kind} {item.name!r}: nothing reads {key} in its Lazy{told}")


def _check_lazy(item: Lazy, kind: str, origin: Origin, hook: str) -> None:
    module, _, name = item.path.partition(":") if isinstance(item.path, str) else ("", "", "")
    if not module or not name:
        raise origin.error(f"{hook}: the path of a Lazy is {describe_value(item.path)}, not 'package.module:Class'")
    _check_name(kind, item.name, f"{hook}: the name of {name}", origin)
    if not isinstance(item.summary, str):
        raise origin.error(f"{hook}: the summary of {item.name!r} is {describe_value(item.summary)}, not a text")
    if kind in _WORDS:
        _check_words(kind, item.facts.get(_WORDS[kind][0]), repr(item.name), origin)
    _check_accepts(item.facts.get("accepts", "bytes"), repr(item.name), origin)
    if kind == "filter":
        _check_flag(item.facts.get("flag", ""), repr(item.name), origin)
    if kind == "decoder":
        for word in DECODER_WORDS:
            check_texts(word, item.facts.get(word, ()), repr(item.name), origin)


def check_texts(word: str, given: Any, what: str, origin: Origin) -> None:
    """Raise ``PluginError`` unless what a decoder says of the names that it is about is texts."""
    if not isinstance(given, (tuple, list)) or not all(isinstance(each, str) and each for each in given):
        raise origin.error(f"{word} of decoder {what} is {describe_value(given)}, not a tuple of texts: ('qweight',)")


def _base(kind: str) -> type:
    module, _, name = KINDS[kind].base.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _of_kind(cls: Any, kind: str, origin: Origin) -> type:
    base = _base(kind)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        name = getattr(cls, "__name__", describe_value(cls))
        raise origin.error(f"{name} is not a subclass of {base.__name__}")
    return cls


def of_kind(given: Any, kind: str) -> None:
    """Raise ``UsageError`` unless *given*, which somebody handed over in Python, is an instance of that kind."""
    if isinstance(given, type):
        raise UsageError(f"{kind}: expected an instance, not the class {given.__name__}: {given.__name__}(…)")
    if not isinstance(given, _base(kind)):
        raise UsageError(f"{kind}: expected a name or an instance of {_base(kind).__name__}, not {describe_value(given)}")


def summary_of(instance: Any) -> str:
    """What listings show: the first line of its ``description``, else of its class's own docstring."""
    described = getattr(instance, "description", None)
    own = type(instance).__dict__.get("__doc__")  # not the base class's: what that says is about writing one
    text = described if isinstance(described, str) else inspect.cleandoc(own) if own else ""
    return text.strip().partition("\n")[0]
