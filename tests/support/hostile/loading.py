"""Loads files for real, each in a process of its own: a fork of one that has imported PyTorch. The files only make folders.

``left`` runs code in an empty folder, as ``python -c`` would, and says what is there afterwards. The process that forks is
started with the first code, once for each worker of pytest: PyTorch's import takes longer than most of what is loaded.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

PROCESS = "COVERAGE_PROCESS_CONFIG"  # the loaders' processes are none of ours, and are not traced
IMPORTED = ("joblib", "numpy", "torch", "torch.export._trace", "torch.export.pt2_archive._package", "torch.package")


def left(code: str, *words: object, folder: Path, temporary: str = "", path: str = "") -> list[str]:
    """What *code* leaves in *folder*, which is made, when it is run there with *words* behind ``sys.argv[0]``.

    Args:
        code: what ``python -c`` would run. How it ends and what it prints is not told: the files are broken in many ways.
        words: of its command line.
        folder: where it works.
        temporary: a folder in it for temporary files, which is made too; what is left there is told instead.
        path: a folder that is put first on the import path.
    """
    (folder / temporary).mkdir(parents=True)
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    job = {"code": code, "words": [*map(str, words)], "folder": str(folder), "temporary": temporary, "path": path}
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    assert server.stdout.readline() == "done\n"
    return sorted(os.listdir(folder / temporary))


@functools.cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, __file__],
        env={name: text for name, text in os.environ.items() if name != PROCESS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    owner = os.getpid()

    def end() -> None:
        if os.getpid() == owner:  # a fork of this process runs it too
            server.kill()
            server.communicate()

    atexit.register(end)
    return server


def child(code: str, words: list[str], folder: str, temporary: str, path: str) -> None:
    os.chdir(folder)
    if temporary:
        tempfile.tempdir = str(Path(folder) / temporary)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    sys.argv = ["-c", *words]
    sys.path[0:1] = [path, ""] if path else [""]
    importlib.invalidate_caches()
    main = sys.modules["__main__"] = ModuleType("__main__")
    with contextlib.suppress(BaseException):  # the files are broken in many ways once they have done their work
        exec(compile(code, "<string>", "exec"), main.__dict__)


def serve() -> None:
    """A line of JSON for each code on stdin, a line on stdout when it has ended."""
    warnings.simplefilter("ignore")
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collector of garbage that looks through all of PyTorch would copy its memory into each fork
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            try:
                child(**json.loads(line))
                with contextlib.suppress(ChildProcessError):
                    while True:  # what it started
                        os.wait()
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        print("done", flush=True)


if __name__ == "__main__":
    serve()
