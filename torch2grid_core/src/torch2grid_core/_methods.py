"""Methods of a plugin's class by their names: those that are missing, and those that nothing calls, as they are misspelt."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import re

from torch2grid_core._guard import describe_value

_ALIKE = 0.7  # of two names of methods, for one to be the other misspelt
_ONE_OF = (("pages", "tensor_pages"), ("keep", "apply"), ("started", "written", "finished"))  # one at least is overridden
_BY_NAME = {"combines": "render_all", "folders": "render_folder"}  # formats of a renderer, and what writes them
_STREAMED = ("layout", "needs", "arrange")


def core_base(cls: type) -> type:
    """The nearest class of the core that *cls* derives from."""
    return next((each for each in cls.__mro__[1:] if each.__module__.startswith("torch2grid_core.")), object)


def abstract_methods(cls: type) -> frozenset[str]:
    """The names of the methods that an abstract class lacks."""
    found: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    return found


def lacking(cls: type, kind: str) -> str:
    """Which methods an abstract class of *kind* lacks, in a message."""
    from difflib import get_close_matches

    if wrong := wrong_folders(cls):
        return wrong
    missing = sorted(abstract_methods(cls))
    told = f"{kind} class {cls.__name__} lacks {' and '.join(f'{name}()' for name in missing)}"
    base = core_base(cls)
    own = dict.fromkeys(name for each in cls.__mro__ if not issubclass(base, each) for name in vars(each))
    for name in own:
        if hasattr(base, name) or not callable(getattr(cls, name)):
            continue
        if meant := get_close_matches(name, missing, 1, _ALIKE):
            told += f"; nothing calls {name}(): did you mean {meant[0]}()?"
    fixed = [name for each in base.__mro__ for name in vars(each).get("__annotations__", ()) if name not in own]
    for name in own:
        if name[0] == "_" or name in fixed or hasattr(base, name) or callable(getattr(cls, name)):
            continue
        if meant := get_close_matches(name, fixed, 1, _ALIKE):
            told += f"; nothing reads {name}: did you mean {meant[0]}?"
    return told


def wrong_folders(cls: type) -> str:
    """What is wrong with the ``folders`` of a renderer's class, empty where nothing is."""
    found = getattr(cls, "folders", ())
    if isinstance(found, (tuple, list)) and all(isinstance(each, str) and each for each in found):
        return ""
    return f"the folders of renderer {cls.__name__} are {describe_value(found)}, not a tuple of texts: ('pages',)"


@functools.cache
def mistakes(cls: type) -> tuple[str, ...]:
    """What *cls* overrides, adds or leaves out so that nothing, or not all of it, can come of it, a line for each."""
    base = core_base(cls)
    found = [f"nothing calls {name}(); did you mean {meant}()?" for name, meant in misspelt(cls, base)]
    for names in _ONE_OF:
        if not found and all(hasattr(base, name) for name in names) and not any(overrides(cls, base, name) for name in names):
            found.append("it overrides neither " + " nor ".join(f"{name}()" for name in names))
    if hasattr(base, "tensor_pages") and overrides(cls, base, "tensor_pages") and not overrides(cls, base, "tensor_needs"):
        found.append("tensor_pages() is called only where tensor_needs() asks for something, and it is not overridden")
    found += [*never_run(cls, base), *_unwritten(cls, base)]
    if bare := [name for each in cls.__mro__ for name, value in vars(each).items() if isinstance(value, dataclasses.Field)]:
        found.append(f"{', '.join(bare)}: fields of a class that is not a dataclass; put @dataclass(frozen=True) above it")
    if hasattr(base, "transform") and not hasattr(base, "layout"):
        alone = [name for name in _STREAMED if inspect.isfunction(getattr(cls, name, None)) and not _is_used(cls, name)]
        found += [f"nothing calls {name}(): it is a method of a LayoutTransformer" for name in alone]
    if all(hasattr(base, name) for name in ("layout", "needs", "arrange")):
        asks, arranges = (overrides(cls, base, name) for name in ("needs", "arrange"))
        if arranges and not asks:
            own = _is_own(cls, "layout")
            told = "nothing calls arrange(): it gets what needs() asks for, and" if own else "arrange() gets no results:"
            found.append(f"{told} needs() is missing")
        elif asks and not arranges:
            found.append("nothing reads what needs() asks for: arrange() is missing")
    return tuple(found)


def _unwritten(cls: type, base: type) -> list[str]:
    """What a renderer says of its formats that is not so."""
    found = []
    for words, method in _BY_NAME.items():
        if not hasattr(base, method):
            continue
        named, formats = getattr(cls, words), getattr(cls, "formats", ())
        if not isinstance(named, (tuple, list)):  # a property, or what is told of elsewhere
            continue
        if named and not overrides(cls, base, method):
            found.append(f"{words} names {', '.join(map(str, named))}, and {method}() is missing")
        elif method in vars(cls) and not named:  # one that it inherits may be meant for others
            found.append(f"nothing calls {method}(): {words} names no format")
        if isinstance(formats, (tuple, list)):
            found += [f"{words} names {each!r}, which is not one of its formats" for each in named if each not in formats]
    return found


def no_settings(cls: type) -> str:
    """What is wrong with a class of settings that has no fields of its own, as it is no dataclass; empty where it is one."""
    if "__dataclass_fields__" in vars(cls):
        return ""
    hinted = [name for name, hint in inspect.get_annotations(cls).items() if "ClassVar" not in str(hint)]
    if dataclasses.is_dataclass(cls) and not hinted:  # those that it inherits are all
        return ""
    return f"{cls.__name__} is not a dataclass, so it has no options: write @dataclass(frozen=True) above it"


_YIELDS = ("Iterable", "Iterator", "Sequence", "Generator")  # what a method returns that may be written with yield


@functools.cache
def never_run(cls: type, base: type) -> tuple[str, ...]:
    """The methods of *base* that *cls* writes as generators or with ``async``, so that calling one runs nothing of it."""
    found = []
    for name in dir(base):
        own = getattr(cls, name, None)
        if name.startswith("__") or not inspect.isfunction(own) or not overrides(cls, base, name):
            continue
        if inspect.iscoroutinefunction(own) or inspect.isasyncgenfunction(own):
            found.append(f"{name}() is async, so nothing of it runs: write def, not async def")
        elif inspect.isgeneratorfunction(own):
            told = str(inspect.get_annotations(getattr(base, name)).get("return", ""))
            if not told.startswith(_YIELDS):
                found.append(f"{name}() holds yield, so nothing of it runs: write it without yield")
    return tuple(found)


def overrides(cls: type, base: type, name: str) -> bool:
    """True where *cls* has another *name* than *base*."""
    return getattr(cls, name, None) is not getattr(base, name, None)


def _is_own(cls: type, name: str) -> bool:
    """False for a method that the core has put into *cls*."""
    return not str(getattr(getattr(cls, name), "__module__", "")).startswith("torch2grid_core.")


def misspelt(cls: type, base: type) -> list[tuple[str, str]]:
    """Methods that nobody calls, each with the method of the base class, not overridden, that it is nearly named as."""
    own = {name: each for one in cls.__mro__ if not issubclass(base, one) for name, each in vars(one).items()}
    strange = [name for name, each in own.items() if name[0] != "_" and not hasattr(base, name) and inspect.isfunction(each)]
    if not strange:  # as at nearly every start: what follows costs more
        return []
    from difflib import get_close_matches

    free = [name for name, _ in inspect.getmembers(base, callable) if name[0] != "_" and not overrides(cls, base, name)]
    found = []
    for name in strange:
        close = get_close_matches(name, free, 1, _ALIKE)
        if close and not _is_used(cls, name):
            found.append((name, close[0]))
    return found


def _is_used(cls: type, name: str) -> bool:
    """True where *cls*, or a class of the plugin's that it derives from, speaks of ``something.name``."""
    for one in cls.__mro__:
        if one.__module__.startswith(("torch2grid_core.", "builtins")):
            continue
        with contextlib.suppress(OSError, TypeError):
            if re.search(rf"\.{re.escape(name)}\b", inspect.getsource(one)):
                return True
    return False
