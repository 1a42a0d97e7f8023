"""One order in every table, list and picture: that of the file, numbered siblings by number; ``flatten`` keeps the file's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.tools import torch2grid

import torch2grid as t2g

# As a file may have them that was sorted by name in part: bn1 is behind the conv1 that it normalises, and 10 before 9.
IN_FILE = [
    "stem.conv1.weight",
    "stem.bn1.weight",
    *[f"blocks.{number}.{leaf}" for number in sorted(map(str, range(12))) for leaf in ("fc.weight", "fc.bias")],
    "head.weight",
]
SHOWN = [
    "stem.conv1.weight",
    "stem.bn1.weight",
    *[f"blocks.{number}.{leaf}" for number in range(12) for leaf in ("fc.weight", "fc.bias")],
    "head.weight",
]
SHAPES = {"conv1.weight": (4, 3, 3, 3), "bn1.weight": (4,), "fc.weight": (5, 6), "fc.bias": (5,), "head.weight": (2, 5)}


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {name: next(shape for end, shape in SHAPES.items() if name.endswith(end)) for name in IN_FILE}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def model(arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def first_column(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.split() and line.split()[0] in SHOWN]


def test_tables_and_sheets_and_pages(model: Path, tmp_path: Path) -> None:
    stats = torch2grid(model, "--stats", cwd=tmp_path)
    assert first_column(stats.stdout) == SHOWN
    dead = torch2grid(model, "--dead-neurons", "--format", "json", "-o", "dead", cwd=tmp_path)
    assert dead.returncode == 0, dead.stderr
    report = json.loads((tmp_path / "dead/dead_neurons_report.json").read_text())
    units = [name for name in SHOWN if not name.endswith("bias")]
    assert [each["name"] for each in report["tensors"]] == units
    pages = torch2grid(model, "--layers", "--histogram", "--format", "json", "-o", "all.json", cwd=tmp_path)
    assert pages.returncode == 0, pages.stderr
    found = json.loads((tmp_path / "all.json").read_text())["pages"]
    layers = [page["name"] for page in found if page["name"] in SHOWN]
    histograms = [page["name"].removesuffix("_hist") for page in found if page["name"].endswith("_hist")]
    assert layers == histograms == SHOWN
    by_name = {page["name"]: page for page in found}
    assert [panel["title"] for panel in by_name["layer_overview"]["panels"]] == SHOWN
    small = [panel["title"] for panel in by_name["histogram_overview"]["panels"] if panel["kind"] == "histogram"]
    assert small == SHOWN


def test_the_menu_and_positions(model: Path, tmp_path: Path) -> None:
    menu = torch2grid(model, "--interactive", cwd=tmp_path, stdin="quit\n")
    assert re.findall(r"^ +(\d+)\. (\S+) ", menu.stdout, flags=re.MULTILINE) == [
        (str(number), name) for number, name in enumerate(SHOWN, 1)
    ]
    for positions, names in (("1-3", SHOWN[:3]), ("7", SHOWN[6:7]), ("27,21-24", [*SHOWN[20:24], SHOWN[26]])):
        chosen = torch2grid(model, "--stats", "--tensors", positions, cwd=tmp_path)
        assert first_column(chosen.stdout) == names
    drawn = torch2grid(model, "--interactive", cwd=tmp_path, stdin="7\ny\nquit\n")
    assert f"grids/layers/{SHOWN[6]}.png" in drawn.stdout


def with_what_is_not_listed(seed: int) -> dict[str, torch.Tensor]:
    """Tensors of any rank, with counters, index buffers and empty ones anywhere among them."""
    random = np.random.default_rng(seed)
    made: dict[str, torch.Tensor] = {}
    for place in random.permutation(random.integers(6, 14)):
        names = {
            f"blocks.{place}.fc.weight": torch.ones(int(random.integers(1, 5)), 3),
            f"blocks.{place}.bias": torch.ones(int(random.integers(1, 5))),
            f"blocks.{place}.scale": torch.tensor(1.0),
            f"blocks.{place}.bn.num_batches_tracked": torch.tensor(7),
            f"blocks.{place}.position_ids": torch.arange(int(random.integers(5, 90))),
            f"blocks.{place}.none": torch.ones(0, 3),
        }
        for name in random.permutation(list(names))[: random.integers(1, 7)]:
            made[str(name)] = names[str(name)]
    return made | {"head.weight": torch.ones(9, 3)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--include-buffers",),
        ("--slice", "2"),
        ("--slice", ":, 1"),
        ("--only", "*num_batches*,*s.[13579]*"),
        ("--part", "all"),
    ],
)
def test_a_number_means_one_tensor_wherever_it_is_given(words: tuple[str, ...], seed: int, tmp_path: Path) -> None:
    model, tensors = tmp_path / "model.pt", with_what_is_not_listed(seed)
    torch.save(tensors, model)
    menu = torch2grid(model, *words, "--interactive", cwd=tmp_path, stdin="quit\n")
    listed = re.findall(r"^ +(\d+)\. (\S+) ", menu.stdout, flags=re.MULTILINE)
    names = [name for _, name in listed]
    assert [int(number) for number, _ in listed] == list(range(1, len(names) + 1))
    tree = torch2grid("tree", model, *words, "--flat", "-q", cwd=tmp_path)
    assert re.findall(r"^ *(\d+)  (\S+) ", tree.stdout, flags=re.MULTILINE) == listed
    filters = [{"only": words[1]}] if words[:1] == ("--only",) else []
    asked: dict[str, Any] = {"part": "all"} if words[:1] == ("--part",) else {}
    asked |= {"slice": words[1]} if words[:1] == ("--slice",) else {}
    asked |= {"include_buffers": True} if words == ("--include-buffers",) else {}
    for number, name in enumerate(names, 1):
        assert list(t2g.tree(model, filter=[*filters, {"tensors": str(number)}], **asked).checkpoint) == [name]
    some = sorted(np.random.default_rng(seed).permutation(len(names))[: len(names) // 2 + 1])
    numbers = ",".join(str(place + 1) for place in some)
    drawn = torch2grid(model, *words, "--tensors", numbers, "--layers", "--format", "json", "-o", "some.json", cwd=tmp_path)
    pages = json.loads((tmp_path / "some.json").read_text())
    shown = [page["name"] for page in pages.get("pages", [pages]) if page["name"] in names]
    assert shown == [names[place] for place in some if tensors[names[place]].numel()], drawn.stderr
    beyond = torch2grid(model, *words, "--tensors", str(len(names) + 1), "--stats", cwd=tmp_path)
    assert beyond.returncode == 2
    assert f"there are {len(names)} tensors, 1-{len(names)}" in beyond.stderr


@pytest.mark.parametrize("seed", range(3))
def test_numbers_of_check_and_the_largest_are_of_what_is_listed(seed: int, tmp_path: Path) -> None:
    tensors = with_what_is_not_listed(seed)
    model = tmp_path / "model.pt"
    torch.save(tensors, model)
    names = list(t2g.tree(model).checkpoint)
    ill = names[len(names) // 2]
    tensors[ill].view(-1)[0] = float("nan")
    torch.save(tensors, model)
    found = torch2grid("check", model, "--tensors", str(names.index(ill) + 1), "--format", "json", cwd=tmp_path)
    document = json.loads(found.stdout)["models"][0]
    assert (document["tensors"], {each["tensor"] for each in document["findings"]}) == (1, {ill})
    largest = t2g.tree(model, filter="largest:count=3").checkpoint
    sizes = sorted((tensors[name].numel() for name in names), reverse=True)
    assert sorted((each.size for each in largest.values()), reverse=True) == sizes[:3]


def test_check_and_compare(model: Path, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    holed = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    ill = ["blocks.2.fc.weight", "blocks.10.fc.weight", "head.weight"]
    for name in ill:
        holed[name].view(-1)[0] = float("nan")
    torch.save(holed, tmp_path / "holed.pt")
    found = torch2grid("check", "holed.pt", "--select", "nan", "--format", "json", cwd=tmp_path)
    assert [each["tensor"] for each in json.loads(found.stdout)["models"][0]["findings"]] == ill
    random = np.random.default_rng(1)
    torch.save({name: torch.from_numpy(random.normal(size=array.shape)) for name, array in arrays.items()}, tmp_path / "b.pt")
    compared = t2g.compare(model, tmp_path / "b.pt").report
    assert [each["name"] for each in compared["differences"] if each["kind"] == "changed"] == SHOWN
    assert [each["name"] for each in compared["tensors"]] == SHOWN


def test_python(model: Path) -> None:
    assert list(t2g.load(model)) == IN_FILE
    pages = t2g.stats(model)
    assert first_column(str(pages)) == SHOWN
    assert list(pages.checkpoint) == SHOWN
    assert list(t2g.stats(t2g.load(model)).checkpoint) == SHOWN
    assert list(t2g.stats(torch.load(model, weights_only=True)).checkpoint) == SHOWN


@pytest.mark.parametrize(
    ("plugin", "names"),
    [
        ("flatten", IN_FILE),
        ("normalized", IN_FILE),
        *((name, SHOWN) for name in ("spiral", "hilbert", "layer_weighted", "layer_separated", "atlas")),
    ],
)
def test_pictures_of_the_whole(model: Path, plugin: str, names: list[str]) -> None:
    (page,) = t2g.grid(model, plugin)
    assert [region.name for region in page.panels[0].grid.regions] == names


def test_flatten_is_the_sequence_of_weights_as_stored(model: Path, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    done = torch2grid(model, "--format", "json", "-o", "flat.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (panel,) = json.loads((tmp_path / "flat.json").read_text())["panels"]
    cells = [value for row in panel["values"] for value in row if value is not None]
    np.testing.assert_array_equal(np.array(cells, np.float32), np.concatenate([each.ravel() for each in arrays.values()]))
    some = torch2grid(model, "--only", "blocks.[19]*", "--format", "json", "-o", "some.json", cwd=tmp_path)
    assert some.returncode == 0, some.stderr
    (panel,) = json.loads((tmp_path / "some.json").read_text())["panels"]
    cells = [value for row in panel["values"] for value in row if value is not None]
    wanted = [array.ravel() for name, array in arrays.items() if re.match(r"blocks\.[19]", name)]
    np.testing.assert_array_equal(np.array(cells, np.float32), np.concatenate(wanted))
