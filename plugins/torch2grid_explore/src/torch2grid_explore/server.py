"""The server: one page, its modules, and what they ask for, all by numbers that are looked up."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import html
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import resources
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from torch2grid_builtin.viewer import bundled, modules
from torch2grid_core import Torch2GridError
from torch2grid_core.text import json_text, visible
from torch2grid_explore.bound import Bound
from torch2grid_explore.describing import about, mapped
from torch2grid_explore.gate import Gate
from torch2grid_explore.limits import KINDS, limits, limits_by_kind
from torch2grid_explore.pyramid import PLANES
from torch2grid_explore.session import Session

CONNECTIONS = 64  # open at once; more are closed at once
HEADER_SECONDS = 10  # in which a request must have arrived
_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}


@cache
def page(title: str) -> bytes:
    """The page: it holds nothing but its title, and asks for everything else."""
    text = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    return text.replace("TITLE", html.escape(visible(title, 300))).encode()


class Application:
    """What is answered to whoever passed the gate."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="explore: tiles")
        # While the address travels to the browser, and that asks for the page.
        self._client, self._map = self._pool.submit(_client), self._pool.submit(lambda: json_text(mapped(session)))
        self._turn = asyncio.Semaphore(2)
        self.app = Starlette(
            routes=[
                Route("/", self.page),
                Route("/favicon.ico", self.icon),
                Route("/client/{name}", self.module),
                Route("/api/model", self.model),
                Route(
                    "/api/cells/{picture:int}/{level:int}/{top:int}/{left:int}/{height:int}/{width:int}/{planes}", self.cells
                ),
                Route("/api/cell/{picture:int}/{level:int}/{row:int}/{column:int}", self.cell),
                Route("/api/tensor/{picture:int}/{tensor:int}", self.tensor),
                Route("/api/limits/{picture:int}/{level:int}/{plane}/{kind}", self.limits),
                Route("/api/kinds/{picture:int}/{level:int}/{plane}/{kind}", self.kinds),
                Route("/api/look/{tensors}", self.look),
                Route("/api/events", self.events),
            ],
        )

    async def page(self, request: Request) -> Response:
        return Response(page(self.session.title), media_type="text/html; charset=utf-8")

    async def icon(self, request: Request) -> Response:
        return Response(status_code=204)

    async def module(self, request: Request) -> Response:
        found = (await asyncio.wrap_future(self._client)).get(request.path_params["name"])
        return _missing() if found is None else _text(request, *found, _TYPES[request.path_params["name"].rpartition(".")[2]])

    async def model(self, request: Request) -> Response:
        place = await asyncio.wrap_future(self._map)
        text = f'{json_text(about(self.session))[:-1]}, "map": {place}}}'.encode()
        return _text(request, text, gzip.compress(text, 5), "application/json")

    async def cells(self, request: Request) -> Response:
        asked = request.path_params
        planes = asked["planes"].split(",")
        if not set(planes) <= set(PLANES) or len(set(planes)) < len(planes) or not self._has(asked["picture"]):
            return _missing()
        rectangle = asked["top"], asked["left"], asked["height"], asked["width"]
        place = asked["picture"], asked["level"], rectangle, planes
        found = await self._computed(request, self.session.cells, *place, alone=(self._pool,))
        return found if isinstance(found, Response) else Response(found, media_type="application/octet-stream")

    async def cell(self, request: Request) -> Response:
        asked = request.path_params
        return await self._json(request, self.session.cell, asked["picture"], asked["level"], asked["row"], asked["column"])

    async def tensor(self, request: Request) -> Response:
        if request.path_params["tensor"] >= len(self.session.map.tensors):
            return _missing()
        return await self._json(request, self.session.figures, request.path_params["picture"], request.path_params["tensor"])

    async def limits(self, request: Request) -> Response:
        return await self._limits(request, partial(limits, self.session))

    async def kinds(self, request: Request) -> Response:
        return await self._limits(request, partial(limits_by_kind, self.session))

    async def _limits(self, request: Request, compute: Callable[..., Any]) -> Response:
        asked = request.path_params
        if asked["plane"] not in PLANES or asked["kind"] not in KINDS:
            return _missing()
        place = asked["picture"], asked["level"], asked["plane"], asked["kind"]
        return await self._json(request, compute, *place)

    async def look(self, request: Request) -> Response:
        """What is looked at: numbers of tensors, with commas between."""
        numbers = [int(each) for each in request.path_params["tensors"].split(",")[:1000] if each.isdecimal()]
        names = self.session.map.tensors
        self.session.look([names[number] for number in numbers if number < len(names)])
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        last = request.headers.get("last-event-id", "")  # where a browser that connects again left off
        return StreamingResponse(self._events(int(last) if last.isdecimal() else 0), media_type="text/event-stream")

    async def _events(self, after: int) -> AsyncIterator[str]:
        while True:
            found = await asyncio.to_thread(self.session.news, after, 5.0)
            after += len(found)
            data = json_text({"events": found})
            yield f"id: {after}\ndata: {data}\n\n" if found else ": nothing new\n\n"

    def _has(self, picture: int) -> bool:
        return 0 <= picture < len(self.session.pictures)

    async def _json(self, request: Request, compute: Callable[..., Any], picture: int, *place: Any) -> Response:
        if not self._has(picture):
            return _missing()
        found = await self._computed(request, compute, picture, *place)
        return found if isinstance(found, Response) else Response(json_text(found), media_type="application/json")

    async def _computed(self, request: Request, compute: Callable[..., Any], *place: Any, alone: Sequence[Any] = ()) -> Any:
        """What *compute* answers, in one of two threads; an answer where there is none, or where nobody waits any more.

        alone: what it gets beside *place* where the other thread has nothing to do, and is left to it.
        """
        async with contextlib.AsyncExitStack() as turns:
            await turns.enter_async_context(self._turn)
            if await request.is_disconnected():
                return Response(status_code=499)
            if alone and not self._turn.locked():
                await turns.enter_async_context(self._turn)
                place = (*place, *alone)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, compute, *place)
            except (KeyError, IndexError):
                return _missing()
            except Torch2GridError as error:
                self.session.tell({"error": visible(str(error), 1000)})
                return Response(visible(str(error), 1000), 410, media_type="text/plain")


def _missing() -> Response:
    return Response("not here\n", 404, media_type="text/plain")


def _client() -> dict[str, tuple[bytes, bytes]]:
    """The script and the styles by their names, plain and compressed."""
    styles = {name: data for name, data in modules().items() if name.endswith(".css")}
    files = {**styles, "main.js": bundled("main.js", module=True).encode()}
    return {name: (data, gzip.compress(data, 5)) for name, data in files.items()}


def _text(request: Request, plain: bytes, packed: bytes, kind: str) -> Response:
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(plain, media_type=kind)
    return Response(packed, media_type=kind, headers={"content-encoding": "gzip", "vary": "accept-encoding"})


class _Limited(H11Protocol):
    """A connection of few: one too many is closed, and so is one that takes too long to say what it wants."""

    _open = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # As asyncio does for sockets of its own: else the end of an answer waits 40 ms for what the browser confirms late.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)


class Served:
    """A server of an address that is bound; not yet running. renewed: gets the address for another browser."""

    def __init__(self, session: Session, bound: Bound, renewed: Callable[[str], None] = lambda address: None) -> None:
        self.session, self.socket = session, bound.socket
        self.gate = Gate(Application(session).app, bound, renewed)
        config = uvicorn.Config(
            self.gate,
            http=_Limited,
            ws="none",
            lifespan="off",
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16 << 10,
        )
        self.server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until interrupted."""
        try:
            self.server.run([self.socket])
        finally:
            self.session.stop()

    def stop(self) -> None:
        """Let ``run`` end."""
        self.server.should_exit = True
        self.session.stop()
