"""The one place where a plugin's exception becomes a ``PluginError``."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from torch2grid_core._errors import PluginError, Torch2GridError
from torch2grid_core._text import without_secrets_in

Item = TypeVar("Item")
Result = TypeVar("Result")

_ATTRIBUTE = "_torch2grid_origin"
MOST_ITEMS = 1000
PASSES = (Torch2GridError, KeyboardInterrupt)  # of what a plugin raises: meant for the user, or from the user
MOST_PAGES = 10_000
FILE_MODULE = "torch2grid_file_"  # begins the name under which the file of a plugin is imported


@dataclass(frozen=True)
class Origin:
    """Who ships a thing: its kind and name, the distribution and its version (empty for a file or live code).

    Args:
        kind: the hook kind.
        name: of the thing.
        distribution: that ships it.
        version: of the distribution.
        where: the file that it was at, for messages.
    """

    kind: str
    name: str
    distribution: str = ""
    version: str = ""
    where: str = field(default="", compare=False)

    def error(self, reason: str) -> PluginError:
        """Return the error that names this thing and who ships it."""
        return PluginError(self.kind, self.name, self.distribution, self.version, reason)


def stamp(instance: Any, origin: Origin) -> None:
    """Remember on *instance* who ships it, for later messages. A class with slots goes without."""
    with contextlib.suppress(AttributeError, TypeError):
        object.__setattr__(instance, _ATTRIBUTE, origin)


def stamp_like(instance: Any, other: Any) -> None:
    """Remember on *instance*, made of *other*, who ships that, where it is remembered."""
    if is_stamped(other):
        stamp(instance, origin_of(other))


def is_stamped(instance: Any) -> bool:
    """True where it is remembered who ships *instance*."""
    return isinstance(getattr(instance, _ATTRIBUTE, None), Origin)


def origin_of(instance: Any) -> Origin:
    """Who ships *instance*: as stamped, else by its class."""
    found = getattr(instance, _ATTRIBUTE, None)
    if isinstance(found, Origin):
        return found
    return Origin("plugin", str(getattr(instance, "name", type(instance).__name__)))


@contextlib.contextmanager
def guarded(origin: Origin, doing: str = "") -> Iterator[None]:
    """Turn what a plugin raises inside into a ``PluginError``; errors meant for the user pass as they are.

    The working folder is the one from before again: paths that the user gave are relative to that.
    """
    before = working_folder()
    try:
        yield
    except PASSES:
        raise
    except BaseException as error:  # SystemExit too, and what pytest.importorskip raises
        raise _failed(origin, doing, error) from error
    finally:
        _back_in(before)


def _failed(origin: Origin, doing: str, error: BaseException) -> PluginError:
    return origin.error((f"{doing}: " if doing else "") + describe(error))


def working_folder() -> str:
    """The working folder, empty where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return ""


@contextlib.contextmanager
def staying() -> Iterator[None]:
    """The working folder is the one from before again: what a plugin does inside moves no path that the user gave."""
    before = working_folder()
    try:
        yield
    finally:
        _back_in(before)


def _back_in(folder: str) -> None:
    if folder and working_folder() != folder:
        with contextlib.suppress(OSError):
            os.chdir(folder)


def describe(error: BaseException) -> str:
    """``ValueError: text`` in one line."""
    text = without_secrets_in(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_value(value: Any) -> str:
    """A value in a message: short, and never the repr of something large."""
    if isinstance(value, type):
        return f"the class {value.__name__}"[:60]
    text = repr(value) if isinstance(value, (int, float, str, bool, type(None))) else f"a {type(value).__name__}"
    return text[:60]


def returned(method: str, found: object, wanted: str) -> str:
    """``load returned 7, not a Checkpoint``: what every method that must return something says of what it returned."""
    forgot = "; is a 'return' missing?" if found is None else ""
    return f"{method} returned {describe_value(found)}, not {wanted}{forgot}"


def unhashable(asked: object) -> str:
    """Why *asked* cannot be compared with what other views ask for; empty where it can."""
    try:
        hash(asked)
    except PASSES:
        raise
    except BaseException as error:  # a __hash__ of the plugin's own may raise anything
        what = type(asked).__name__
        return f"{what} has no hash ({describe(error)}); it must hold tuples, not lists, and be a dataclass(frozen=True)"
    return ""


def not_run(method: str, found: Any, yields: bool = False) -> str:
    """What is wrong where *found*, which *method* returned, is a generator or a coroutine: nothing of the method ran.

    Empty for anything else, and for a generator of a method that *yields*.
    """
    if inspect.iscoroutine(found) or inspect.isasyncgen(found):
        if inspect.iscoroutine(found):
            found.close()  # or Python warns that nobody awaited it
        return f"{method} is async, so nothing of it runs: write def, not async def"
    if inspect.isgenerator(found) and not yields:
        return f"{method} holds yield, so nothing of it runs: write it without yield"
    return ""


def call(instance: Any, method: Callable[..., Result], *arguments: Any) -> Result:
    """``method(*arguments)`` of *instance*, guarded. Of a generator or a coroutine nothing would run: that is an error."""
    before = working_folder()
    try:  # what ``guarded`` does, which costs more: each file is shown to every loader
        found = method(*arguments)
    except PASSES:
        raise
    except BaseException as error:
        raise _failed(origin_of(instance), getattr(method, "__name__", ""), error) from error
    finally:
        _back_in(before)
    if wrong := not_run(getattr(method, "__name__", ""), found):
        raise origin_of(instance).error(wrong)
    return found


_ITEMS = {"pages": "pages", "tensor_pages": "pages", "findings": "findings", "choose": "names", "runs": "actions"}


def collect(instance: Any, method: Callable[..., Iterable[Item]], *arguments: Any) -> Iterator[Item]:
    """The items that ``method(*arguments)`` yields, each drawn inside the guard, so that a generator cannot slip out."""
    origin, doing = origin_of(instance), getattr(method, "__name__", "")
    with guarded(origin, doing):
        result = method(*arguments)
        if wrong := not_run(doing, result, yields=True):
            raise origin.error(wrong)
        if isinstance(result, (str, bytes)) or not hasattr(result, "__iter__"):
            of = _ITEMS.get(doing, "")
            said = returned(doing, result, f"an iterable{of and f' of {of}'}")
            alone = result is not None and not isinstance(result, (str, bytes)) and of and "; yield it, or return [it]"
            raise origin.error(f"{said}{alone or ''}")
        items = iter(result)
    while True:
        with guarded(origin, doing):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def at_most(items: Iterable[Item], origin: Origin, limit: int = MOST_ITEMS) -> list[Item]:
    """The items as a list. Raises ``PluginError`` for more than *limit*: a plugin that never ends must not hang a run."""
    taken = list(islice(items, limit + 1))
    if len(taken) > limit:
        raise origin.error(f"yields more than {limit:,} items")
    return taken
