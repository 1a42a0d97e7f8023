"""The explorer in a cell of a notebook, as an anywidget. Needs the extra ``notebook``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import anywidget
import traitlets

from torch2grid_builtin.viewer import bundled, modules
from torch2grid_core import PluginManager, Settings, Torch2GridError
from torch2grid_core.commands import settings_from
from torch2grid_core.text import visible
from torch2grid_explore.describing import describe
from torch2grid_explore.limits import KINDS, limits, limits_by_kind
from torch2grid_explore.opening import session_of
from torch2grid_explore.pyramid import PLANES

_MEMORY = 256 << 20


class Explorer(anywidget.AnyWidget):
    """One map, from the whole model to one weight, in a cell of a notebook.

    Args:
        models: Locations, or live objects such as a module or a state dict. Two are shown as A, B and their difference, more as
            a series.
        memory: Bytes for the levels that are kept.
        settings: As on the command line: ``part``, ``filter``, ``plugin``, ``raw`` …

    Raises:
        Torch2GridError: If one cannot be opened, or nothing can be laid out.
    """

    _esm = bundled("widget.js", module=True) + "export default { render };\n"
    _css = "\n".join(modules()[name].decode() for name in ("panels.css", "explore.css"))
    title = traitlets.Unicode("").tag(sync=True)

    def __init__(self, *models: Any, memory: int = _MEMORY, **settings: Any) -> None:
        manager = PluginManager.discover()
        chosen: Settings = settings_from(manager, settings)
        self.session, _, self._follower = session_of(manager, models, chosen, memory)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="explore: tiles")
        self._asked: dict[int, Future[Any]] = {}
        self._answers: Mapping[str, Callable[..., Any]] = {
            "model": lambda: describe(self.session),
            "cells": self._cells,
            "cell": self.session.cell,
            "tensor": self.session.figures,
            "limits": partial(self._limits, partial(limits, self.session)),
            "kinds": partial(self._limits, partial(limits_by_kind, self.session)),
        }
        super().__init__(title=visible(self.session.title, 300))
        self.on_msg(self._received)
        self.session.start()
        self._listening = False

    def close(self) -> None:
        """Read no more."""
        self.session.stop()
        self._follower.stop()
        super().close()

    def _received(self, _: Any, message: Any, buffers: Any) -> None:
        what, number, place = message.get("what"), message.get("id"), message.get("place", [])
        if what == "listen" and not self._listening:
            self._listening = True
            self._follower.start()
            threading.Thread(target=self._tell, args=(_sender(self),), name="explore: news", daemon=True).start()
        elif what == "look":
            names = self.session.map.tensors
            self.session.look([names[each] for each in place[0][:1000] if 0 <= each < len(names)])
        elif what == "drop":
            if (future := self._asked.pop(number, None)) is not None:
                future.cancel()
        elif what in self._answers:
            send = _sender(self)
            self._asked[number] = self._pool.submit(self._answer, send, number, what, place)

    def _answer(self, send: Callable[..., None], number: int, what: str, place: list[Any]) -> None:
        try:
            found = self._answers[what](*place)
        except (Torch2GridError, LookupError, TypeError, ValueError) as error:
            send({"id": number, "error": visible(str(error), 1000)})
        else:
            if isinstance(found, bytes):
                send({"id": number}, [found])
            else:
                send({"id": number, "found": found})
        self._asked.pop(number, None)

    def _cells(self, picture: int, level: int, rectangle: list[int], planes: list[str]) -> bytes:
        if not set(planes) <= set(PLANES):
            raise LookupError("no such plane")
        top, left, height, width = rectangle
        return self.session.cells(picture, level, (top, left, height, width), planes)

    def _limits(self, compute: Callable[..., Any], picture: int, level: int, plane: str, kind: str) -> Any:
        if plane not in PLANES or kind not in KINDS:
            raise LookupError("no such limits")
        return compute(picture, level, plane, kind)

    def _tell(self, send: Callable[..., None]) -> None:
        heard = 0
        while not self.session.stopped:
            if events := self.session.news(heard, 5.0):
                heard += len(events)
                send({"events": events})


def _sender(widget: Explorer) -> Callable[..., None]:
    """What sends a message from any thread: through the event loop of the kernel, where there is one."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None

    def send(*message: Any) -> None:
        if loop is None:
            widget.send(*message)
        else:
            loop.call_soon_threadsafe(widget.send, *message)

    return send
