"""New checkpoints in a folder that a training run writes to, each when it is complete."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping

from torch2grid_core import UsageError
from torch2grid_core.text import visible

SECONDS = 2.0  # between two looks; a checkpoint that has not changed from one to the next is complete
ENDINGS = (
    ".safetensors",
    ".pth",
    ".pt",
    ".ckpt",
    ".bin",
    ".npz",
    ".npy",
    ".gguf",
    ".onnx",
    ".pt2",
    ".nemo",
    ".distcp",
    ".metadata",
)
_PARTS = (".tmp", ".part", ".incomplete", ".crdownload", ".aria2")
_MOST = 10_000  # entries of a folder that are looked at

State = tuple[tuple[str, int, int], ...]  # name, size and time of each file


class Watch:
    """The files and folders of *folder* that may be checkpoints. What is there already is no news, unless it changes."""

    def __init__(self, folder: str) -> None:
        if not os.path.isdir(folder):
            raise UsageError(f"--watch {folder}: is not a folder")
        self.folder = folder
        self._told = dict(self._listed())
        self._last: dict[str, State] = {}

    def complete(self) -> list[str]:
        """Those that are new, or have changed, and have been the same since the last look."""
        listed = dict(self._listed())
        done = [path for path, state in listed.items() if self._told.get(path) != state and self._last.get(path) == state]
        self._last = listed
        self._told.update((path, listed[path]) for path in done)
        return done

    def _listed(self) -> Iterator[tuple[str, State]]:
        for path, entry in _entries(self.folder):
            if _is_folder(entry):
                if path.lower().endswith(_PARTS):
                    continue  # it is renamed when it is complete
                state = tuple(sorted(each for name, one in _entries(path) if (each := _state(name, one)) is not None))
                if any(name.lower().endswith(_PARTS) for name, _, _ in state):
                    continue
                if any(name.lower().endswith(ENDINGS) for name, _, _ in state):
                    yield path, state
            elif path.lower().endswith(ENDINGS) and (found := _state(path, entry)) is not None:
                yield path, (found,)


def _entries(folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            listed = [(each.path, each) for each, _ in zip(entries, range(_MOST), strict=False)]
    except OSError:  # it went while it was looked at
        return []
    kept = [(path, each) for path, each in listed if not each.name.startswith(".") or each.name == ".metadata"]
    return sorted(kept, key=lambda pair: pair[0])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _state(path: str, entry: os.DirEntry[str]) -> tuple[str, int, int] | None:
    try:
        found = entry.stat()
    except OSError:
        return None
    return path, found.st_size, found.st_mtime_ns


def watch(folder: str, check: Callable[[str], int], command: str, say: Callable[[str], None]) -> int:
    """Check each new checkpoint in *folder* until interrupted; the highest exit code of all checks, 0 where there was none.

    Args:
        folder: what is watched.
        check: called with the path of each; the exit code, 0 where there is no finding.
        command: run for each with a finding, its words followed by the path; empty runs nothing.
        say: gets a line about what is done.

    Raises:
        UsageError: For a folder that is not there, and a command that is no words.
    """
    words, looked, worst = _words(command), Watch(folder), 0
    say(f"watching {visible(folder)} for new checkpoints; Ctrl+C ends it")
    waiting = threading.Event()
    try:
        while not waiting.wait(SECONDS):
            for path in looked.complete():
                code = check(path)
                worst = max(worst, code)
                if code:
                    _run(words, path, say)
    except KeyboardInterrupt:
        say("stopped")
    return worst


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--on-finding {command}: {error}") from error


def _run(words: list[str], path: str, say: Callable[[str], None]) -> None:
    """Run *words* with the path as the last; no shell sees it."""
    if not words:
        return
    env: Mapping[str, str] = {**os.environ, "TORCH2GRID_MODEL": path}
    try:
        code = subprocess.run([*words, os.path.abspath(path)], env=env, stdin=subprocess.DEVNULL, check=False).returncode
    except OSError as error:
        say(f"--on-finding {words[0]}: {error.strerror}")
        return
    if code:
        say(f"--on-finding {words[0]}: ended with exit code {code}")
