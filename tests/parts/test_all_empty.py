"""A file whose tensors are all empty: lists, tables, checks and numbers say so, and a picture of nothing is one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tools import torch2grid

import torch2grid as t2g

FILES = {"one": {"a.weight": (0, 4)}, "two": {"a.weight": (0, 4), "b.weight": (3, 0)}}


@pytest.fixture(params=FILES)
def shapes(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, tuple[int, ...]]:
    found = FILES[request.param]
    torch.save({name: torch.zeros(shape) for name, shape in found.items()}, tmp_path / "m.pth")
    return found


def said(folder: Path, *words: str, code: int = 0) -> str:
    done = torch2grid(*words, "-q", cwd=folder)
    assert done.returncode == code, done.stderr
    assert code or not done.stderr
    return done.stderr if code else done.stdout


@pytest.mark.parametrize("more", [(), ("--include-buffers",)])
def test_what_is_there_is_listed(shapes: dict[str, tuple[int, ...]], more: tuple[str, ...], tmp_path: Path) -> None:
    found = json.loads(said(tmp_path, "tree", "m.pth", "--format", "json", *more))
    assert {each["name"]: tuple(each["shape"]) for each in found["tensors"]} == shapes
    assert (found["totals"]["tensors"], found["totals"]["weights"]) == (len(shapes), 0)
    lines = said(tmp_path, "m.pth", "--stats", *more).splitlines()
    assert [line.split() for line in lines[-len(shapes) :]] == [[name, *"–––––"] for name in shapes]
    pages = json.loads(said(tmp_path, "m.pth", "--values", "--format", "json", "-o", "-", *more))
    numbers = [page["panels"][0] for page in pages.get("pages", [pages])]
    assert [(tuple(each["shape"]), each["values"]) for each in numbers] == [(shape, []) for shape in shapes.values()]
    said(tmp_path, "m.pth", "--values", "--format", "npy", *more)
    for name, shape in shapes.items():
        assert np.load(tmp_path / f"grids/values/{name}.npy").shape == shape
    assert "Largest weights: nothing to compare" in said(tmp_path, "m.pth", "--outliers", *more)


def test_check_finds_each_of_them(shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    found = said(tmp_path, "check", "m.pth")
    assert all(f"{name}: shape {list(shape)} holds no weight" in found for name, shape in shapes.items())


@pytest.mark.parametrize("flags", ["", "--layers", "--histogram", "--conv", "--plugin spiral", "--include-buffers"])
def test_a_picture_of_nothing_is_one_line(shapes: dict[str, tuple[int, ...]], flags: str, tmp_path: Path) -> None:
    line = said(tmp_path, "m.pth", *flags.split(), code=1)
    count = "1 empty tensor" if len(shapes) == 1 else "2 empty tensors"
    assert line.startswith("torch2grid: m.pth: ")
    assert line.endswith(f": nothing to draw among {count}\n")
    assert not (tmp_path / "grids").exists()


def test_the_same_from_python(shapes: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    assert t2g.tree(tmp_path / "m.pth").tensors == len(shapes)
    assert list(t2g.stats(tmp_path / "m.pth").to_pandas().iloc[:, 0]) == list(shapes)
    assert len(t2g.check(tmp_path / "m.pth")) == len(shapes)
