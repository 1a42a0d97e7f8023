"""Tensors with names that were meant to do harm, through the real command: files stay in the folder, titles are literal."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
import torch
from tests.support.tools import torch2grid

from torch2grid_core.text import visible

NAMES = [
    "../../outside.weight",
    "/tmp/torch2grid_absolute.weight",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07.weight",
    "<script>alert(1)</script>.weight",
    "</script><img src=x onerror=alert(2)>.weight",
    "$\\frac{a}{b}$.weight",
    "n" * 5000,
    "abc\u202egnp.thgiew",
    "line\nbreak\r.weight",
    "Case.weight",
    "case.weight",
    "CON",
    "..",
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a") / "b" / "c"
    folder.mkdir(parents=True)
    torch.save({name: torch.randn(9, 10) for name in NAMES}, folder / "model.pth")
    views = ("--layers", "--histogram", "--stats", "--dead-neurons", "--grid")
    run = torch2grid("model.pth", *views, "--format", "png,svg,html", cwd=folder)
    assert run.returncode == 0, run.stderr
    return folder, run


def test_every_file_is_in_the_output_folder(drawn):
    folder, _ = drawn
    base = folder.parent.parent
    outside = [path for path in base.rglob("*") if path.is_file() and not path.is_relative_to(folder / "grids")]
    assert outside == [folder / "model.pth"]
    layers = list((folder / "grids" / "layers").iterdir())
    assert len(layers) == 3 * len(NAMES)
    assert len({path.name.casefold() for path in layers}) == len(layers)
    assert all(path.name.isprintable() and len(path.name.encode()) < 200 for path in layers)
    assert not list((folder / "grids").rglob("*.part"))


def test_the_terminal_gets_no_escape(drawn):
    folder, run = drawn
    table = torch2grid("model.pth", "--stats", cwd=folder).stdout
    for text in (run.stdout, run.stderr, table):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\r" not in text
        assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b[31mred" in table


def test_the_index_has_the_names_as_they_are(drawn):
    folder, _ = drawn
    files = json.loads((folder / "grids" / "index.json").read_text(encoding="utf-8"))["files"]
    assert {entry["about"]["tensor"] for name, entry in files.items() if name.startswith("layers/")} == set(NAMES)
    assert all((folder / "grids" / name).resolve().is_relative_to((folder / "grids").resolve()) for name in files)


def test_titles_are_literal(drawn):
    folder, _ = drawn
    files = json.loads((folder / "grids" / "index.json").read_text(encoding="utf-8"))["files"]
    for name, entry in files.items():
        if not (name.startswith("layers/") and name.endswith(".svg")):
            continue
        data = (folder / "grids" / name).read_bytes()
        texts = [each.text or "" for each in ET.fromstring(data).iter("{http://www.w3.org/2000/svg}text")]
        assert all(text.isprintable() for text in texts)
        assert b"<script" not in data
        assert b"<img" not in data
        tensor = entry["about"]["tensor"]
        if 0 < len(tensor) < 60:
            assert texts[0].startswith(visible(tensor)), texts[0]


def test_html_holds_the_names_as_text_only(drawn):
    folder, _ = drawn
    pages = list((folder / "grids").rglob("*.html"))
    assert len(pages) >= 2 * len(NAMES)
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "</script><img" not in text
        assert not any(each in text for each in ("\x1b", "\u202e", "\x07"))
