"""The gate: every request passes it before anything is looked up, and only the page of this machine's person does."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from torch2grid_explore.bound import Bound

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SECONDS = 60  # that an answer may take to be sent
_LONGEST_PATH = 512
_SAFE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


class Gate:
    """Lets a request through that is for this host, from this page, by a browser that once had the token.

    The token of *bound* is good for one exchange: whoever brings it gets a cookie, and *renewed* is called with the address of
    the next one, so that the person can open another browser.
    """

    def __init__(self, app: App, bound: Bound, renewed: Callable[[str], None] = lambda address: None) -> None:
        self.app, self.bound, self.hosts, self.renewed = app, bound, bound.hosts, renewed
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"torch2grid_{secrets.token_hex(4)}"  # cookies of one host are shared by all its ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            guarded = _with_headers(send)
            try:
                refused = self._refused(scope)
            except UnicodeError:
                refused = 400, "This is no request of a browser."
            if refused is not None:
                await _answer(guarded, *refused)
            elif (found := self._exchanged(scope)) is not None:
                await guarded(found)
                await guarded({"type": "http.response.body"})
            elif not self._known(scope):
                await _answer(guarded, 403, "Open the address that torch2grid printed; each works once.")
            elif scope["path"] == "/api/events":
                await self.app(scope, receive, guarded)
            else:
                await asyncio.wait_for(self.app(scope, receive, guarded), SECONDS)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is nobody's business here: status and text; ``None`` where it is not."""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This server is only read from."
        if len(scope.get("raw_path") or scope["path"]) > _LONGEST_PATH:
            return 414, "The address is too long."
        hosts, origins, sites = (_values(scope, name) for name in (b"host", b"origin", b"sec-fetch-site"))
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return 421, "This server answers to its own address alone."
        if any(origin.lower() not in {f"http://{host}" for host in self.hosts} for origin in origins):
            return 403, "Another page asked."
        if any(site not in ("same-origin", "none") for site in sites):
            return 403, "Another page asked."
        return None

    def _exchanged(self, scope: Scope) -> Message | None:
        """The answer to whoever brings the token, a cookie; ``None`` to others. The token is gone then."""
        brought = parse_qs(scope["query_string"].decode("ascii")).get("token", []) if scope["path"] == "/" else []
        token = self.bound.token.encode()
        if len(brought) != 1 or scope["method"] != "GET" or not hmac.compare_digest(brought[0].encode(), token):
            return None
        self.bound.renew()
        self.renewed(self.bound.address)
        cookie = f"{self._cookie}={self._session}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        return {"type": "http.response.start", "status": 303, "headers": headers}

    def _known(self, scope: Scope) -> bool:
        for value in _values(scope, b"cookie"):
            try:
                found = SimpleCookie(value).get(self._cookie)
            except CookieError:
                continue
            if found is not None and hmac.compare_digest(found.value.encode(), self._session.encode()):
                return True
        return False


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {key for key, _ in message.get("headers", ())}
            safe = [(key.encode(), value.encode()) for key, value in _SAFE.items() if key.encode() not in own]
            message = {**message, "headers": [*message.get("headers", ()), *safe]}
        await send(message)

    return sent


async def _answer(send: Send, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
