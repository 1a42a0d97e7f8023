"""Executors by name, and of the caller's: the digits of one worker, and one line with a name where they fail."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support import executing
from tests.support.elsewhere import Elsewhere
from tests.support.tools import DIGITS, torch2grid

import torch2grid as t2g
from torch2grid._session import manager as shared
from torch2grid_core import (
    Checkpoint,
    ExecutorFactory,
    LoadError,
    PluginError,
    PluginManager,
    Settings,
    Torch2GridError,
    UsageError,
)
from torch2grid_core._cli.drawing import Drawing
from torch2grid_core.measures import executor_of, workers

PLUGIN = Path(executing.__file__)
random = np.random.default_rng(3)
ARRAYS = {f"layer{number}.weight": random.normal(size=(30 + number, 20)).astype(np.float32) for number in range(5)}
ARRAYS["head.weight"] = random.normal(size=(90, 100)).astype(
    np.float32
)  # small ones alone are measured before a worker has them


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(ARRAYS, tmp_path / "a.safetensors")
    save_file({name: array * 1.5 for name, array in ARRAYS.items()}, tmp_path / "b.safetensors")
    save_file({name: array * 2 for name, array in ARRAYS.items()}, tmp_path / "c.safetensors")
    return tmp_path


@pytest.fixture
def manager() -> PluginManager:
    found = PluginManager.discover(third_party=False)
    found.register(executing)
    return found


COMMANDS = {
    "draw": ("a.safetensors", "--layers", "--stats", "--dead-neurons", "--format", "json"),
    "shared limits": ("a.safetensors", "b.safetensors", "--layers", "--limits", "shared", "--format", "json"),
    "check": ("check", "a.safetensors", "--format", "json"),
    "compare": ("compare", "a.safetensors", "b.safetensors", "--layers", "--format", "json,png"),
    "series": ("compare", "a.safetensors", "b.safetensors", "c.safetensors", "--atlas", "--format", "json,png"),
}


def outcome(folder: Path, *words: str) -> Any:
    """Everything that the command says on stdout and writes."""
    done = torch2grid(*words, "--load-plugin", PLUGIN, cwd=folder)
    assert done.returncode in ((0, 1) if words[0] in ("check", "compare") else (0,)), done.stderr
    written = {path.relative_to(folder): path.read_bytes() for path in sorted((folder / "grids").rglob("*")) if path.is_file()}
    for path in written:
        (folder / path).unlink()
    return done.stdout, {path: raw for path, raw in written.items() if path.name != "index.json"}


@pytest.mark.parametrize("about", COMMANDS)
def test_every_command_has_the_digits_of_one_worker(about: str, folder: Path) -> None:
    words = COMMANDS[about]
    alone = outcome(folder, *words, "--jobs", "1")
    assert outcome(folder, *words, "--executor", "threads") == alone
    assert outcome(folder, *words, "--executor", "spawned") == alone


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        ("threads:log=log", " 3"),
        ("threads:address=tcp://host:8786,log=log", "tcp://host:8786 3"),
        ("threads:tcp://host:8786,log=log", "tcp://host:8786 3"),
    ],
)
def test_a_url_is_the_address(spec: str, given: str, folder: Path) -> None:
    done = torch2grid("a.safetensors", "--stats", "--executor", spec, "-j", "3", "--load-plugin", PLUGIN, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "log").read_text() == given


FAILURES = {
    "refuses": "submit: ConnectionError: nobody answers",
    "unreachable:tcp://far:1": "open: OSError: tcp://far:1 does not answer",
    "dies": "BrokenProcessPool: A process in the process pool was terminated abruptly",
    "loses": "EOFError: the line was cut",
}


@pytest.mark.parametrize("spec", FAILURES)
def test_one_that_fails_is_one_line_with_its_name(spec: str, folder: Path) -> None:
    for words, code in ((("a.safetensors", "--layers"), 1), (("check", "a.safetensors"), 2)):
        done = torch2grid(*words, "--executor", spec, "--load-plugin", PLUGIN, cwd=folder)
        assert done.returncode == code
        (line,) = [line for line in done.stderr.splitlines() if "executor" in line]
        assert line.startswith(f"torch2grid: executor '{spec.partition(':')[0]}': {FAILURES[spec]}")
        assert "Traceback" not in done.stderr


def test_a_wrong_name_or_option_ends_the_run_before_a_file_is_read(folder: Path) -> None:
    for command in ((), ("check",), ("compare", "no.pth")):
        done = torch2grid(*command, "no.pth", "--executor", "thread", "--load-plugin", PLUGIN, cwd=folder)
        assert done.returncode == 2
        assert "unknown executor 'thread'; did you mean 'threads'" in done.stderr
        assert "no.pth" not in done.stderr


def test_python_takes_a_name_or_an_executor_and_leaves_it_open(folder: Path) -> None:
    record = shared().register(executing)
    try:
        path = folder / "a.safetensors"
        alone = str(t2g.stats(path, jobs=1))
        with ThreadPoolExecutor(2) as threads:
            for executor in ("threads", "spawned", threads):
                assert str(t2g.stats(path, executor=executor)) == alone
                changed = t2g.compare(path, folder / "b.safetensors", executor=executor).report
                assert changed == t2g.compare(path, folder / "b.safetensors").report
                assert str(t2g.series([path, folder / "b.safetensors"], executor=executor))
            assert threads.submit(int, "7").result() == 7
        with pytest.raises(UsageError, match="unknown executor 'nobody'"):
            t2g.stats(path, executor="nobody")
        with pytest.raises(PluginError, match="executor 'ThreadPoolExecutor': submit: RuntimeError: cannot schedule"):
            t2g.layers(path, executor=threads).first()
    finally:
        shared().records.remove(record)
        shared()._indexed.clear()


def test_what_is_wrong_with_the_file_stays_an_error_of_the_file(folder: Path, manager: PluginManager) -> None:
    checkpoint = manager.open(folder / "a.safetensors")
    (folder / "a.safetensors").write_bytes(b"x")
    for name in ("threads", "spawned"):
        with (
            pytest.raises(LoadError, match=r"it is cut short|changed while it was being read"),
            workers(checkpoint, opener=executor_of(manager, name)) as executor,
        ):
            list(summaries(checkpoint, executor))


def summaries(checkpoint: Checkpoint, executor: Executor | None) -> Any:
    from torch2grid_core import measure
    from torch2grid_core.measures import Largest  # which is asked of each tensor alone, so that small ones travel

    return measure(checkpoint, {"largest": Largest(3)}, executor=executor)


class _NoFuture(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)


class _ClosesBadly(ThreadPoolExecutor):
    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        raise OSError("the scheduler is gone")


class _Misconfigured(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        return super().submit(int, [])  # a TypeError that is none of the work's


class _Answers(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        return super().submit(int, "42")


WRONG: dict[str, tuple[Any, str]] = {
    "fails of itself": (_Misconfigured(1), "TypeError: int\\(\\) argument must be"),
    "no context": (3, "open returned 3, not a context manager"),
    "no executor": (nullcontext("x"), "open gives 'x', not an Executor"),
    "no future": (_NoFuture(1), "submit returned a list, not a Future"),
    "closes badly": (_ClosesBadly(1), "close: OSError: the scheduler is gone"),
}


@pytest.mark.parametrize("about", WRONG)
def test_what_it_opens_must_be_an_executor(about: str, folder: Path, manager: PluginManager) -> None:
    given, said = WRONG[about]

    class Wrong(ExecutorFactory):
        """opens what is none"""

        name = "wrong"

        def open(self, address: str, jobs: int) -> Any:
            return given

    manager.register(Wrong)
    checkpoint = manager.open(folder / "a.safetensors")
    opener = executor_of(manager, "wrong")
    with pytest.raises(PluginError, match=f"executor 'wrong'.*{said}"), workers(checkpoint, opener=opener) as executor:
        list(summaries(checkpoint, executor))


def test_what_is_taken_back_is_taken_back_from_the_executor_too(manager: PluginManager) -> None:
    begun, go = threading.Event(), threading.Event()

    def busy() -> str:
        begun.set()
        go.wait(10)
        return "done"

    def opened(jobs: int) -> Any:
        return ThreadPoolExecutor(1)

    manager.register(type("One", (ExecutorFactory,), {"name": "one", "__doc__": "one thread", "open": lambda *_: opened(1)}))
    opener = executor_of(manager, "one")
    assert opener is not None
    with opener(0) as executor:
        running, waiting = executor.submit(busy), executor.submit(busy)
        assert begun.wait(10)
        assert waiting.cancel()
        assert waiting.cancelled()
        go.set()
        assert running.result(10) == "done"


class _Picky(ThreadPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        raise TypeError("cannot pickle '_thread.lock' object")


def test_what_cannot_be_sent_is_done_here(folder: Path) -> None:
    alone = str(t2g.stats(folder / "a.safetensors", jobs=1))
    with _Picky(1) as executor:
        assert str(t2g.stats(folder / "a.safetensors", executor=executor)) == alone


def test_nothing_chosen_opens_nothing(manager: PluginManager) -> None:
    assert executor_of(manager, None) is executor_of(manager, "") is None


def test_what_is_no_result_of_the_work_is_said(folder: Path, manager: PluginManager) -> None:
    checkpoint = manager.open(folder / "a.safetensors")
    with _Answers(1) as executor, pytest.raises(Torch2GridError, match="the executor brought back int"):
        list(summaries(checkpoint, executor))


def test_pages_that_need_nothing_are_drawn_by_workers_that_no_import_holds_up(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(
        "from torch2grid_core import Page, View, hookimpl\n"
        "from torch2grid_core.pages import Text\n"
        "class Plain(View):\n"
        "    'one page'\n"
        "    name = 'plain'\n"
        "    def pages(self, checkpoint, results, run):\n"
        "        yield Page('plain', 'Plain', (Text('one'),))\n"
        "@hookimpl\n"
        "def torch2grid_views():\n"
        "    return [Plain]\n"
    )
    for _ in range(3):
        run = torch2grid(DIGITS, "--load-plugin", "plain.py", "--plain", "--jobs", "2", cwd=tmp_path, timeout=60, new=True)
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines() == ["grids/plain.png"]


class Counting(ThreadPoolExecutor):
    """Begins nothing before as much was handed out as it has workers; notes how many tensors each task has."""

    def __init__(self, count: int) -> None:
        super().__init__(1)
        self.num_workers, self.sizes, self.full = count, list[int](), threading.Event()

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        self.sizes.append(len(arguments[0]))
        if len(self.sizes) == self.num_workers:
            self.full.set()

        def work() -> Any:
            self.full.wait(30)
            return function(*arguments, **named)

        return super().submit(work)


def test_each_of_many_workers_has_work(tmp_path: Path) -> None:
    save_file({f"w{number}": np.ones((1100, 1000), np.float32) for number in range(90)}, tmp_path / "m.safetensors")
    with Counting(70) as executor:
        t2g.stats(tmp_path / "m.safetensors", executor=executor)[0]
        assert executor.full.is_set()


def test_a_large_file_for_few_workers_is_few_tasks(tmp_path: Path) -> None:
    save_file({f"w{number}": np.ones((110, 1000), np.float32) for number in range(640)}, tmp_path / "m.safetensors")
    with Counting(1) as executor:
        t2g.stats(tmp_path / "m.safetensors", executor=executor)[0]
    assert 8 <= len(executor.sizes) <= 10
    assert max(executor.sizes) <= 640 / 8 + 1


@pytest.mark.parametrize("apart", [False, True])
def test_pages_of_workers_that_share_the_folder_do_not_travel(apart: bool, folder: Path, manager: PluginManager) -> None:
    settings = Settings(view=("layers",), format=("png", "json"), output=str(folder / "out"), quiet=True)
    Drawing(manager, replace(settings, output=str(folder / "here"))).one(str(folder / "a.safetensors"), str(folder / "here"))
    with Elsewhere(apart) as executor:
        drawing = Drawing(manager, settings)
        drawing.executor = executor_of(manager, executor)
        drawing.one(str(folder / "a.safetensors"), str(folder / "out"))
    expected = {path.relative_to(folder / "here"): path.read_bytes() for path in (folder / "here").rglob("*") if path.is_file()}
    found = {path.relative_to(folder / "out"): path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    assert found == expected
    assert not list((folder / "out").glob(".*"))
    least = min(len(data) for path, data in expected.items() if path.suffix == ".png")
    assert (executor.largest > least) == apart


def test_a_run_that_fails_leaves_no_shelf(folder: Path, manager: PluginManager) -> None:
    settings = Settings(view=("layers",), output=str(folder / "out"), quiet=True)
    with Elsewhere(False) as executor:
        drawing = Drawing(manager, settings)
        drawing.executor = executor_of(manager, executor)
        (folder / "a.safetensors").write_bytes((folder / "a.safetensors").read_bytes()[:-100])
        with pytest.raises(Torch2GridError):
            drawing.one(str(folder / "a.safetensors"), str(folder / "out"))
    assert not (folder / "out").exists() or not list((folder / "out").glob(".*"))
