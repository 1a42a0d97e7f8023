"""The command in a fork of a process that has imported everything: what it does as ever, without the half second of its start.

Most of the time of a short command is that of Python's imports, and the tests start thousands. ``run`` sends the words, the
folder, the variables and three pipes to a server, a child of pytest's worker; the server forks, and the fork calls the entry
point and ends as a command does. Where that could tell another story than a new process, ``run`` says ``None`` and the caller
starts one: variables that Python or a library reads when it starts, plugins that shadow a module, anything that is not Linux.
``tests/cli/test_forked_commands.py`` compares the two. ``TORCH2GRID_TESTS_FORK=0`` starts a new process for each command.

A script of Python is forked the same way, from a server that has imported torch and pandas, too, and a command that is told of
a store of objects from one that has imported s3fs.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import marshal
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support import traced

STDIN_MOST = 60_000  # bytes that a pipe takes before anybody reads
STARTS = ("PYTHONWARNINGS", "COVERAGE_PROCESS_CONFIG")  # variables that choose the server: it is started with them
# What only a command of ours reads, or ``become`` does as Python at its start.
AFTER_START = (
    *("TORCH2GRID_", "PYTEST_CURRENT_TEST", "PYTHONPATH", "COLUMNS", "NO_COLOR", "PATH", "PYTHONUNBUFFERED"),
    *("AWS_", "HF_"),
    *("TORCHINDUCTOR_", "KMP_INIT_AT_FORK"),  # torch.export and joblib set these for good in the process that runs the tests
)
NEVER = "TORCH2GRID_TESTS_FORK"
TRACED = 2.0  # seconds of the processor's time for which a test, and a fork, is traced
LIBRARIES = (
    *("PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.PpmImagePlugin"),
    *("fontTools.subset", "fontTools.ttLib", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf"),
    *("matplotlib.backends.backend_svg", "importlib.metadata", "yaml"),
)
HEAVY = ("torch", "pandas", "textual")  # what a command imports only where it needs it
STORES = ("s3fs",)  # what one imports that is told where a store is, as half a second of work


class Server:
    """One process that forks commands, one at a time."""

    def __init__(self, environment: Mapping[str, str], *more: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket, self.lock = ours, threading.Lock()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", str(theirs.fileno()), *more],
            cwd=Path(__file__).parents[2],
            env={**environment, "PYTHONPATH": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        atexit.register(self.close)

    def close(self) -> None:
        """Let it end, and write what coverage has seen of it."""
        self.socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def run(
        self, command: Sequence[str], cwd: Path, environment: dict[str, str], stdin: str, timeout: float, merged: bool
    ) -> subprocess.CompletedProcess[str] | None:
        """As ``subprocess.run`` would, or ``None`` where the server does not take it."""
        with self.lock, contextlib.ExitStack() as stack:
            pipes = [os.pipe() for _ in range(4)]  # stdin, stdout, stderr, and what the server says of the child
            theirs = [pipes[0][0], *(pipe[1] for pipe in pipes[1:])]
            given = [theirs[0], theirs[1], theirs[1], theirs[3]] if merged else theirs
            ours = [os.fdopen(pipe[0], "rb", buffering=0) for pipe in pipes[1:]]
            for each in ours:
                stack.enter_context(each)
            os.write(pipes[0][1], stdin.encode())
            os.close(pipes[0][1])
            request = {"command": command, "cwd": str(cwd), "environment": environment}
            packed = json.dumps(request).encode()
            try:
                sent = len(packed) < 100_000
                if sent:
                    socket.send_fds(self.socket, [packed], given)
            except OSError:  # it is gone
                sent = False
            finally:
                for number in theirs:
                    os.close(number)
            return self._collected(ours, command, timeout) if sent else None

    def _collected(
        self, pipes: Sequence[Any], command: Sequence[str], timeout: float
    ) -> subprocess.CompletedProcess[str] | None:
        until, got = time.monotonic() + timeout, {pipe: bytearray() for pipe in pipes}
        said = got[pipes[2]]  # the number of the child, and how it ended; a line each
        with selectors.DefaultSelector() as waiting:
            for pipe in pipes:
                waiting.register(pipe, selectors.EVENT_READ)
            while waiting.get_map():
                if time.monotonic() > until:
                    os.kill(int(bytes(said).split()[0]), signal.SIGKILL)
                    raise subprocess.TimeoutExpired(list(command), timeout)
                for key, _ in waiting.select(1):
                    chunk = os.read(key.fd, 1 << 16)
                    got[key.fileobj] += chunk
                    if not chunk:
                        waiting.unregister(key.fileobj)
        told = bytes(said).split()
        if len(told) != 2:
            return None
        out, err = (io.TextIOWrapper(io.BytesIO(bytes(got[pipe]))).read() for pipe in pipes[:2])
        return subprocess.CompletedProcess(list(command), int(told[1]), out, err)


_servers: dict[tuple[str | None, ...], Server | None] = {}


def run(
    command: Sequence[str], *, cwd: Path, environment: dict[str, str], stdin: str, timeout: float, merged: bool = False
) -> subprocess.CompletedProcess[str] | None:
    """What the command said and how it ended; ``None`` where it must be a new process. merged: stderr is in stdout.

    A server is started for the second command of its kind: the first one alone would not be worth it.
    """
    if sys.platform != "linux" or environment.get(NEVER) == "0" or len(stdin.encode()) > STDIN_MOST:
        return None
    more = HEAVY if command[0] == sys.executable else STORES if "AWS_ENDPOINT_URL" in environment else ()
    kind = (*more, *(environment.get(name) for name in STARTS))
    if kind not in _servers:
        _servers[kind] = None
        return None
    server = _servers[kind]
    if server is None:
        started = {name: text for name in STARTS if (text := environment.get(name)) is not None}
        server = Server({**{name: text for name, text in os.environ.items() if name not in STARTS}, **started}, *more)
        _servers[kind] = server
    done = server.run(command, cwd, environment, stdin, timeout, merged)
    if server.process.poll() is not None:  # the next command starts another one
        server.close()
        del _servers[kind]
    return done


def serve(channel: socket.socket, seen: Seen | None) -> dict[str, Any] | None:
    """Fork for each request; in a fork, return the request. ``None`` at the end."""
    begun = dict(os.environ)
    while True:
        packed, files, _, _ = socket.recv_fds(channel, 200_000, 4)
        if not packed:
            return None
        request: dict[str, Any] = json.loads(packed)
        if fits(request["environment"], begun):
            child = os.fork()
            if not child:
                if seen is not None:
                    atexit.unregister(seen.tracer._atexit)
                    seen.stop_later()
                channel.close()
                for number, each in enumerate(files[:3]):
                    os.dup2(each, number)
                for each in files:
                    os.close(each)
                return request
            for each in files[:3]:
                os.close(each)
            os.write(files[3], f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            if seen is not None:
                seen.take_in(child)
            with contextlib.suppress(BrokenPipeError):
                os.write(files[3], f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(files[3])
        else:
            for each in files:
                os.close(each)


class Seen:
    """What coverage sees of this process and of its forks, which this process writes at its end.

    Left to itself, coverage would start anew in each fork and write a file of its own, which takes longer than a short command.
    """

    def __init__(self, tracer: Any) -> None:
        self.tracer = tracer
        tracer._instances.remove(tracer)
        del os.environ["COVERAGE_PROCESS_CONFIG"]  # a fork gets it back for the processes that it starts
        self.folder = Path(tempfile.mkdtemp(prefix="t2g-seen-"))

    def stop_later(self) -> None:
        """In a fork: see what it does for ``TRACED`` seconds of the processor's time, and nothing of what others did."""
        for lines in self.tracer._collector.data.values():
            lines.clear()
        signal.signal(signal.SIGPROF, lambda *_: sys.settrace(None))
        signal.setitimer(signal.ITIMER_PROF, TRACED)

    def leave(self) -> None:
        """In a fork: leave what it has executed."""
        (self.folder / str(os.getpid())).write_bytes(marshal.dumps(self.tracer._collector.data))
        if traced.FOLDER in os.environ:
            test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]
            traced.write(test, time.process_time(), self.tracer._collector.data)

    def take_in(self, process: int) -> None:
        """Add what a fork has left; one that a signal ended has left nothing."""
        with contextlib.suppress(FileNotFoundError):
            left = self.folder / str(process)
            for file, lines in marshal.loads(left.read_bytes()).items():
                self.tracer._collector.data.setdefault(file, set()).update(lines)
            left.unlink()


def fits(environment: Mapping[str, str], begun: Mapping[str, str]) -> bool:
    """True where a process with *environment* would import what this one, which began with *begun*, has imported."""
    for name in environment.keys() | begun.keys():
        if environment.get(name) != begun.get(name) and not name.startswith((*AFTER_START, *STARTS)):
            return False
    imported = {name.partition(".")[0] for name in sys.modules} | {"sitecustomize", "usercustomize", *HEAVY}
    for folder in filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)):
        with contextlib.suppress(OSError):
            if not imported.isdisjoint(name.partition(".")[0] for name in os.listdir(folder)):
                return False
    return True


def preload(heavy: Sequence[str]) -> None:
    """Import what commands import; of what they import seldom, *heavy*."""
    import importlib
    import pkgutil

    import torch2grid_builtin
    import torch2grid_core

    importlib.import_module("torch2grid.__main__")
    for package in (torch2grid_core, torch2grid_builtin):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "._cli.screen")) and ".testing" not in module.name:
                importlib.import_module(module.name)
    for name in (*LIBRARIES, *heavy):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    know_installed()
    assert {name for name in (*HEAVY, *STORES) if name in sys.modules} <= set(heavy)


def know_installed() -> None:
    """Keep names and entry points of what is installed: each command asks all for theirs, a quarter of a short one's time."""
    from importlib.metadata import PathDistribution, distributions

    every: list[Any] = [*distributions()]
    for name in ("_normalized_name", "entry_points"):
        known, read = {each._path: getattr(each, name) for each in every}, getattr(PathDistribution, name).fget
        kept = property(lambda self, known=known, read=read: known[self._path] if self._path in known else read(self))
        setattr(PathDistribution, name, kept)


def become(request: dict[str, Any]) -> None:
    """Make this fork look as if the command had been started."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["command"]
    folders = filter(None, request["environment"].get("PYTHONPATH", "").split(os.pathsep))
    sys.path[0:1] = [os.path.dirname(sys.argv[0]), *(os.path.abspath(each) for each in folders)]
    for finder in sys.path_importer_cache.values():  # importlib would forget the folders of distributions, too
        if finder is not None:
            finder.invalidate_caches()
    if os.environ.get("PYTHONUNBUFFERED"):
        for number, name in enumerate(("stdout", "stderr"), 1):
            raw = io.FileIO(number, "w", closefd=False)
            before = getattr(sys, name)
            made = io.TextIOWrapper(raw, before.encoding, before.errors, write_through=True)
            setattr(sys, name, made)
            setattr(sys, f"__{name}__", made)


def command_of(words: Sequence[str]) -> Callable[[], object]:
    """What *words* would start, with the modules and words that it would find."""
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    if words[0] != sys.executable:
        from torch2grid.__main__ import main as command

        main.__file__ = words[0]
        return command
    sys.argv = list(words[1:])
    if words[1] == "-c":
        del sys.argv[1]
        sys.path[0], name, source = "", "<string>", words[2]
    else:
        main.__file__ = name = os.path.abspath(words[1])
        sys.path[0], source = os.path.dirname(name), Path(name).read_text()
    return lambda: exec(compile(source, name, "exec"), main.__dict__)


def ended(command: Callable[[], object]) -> int:
    """Call *command*, then do what Python does at its end, but for the objects of a thousand modules: its exit code."""
    try:
        code = command()
    except SystemExit as left:
        code = left.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and ends the workers of executors
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120  # as Python ends
    return code or 0


if __name__ == "__main__":
    import posix

    preload(sys.argv[2:])
    gc.collect()
    gc.freeze()
    coverage = sys.modules.get("coverage")
    seen = Seen(coverage.Coverage.current()) if coverage and coverage.Coverage.current() else None
    wanted = serve(socket.socket(fileno=int(sys.argv[1])), seen)
    if wanted is not None:
        become(wanted)
        code = ended(command_of(wanted["command"]))
        if seen is not None:
            seen.leave()
        posix._exit(code)  # in os._exit coverage would write a file
    if seen is not None:
        shutil.rmtree(seen.folder)
