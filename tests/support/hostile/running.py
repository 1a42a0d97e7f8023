"""What the tests of hostile files share: the command line in a process of its own, as a function with a result."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tools import PROJECT

RUNNER = [sys.executable, "-m", "tests.support.hostile.runner"]
SECONDS = 30
GIB = 1 << 30


@dataclass(frozen=True)
class Result:
    """One run. code: ``None`` after the time limit. tensors: how many were opened. peak: of address space, in bytes."""

    code: int | None
    out: str
    err: str
    seconds: float
    folder: Path
    tensors: int | None = None
    peak: int = 0

    @property
    def left(self) -> list[str]:
        """Everything in the working folder afterwards, without the pictures."""
        found = {path.relative_to(self.folder).parts[0] for path in self.folder.rglob("*")}
        return sorted(found - {"grids"})

    def is_clean_error(self) -> bool:
        """True for exit code 1 and one line that is no internal error; nothing written."""
        lines = self.err.splitlines()
        telling = len(lines) == 1 and lines[0].startswith("torch2grid: ") and "internal error" not in lines[0]
        return self.code == 1 and telling and self.is_printable() and not self.out and not any(self.folder.iterdir())

    def is_drawn(self) -> bool:
        """True for exit code 0, paths on stdout and no traceback."""
        return self.code == 0 and bool(self.out) and "Traceback" not in self.err and self.is_printable()

    def is_printable(self) -> bool:
        """True where nothing of a file reaches the terminal as a control character."""
        return all(char.isprintable() or char == "\n" for char in self.out + self.err)


class Runs:
    """Runs of the command line below *folder*, each in an empty working folder; may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        self._idle: list[subprocess.Popen[str]] = []
        self._all: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()

    def forked(self, words: Sequence[object], limit: int = 0) -> Result:
        """Run in a fork of a prepared process. limit: of address space, in bytes."""
        request, folder = self._request(words, limit)
        with self._lock:
            server = self._idle.pop() if self._idle else None
        if server is None:
            server = subprocess.Popen(RUNNER, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            with self._lock:
                self._all.append(server)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        reply = json.loads(server.stdout.readline())
        with self._lock:
            self._idle.append(server)
        return self._result(folder, reply["code"], reply["seconds"])

    def fresh(self, words: Sequence[object], limit: int = 0) -> Result:
        """Run in a process that imports everything itself."""
        request, folder = self._request(words, limit)
        done: int | None = None
        try:
            done = subprocess.run([*RUNNER, "once", json.dumps(request)], cwd=PROJECT, timeout=SECONDS).returncode
        except subprocess.TimeoutExpired:
            done = None
        return self._result(folder, done, 0.0)

    def close(self) -> None:
        """End the prepared processes."""
        for server in self._all:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.close()
            server.wait(timeout=10)
            server.stdout.close()

    def _request(self, words: Sequence[object], limit: int) -> tuple[dict[str, Any], Path]:
        folder = self.folder / str(next(self._numbers))
        (folder / "cwd").mkdir(parents=True)
        files = {name: str(folder / name) for name in ("out", "err", "report", "cwd")}
        return {"words": [str(word) for word in words], "bytes": limit, **files}, folder

    def _result(self, folder: Path, code: int | None, seconds: float) -> Result:
        told = {name: (folder / name).read_text(encoding="utf-8", errors="backslashreplace") for name in ("out", "err")}
        report = json.loads((folder / "report").read_text()) if (folder / "report").exists() else {}
        return Result(code, **told, seconds=seconds, folder=folder / "cwd", **report)
