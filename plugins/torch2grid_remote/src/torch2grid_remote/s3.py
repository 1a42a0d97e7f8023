"""s3:// locations, by s3fs: its sessions, credentials and signatures, and requests that state which version they want."""

from __future__ import annotations

import asyncio
import errno
import time
from functools import cache
from typing import Any, ClassVar

from torch2grid_core import LoadError
from torch2grid_remote import limits
from torch2grid_remote.buckets import BucketOpener
from torch2grid_remote.connections import number
from torch2grid_remote.files import CHANGED, Begun, NotThere
from torch2grid_remote.filesystems import FilesystemStore
from torch2grid_remote.ranges import SPAN
from torch2grid_remote.retrying import Again, Tell

_PIECE = 256 << 10
_PASSES = ("SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException")
_OTHER = "the store sends other bytes than it is asked for", "download it first"


@cache
def _session() -> type:
    """The client of aiobotocore, which reads no answer without an end: neither an error, nor a page of a listing."""
    from aiobotocore.httpsession import AIOHTTPSession

    class Bounded(AIOHTTPSession):  # type: ignore[misc]
        async def send(self, request: Any) -> Any:
            streams, request.stream_output = request.stream_output, True  # so that it is not read at once
            answer = await super().send(request)
            request.stream_output = streams
            if answer.status_code >= 300 or not streams:
                answer._content = await _read(answer)
            return answer

    return Bounded


async def _read(answer: Any) -> bytes:
    """The body of *answer*; of an error that has a long one, nothing. Raises ``OSError`` for a page that is too long."""
    is_error = answer.status_code >= 300
    most = limits.REFUSAL if is_error else limits.PAGE
    found = bytearray()
    while piece := await answer.raw.content.read(_PIECE):
        found += piece
        if len(found) > most:
            answer.raw.close()
            if is_error:
                return b""
            raise OSError(errno.EFBIG, f"the store's answer is larger than {most >> 20} MiB")
    return bytes(found)


class S3Store(FilesystemStore):
    """A bucket of S3, or of a store that speaks its protocol."""

    scheme: ClassVar[str] = "s3"
    module: ClassVar[str] = "s3fs"
    extra: ClassVar[str] = "s3"

    def options(self) -> dict[str, Any]:
        """Waiting as we wait, and no retries but ours."""
        config = {
            "connect_timeout": limits.CONNECT,
            "read_timeout": limits.SILENCE,
            "max_pool_connections": limits.OPENING,
            "retries": {"total_max_attempts": 1},
        }
        return {"anon": self.anonymous, "config_kwargs": {**config, "http_session_cls": _session()}}

    def filesystem(self) -> Any:
        """The file system, one for each process. Raises ``LoadError`` where its package is missing."""
        found = super().filesystem()
        found.retries = 1
        return found

    def failure(self, error: Exception, path: str) -> Exception:
        """What an error of botocore or s3fs means."""
        shown, cause = self.shown(path), error
        while cause is not None and not hasattr(cause, "response"):
            cause = cause.__cause__  # type: ignore[assignment]
        response = getattr(cause, "response", None)
        about = response if isinstance(response, dict) else {}
        status = int(about.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(about.get("Error", {}).get("Code", ""))
        if status >= 500 or status in (408, 429) or code in _PASSES:
            headers = about.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            stated = str(headers.get("retry-after", ""))
            return Again(f"answers {status or code}", float(number(stated[:6]) or 0))
        if status == 412 or code == "PreconditionFailed":
            return LoadError(shown, *CHANGED)
        if status == 404 or code in ("NoSuchKey", "NoSuchBucket", "404"):
            return NotThere(shown, "is not there", "check the address")
        if status in (401, 403):
            return LoadError(shown, f"the store answers {status}", "check the address and your credentials")
        if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            return LoadError(shown, "there are no credentials for it", "log in, or check AWS_PROFILE")
        return super().failure(error, path)

    def settle(self) -> None:
        """Ask without a signature where nobody is logged in: public buckets are open to anybody."""
        from fsspec.asyn import sync

        system = self.filesystem()

        async def known() -> bool:
            session = await system.set_session() and system.session
            return await session.get_credentials() is not None

        try:
            self.anonymous = not sync(system.loop, known)
        except Exception:
            self.anonymous = False

    def begin(self, path: str) -> Begun:
        """The first bytes of an object. Raises ``NotThere``."""
        found: list[Begun] = []

        def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            try:
                head, size, version = self._get(path, "", 0, limits.HEAD, wait)
            except Exception as error:
                if _status(error) != 416:
                    raise
                head, size, version = b"", 0, ""
            found.append(Begun(head, size, version))
            arrived(len(buffer))

        self.persistently(attempt, path, 0, memoryview(bytearray(1)))
        return found[-1]

    def _get(self, path: str, version: str, start: int, length: int, wait: float) -> tuple[bytes, int, str]:
        from fsspec.asyn import sync

        head = bytearray(length)
        done = 0

        def arrived(count: int) -> None:
            nonlocal done
            done += count

        size, found = sync(self.filesystem().loop, self._body, path, version, start, memoryview(head), arrived, wait)
        return bytes(head[:done]), size, found

    async def _body(
        self, path: str, version: str, start: int, buffer: memoryview, arrived: Tell, wait: float
    ) -> tuple[int, str]:
        """Receive a range into *buffer*; the size of the object, and its version. Raises ``LoadError``."""
        wanted = {"Range": f"bytes={start}-{start + len(buffer) - 1}", **({"IfMatch": version} if version else {})}
        asking = self.filesystem()._call_s3("get_object", Bucket=self.bucket, Key=path, **wanted)
        answer = await asyncio.wait_for(asking, wait)
        stream = answer["Body"]
        try:
            span = str(answer.get("ContentRange") or "")
            length = int(answer.get("ContentLength", -1))
            if not span and start == 0 and 0 <= length <= len(buffer):
                first, last, total = 0, length - 1, length
            elif not span:
                raise LoadError(self.shown(path), "the store sends the whole object for a part of it", "download it first")
            elif (found := SPAN.fullmatch(span.strip())) is None:
                raise LoadError(self.shown(path), *_OTHER)
            else:
                first, last, total = map(int, found.groups())
            if first != start or not start - 1 <= last < start + len(buffer):
                raise LoadError(self.shown(path), *_OTHER)
            etag = str(answer.get("ETag") or "")
            if version and etag and etag.strip('"') != version.strip('"'):  # a store that knows no If-Match
                raise LoadError(self.shown(path), *CHANGED)
            done, length = 0, last + 1 - start
            due, fresh = time.monotonic() + wait, 0
            while done < length:
                reading = stream.read(min(_PIECE, length - done))
                piece = await asyncio.wait_for(reading, max(due - time.monotonic(), 0.01))
                if not piece:
                    raise Again("breaks off in the middle of an answer")
                buffer[done : done + len(piece)] = piece
                done, fresh = done + len(piece), fresh + len(piece)
                arrived(len(piece))
                if fresh >= limits.PACE * wait:
                    due, fresh = time.monotonic() + wait, 0
            return total, etag
        finally:
            stream.close()

    def fetch(self, path: str, version: str, size: int, start: int, buffer: memoryview, tell: Tell | None) -> None:
        """Fill *buffer* from byte *start* of that version."""
        from fsspec.asyn import sync

        def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
            found, _ = sync(self.filesystem().loop, self._body, path, version, start, buffer, arrived, wait)
            if found != size:
                raise LoadError(self.shown(path), *CHANGED)

        self.persistently(attempt, path, start, buffer, tell)


def _status(error: BaseException | None) -> int:
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        error = error.__cause__
    return 0


class S3(BucketOpener):
    """s3://bucket/key: an object or a prefix in S3, or in a store that speaks its protocol"""

    name: ClassVar[str] = "s3"
    schemes: ClassVar[tuple[str, ...]] = ("s3",)
    store: ClassVar[type[FilesystemStore]] = S3Store
