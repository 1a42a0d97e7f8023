"""Files on a server that is 30 ms away and gives each connection 80 MB/s: what commands cost, in time, requests and bytes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.remote import installed
from tests.support.remote.hub import hub
from tests.support.remote.sparse import sparse_shards
from tests.support.tools import COMMAND, PROJECT

from benchmarks.measure import run_once
from benchmarks.models import gpt2, model, tensors
from benchmarks.task import Check, Section, Task, at_most, markdown, seconds, section

LOCAL, REMOTE = "the local file", "the file on the server"
NAME, PICKLED, PAGE = "gpt2.safetensors", "thousand.pth", "h.5.mlp.c_fc.weight"
LATENCY, RATE = 0.03, 80e6
SECONDS, BYTES, MORE = 1.6, 1.01, 150.0  # wall time; times the file; MB beyond the peak PSS of the local run


class Cost(NamedTuple):
    """What a command cost: seconds, and what it asked of the server. code: its exit code."""

    what: str
    wall: float
    requests: int
    bytes: int
    code: int

    @property
    def cells(self) -> list[str]:
        return [self.what, seconds(self.wall), str(self.requests), f"{self.bytes:,}"]

    def at_most(self, requests: int = 0, bytes_: float = 0, wall: float = 0) -> list[Check]:
        """Checks of those that have a limit, and that it went well."""
        what = f"A remote file, {self.what}"
        checks = [Check(f"{what}: it went well", self.code == 0, f"exit code {self.code}")]
        checks += [at_most(f"{what}: requests", self.requests, requests)] if requests else []
        checks += [at_most(f"{what}: bytes", self.bytes / 1e6, bytes_ / 1e6, " MB")] if bytes_ else []
        checks += [at_most(f"{what}: seconds", self.wall, wall, " s")] if wall else []
        return checks


def run(folder: Path, rounds: int) -> Section:
    path = model(NAME)
    with far(path.parent) as server:
        contenders = {LOCAL: [str(COMMAND), str(path), "--stats"], REMOTE: _command(folder, f"{server.url}/{NAME}", "--stats")}
        proofs = dict.fromkeys(contenders, tensors(NAME)[-1])
        title = "`--stats` of GPT-2, here and 30 ms away at 80 MB/s for each connection"
        found = Task(title, contenders, LOCAL, proofs=proofs).measured(folder, rounds)
        runs = rounds + 2  # the warm-up, and the one that is observed
        asked = server.asked()
    here, there = found.results[LOCAL], found.results[REMOTE]
    checks = [
        at_most("A remote file: seconds", there.wall, SECONDS, " s"),
        at_most("A remote file: bytes, times those of the file", asked["bytes"] / runs / path.stat().st_size, BYTES),
        at_most("A remote file: peak PSS beyond the local run", (there.pss - here.pss) / 1e6, MORE, " MB"),
    ]
    costs, limits = _costs(folder)
    about = (
        "The server is a process of its own on this machine: it waits 30 ms before each answer and sends no more than 80 MB/s"
        f" on a connection. {asked['requests'] / runs:.0f} requests a run, of which {asked['most']} at the same time."
    )
    result = section("Remote locations", about, [found], [*checks, *limits])
    table = markdown(["what else it costs", "wall s", "requests", "bytes"], [each.cells for each in costs])
    return Section(result.title, f"{result.text}\n\n{table}", result.checks, result.tasks, result.whole)


def _costs(folder: Path) -> tuple[list[Cost], list[Check]]:
    """Of commands that need little of much, and their limits."""
    sparse_shards(folder / "shards", 282, 9, 16384)
    sparse_shards(folder / "hub" / "owner" / "name", 40, 20, 30518)
    one = 4 * math.prod(gpt2()[PAGE])
    with far(model(NAME).parent) as server, far(folder / "shards") as shards, hub(folder / "hub") as repository:
        tree = _cost("`tree` of GPT-2", server, folder, "tree", f"{server.url}/{NAME}")
        pth = _cost("`tree` of a .pth of 1,000 tensors", server, folder, "tree", f"{server.url}/{model(PICKLED).name}")
        page = _cost(
            "one tensor's page", server, folder, f"{server.url}/{NAME}", "--only", PAGE, "--layers", "-o", "page", "-q"
        )
        index = f"{shards.url}/model.safetensors.index.json"
        many = _cost("`tree` of 282 shards, 0.7 TB", shards, folder, "tree", index, "--depth", "1")
        named = [f"{name}={value}" for name, value in repository.environment.items()]
        taken, code = run_once(_command(folder, "tree", "hf://owner/name", "--depth", "1", environment=named), folder)
        asked = [*repository.web.requests, *repository.store.requests]
        whole = Cost("`tree` of a repository of 400 GB", taken.wall, len(asked), sum(each.sent for each in asked), code)
    limits = [
        *tree.at_most(2, 128e3),
        *pth.at_most(6),
        *page.at_most(bytes_=1.01 * one),
        *many.at_most(600, wall=3.0),
        *whole.at_most(bytes_=1e6),
    ]
    return [tree, pth, page, many, whole], limits


def _command(folder: Path, *words: str, environment: Sequence[str] = ()) -> list[str]:
    """torch2grid with torch2grid-remote."""
    return ["env", f"PYTHONPATH={':'.join(map(str, installed(folder)))}", *environment, str(COMMAND), *words]


def _cost(what: str, server: Far, folder: Path, *words: str) -> Cost:
    server.asked()
    taken, code = run_once(_command(folder, *words), folder)
    asked = server.asked()
    return Cost(what, taken.wall, asked["requests"], asked["bytes"], code)


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
def far(folder: Path, rate: float = RATE) -> Iterator[Far]:
    """A server of *folder*, far away. rate: bytes a second of a connection."""
    script = PROJECT / "tests" / "support" / "remote" / "server.py"
    command = [sys.executable, str(script), str(folder), "--latency", str(LATENCY), "--rate", str(rate)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Far(process)
    finally:
        process.terminate()
        process.wait(20)
