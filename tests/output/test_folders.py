"""Formats that are folders: all files of one or none, inside the output folder, beside other formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid._session import manager as shared_manager
from torch2grid_core import Torch2GridError
from torch2grid_core._output.files import move_all

BOARD = '''
import os
from pathlib import Path

from torch2grid_core import Renderer


class Board(Renderer):
    """a folder"""

    name = "board"
    formats = ("board",)
    folders = ("board",)

    def render_folder(self, pages, folder, style, format):
        assert not list(folder.iterdir())
        (folder / "runs").mkdir()
        for number, page in enumerate(pages):
            text = f"{page.name} {page.origin.model} {page.origin.step} {len(page.panels)}"
            (folder / "runs" / f"{number}.txt").write_text(text)
        DO
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "step_7.npz", **{f"fc{n}.weight": rng.normal(size=(4, 5)) for n in (1, 2)})
    return tmp_path


def run(folder: Path, *words: object, do: str = "", code: int = 0) -> Any:
    (folder / "board.py").write_text(BOARD.replace("DO", do))
    done = torch2grid("step_7.npz", "--layers", "--load-plugin", "board.py", *words, cwd=folder)
    assert done.returncode == code, done.stderr
    return done


def files(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file() or each.is_symlink())


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_pages_are_there_beside_other_formats(folder: Path, jobs: int) -> None:
    done = run(folder, "--format", "board,png", "-o", "out", "-j", jobs)
    told = [f"runs/{number}.txt" for number in range(3)]
    assert files(folder / "out") == [
        "index.json",
        "layer_overview.png",
        "layers/fc1.weight.png",
        "layers/fc2.weight.png",
        *told,
    ]
    assert [(folder / "out" / each).read_text() for each in told] == [
        "fc1.weight step_7 7 1",
        "fc2.weight step_7 7 1",
        "layer_overview step_7 7 2",
    ]
    assert done.stdout.splitlines()[-3:] == [f"out/{each}" for each in told]
    index = json.loads((folder / "out" / "index.json").read_text())["files"]
    assert index["runs/0.txt"] == {"title": "3 pages as board", "heatmaps": []}


def test_the_name_of_the_folder_says_the_format(folder: Path) -> None:
    for _ in range(2):  # when it is there already, too
        run(folder, "-o", "out.board")
        assert files(folder / "out.board") == ["index.json", "runs/0.txt", "runs/1.txt", "runs/2.txt"]
    assert "--output - takes one file, and board is a folder" in run(folder, "-o", "-", "--format", "board", code=2).stderr


def test_files_of_that_name_are_replaced_and_others_stay(folder: Path) -> None:
    (folder / "out" / "runs").mkdir(parents=True)
    (folder / "out" / "runs" / "0.txt").write_text("old")
    (folder / "out" / "runs" / "mine.txt").write_text("mine")
    run(folder, "--format", "board", "-o", "out")
    assert (folder / "out" / "runs" / "0.txt").read_text() == "fc1.weight step_7 7 1"
    assert (folder / "out" / "runs" / "mine.txt").read_text() == "mine"


def test_links_are_not_followed(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "secret.txt").write_text("secret")
    (folder / "out" / "runs").mkdir(parents=True)
    (folder / "out" / "runs" / "0.txt").symlink_to(folder / "secret.txt")
    run(folder, "--format", "board", "-o", "out")
    assert (folder / "secret.txt").read_text() == "secret"
    assert not (folder / "out" / "runs" / "0.txt").is_symlink()
    (folder / "other").mkdir()
    (folder / "other" / "runs").symlink_to(folder / "elsewhere")
    done = run(folder, "--format", "board", "-o", "other", code=1)
    assert "a link in it leads out of other" in done.stderr
    assert files(folder / "elsewhere") == []
    assert [each for each in files(folder / "other") if each.endswith(".part")] == []


@pytest.mark.parametrize(
    ("do", "told"),
    [
        ("raise ValueError('no disk')", "render_folder: ValueError: no disk"),
        ("os.symlink('/etc/passwd', folder / 'x.txt')", "x.txt is a link or a device"),
        ("os.mkfifo(folder / 'x.txt')", "x.txt is a link or a device"),
        ("(folder / 'index.json').write_text('{}')", "index.json is the name of another file of the run"),
        ("(folder / 'layer_overview.png').write_text('')", "layer_overview.png is the name of another file of the run"),
        ("(folder / 'Layers').write_text('')", "Layers is the name of another folder of the run"),
        (
            "(folder / 'index.json').mkdir(); (folder / 'index.json' / 'x').write_text('')",
            "index.json/x needs the folder index.json, which is a file of the run",
        ),
        (r"(folder / 'x\x1b[31m.txt').write_text('')", "is not a name for a file: it holds control characters"),
        ("[each.unlink() for each in (folder / 'runs').iterdir()]", "wrote nothing for 3 pages as board"),
    ],
)
def test_a_folder_that_is_wrong_leaves_nothing_and_the_other_formats(folder: Path, do: str, told: str) -> None:
    done = run(folder, "--format", "board,png", "-o", "out", do=do, code=1)
    assert told in done.stderr
    assert "renderer 'board'" in done.stderr
    assert files(folder / "out") == ["index.json", "layer_overview.png", "layers/fc1.weight.png", "layers/fc2.weight.png"]
    assert [each.name for each in (folder / "out").iterdir() if each.is_dir()] == ["layers"]


def test_a_folder_that_is_wrong_leaves_no_folder(folder: Path) -> None:
    run(folder, "--format", "board", "-o", "new/out", do="raise ValueError('no disk')", code=1)
    assert not (folder / "new").exists()
    (folder / "old").mkdir()
    run(folder, "--format", "board", "-o", "old/out", do="raise ValueError('no disk')", code=1)
    assert list((folder / "old").iterdir()) == []


def test_listeners_hear_of_each_page_with_the_folder(folder: Path) -> None:
    (folder / "ear.py").write_text(
        'from torch2grid_core import Listener\n\n\nclass Ear(Listener):\n    """tells"""\n\n    name = "ear"\n\n'
        "    def written(self, page, path, origin, run):\n        print('heard', page.name, path)\n"
    )
    done = run(folder, "--format", "board", "-o", "out", "--load-plugin", "ear.py")
    heard = [line for line in done.stdout.splitlines() if line.startswith("heard")]
    assert heard == [f"heard {name} out" for name in ("fc1.weight", "fc2.weight", "layer_overview")]


def test_python_saves_one(folder: Path) -> None:
    (folder / "board.py").write_text(BOARD.replace("DO", ""))
    manager = shared_manager()
    record = manager.load_file(str(folder / "board.py"))
    try:
        paths = t2g.layers(folder / "step_7.npz").save(folder / "out", format="board")
    finally:
        manager.records.remove(record)
        manager._indexed.clear()
    assert [path.relative_to(folder / "out").as_posix() for path in paths] == ["runs/0.txt", "runs/1.txt", "runs/2.txt"]


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda out: (out / "zz.txt").mkdir(parents=True), "zz.txt: cannot be written: it is a folder"),
        (lambda out: (out.mkdir(), (out / "runs").write_text("mine")), "runs: cannot be a folder: it is a file"),
        (lambda out: (out.mkdir(), (out / "sub").symlink_to(out.parent)), "a link in it leads out of out"),
    ],
)
def test_all_files_of_a_folder_appear_or_none(folder: Path, prepare: Any, told: str) -> None:
    prepare(folder / "out")
    before = files(folder / "out")
    do = "(folder / 'zz.txt').write_text('z'); (folder / 'sub').mkdir(); (folder / 'sub' / 'x.txt').write_text('')"
    done = run(folder, "--format", "board,png", "-o", "out", do=do, code=1)
    assert told in done.stderr
    assert "renderer 'board'" not in done.stderr
    others = ["index.json", "layer_overview.png", "layers/fc1.weight.png", "layers/fc2.weight.png"]
    assert files(folder / "out") == sorted([*before, *others])
    assert not list((folder / "out").glob(".*"))


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("wrong", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_move_that_fails_leaves_all_as_it_was(
    tmp_path: Path, wrong: BaseException, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, out = tmp_path / "new", tmp_path / "out"
    names = ["a.txt", "b/c/d.txt", "b/e.txt", "f.txt"]
    for name in names:
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).write_text("new")
    out.mkdir()
    (out / "a.txt").write_text("old")
    (out / "f.txt").symlink_to("a.txt")
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path == new / "f.txt":
            raise wrong
        return real(path, target)

    def no_link(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        if not links:
            patched.setattr("os.link", no_link)
        with pytest.raises((Torch2GridError, KeyboardInterrupt)) as failure:
            move_all(new, names, out)
    assert isinstance(failure.value, KeyboardInterrupt) or "f.txt: cannot be written: No space left" in str(failure.value)
    assert files(out) == ["a.txt", "f.txt"]
    assert (out / "a.txt").read_text() == "old"
    assert (out / "f.txt").is_symlink()
    assert sorted(each.name for each in out.iterdir()) == ["a.txt", "f.txt"]
    for name in names:
        (new / name).write_text("new")
    move_all(new, names, out)
    assert files(out) == names
    assert {(out / name).read_text() for name in names} == {"new"}
