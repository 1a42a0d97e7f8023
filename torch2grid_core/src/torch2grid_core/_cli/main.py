"""The entry point: one line and an exit code for everything that goes wrong, a traceback only with ``--debug``."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from torch2grid_core._errors import Torch2GridError, traced, unforeseen
from torch2grid_core._text import visible


class _Guarded:
    """A stream that falls silent once its reader is gone (``| head -1``), and so do the bytes below it.

    Any other failure is one clear line, or silence too where there is no *name* to say it of.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    @property
    def buffer(self) -> _Guarded:
        return _GuardedBytes(self._stream.buffer, self._name)

    def write(self, data: Any) -> int:
        written = self._try(self._stream.write, data)
        return len(data) if written is None else written

    def writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except OSError as error:
            # what is buffered can never be written: let it go, or Python tries again at exit and complains
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if self._name and error.errno != errno.EPIPE:
                raise Torch2GridError(f"{self._name} cannot be written: {error.strerror}") from error
            return None


class _GuardedBytes(_Guarded):
    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")  # a library that writes to the descriptor itself would miss the guard


def guard_streams() -> None:
    """Make the three standard streams usable: closed ones read and write nothing, a reader that leaves is no error.

    stderr is silent where it cannot be written: there is nowhere to say so. What stdout's encoding lacks is an escape, as it
    is on stderr.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the caller closed it; it stays open for the life of the process
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, mode), encoding="utf-8"))
    if not isinstance(sys.stdout, _Guarded):
        if isinstance(sys.stdout, io.TextIOWrapper):
            utf8 = sys.stdout.encoding.lower() == "utf-8"  # with "surrogateescape", names of files pass as they are
            if sys.stdout.errors in (("strict",) if utf8 else ("strict", "surrogateescape")):
                sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout = _Guarded(sys.stdout, "stdout")
    if not isinstance(sys.stderr, _Guarded):
        sys.stderr = _Guarded(sys.stderr, "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Codes: 0 done, 1 a failure, 2 wrong usage, 129 the terminal is gone, 130 interrupted, 143 terminated.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    guard_streams()
    code = run(words)
    gc.freeze()  # the process ends: looking for cycles among all that it imported would take 20 ms more
    sys.exit(code)


def run(words: list[str]) -> int:
    """Run the command line; the exit code."""
    gc.set_threshold(100_000, 20, 20)  # a command makes little garbage in cycles; collecting while it imports takes 20 ms
    for library in ("OPENBLAS", "MKL", "OMP"):  # work is spread over processes, and fork must find no other thread
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    debug = ["--debug"] if "--debug" in words else []  # emptied or filled once the line has been read properly
    try:
        if words == ["--version"]:
            from torch2grid_core import __version__

            print(f"torch2grid {__version__}")
            code = 0
        else:
            code = _run(words, debug)
        sys.stdout.flush()
        return code
    except Terminated as stop:
        _say(stop.said)
        return stop.code
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except Torch2GridError as error:
        if debug:
            print(traced(error), file=sys.stderr)
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if debug:
            print(traced(error), file=sys.stderr)
        _say(str(unforeseen(error)))
        return 1


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a scheduler or ``timeout`` sends it, or SIGHUP, of a terminal that is closed.

    What an interrupt leaves clean, they leave clean, temporary files too. number: of the signal.
    """

    def __init__(self, number: int = 15) -> None:
        super().__init__()
        self.code, self.said = 128 + number, "hung up" if number == 1 else "terminated"


def _terminate(number: int, frame: object) -> None:
    raise Terminated(number)


def _run(words: list[str], debug: list[str]) -> int:
    import signal

    import click

    from torch2grid_core._cli.app import App
    from torch2grid_core._cli.completion import words_to_complete
    from torch2grid_core._cli.config import preparse, process_settings, read_config
    from torch2grid_core._plugins.manager import PluginManager

    completing = words_to_complete()
    with contextlib.suppress(ValueError):  # only the main thread may
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # no SIGHUP on Windows; nohup ignores it
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _terminate)
    process, rest = preparse(words if completing is None else completing)
    config = read_config(process.config) if process.config and completing is None else None
    early = process_settings(config) if config else {}
    debug[:] = ["--debug"] if process.debug or early.get("debug") else []
    manager = PluginManager.discover(
        third_party=not (process.no_plugins or early.get("no_plugins")),
        disabled=[*process.disable_plugin, *early.get("disable_plugin", ())],
        files=process.load_plugin,
    )
    manager.debug = bool(debug)
    try:
        app = App(manager, config)
        result = app.main(rest, prog_name="torch2grid", standalone_mode=False, obj=manager, default_map={})
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.Abort as stop:  # which click makes of any interrupt
        raise (stop.__cause__ if isinstance(stop.__cause__, Terminated) else KeyboardInterrupt()) from None
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.ctx is not None:
            options = [each for each in error.ctx.command.get_params(error.ctx) if isinstance(each, click.Option)]
            written = [flag for each in options if not each.hidden for flag in each.opts]  # as --help has them, without --no-…
            error = click.NoSuchOption(error.option_name, error.message, written, error.ctx)
        _say(" ".join(error.format_message().split()))
        return error.exit_code
    finally:
        if completing is None:
            for record in manager.records if debug else ():
                for trace in record.traces():
                    print(trace, file=sys.stderr)
            for line in manager.problems():
                _say(line)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"torch2grid: {visible(line, limit=2000)}", file=sys.stderr)


if __name__ == "__main__":
    main()
