"""Sources of plugins as loaders see them: what goes wrong inside is told by the location and by who opens it."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

from torch2grid_core._data.filling import unfilled
from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.source import HEAD_BYTES, TAIL_BYTES, Source, SourceBase, is_source
from torch2grid_core._errors import LoadError, WrongAnswer
from torch2grid_core._guard import PASSES, Origin, describe, describe_value, not_run, returned, staying
from torch2grid_core._methods import misspelt
from torch2grid_core._text import without_secrets


class GuardedSource(SourceBase):
    """Another source, *inner*, whose failures are ``LoadError``, and answers of another type than a ``Source`` gives
    ``WrongAnswer``. They name its location, and the plugin that opens it where that is known.

    Raises ``WrongAnswer`` for one without a name.
    """

    def __init__(self, inner: Source, origin: Origin | None = None, shown: str = "") -> None:
        self.inner, self.origin, self.shown = inner, origin, shown  # which stands in messages until it has been asked
        if not is_source(inner):
            lacks = ", ".join(name for name in _METHODS if not hasattr(type(inner), name))
            raise self._wrong(
                f"{describe_value(inner)} is not a source" + (f": it lacks {lacks}()" if inner is not None else "")
            )
        self.shown = without_secrets(self._text("shown"))
        self.name = self._text("name")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GuardedSource) and self.inner == other.inner

    def __hash__(self) -> int:
        return hash(self.inner)

    def __getattr__(self, name: str) -> Any:
        """What the source has beside what every source has, for a loader of the same plugin."""
        if name.startswith("__") or "inner" not in vars(self):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def size(self) -> int:  # type: ignore[override]
        with self._told("cannot be looked at"):
            found = self.inner.size
        if not isinstance(found, Integral) or isinstance(found, bool) or found < 0:
            raise self._wrong(f"its size is {describe_value(found)}, not a number of bytes")
        return found

    @property
    def identity(self) -> Hashable:  # type: ignore[override]
        with self._told("cannot be looked at"):
            found = self.inner.identity
        with self._told("its identity has no hash"):
            hash(found)
        return found

    @property
    def is_folder(self) -> bool:  # type: ignore[override]
        with self._told("cannot be looked at"):
            found = self.inner.is_folder
        if not isinstance(found, bool):
            raise self._wrong(_property("is_folder", found, "True or False"))
        return found

    @property
    def entries(self) -> Sequence[str]:  # type: ignore[override]
        with self._told("cannot be listed"):
            found: Any = self.inner.entries
        if not isinstance(found, Sequence) or isinstance(found, (str, bytes)):
            raise self._wrong(_property("entries", found, "a tuple of names"))
        for each in found:
            if not isinstance(each, str):
                raise self._wrong(f"its entries hold {describe_value(each)}, not a name")
        return found

    @property
    def object(self) -> Any:
        with self._told("cannot be looked at"):
            return self.inner.object

    @property
    def folder(self) -> Source | None:  # type: ignore[override]
        with self._told("cannot be looked around"):
            found = self.inner.folder
        if found is not None and not is_source(found):
            raise self._wrong(_property("folder", found, "a Source or None"))
        return None if found is None else self._guarded(found)

    @property
    def head(self) -> bytes:
        with self._told("cannot be read"):
            length = 0 if self.is_folder else min(HEAD_BYTES, self.size)
            return self._whole("head", self.inner.head, 0, length)

    @property
    def tail(self) -> bytes:
        with self._told("cannot be read"):
            length = 0 if self.is_folder else min(TAIL_BYTES, self.size)
            return self._whole("tail", self.inner.tail, self.size - length, length)

    def child(self, name: str) -> Source:
        """What is called *name* inside a folder. Raises ``LoadError``."""
        with self._told(f"cannot be searched for {name!r}"):
            found = self.inner.child(name)
        if not is_source(found):
            raise self._wrong(f"{returned('child', found, 'a Source')}; one that is not there is a LoadError")
        return self._guarded(found)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly *length* bytes from *offset*. Raises ``LoadError``."""
        with self._told("cannot be read"):
            return self._whole("read", self.inner.read(offset, length), offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset*. Raises ``LoadError``."""
        read_into = getattr(self.inner, "read_into", None)
        if read_into is None:
            buffer[:] = self.read(offset, len(buffer))
            return
        with self._told("cannot be read"):
            wrong = unfilled(read_into, offset, buffer)
        if wrong:
            raise self._wrong(wrong)

    def window(self, offset: int, size: int) -> Source:
        """The *size* bytes from *offset* as a source of their own. Raises ``LoadError``."""
        with self._told("cannot be read"):
            found = self.inner.window(offset, size)
        if not is_source(found):
            raise self._wrong(returned("window", found, "a Source"))
        return self._guarded(found)

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Get ready to read these ranges. Raises ``LoadError``."""
        with self._told("cannot be read"):
            found: Any = self.inner.prefetch(ranges)  # type: ignore[func-returns-value]
        if wrong := not_run("prefetch", found):
            raise self._wrong(wrong)

    @property
    def ahead(self) -> int:  # type: ignore[override]
        with self._told("cannot be looked at"):
            found = getattr(self.inner, "ahead", 0)
        if not isinstance(found, Integral) or isinstance(found, bool) or found < 0:
            raise self._wrong(_property("ahead", found, "a number of bytes"))
        return int(found)

    def prepare(self, names: Iterable[str]) -> None:
        """Get ready to open these children. Raises ``LoadError``."""
        prepare = getattr(self.inner, "prepare", None)
        if prepare is not None:
            with self._told("cannot be searched"):
                found: Any = prepare(names)
            if wrong := not_run("prepare", found):
                raise self._wrong(wrong)

    def _guarded(self, found: Source) -> Source:
        return guarded_source(found, self.origin, self.shown)

    def _by(self, reason: str) -> str:
        return str(self.origin.error(reason)) if self.origin else reason

    def _wrong(self, reason: str) -> WrongAnswer:
        return WrongAnswer(self.shown, self._by(reason))

    def _text(self, word: str) -> str:
        with self._told(f"its {word} cannot be read"):
            found = getattr(self.inner, word, _MISSING)
        if found is _MISSING:
            raise self._wrong(f"it has no {word}")
        if not isinstance(found, str):
            raise self._wrong(_property(word, found, "a text"))
        return found

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            with staying():
                yield
        except PASSES:
            raise
        except BaseException as error:
            told = describe(error)
            if isinstance(error, NotImplementedError):
                meant = [
                    f"nothing calls {name}(): did you mean {true}()?" for name, true in misspelt(type(self.inner), SourceBase)
                ]
                told = "; ".join([f"{type(self.inner).__name__} has no read()", *meant])
            raise LoadError(self.shown, self._by(f"{doing}: {told}")) from error

    def _whole(self, what: str, found: Any, offset: int, length: int) -> bytes:
        if not isinstance(found, bytes):
            own = what == "read" or getattr(type(self.inner), what, None) is not getattr(SourceBase, what)
            raise self._wrong(_property(what, found, "bytes") if own and what != "read" else returned("read", found, "bytes"))
        if len(found) != length:
            short = f"its source gave {len(found):,} of the {length:,} bytes from byte {offset:,}"
            raise LoadError(self.shown, self._by(short), "try again; if it stays so, the source is at fault")
        return found


_MISSING: Any = object()
_METHODS = ("child", "read", "window", "prefetch")


def _property(name: str, found: object, wanted: str) -> str:
    """What is wrong with an answer that is no method's: often ``@property`` is missing."""
    forgot = "; write @property above it" if callable(found) else "; is a 'return' missing?" if found is None else ""
    return f"its {name} is {describe_value(found)}, not {wanted}{forgot}"


def guarded_source(source: Source, origin: Origin | None = None, shown: str = "") -> Source:
    """*source*, guarded, unless it is a local file's or a live object: those tell of themselves.

    origin: of who opens it. shown: what messages call it until it has said so itself. Raises ``WrongAnswer``.
    """
    if type(source) in (LocalSource, GuardedSource):
        return source
    found = GuardedSource(source, origin, shown)
    return found if found.object is None else source


def answer_all(source: Source) -> None:
    """Ask *source* for each thing that a run may ask of it. Raises ``WrongAnswer`` for an answer of another type."""
    asked = GuardedSource(source)
    _ = asked.identity, asked.folder, asked.head, asked.tail
    asked.prefetch([])
    asked.prepare([])
    _ = asked.ahead
    if asked.is_folder:
        for name in asked.entries[:1]:
            asked.child(name)
    else:
        part = min(asked.size, 1)
        asked.window(0, part).read(0, part)
        asked.read(0, part)
        asked.read_into(0, memoryview(bytearray(part)))
        _ = asked.entries
