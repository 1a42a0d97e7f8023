"""Every view of every kind of tensor in every format: no warning, no empty page, the tensors' names as text."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.corpus import real
from tests.support.renderers.pixels import pixels
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import drawn_of

from torch2grid_builtin._views.convolutions import is_convolution
from torch2grid_core import Page, PluginManager, Settings, Style, View
from torch2grid_core._output.writing import Output

MANAGER = PluginManager.discover()
FORMATS = sorted(MANAGER.formats())
ALWAYS = ("dead_neurons", "grid", "histogram", "layers", "stats")
VIEWS = sorted(name for name in MANAGER.names("view") if type(MANAGER.create("view", name)).subject is View.subject)


@functools.cache
def with_nan(folder: Path) -> Path:
    state = torch.load(DIGITS, weights_only=True)
    state["fc1.weight"][3, 5:9] = float("nan")
    state["fc1.bias"][:2] = torch.tensor([float("inf"), float("-inf")])
    state["conv1.weight"][2] = float("nan")
    state["fc2.bias"][:] = float("nan")
    torch.save(state, folder / "nan.pth")
    return folder / "nan.pth"


# The tensors that are drawn of a large file: a kernel, a matrix, a vector and what is rare in it.
MODELS = {
    "rgb": (lambda _: real("facenet/rnet.pt"), ("conv1.weight", "prelu1.weight", "dense5_1.weight")),
    "transformer": (
        lambda _: real("rxnmapper/pytorch_model.bin"),
        (
            "albert.embeddings.LayerNorm.weight",
            "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query.weight",
            "predictions.bias",
        ),
    ),
    "int8": (
        lambda _: real("fracast/model.int8.safetensors"),
        ("core.block.ffn.down.weight.qweight", "core.block.dw_weight.qweight", "core.block.dw_bias"),
    ),
    "nan": (with_nan, ("conv1.weight", "fc1.weight", "fc1.bias", "fc2.bias")),
}


@pytest.fixture(scope="module", params=MODELS)
def drawn(request, tmp_path_factory):
    """The checkpoint, the pages of each view, and the folder with all files, of one model."""
    path, names = MODELS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = MANAGER.open(str(path(folder))).select(list(names))
    pages: dict[str, list[Page]] = {}
    run = Settings(tensor_cells=128, max_cells=256)
    with Output(MANAGER, folder / "out", run, formats=FORMATS, say=lambda _: None) as output:
        for name in VIEWS:  # those of gradients and optimizers are about files of their own
            view, found = MANAGER.create("view", name), []
            pages[name] = found
            prepare = replace(output.for_views([view]).prepare, whole=True)
            for each in drawn_of(checkpoint, [view], run, prepare=prepare):
                found.append(each.page)
                output.take(*each)
    return checkpoint, pages, folder / "out"


def files(folder: Path, format: str) -> list[Path]:
    found = [path for path in folder.rglob(f"*.{format}") if path.name != "index.json"]
    assert found
    return found


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_every_view_draws_pages(drawn):
    checkpoint, pages, _ = drawn
    for name in ALWAYS:
        assert pages[name], name
        assert all(page.panels for page in pages[name])
    kernels = [name for name, tensor in checkpoint.items() if is_convolution(tensor)]
    assert [page.about["tensor"] for page in pages["conv"]] == kernels
    assert [page.about["tensor"] for page in pages["layers"] if page.folder] == list(checkpoint)


def test_png_shows_something(drawn):
    for path in files(drawn[2], "png"):
        shown = pixels(path.read_bytes())
        ink = (shown != 255).any(axis=2)
        assert ink.mean() > 0.02, path
        assert not ink[:4].any(), path  # nothing is cut off at an edge
        assert not ink[-4:].any(), path
        assert not ink[:, :4].any(), path
        assert not ink[:, -4:].any(), path


def test_text_of_svg_is_text_and_names_the_tensors(drawn):
    checkpoint, pages, folder = drawn
    told = {}
    for path in files(folder, "svg"):
        root = ET.fromstring(path.read_bytes())
        told[path] = squeezed("".join(each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")))
        assert told[path], path
    for name in checkpoint:
        assert sum(squeezed(name) in text for text in told.values()) >= 2, name
    assert len(told) >= sum(page.kind == "picture" for each in pages.values() for page in each) - 1


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed (Debian: poppler-utils)")
def test_pdf_text_names_the_tensors(drawn):
    checkpoint, _, folder = drawn
    by_folder: dict[str, str] = {}
    for path in files(folder, "pdf"):
        found = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True)
        assert found.stderr == "", path
        assert squeezed(found.stdout), path
        by_folder[path.parent.name] = by_folder.get(path.parent.name, "") + squeezed(found.stdout)
    for name in checkpoint:
        assert squeezed(name) in by_folder["layers"]
        assert squeezed(name) in by_folder["histograms"]


def test_data_formats_hold_the_pages(drawn):
    checkpoint, _, folder = drawn
    for path in files(folder, "json"):
        assert json.loads(path.read_text(encoding="utf-8")), path
    for path in files(folder, "csv"):
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        assert len(rows) > 1, path
    for path in files(folder, "html"):
        text = path.read_text(encoding="utf-8")
        assert "</html>" in text
        assert len(text) > 2000
    stems = {path.stem for path in files(folder, "json")}
    assert {f"{name}_hist" for name in checkpoint} <= stems


def test_the_terminal_shows_every_page(drawn):
    _, pages, _ = drawn
    renderer = MANAGER.renderer_for("terminal").create()
    for page in (page for each in pages.values() for page in each):
        target = io.BytesIO()
        renderer.render(page, target, Style(width=80), "terminal")
        lines = target.getvalue().decode("utf-8").splitlines()
        assert sum(bool(line.strip()) for line in lines) >= 3, page.name


def test_the_command_warns_of_nothing(tmp_path):
    views = ("--grid", "--layers", "--histogram", "--conv", "--stats", "--dead-neurons")
    model = with_nan(tmp_path)
    few = ("--only", "conv1.weight", "--only", "fc1.*", "--only", "fc2.bias")
    run = torch2grid(model, *views, *few, "--format", ",".join(FORMATS), cwd=tmp_path, env={"PYTHONWARNINGS": "error"})
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr  # what the file is, and nothing else
    assert all(files(tmp_path / "grids", each) for each in FORMATS if each != "terminal")
