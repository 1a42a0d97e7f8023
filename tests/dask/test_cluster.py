"""``--executor dask``: the digits of one process, on a cluster that is really there, and one line when it is not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.dask import COMMAND, Running, cluster, environment, installed, run, wait
from tests.support.remote import installed as installed_remote
from tests.support.remote.server import serving
from tests.support.tools import interruptible, torch2grid

pytest.importorskip("distributed")
DASK = "executor 'dask' of torch2grid-dask 0.1.0"
RNG = np.random.default_rng(24)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tensors = {f"layers.{n}.weight": RNG.normal(size=(64, 96)).astype(np.float32) for n in range(12)}
    tensors |= {f"small.{n}": RNG.normal(size=5).astype(np.float16) for n in range(300)}
    tensors["large"] = RNG.normal(size=(1500, 800)).astype(np.float32)
    save_file(tensors, folder / "a.safetensors")
    tensors["large"][3, 4] = np.nan
    save_file(tensors, folder / "b.safetensors")
    return folder


COMMANDS = (
    ("a.safetensors", "--stats", "--view", "stats:detail=true", "-q"),
    ("a.safetensors", "--layers", "--only", "layers.*", "-o", "{out}/layers", "-q"),
    ("a.safetensors", "-o", "{out}/grid.png", "-q"),
    ("check", "b.safetensors"),
    ("compare", "a.safetensors", "b.safetensors", "--stats", "-q"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=["stats", "layers", "grid", "check", "compare"])
def test_one_process_the_pool_and_the_cluster_give_the_same(
    words: tuple[str, ...], shared: Running, models: Path, tmp_path: Path
) -> None:
    ways = {"one": ("-j", "1"), "pool": ("-j", "2"), "dask": ("--executor", f"dask:{shared.address}")}
    seen = {}
    for way, options in ways.items():
        out = tmp_path / way
        out.mkdir()
        done = run(tmp_path, *(word.format(out=out) for word in words), *options, cwd=models)
        assert "Traceback" not in done.stderr, done.stderr
        files = {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
        said = re.sub(r"\d+\.\d s|in \d+ ms", "", (done.stdout + done.stderr).replace(str(out), "OUT"))
        seen[way] = done.returncode, said, files
    assert seen["one"] == seen["pool"] == seen["dask"]
    assert seen["one"][0] == (1 if words[0] in ("check", "compare") else 0)


def test_workers_of_this_machine_are_started_and_go(models: Path, tmp_path: Path) -> None:
    alone = run(tmp_path, "a.safetensors", "--stats", "-q", "-j", "1", cwd=models)
    done = run(tmp_path, "a.safetensors", "--stats", "-q", "-j", "2", "--executor", "dask", cwd=models)
    assert (done.returncode, done.stdout, done.stderr) == (0, alone.stdout, "")


def test_what_a_worker_cannot_import_is_done_here(shared: Running, models: Path, tmp_path: Path) -> None:
    (tmp_path / "need.py").write_text(
        "from dataclasses import dataclass\n"
        "from torch2grid_core import Need, Rule, Finding\n"
        "from torch2grid_core.measures import Collector\n\n\n"
        "class Seen(Collector):\n"
        "    def __init__(self):\n        self.most = 0.0\n\n"
        "    def update(self, chunk):\n        self.most = max(self.most, float(chunk.values.max()))\n\n"
        "    def result(self):\n        return self.most\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Most(Need[float]):\n"
        "    def collector(self, tensors):\n        return Seen()\n\n\n"
        "class Large(Rule):\n"
        '    """weights above 3"""\n'
        '    name = "large"\n    code = "X101"\n\n'
        "    def needs(self, checkpoint, run):\n        return {'most': Most()}\n\n"
        "    def findings(self, checkpoint, results, run):\n"
        "        for name, most in results['most'].items():\n"
        "            if most > 4:\n                yield Finding(f'{most:.4f}', name)\n"
    )
    words = ("check", models / "a.safetensors", "--load-plugin", "need.py", "--select", "X101", "-q")
    alone = run(tmp_path, *words, "-j", "1")
    done = run(tmp_path, *words, "--executor", f"dask:{shared.address}", timeout=120)
    assert alone.returncode == 1
    assert (done.returncode, done.stdout, done.stderr) == (1, alone.stdout, alone.stderr)


def test_an_address_where_nobody_answers_is_one_line(models: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(tmp_path, "a.safetensors", "--stats", "--executor", "dask:tcp://127.0.0.1:9", cwd=models)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no scheduler answers at tcp://127.0.0.1:9" in done.stderr
    assert time.monotonic() - began < 60


def started(running: Running, models: Path, folder: Path, *command: str) -> subprocess.Popen[str]:
    """A command that keeps the cluster busy."""
    words = [str(COMMAND), *(command or ("check", "big.safetensors")), "--executor", f"dask:{running.address}"]
    return subprocess.Popen(
        words, cwd=models, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def big(models: Path) -> Path:
    one = RNG.standard_normal((1024, 1024), dtype=np.float32)
    tensors = {f"layers.{n}.weight": np.roll(one, 999 * n) for n in range(120)}
    save_file(tensors, models / "big.safetensors")
    return models


def busy(running: Running) -> bool:
    from distributed import Client

    with Client(running.address, timeout=20, set_as_default=False) as client:
        return any(client.processing().values())


def test_a_worker_that_is_killed_costs_no_digit(big: Path, tmp_path: Path) -> None:
    alone = run(tmp_path, "check", "big.safetensors", "-j", "1", cwd=big)
    with cluster(tmp_path / "own", 2) as running, started(running, big, tmp_path) as process:
        wait(lambda: busy(running))
        running.processes[-1].kill()
        out, errors = process.communicate(timeout=240)
    assert (process.returncode, out) == (alone.returncode, alone.stdout), errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [["check"], ["check", *["big.safetensors"] * 2], ["big.safetensors", "--stats", "-o", "{out}"]]
)
def test_all_workers_killed_are_one_line(words: list[str], big: Path, tmp_path: Path) -> None:
    words = [word.format(out=tmp_path / "out") for word in words]
    with cluster(tmp_path / "own", 2) as running, started(running, big, tmp_path, *words, "big.safetensors") as process:
        wait(lambda: busy(running))
        for each in running.processes[1:]:
            each.kill()
        began = time.monotonic()
        _, errors = process.communicate(timeout=120)
        taken = time.monotonic() - began
    assert process.returncode == (2 if words[0] == "check" else 1)
    told = f"torch2grid: {DASK}: BrokenExecutor: the cluster has no workers left"
    assert [line for line in errors.splitlines() if "dask" in line] == [told], errors
    assert len(errors.splitlines()) == 1 or words[0] != "check", errors  # of several models, what became of each
    assert taken < 30


@pytest.mark.parametrize(("sent", "told", "seconds"), [("KILL", "is gone", 20), ("STOP", "has not answered for 30 s", 60)])
def test_a_scheduler_that_dies_or_hangs_is_one_line(sent: str, told: str, seconds: float, big: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "own", 1) as running, started(running, big, tmp_path) as process:
        wait(lambda: busy(running))
        running.processes[0].send_signal(getattr(signal, f"SIG{sent}"))
        began = time.monotonic()
        _, errors = process.communicate(timeout=120)
        taken = time.monotonic() - began
    assert process.returncode == 2
    assert errors.splitlines() == [f"torch2grid: {DASK}: BrokenExecutor: the scheduler {told}"], errors
    assert taken < seconds


def descendants(process: int) -> list[int]:
    """Processes that *process* has started, and theirs."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False).stdout.split()
    return [each for child in map(int, found) for each in (child, *descendants(child))]


def runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux who runs")
@pytest.mark.parametrize("after", [0.2, 4.0])
def test_an_interrupt_of_a_terminal_is_one_line_and_leaves_nobody(after: float, big: Path, tmp_path: Path) -> None:
    words = [str(COMMAND), "check", *["big.safetensors"] * 9, "--executor", "dask", "--jobs", "2", "-q"]
    process = subprocess.Popen(
        words,
        cwd=big,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=interruptible,
    )
    wait(lambda: descendants(process.pid))  # the first that is started; its workers follow
    time.sleep(after)
    started = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors.strip()) == (130, "", "torch2grid: interrupted"), errors
    wait(lambda: not any(map(runs, started)), 20)


def test_a_large_picture_is_no_news(shared: Running, models: Path, tmp_path: Path) -> None:
    save_file({"w": RNG.normal(size=(2000, 1500)).astype(np.float32)}, tmp_path / "picture.safetensors")
    words = ("picture.safetensors", "-o", "p.png", "-q", "--executor", f"dask:{shared.address}")
    done = run(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_version_on_a_worker_is_one_line(models: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (installed(own)[1] / "torch2grid_dask-0.1.0.dist-info").rename(own / "site" / "torch2grid_dask-0.0.9.dist-info")
    about = own / "site" / "torch2grid_dask-0.0.9.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("0.1.0", "0.0.9"))
    (own / "site" / "torch2grid_dask-0.1.0.dist-info").mkdir()  # so that it is not written again
    with cluster(own, 1) as running:
        done = run(tmp_path, "a.safetensors", "--stats", "-q", "--executor", f"dask:{running.address}", cwd=models)
    told = "a worker has torch2grid-dask 0.0.9, and this machine 0.1.0"
    assert (done.returncode, done.stderr) == (1, f"torch2grid: {DASK}: BrokenExecutor: {told}\n")


def test_a_plugin_that_the_work_needs_and_a_worker_lacks_is_one_line(shared: Running, models: Path, tmp_path: Path) -> None:
    with serving(models) as served:
        words = [f"{served.url}/a.safetensors", "--stats", "-q", "--executor", f"dask:{shared.address}"]
        done = torch2grid(*words, cwd=tmp_path, path=[*installed(tmp_path), *installed_remote(tmp_path)], new=True)
        told = "a worker has no torch2grid-remote, and this machine 0.1.0; install it there"
        assert (done.returncode, done.stderr) == (1, f"torch2grid: {DASK}: BrokenExecutor: {told}\n")
        here = torch2grid("a.safetensors", *words[1:], cwd=models, path=[*installed(tmp_path), *installed_remote(tmp_path)])
        assert (here.returncode, here.stderr) == (0, "")  # which needs none


def test_tls_without_certificates_is_one_line(models: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "a.safetensors", "--stats", "-q", "--executor", "dask:tls://127.0.0.1:9", cwd=models)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "tls://127.0.0.1:9 needs certificates: set distributed.comm.tls" in done.stderr
