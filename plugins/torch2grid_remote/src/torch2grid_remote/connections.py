"""HTTP by the standard library's client: connections that stay open, redirects, proxies, and one line for what goes wrong.

Not fsspec's client: bodies are received straight into the buffers that they are for, by as many threads as there are
connections, for half the processor time (0.35 s for 498 MB, where fsspec's took 0.8 s); and a request that broke off is asked
for what is missing.
"""

from __future__ import annotations

import email.utils
import http.client
import io
import os
import re
import socket
import ssl
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from torch2grid_core import LoadError
from torch2grid_core.text import without_secrets
from torch2grid_remote import __version__, limits
from torch2grid_remote.addresses import split
from torch2grid_remote.retrying import Again, Tell

_PIECE = 256 << 10  # bytes between two looks at how far a body has come
_SAFE = "%/?:;,+=&@!$'()*~[]"
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSES = (408, 425, 429, 500, 502, 503, 504)
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")
_IDLE = 60.0  # seconds after which a server has probably closed a connection

Key = tuple[str, str, int, str]


class TooSlow(TimeoutError):
    """A server that is not silent, and says next to nothing."""


class _Paced(io.RawIOBase):
    """What *sock* receives. Raises ``TimeoutError`` where the head of an answer, or ``limits.PACE`` bytes for each second of
    the time that is waited, take longer than that: a byte now and then would hold a command for ever.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._sock, self._head = raw, sock, True
        self._wait = sock.gettimeout() or limits.SILENCE
        self._start()

    def _start(self) -> None:
        self._due, self._fresh = time.monotonic() + self._wait, 0

    def head_is_read(self) -> None:
        """Begin to count the body."""
        self._head = False
        self._start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._due - time.monotonic()
        if left > 0:
            self._sock.settimeout(left)
            try:
                count = self._raw.readinto(buffer)
            except TimeoutError:
                if self._fresh:
                    raise TooSlow from None
                raise
            self._fresh += count or 0
            if not self._head and self._fresh >= limits.PACE * self._wait:
                self._start()
            return count
        raise TooSlow

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that comes at a pace."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self._paced = _Paced(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._paced)

    def begin(self) -> None:
        super().begin()
        self._paced.head_is_read()


class Connection(http.client.HTTPConnection):
    """One whose answers come at a pace."""

    response_class = _Response


class _Secure(http.client.HTTPSConnection):
    response_class = _Response


class Answer(NamedTuple):
    """An answer whose body waits to be read. url: who gave it in the end."""

    url: str
    status: int
    headers: Mapping[str, str]
    response: http.client.HTTPResponse
    connection: http.client.HTTPConnection
    key: Key


class Refused(LoadError):
    """A server does not give what it is asked for."""


# By process: a fork must not speak on its parent's.
_idle: dict[int, dict[Key, list[tuple[float, http.client.HTTPConnection]]]] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def request(url: str, headers: Mapping[str, str], shown: str, wait: float, secret: str = "") -> Answer:
    """The answer to GET *url*, behind its redirects. secret: a header Authorization for the first host alone.

    Raises ``LoadError`` for an address that cannot be asked, and ``Again`` for what may pass.
    """
    host = urlsplit(url)[:2]
    for _ in range(limits.HOPS + 1):
        own = {**headers, "Authorization": secret} if secret and urlsplit(url)[:2] == host else headers
        answer = _one(url, own, shown, wait)
        if answer.status not in _REDIRECTS:
            return answer
        release(answer)
        try:
            goal = urljoin(url, answer.headers.get("location", ""))
            if urlsplit(goal).port == 0:
                raise ValueError("no server listens at port 0")
        except ValueError:
            raise LoadError(shown, "is redirected to something that is not an address", "check the address") from None
        if urlsplit(goal).scheme not in ("https", urlsplit(url).scheme) or not urlsplit(goal).hostname:
            told = without_secrets(goal)
            raise LoadError(
                shown, f"is redirected to {told}, and torch2grid does not follow", "give that address, if you trust it"
            )
        url = goal
    raise LoadError(shown, f"is redirected more than {limits.HOPS} times", "check the address")


def _one(url: str, headers: Mapping[str, str], shown: str, wait: float) -> Answer:
    place = urlsplit(url)
    user = place.netloc.rpartition("@")[0]
    target = quote(place._replace(scheme="", netloc="", fragment="").geturl() or "/", safe=_SAFE)
    target = target if target.startswith("/") else f"/{target}"
    sent = {"User-Agent": f"torch2grid-remote/{__version__}", "Accept-Encoding": "identity", **headers}
    if user and "Authorization" not in sent:
        name, _, password = user.partition(":")
        sent["Authorization"] = f"Basic {b64encode(f'{unquote(name)}:{unquote(password)}'.encode()).decode()}"
    proxy = _proxy(place.scheme, place.hostname or "")
    for fresh in (False, True):
        key, connection, used = _connection(place.scheme, place.hostname or "", place.port, proxy, fresh, shown)
        try:
            if connection.sock is not None:
                connection.sock.settimeout(wait)
            else:
                connection.timeout = limits.CONNECT
                connection.connect()
                assert connection.sock is not None
                connection.sock.settimeout(wait)
            if key[3] and place.scheme == "http":
                whole = f"http://{place.netloc.rpartition('@')[2]}{target}"
                connection.request("GET", whole, headers={**sent, **_proxy_secret(proxy)})
            else:
                connection.request("GET", target, headers=sent)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            if used and not isinstance(error, TimeoutError):
                continue  # the server had closed it meanwhile
            raise _failure(error, shown, wait, proxy if connection.sock is None else "") from error
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(url, response.status, found, response, connection, key)
    raise Again("closes its connections")


def _failure(error: Exception, shown: str, wait: float, proxy: str = "") -> Exception:
    """What became of a request, without what the address holds. proxy: that nothing was connected to."""
    if isinstance(error, TooSlow):
        return Again(f"sends next to nothing for {wait:.3g} s")
    if isinstance(error, TimeoutError):
        return Again(f"is silent for {wait:.3g} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return LoadError(shown, f"the server's certificate is not trusted: {error.verify_message}", "check the address")
    if isinstance(error, ssl.SSLError):
        return LoadError(shown, "the server does not speak TLS, or a version of it that is not accepted", "check the address")
    if isinstance(error, OSError) and (found := _TUNNEL.match(str(error))):
        told = f"the proxy answers {found[1]} {_reason(int(found[1]))}".rstrip()
        return LoadError(shown, told, "check HTTPS_PROXY, or name the server in NO_PROXY")
    if isinstance(error, OSError) and type(error).__name__ == "gaierror":
        return LoadError(shown, "no server has that name", "check the address, and the network")
    if isinstance(error, ConnectionRefusedError) and proxy:
        host, port = _place_of(proxy, shown)
        told = f"the proxy {host}:{port} refuses the connection"
        return LoadError(shown, told, "check HTTPS_PROXY and HTTP_PROXY, or name the server in NO_PROXY")
    if isinstance(error, ConnectionRefusedError):
        return Again("refuses the connection")
    if isinstance(error, (http.client.InvalidURL, ValueError, UnicodeError)):
        return LoadError(shown, "is not an address that can be requested", "check the address")
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
        return Again(f"sends no HTTP ({type(error).__name__})")
    reason = (getattr(error, "strerror", "") or "closes the connection").lower() if isinstance(error, OSError) else ""
    return Again("breaks off the connection" if isinstance(error, ConnectionError) else f"cannot be asked: {reason}")


def _connection(
    scheme: str, host: str, port: int | None, proxy: str, fresh: bool, shown: str
) -> tuple[Key, http.client.HTTPConnection, bool]:
    """A connection for one request, and whether it was used before."""
    key = scheme, host, port or (443 if scheme == "https" else 80), proxy
    while not fresh:
        with _lock:
            waiting = _idle.setdefault(os.getpid(), {}).get(key, [])
            kept = waiting.pop() if waiting else None
        if kept is None:
            break
        if time.monotonic() - kept[0] < _IDLE:
            return key, kept[1], True
        kept[1].close()
    if not host:
        raise LoadError(shown, "names no server", "check the address")
    to, at = (host, key[2]) if not proxy else _place_of(proxy, shown)
    try:
        if scheme == "https":
            secure = _Secure(to, at, context=_tls())
            if proxy:
                secure.set_tunnel(host, key[2], headers=_proxy_secret(proxy))
            return key, secure, False
        return key, Connection(to, at), False
    except http.client.InvalidURL:  # whose text holds the host
        raise LoadError(shown, "is not an address that can be requested", "check the address") from None


@cache
def _proxy(scheme: str, host: str) -> str:
    """The proxy that the environment names for *host*, or an empty text."""
    found = urllib.request.getproxies().get(scheme, "")
    return "" if not found or urllib.request.proxy_bypass(host) else found


def _place_of(proxy: str, shown: str) -> tuple[str, int]:
    """The host and port of *proxy*. Raises ``LoadError``."""
    try:
        way = split(proxy if "://" in proxy else f"http://{proxy}")
        if way.scheme == "http" and way.hostname:
            return way.hostname, way.port or 80
    except LoadError:
        pass
    raise LoadError(shown, "the proxy of the environment is not an http:// address", "check HTTPS_PROXY and HTTP_PROXY")


def _proxy_secret(proxy: str) -> dict[str, str]:
    user, at, _ = proxy.rpartition("://")[2].rpartition("@")
    return {"Proxy-Authorization": f"Basic {b64encode(unquote(user).encode()).decode()}"} if at else {}


def release(answer: Answer) -> None:
    """Keep the connection of *answer* where nothing of the body is left, or very little; else close it."""
    try:
        length = answer.response.length
        if not answer.response.isclosed() and length is not None and length <= _PIECE:
            answer.response.read()
    except (OSError, http.client.HTTPException):
        pass
    if answer.response.isclosed() and not answer.response.will_close:
        with _lock:
            _idle.setdefault(os.getpid(), {}).setdefault(answer.key, []).append((time.monotonic(), answer.connection))
    else:
        abandon(answer)


def abandon(answer: Answer) -> None:
    """Hang up: nobody reads the rest."""
    answer.response.close()
    answer.connection.close()


def body_into(answer: Answer, buffer: memoryview, shown: str, wait: float, arrived: Tell) -> None:
    """Fill *buffer* with the body, telling *arrived* of what comes. Raises ``Again`` where there is less."""
    done = 0
    try:
        while done < len(buffer):
            count = answer.response.readinto(buffer[done : done + _PIECE])
            if not count:
                break
            done += count
            arrived(count)
    except (OSError, http.client.HTTPException, ValueError) as error:
        abandon(answer)
        raise _failure(error, shown, wait) from error
    release(answer)
    if done < len(buffer):
        raise Again("breaks off in the middle of an answer")


def body(answer: Answer, most: int, shown: str, wait: float) -> bytes:
    """The body, if it has no more than *most* bytes. Raises ``LoadError``, and ``Again``."""
    try:
        found = answer.response.read(most + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        abandon(answer)
        raise _failure(error, shown, wait) from error
    if len(found) > most:
        abandon(answer)
        raise LoadError(shown, f"the server's answer is larger than {most >> 20} MiB", "check the address")
    release(answer)
    return found


def refused(answer: Answer, shown: str) -> Exception:
    """What an answer without content means: ``Again`` where it may pass, else a ``LoadError``."""
    release(answer)
    status = answer.status
    if status in _PASSES:
        return Again(f"answers {status} {_reason(status)}", retry_after(answer.headers))
    if status in (401, 403):
        return Refused(shown, f"the server answers {status} {_reason(status)}", "check the address and your credentials")
    return Refused(shown, f"the server answers {status} {_reason(status)}", "check the address, or download the file first")


def _reason(status: int) -> str:
    return http.client.responses.get(status, "")  # what the server itself says may hold anything


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server wants to be left alone."""
    stated = headers.get("retry-after", "").strip()
    if (seconds := number(stated[:6])) is not None:
        return float(seconds)
    try:
        found = email.utils.parsedate_tz(stated) if stated else None
        return max(email.utils.mktime_tz(found) - time.time(), 0.0) if found else 0.0
    except (ValueError, OverflowError):  # of a year that no calendar has
        return 0.0


def number(stated: str) -> int | None:
    """The number of bytes or seconds that a server states, ``None`` for what is none: ``²`` is a digit, too."""
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) <= 18 else None
