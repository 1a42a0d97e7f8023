"""``--stats`` of a file on a server that is 30 ms away and gives each connection 80 MB/s, beside the local file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.remote import installed
from tests.support.tools import COMMAND, PROJECT

from benchmarks.models import model, tensors
from benchmarks.task import Section, Task, at_most, section

LOCAL, REMOTE = "the local file", "the file on the server"
NAME = "gpt2.safetensors"
LATENCY, RATE = 0.03, 80e6
SECONDS, BYTES, MORE = 1.6, 1.01, 150.0  # wall time; times the file; MB beyond the peak PSS of the local run


def run(folder: Path, rounds: int) -> Section:
    path = model(NAME)
    with far(path.parent) as server:
        python_path = ":".join(map(str, installed(folder)))
        contenders = {
            LOCAL: [str(COMMAND), str(path), "--stats"],
            REMOTE: ["env", f"PYTHONPATH={python_path}", str(COMMAND), f"{server.url}/{NAME}", "--stats"],
        }
        proofs = dict.fromkeys(contenders, tensors(NAME)[-1])
        title = "`--stats` of GPT-2, here and 30 ms away at 80 MB/s for each connection"
        server.asked()
        found = Task(title, contenders, LOCAL, proofs=proofs).measured(folder, rounds)
        runs = rounds + 2  # the warm-up, and the one that is observed
        asked = server.asked()
    here, there = found.results[LOCAL], found.results[REMOTE]
    checks = [
        at_most("A remote file: seconds", there.wall, SECONDS, " s"),
        at_most("A remote file: bytes, times those of the file", asked["bytes"] / runs / path.stat().st_size, BYTES),
        at_most("A remote file: peak PSS beyond the local run", (there.pss - here.pss) / 1e6, MORE, " MB"),
    ]
    about = (
        "The server is a process of its own on this machine: it waits 30 ms before each answer and sends no more than 80 MB/s"
        f" on a connection. {asked['requests'] / runs:.0f} requests a run, of which {asked['most']} at the same time."
    )
    return section("Remote locations", about, [found], checks)


class Far:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.url = process.stdout.readline().strip()

    def asked(self) -> dict[str, Any]:
        """What was asked since this was asked last."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def far(folder: Path) -> Iterator[Far]:
    """A server of *folder*, far away."""
    script = PROJECT / "tests" / "support" / "remote" / "server.py"
    command = [sys.executable, str(script), str(folder), "--latency", str(LATENCY), "--rate", str(RATE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Far(process)
    finally:
        process.terminate()
        process.wait(20)
