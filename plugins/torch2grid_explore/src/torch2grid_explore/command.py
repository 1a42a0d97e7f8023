"""``torch2grid explore``: the map of a checkpoint in a browser."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import click

from torch2grid_core import Command, PluginManager, Settings, UsageError
from torch2grid_core.commands import settings_options

if TYPE_CHECKING:
    from torch2grid_explore.opening import Follower
    from torch2grid_explore.session import Session

MEMORY = 256
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h
_NICE = 5  # of workers
_LARGE = 4 << 20  # bytes; more than any array of a tile
_TURN = 0.0005  # seconds after which a thread that computes lets another have its turn: answers wait for several
_FREE = 6 << 20  # bytes that stay free for the next tile: the system would clear every page of them anew


@dataclass(frozen=True)
class Asked:
    """Options of this command's own. memory: megabytes."""

    host: str
    port: int
    memory: int
    browser: bool
    export: str | None
    source: str | None


class Explore(Command):
    """zoom from the whole model to one weight, in a browser"""

    name: ClassVar[str] = "explore"

    def build(self) -> click.Command:
        def run(manager: PluginManager, /, models: tuple[str, ...], **given: Any) -> int:
            explore(manager, models, Asked(**given), Settings.from_context(click.get_current_context()))
            return 0

        return click.Command(
            self.name,
            callback=click.pass_obj(run),
            params=_params(),
            help="Open a map of MODEL in a browser: zoom from all of it to one weight. Nothing is written, and only this "
            "machine is served. Two models are shown as A, B and their difference; more, or a folder of checkpoints, as a "
            "series. Ctrl+C ends it.",
            context_settings={"help_option_names": ["-h", "--help"]},
        )


def _params() -> list[click.Parameter]:
    return [
        click.Argument(["models"], nargs=-1, required=True, metavar="MODEL..."),
        click.Option(["--host"], default="127.0.0.1", show_default=True, metavar="NAME", help="serve this address"),
        click.Option(["--port"], type=click.IntRange(0, 65535), default=0, metavar="N", help="serve this port; 0: a free one"),
        click.Option(
            ["--memory"],
            type=click.IntRange(1, 1 << 20),
            default=MEMORY,
            show_default=True,
            metavar="MB",
            help="memory for the levels that are kept",
        ),
        click.Option(["--browser/--no-browser"], default=True, help="open the page, or only print its address"),
        click.Option(["--export"], metavar="DIR", help="write a page for a web server instead, and end"),
        click.Option(["--source"], metavar="URL", help="with --export: where a browser can read the safetensors file"),
        *settings_options(
            part="another part of the file, such as optimizer; all shows everything",
            filter="show only what a filter keeps (repeatable)",
            include_buffers="show counters and index buffers too",
            slice="",
            raw="show what is stored, without decoders",
            plugin="the map: atlas, layer_separated, or another grid transformer",
            loader="read the file with this loader",
            jobs="processes that read it",
            executor="read it elsewhere, by an installed executor",
            quiet="say nothing but errors and the address",
        ),
    ]


def explore(manager: PluginManager, models: Sequence[str], asked: Asked, settings: Settings) -> None:
    """Serve the map of *models* until interrupted, or write it. Raises ``Torch2GridError`` where one cannot be opened."""
    from torch2grid_core.measures import executor_of, workers
    from torch2grid_explore.opening import session_of

    session, lines, follower = session_of(manager, models, settings, asked.memory << 20)
    if not settings.quiet:
        for line in lines:
            click.echo(line, err=True)
    if asked.source is not None and asked.export is None:
        raise UsageError("--source says where an exported page finds the file; give --export DIR with it")
    opener = executor_of(manager, settings.executor)
    with workers(session.pictures[0].checkpoint, settings.jobs, fork=True, opener=opener) as executor:
        _keep_little(reads=executor is None)  # workers were forked before: a pass uses its arrays again and again
        _after_what_is_looked_at()
        if asked.export is None:
            sys.setswitchinterval(_TURN)
            session.start(executor)  # it reads while the server is imported
            try:
                _serve(session, follower, asked)
            finally:
                session.stop()
            return
        from torch2grid_explore.export import write_page

        session.fill(executor)
        size, cell = write_page(session, asked.export, asked.source)
        if not settings.quiet:
            told = "each weight" if cell == 1 else f"cells of {cell}×{cell} weights, finer ones from the file"
            click.echo(f"{size / 1e6:.1f} MB; {told}", err=True)
        click.echo(os.path.join(asked.export, "index.html"))


def _serve(session: Session, follower: Follower, asked: Asked) -> None:
    from torch2grid_explore.bound import Bound

    try:
        bound = Bound(asked.host, asked.port)
    except OSError as error:
        raise UsageError(f"--host {asked.host} --port {asked.port}: cannot be served: {error.strerror}") from error
    click.echo(bound.address)
    sys.stdout.flush()
    if asked.browser:
        webbrowser.open(bound.address)
    from torch2grid_explore.server import Served  # while the browser starts, or the address is on its way to one

    served = Served(session, bound, lambda address: click.echo(f"in another browser: {address}", err=True))
    follower.start()
    try:
        served.run()
    finally:
        follower.stop()


def _after_what_is_looked_at() -> None:
    """Let forked workers wait where this process or the browser has something to do: a person waits for these."""
    if "multiprocessing" in sys.modules:
        for each in sys.modules["multiprocessing"].active_children():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, each.pid, _NICE)


def _keep_little(reads: bool) -> None:
    """Let glibc give back what a thread has freed: otherwise it keeps a heap for each thread, and large blocks in it.

    reads: this process makes the pass, too, for which each block would be cleared by the system again.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        if not reads:
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
            libc.mallopt(_M_TRIM_THRESHOLD, _FREE)
