"""Listeners hear a whole run: its start, every page in every file, and its end, whatever that was."""

from __future__ import annotations

import json
import signal
import subprocess
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tools import COMMAND, distribution, interruptible, torch2grid

import torch2grid as t2g
from torch2grid_core import GridTransformer, Listener, UsageError, View

LOG = '''
import json
from dataclasses import dataclass, field

from torch2grid_core import Listener, hookimpl


@dataclass
class Log(Listener):
    """writes down what it hears"""

    name = "log"
    file: str = field(default="log.jsonl", metadata={"help": "where"})
    fail: str = field(default="", metadata={"help": "the method that raises"})

    def started(self, origin, run):
        self._say("started", origin, model=origin.model, sources=origin.sources, output=run.output)

    def written(self, page, path, origin, run):
        there = path.exists() and (path.is_dir() or path.stat().st_size > 0)
        assert page.origin == origin
        more = {"panels": len(page.panels), "max_cells": run.max_cells}
        self._say("written", origin, page=page.name, path=str(path), there=there, **more)

    def finished(self, origin, run, error):
        self._say("finished", origin, error=None if error is None else type(error).__name__)

    def _say(self, what, origin, **more):
        if self.fail == what:
            raise ConnectionError("the tracker is away")
        entry = {"what": what, "step": origin.step, "part": origin.part, "instance": id(self), **more}
        with open(self.file, "a") as file:
            file.write(json.dumps(entry) + "\\n")
'''
HOOK = """

@hookimpl
def torch2grid_listeners():
    return [Log]
"""


def heard(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for step in (100, 200):
        np.savez(tmp_path / f"step_{step}.npz", **{f"fc{n}.weight": rng.normal(size=(4, 5)) for n in (1, 2)})
    (tmp_path / "log.py").write_text(LOG)
    distribution(tmp_path / "site", "t2g-log", LOG + HOOK)
    return tmp_path


def run(folder: Path, *words: object, code: int = 0, **options: Any) -> Any:
    done = torch2grid(*words, cwd=folder, path=[folder / "site"], **options)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_page_of_a_folder_and_of_one_file(folder: Path, jobs: int) -> None:
    run(folder, "step_100.npz", "--layers", "--listener", "log", "-j", jobs, "--max-cells", 64)
    first, *pages, last = heard(folder / "log.jsonl")
    assert (first["what"], first["model"], first["sources"]) == ("started", "step_100", ["step_100.npz"])
    assert first["output"] == "grids"
    assert [(page["page"], page["path"]) for page in pages] == [
        ("fc1.weight", "grids/layers/fc1.weight.png"),
        ("fc2.weight", "grids/layers/fc2.weight.png"),
        ("layer_overview", "grids/layer_overview.png"),
    ]
    assert {(page["there"], page["step"], page["max_cells"], page["panels"] > 0) for page in pages} == {(True, 100, 64, True)}
    assert (last["what"], last["error"]) == ("finished", None)
    assert len({entry["instance"] for entry in (first, *pages, last)}) == 1

    run(folder, "step_100.npz", "--layers", "-o", "book.pdf", "--listener", "log:file=book.jsonl", "-j", jobs)
    first, *pages, last = heard(folder / "book.jsonl")
    assert [(page["page"], page["path"], page["there"]) for page in pages] == [
        (name, "book.pdf", True) for name in ("fc1.weight", "fc2.weight", "layer_overview")
    ]
    assert (first["output"], last["error"]) == ("book.pdf", None)


def test_each_model_of_a_batch_is_a_run(folder: Path) -> None:
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 no")
    run(folder, "step_100.npz", "broken.npz", "step_200.npz", "--listener", "log", code=1)
    found = heard(folder / "log.jsonl")
    assert [entry["what"] for entry in found] == ["started", "written", "finished"] * 2
    assert [entry["step"] for entry in found] == [100] * 3 + [200] * 3
    assert len({entry["instance"] for entry in found}) == 2
    assert [entry["output"] for entry in found if entry["what"] == "started"] == ["grids/step_100", "grids/step_200"]


def test_a_comparison_and_a_series_are_one_run_each(folder: Path) -> None:
    words = ("--layers", "--atlas", "--format", "png,gif")
    run(folder, "compare", "step_100.npz", "step_200.npz", *words, "--listener", "log", code=1)
    first, *pages, last = heard(folder / "log.jsonl")
    assert (first["sources"], first["step"]) == (["step_100.npz", "step_200.npz"], 200)
    assert (first["what"], last["what"], last["error"]) == ("started", "finished", None)
    assert {page["what"] for page in pages} == {"written"}
    assert {page["step"] for page in pages} == {200}
    assert len([page for page in pages if page["path"] == "grids/series_atlas.gif"]) == 2
    assert len({page["path"] for page in pages}) > 2

    np.savez(folder / "step_300.npz", **{"fc1.weight": np.ones((4, 5))})
    run(folder, "compare", "step_100.npz", "step_200.npz", "step_300.npz", "--listener", "log:file=series.jsonl")
    first, *pages, last = heard(folder / "series.jsonl")
    assert first["sources"] == [f"step_{step}.npz" for step in (100, 200, 300)]
    assert pages
    assert {page["step"] for page in pages} == {300}


def test_by_file_variable_and_python(folder: Path) -> None:
    (folder / "t2g.yaml").write_text("listener:\n  - log: {file: of_file.jsonl}\n")
    run(folder, "step_100.npz", "--config", "t2g.yaml")
    run(folder, "step_100.npz", env={"TORCH2GRID_LISTENER": "log:file=of_variable.jsonl"})
    assert len(heard(folder / "of_file.jsonl")) == len(heard(folder / "of_variable.jsonl")) == 3


class Kept(Listener):
    """keeps what it hears"""

    name = "kept"

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lock = threading.Lock()  # which no pickle takes

    def written(self, page: Any, path: Path, origin: Any, run: Any) -> None:
        self.heard.append((page.name, path.name, origin.model, origin.step, Path(run.output).name))

    def finished(self, origin: Any, run: Any, error: Any) -> None:
        self.heard.append(error)


def test_an_instance_in_python(folder: Path) -> None:
    kept = Kept()
    t2g.layers(folder / "step_100.npz", listener=kept, jobs=2).save(folder / "out")
    assert kept.heard == [
        ("fc1.weight", "fc1.weight.png", "step_100", 100, "out"),
        ("fc2.weight", "fc2.weight.png", "step_100", 100, "out"),
        ("layer_overview", "layer_overview.png", "step_100", 100, "out"),
        None,
    ]
    kept.heard.clear()
    t2g.compare(folder / "step_100.npz", folder / "step_200.npz", listener=[kept]).save(folder / "both.html")
    assert [entry[2:4] for entry in kept.heard[:-1]] == [("step_200", 200)] * len(kept.heard[:-1])
    assert len(kept.heard) > 2
    with pytest.raises(UsageError, match="unknown listener 'nope'"):
        t2g.layers(folder / "step_100.npz", listener="nope").save(folder / "out")


class Falls(Kept):
    """raises"""

    name = "falls"

    def written(self, page: Any, path: Path, origin: Any, run: Any) -> None:
        raise ValueError("no room")


def test_python_is_warned_of_one_that_fails(folder: Path) -> None:
    with pytest.warns(UserWarning, match="listener 'falls': written: ValueError: no room"):
        paths = t2g.layers(folder / "step_100.npz", listener=Falls()).save(folder / "out")
    assert all(path.is_file() for path in paths)


def test_only_who_is_asked_who_is_named_by_a_file_or_who_always_listens(folder: Path) -> None:
    run(folder, "step_100.npz")
    assert not (folder / "log.jsonl").exists()  # installed, and not asked for
    run(folder, "step_100.npz", "--load-plugin", "log.py", "--no-plugins")
    assert len(heard(folder / "log.jsonl")) == 3
    always = LOG.replace('name = "log"', 'name = "always"\n    always: ClassVar[bool] = True').replace(
        "log.jsonl", "always.jsonl"
    )
    distribution(folder / "site", "t2g-always", "from typing import ClassVar\n" + always + HOOK)
    run(folder, "step_100.npz")
    assert len(heard(folder / "always.jsonl")) == 3
    run(folder, "step_100.npz", "--listener", "always:file=mine.jsonl")  # asked for: not at work a second time
    assert len(heard(folder / "always.jsonl")) == 3
    assert len(heard(folder / "mine.jsonl")) == 3


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise ImportError('no tracker here')", "import: ImportError: no tracker here"),
        ("class Gone: pass", "Gone is not a subclass of Listener"),
        (
            "from torch2grid_core import *\nclass Gone(Listener):\n name = 'gone'\n def __init__(s): s.x = {}['no key']",
            "no key",
        ),
    ],
)
def test_one_that_is_always_at_work_and_cannot_be_made_costs_a_line(folder: Path, source: str, why: str) -> None:
    hook = (
        "from torch2grid_core import Lazy, hookimpl\n\n\n@hookimpl\ndef torch2grid_listeners():\n"
        "    return [Lazy('gone_listener:Gone', 'gone', 'tells nobody', always=True)]\n"
    )
    distribution(folder / "site", "t2g-gone", hook)
    (folder / "site" / "gone_listener.py").write_text(source, encoding="utf-8")
    done = run(folder, "step_100.npz", "--layers")
    lines = [line for line in done.stderr.splitlines() if "gone" in line]
    assert len(lines) == 1
    assert lines[0].startswith("torch2grid: plugin 't2g_gone' of t2g-gone 1.0: ")
    assert why in lines[0]
    assert len(list((folder / "grids").rglob("*.png"))) == 3
    assert why in run(folder, "step_100.npz", "--listener", "gone", code=1).stderr


def test_options_are_shown_and_checked_before_anything_is_read(folder: Path) -> None:
    assert "file=log.jsonl  (text)  where" in run(folder, "plugins", "log").stdout
    done = run(folder, "nothing.npz", "--listener", "log:colour=red", code=2)
    assert "listener 'log' has no option 'colour'; its options: file, fail" in done.stderr
    assert "unknown listener 'lgo'" in run(folder, "nothing.npz", "--listener", "lgo", code=2).stderr


@pytest.mark.parametrize(("method", "left"), [("started", []), ("written", ["started", "finished"])])
def test_one_that_raises_costs_a_line_and_no_file(folder: Path, method: str, left: list[str]) -> None:
    done = run(folder, "step_100.npz", "--layers", "--listener", f"log:fail={method}")
    lines = [line for line in done.stderr.splitlines() if "away" in line]
    why = f"listener 'log': {method}: ConnectionError: the tracker is away"
    assert lines == [f"torch2grid: plugin 't2g_log' of t2g-log 1.0: {why}"]
    assert len(list((folder / "grids").rglob("*.png"))) == 3
    found = heard(folder / "log.jsonl") if left else []
    assert [entry["what"] for entry in found] == left


def test_the_end_of_a_run_that_fails(folder: Path) -> None:
    run(folder, "step_100.npz", "--optimizer", "--listener", "log", code=1)
    assert [(entry["what"], entry.get("error")) for entry in heard(folder / "log.jsonl")] == [
        ("started", None),
        ("finished", "NotDrawable"),
    ]


def test_the_end_of_a_run_that_is_interrupted(folder: Path) -> None:
    (folder / "slow.py").write_text(
        "import time\nfrom torch2grid_core import Page, View\nfrom torch2grid_core.pages import Text\n\n\n"
        'class Slow(View):\n    """draws slowly"""\n\n    name = "slow"\n    uses_transformer = False\n\n'
        "    def pages(self, checkpoint, results, run):\n"
        '        yield Page("first", "first", (Text("x"),))\n        time.sleep(60)\n'
    )
    words = [str(COMMAND), "step_100.npz", "--load-plugin", "slow.py", "--load-plugin", "log.py", "--view", "slow", "-j", "1"]
    with subprocess.Popen(words, cwd=folder, preexec_fn=interruptible, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (folder / "grids" / "first.png").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert [(entry["what"], entry.get("error")) for entry in heard(folder / "log.jsonl")][-1] == (
        "finished",
        "KeyboardInterrupt",
    )


def test_the_event_of_before_works_and_its_author_is_told(folder: Path) -> None:
    old = "from torch2grid_core import hookimpl\n\n\n@hookimpl\ndef torch2grid_written(path):\n    print('old', path)\n"
    distribution(folder / "site", "t2g-old", old)
    done = run(folder, "step_100.npz", "--layers", "-o", "book.pdf")
    assert [line for line in done.stdout.splitlines() if line.startswith("old")] == ["old book.pdf"]
    assert "torch2grid_written" not in done.stderr
    told = "torch2grid_written will be removed in 0.3; bring a Listener by torch2grid_listeners"
    assert f"  note: {told}\n" in run(folder, "plugins", "t2g-old").stdout
    assert json.loads(run(folder, "plugins", "t2g-old", "--json").stdout)[0]["remarks"] == [told]


def test_a_class_or_another_thing_is_no_listener(tmp_path: Path) -> None:
    model = {"w": np.ones((3, 3), np.float32)}

    class Mine(Listener):
        """hears"""

        name = "mine"

    with pytest.raises(UsageError, match=r"listener: expected an instance, not the class Mine: Mine\(…\)"):
        t2g.stats(model, listener=Mine).save(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="listener: expected a name or an instance of Listener, not a Other"):
        t2g.stats(model, listener=type("Other", (), {"name": "other"})()).save(tmp_path)
    with pytest.raises(UsageError, match="view: expected an instance, not the class View"):
        t2g.draw(model, [View])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="filter: expected a name or an instance of TensorFilter, not a Mine"):
        t2g.draw(model, filter=Mine())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="plugin: expected an instance, not the class GridTransformer"):
        t2g.grid(model, plugin=GridTransformer)  # type: ignore[arg-type]


MANY = """
    from torch2grid_core import Listener

    class First(Listener):
        "fails at the start"
        name = "first"
        def started(self, origin, run): raise ValueError("one")
        def written(self, page, path, origin, run): raise AssertionError("it is not told any more")

    class Second(Listener):
        "fails at each page"
        name = "second"
        def written(self, page, path, origin, run): raise ValueError(f"two {page.name}")

    class Third(Listener):
        "fails at the end"
        name = "third"
        def finished(self, origin, run, error): raise ValueError("three")
    """


def test_each_listener_that_fails_has_a_line_of_its_own(folder: Path) -> None:
    (folder / "many.py").write_text(textwrap.dedent(MANY))
    done = run(folder, "step_100.npz", "--layers", "--load-plugin", "many.py", "-q")
    lines = [line for line in done.stderr.splitlines() if "listener" in line]
    assert [line.partition(": listener ")[2] for line in lines] == [
        "'first': started: ValueError: one",
        "'second': written: ValueError: two fc1.weight",
        "'third': finished: ValueError: three",
    ]
    done = run(folder, "step_100.npz", "--load-plugin", "many.py", "-q", "--debug")
    for line in ('raise ValueError("one")', 'raise ValueError(f"two {page.name}")', 'raise ValueError("three")'):
        assert done.stderr.count(f"{line}\n") == 1  # each with its traceback
