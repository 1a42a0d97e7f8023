"""One range of one file from an HTTP server, and nothing else that a server may send instead."""

from __future__ import annotations

import re
from typing import NamedTuple

from torch2grid_core import LoadError
from torch2grid_remote import limits
from torch2grid_remote.connections import Answer, abandon, body_into, number, refused, release, request
from torch2grid_remote.files import CHANGED, Begun, NotThere
from torch2grid_remote.retrying import Again, Tell, persistently

SPAN = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Span(NamedTuple):
    """What an answer says that it holds. size: of the whole file."""

    start: int
    stop: int
    size: int


def begin(url: str, shown: str, secret: str = "") -> tuple[Begun, str]:
    """How the file at *url* begins, and which address gave it in the end. Raises ``NotThere``, ``LoadError``."""
    found: list[tuple[Begun, str]] = []

    def attempt(start: int, buffer: memoryview, arrived: Tell, wait: float) -> None:
        answer = request(url, {"Range": f"bytes=0-{limits.HEAD - 1}"}, shown, wait, secret)
        span = _span(answer, shown, limits.HEAD)
        head = bytearray(min(limits.HEAD, span.size))
        if span.start or span.stop != len(head):
            raise _other(answer, shown)
        body_into(answer, memoryview(head), shown, wait, lambda count: None)
        found.append((Begun(bytes(head), span.size, version(answer)), answer.url))
        arrived(len(buffer))

    persistently(shown, attempt, 0, memoryview(bytearray(1)))
    return found[-1]


def fetch(
    url: str, shown: str, known: str, size: int, start: int, buffer: memoryview, arrived: Tell, wait: float, secret: str = ""
) -> str:
    """One attempt to fill *buffer* from byte *start*; the address that answered. known: the version that it has to be."""
    headers = {"Range": f"bytes={start}-{start + len(buffer) - 1}"}
    if known.startswith('"'):
        headers["If-Match"] = known
    answer = request(url, headers, shown, wait, secret)
    if answer.status == 412:
        release(answer)
        raise LoadError(shown, *CHANGED)
    span = _span(answer, shown, len(buffer) if start == 0 else 0)
    if span.size != size or (known and version(answer) != known):
        abandon(answer)
        raise LoadError(shown, *CHANGED)
    if span.start != start or not start < span.stop <= start + len(buffer):
        raise _other(answer, shown)
    body_into(answer, buffer[: span.stop - start], shown, wait, arrived)
    if span.stop < start + len(buffer):
        raise Again("sends less than it is asked for")
    return answer.url


def _span(answer: Answer, shown: str, most: int) -> Span:
    """What *answer* holds; a whole file where that has no more than *most* bytes. Raises ``LoadError``, ``Again``."""
    if answer.headers.get("content-encoding", "identity") not in ("identity", ""):
        abandon(answer)
        raise LoadError(shown, "the server sends it compressed, which has no ranges", "download the file first")
    stated = answer.headers.get("content-range", "")
    if answer.status == 206:
        found = SPAN.fullmatch(stated.strip())
        if found is None:
            raise _other(answer, shown)
        first, last, size = map(int, found.groups())
        return Span(first, last + 1, size)
    if answer.status == 416 and stated.strip() == "bytes */0":
        return Span(0, 0, 0)
    if answer.status == 416:
        release(answer)
        raise LoadError(shown, *CHANGED)
    if answer.status == 200:
        length = number(answer.headers.get("content-length", ""))
        if length is not None and length <= most:
            return Span(0, length, length)
        abandon(answer)
        raise LoadError(shown, "the server sends the whole file where a part of it is asked for", "download the file first")
    if answer.status in (404, 410):
        release(answer)
        raise NotThere(shown, f"is not there: the server answers {answer.status}", "check the address")
    raise refused(answer, shown)


def _other(answer: Answer, shown: str) -> LoadError:
    abandon(answer)
    return LoadError(shown, "the server sends other bytes than it is asked for", "try again, or download the file first")


def version(answer: Answer) -> str:
    """What says which content that was; empty where the server says nothing."""
    return answer.headers.get("etag", "") or answer.headers.get("last-modified", "")
