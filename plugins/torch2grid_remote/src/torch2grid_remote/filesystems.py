"""The file systems of fsspec as stores: how one is made in each process, and what its failures mean."""

from __future__ import annotations

import errno
import importlib
import os
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from torch2grid_core import LoadError
from torch2grid_remote import limits
from torch2grid_remote.files import CHANGED, Begun, Entry, NotThere
from torch2grid_remote.retrying import Again, Tell, persistently

_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime", "updated")
_made: dict[tuple[int, str, bool], Any] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))


class FilesystemStore:
    """The objects of one bucket, by an fsspec file system. A path is a key.

    scheme: of its locations. module, extra: what to import, and which extra installs it.
    """

    scheme: ClassVar[str]
    module: ClassVar[str]
    extra: ClassVar[str]
    looks: ClassVar[bool] = True
    shippable: ClassVar[bool] = True

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.anonymous = False

    def shown(self, path: str) -> str:
        """The location of what is at *path*."""
        return f"{self.scheme}://{self.bucket}/{path}"

    def options(self) -> dict[str, Any]:
        """How the file system is made."""
        return {}

    def settle(self) -> None:
        """Find out who asks, before the first request to read."""

    def filesystem(self) -> Any:
        """The file system, one for each process. Raises ``LoadError`` where its package is missing."""
        key = os.getpid(), self.scheme, self.anonymous
        with _lock:
            if key not in _made:
                try:
                    import fsspec

                    importlib.import_module(self.module)
                except ImportError as error:
                    told = f"needs the package {error.name or self.module}"
                    raise LoadError(self.shown(""), told, f"pip install 'torch2grid-remote[{self.extra}]'") from error
                _made[key] = fsspec.filesystem(
                    self.scheme, skip_instance_cache=True, use_listings_cache=False, **self.options()
                )
            return _made[key]

    def at(self, path: str) -> str:
        """*path* as the file system writes it."""
        return f"{self.bucket}/{path}" if path else self.bucket

    def persistently(self, attempt: Any, path: str, start: int, buffer: memoryview, tell: Tell | None = None) -> None:
        """``retrying.persistently``, with the failures of the file system told in our words."""

        def told(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            try:
                attempt(start, buffer, arrived, wait)
            except (LoadError, Again):
                raise
            except Exception as error:
                raise self.failure(error, path) from error

        persistently(self.shown(path), told, start, buffer, tell)

    def once(self, work: Any, path: str) -> Any:
        """What *work* returns, tried again where that may help. It takes how a file system that can is told when to give up."""
        found: list[Any] = []
        can = getattr(self.filesystem(), "async_impl", False)

        def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            found.append(work({"timeout": wait} if can else {}))
            arrived(len(buffer))

        self.persistently(attempt, path, 0, memoryview(bytearray(1)))
        return found[-1]

    def failure(self, error: Exception, path: str) -> Exception:
        """What *error* of the file system means: ``Again`` where it may pass, else a ``LoadError``."""
        shown = self.shown(path)
        if isinstance(error, (FileNotFoundError, IsADirectoryError)):
            return NotThere(shown, "is not there", "check the address")
        if isinstance(error, PermissionError):
            return LoadError(shown, "the store refuses it", "check the address and your credentials")
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return Again(f"is silent for {limits.SILENCE:g} s")
        if isinstance(error, ConnectionError) or "Connection" in type(error).__name__ or "Payload" in type(error).__name__:
            return Again("breaks off the connection")
        if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EAGAIN, errno.EIO):
            return Again("is busy")
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return LoadError(shown, str(error.strerror), "check the address")
        return LoadError(shown, f"cannot be read: {type(error).__name__}", "check the address and your credentials")

    def begin(self, path: str) -> Begun:
        """The first bytes of a file. Raises ``NotThere``."""
        system = self.filesystem()
        about = self.once(lambda within: system.info(self.at(path), **within), path)
        if about.get("type") != "file":
            raise NotThere(self.shown(path), "is not there", "check the address")
        size = int(about["size"])
        head = bytearray(min(limits.HEAD, size))
        if head:
            self.fetch(path, _version(about), size, 0, memoryview(head), None)
        return Begun(bytes(head), size, _version(about))

    def fetch(self, path: str, version: str, size: int, start: int, buffer: memoryview, tell: Tell | None) -> None:
        """Fill *buffer* from byte *start*, and look whether that is still the same object."""
        system = self.filesystem()

        def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            found = system.cat_file(self.at(path), start=start, end=start + len(buffer))  # by name: s3fs takes versions first
            if len(found) > len(buffer):
                raise LoadError(self.shown(path), "the store sends more than it is asked for", "download the file first")
            buffer[: len(found)] = found
            arrived(len(found))
            about = system.info(self.at(path))
            if int(about.get("size", -1)) != size or (version and _version(about) != version):
                raise LoadError(self.shown(path), *CHANGED)

        self.persistently(attempt, path, start, buffer, tell)

    def listing(self, path: str) -> Sequence[Entry]:
        """What is below a prefix, up to the next ``/``."""
        system, where = self.filesystem(), self.at(path)
        found = self.once(lambda within: system.ls(where, detail=True, refresh=True, **within), path)
        entries = {}
        for each in found[: limits.LISTED]:
            name = str(each["name"]).rstrip("/")
            if not name.startswith(f"{where}/") or "/" in (last := name[len(where) + 1 :]) or last in ("", ".", ".."):
                continue
            is_folder = each.get("type") == "directory"
            entries[last] = Entry(last, is_folder, 0 if is_folder else int(each.get("size") or 0), _version(each))
        if not entries:
            raise NotThere(self.shown(path), "is not there, or empty", "check the address")
        return list(entries.values())


def _version(about: dict[str, Any]) -> str:
    return next((str(about[key]) for key in _VERSIONS if about.get(key)), "")
