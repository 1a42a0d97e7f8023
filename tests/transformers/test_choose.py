"""Transformers that choose: which bytes are read, what every step gets, what the summary line says, and wrong answers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid.transformer import to_neutral_grid
from torch2grid_core import (
    Checkpoint,
    GridTransformer,
    Layout,
    LayoutTransformer,
    LazyTensor,
    LoadError,
    Need,
    NotDrawable,
    PluginError,
    measure,
)
from torch2grid_core.grids import Block, Region
from torch2grid_core.measures import Summary, Transformed
from torch2grid_core.sources import BytesStorage

Shapes = Mapping[str, tuple[int, ...]]
SHAPES = {"a.weight": (3, 4), "a.bias": (3,), "b.weight": (2, 5), "b.bias": (2,)}


class Unreadable:
    """A storage that nobody may read."""

    size = 1 << 20
    shippable = False

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise LoadError("<test>", "was read")


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def checkpoint(readable: Iterable[str] = SHAPES) -> Checkpoint:
    """The arrays as a checkpoint. Reading any but the *readable* ones is an error."""
    storages = {name: BytesStorage(array) if name in readable else Unreadable() for name, array in arrays().items()}
    return Checkpoint(
        [LazyTensor(name, SHAPES[name], np.dtype(np.float32), storages[name]) for name in SHAPES], source="model", format="test"
    )


def rows(shapes: Shapes) -> Layout:
    """Each matrix below the one before."""
    blocks, regions, row = [], [], 0
    for name, shape in shapes.items():
        height, width = shape if len(shape) > 1 else (1, *shape)
        blocks.append(Block(name, 0, row, 0, ((height, 1, 0), (width, 0, 1))))
        regions.append(Region(name, ((row, 0, height, width),)))
        row += height
    return Layout(row, 5, (1, 1), tuple(blocks), tuple(regions))


class Streamed(LayoutTransformer):
    """matrices, streamed"""

    name = "streamed"

    def choose(self, shapes: Shapes) -> Iterable[str]:
        return {name for name, shape in shapes.items() if len(shape) > 1}

    def layout(self, shapes: Shapes, max_cells: int | None) -> Layout:
        assert list(shapes) == ["a.weight", "b.weight"]
        return rows(shapes)


class Plain(GridTransformer):
    """matrices, as arrays"""

    name = "plain"

    def choose(self, shapes: Shapes) -> Iterable[str]:
        return (name for name in reversed(shapes) if len(shapes[name]) > 1)

    def can_handle(self, tensors: Mapping[str, Any]) -> bool:
        return list(tensors) == ["a.weight", "b.weight"]

    def preprocess(self, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        assert list(tensors) == ["a.weight", "b.weight"]
        return tensors

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.concatenate([np.pad(each, ((0, 0), (0, 5 - each.shape[1]))) for each in tensors.values()])


class Slow(Streamed):
    """streamed but for a step"""

    name = "slow"

    def postprocess(self, grid: Any) -> Any:
        return grid


class Measured(Streamed):
    """streamed, after a pass"""

    name = "measured"

    def needs(self, shapes: Shapes) -> Mapping[str, Need[Any]]:
        assert list(shapes) == ["a.weight", "b.weight"]
        return {"figures": Summary()}

    def arrange(self, shapes: Shapes, max_cells: int | None, results: Mapping[str, Any]) -> Layout:
        assert list(results["figures"]) == ["a.weight", "b.weight"]
        return self.layout(shapes, max_cells)


ALL = [Streamed(), Plain(), Slow(), Measured()]


@pytest.mark.parametrize("transformer", ALL, ids=lambda each: each.name)
def test_only_what_is_chosen_is_read(transformer: GridTransformer) -> None:
    found = dict(measure(checkpoint(["a.weight", "b.weight"]), {"grid": Transformed(transformer)}))
    matrices = {name: array for name, array in arrays().items() if array.ndim > 1}
    expected = Plain().transform(matrices)
    np.testing.assert_array_equal(found[None]["grid"].values, expected)
    with pytest.raises(LoadError, match="was read"):
        list(measure(checkpoint(["a.weight"]), {"grid": Transformed(transformer)}))


@pytest.mark.parametrize("transformer", ALL, ids=lambda each: each.name)
def test_a_transformer_that_is_called_chooses_too(transformer: GridTransformer) -> None:
    grid = transformer(arrays())
    values = grid if isinstance(grid, np.ndarray) else grid.values
    np.testing.assert_array_equal(values, dict(measure(checkpoint(), {"grid": Transformed(transformer)}))[None]["grid"].values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the slow one
        np.testing.assert_array_equal(to_neutral_grid(arrays(), transformer), values)


@dataclass(frozen=True)
class FirstHalf(LayoutTransformer):
    """a choice that would be another one the second time"""

    name = "half"

    def choose(self, shapes: Shapes) -> Iterable[str]:
        return list(shapes)[: len(shapes) // 2]

    def transform(self, tensors: Mapping[str, Any]) -> Any:
        return np.full((1, len(tensors)), len(tensors))

    def layout(self, shapes: Shapes, max_cells: int | None) -> Layout:
        raise NotImplementedError


def test_a_choice_is_asked_for_once() -> None:
    found = dict(measure(checkpoint(), {"grid": Transformed(FirstHalf())}))
    assert found[None]["grid"].values.tolist() == [[2.0, 2.0]]
    assert FirstHalf()(arrays()).tolist() == [[2, 2]]


WRONG = {
    "'a.weigth'": (lambda shapes: ["a.weigth"], "choose names 'a.weigth', which is not one of the tensors"),
    "twice": (lambda shapes: ["a.bias", "b.bias", "a.bias"], "choose names 'a.bias' twice"),
    "text": (lambda shapes: "a.weight", "choose returned 'a.weight', not an iterable of names"),
    "nothing": (lambda shapes: None, "choose returned None, not an iterable of names; is a 'return' missing?"),
    "numbers": (lambda shapes: [0, 1], "choose yields int, not a name of a tensor"),
    "pairs": (lambda shapes: shapes.items(), "choose yields tuple, not a name of a tensor"),
    "fails": (lambda shapes: 1 / 0, "choose: ZeroDivisionError: division by zero"),
    "fails on the way": (lambda shapes: (1 / 0 for _ in shapes), "choose: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("base", [Streamed, Plain])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_blamed_on_the_plugin(case: str, base: type[GridTransformer]) -> None:
    answer, message = WRONG[case]

    class Wrong(base):  # type: ignore[misc, valid-type]
        name = "wrong"

        def choose(self, shapes: Shapes) -> Any:
            return answer(shapes)

    wrong = Wrong()
    for work in (lambda: list(measure(checkpoint(), {"grid": Transformed(wrong)})), lambda: wrong(arrays())):
        with pytest.raises(PluginError) as failure:
            work()
        assert failure.value.reason == message
        assert "'wrong'" in str(failure.value)


def test_what_a_plugin_does_to_the_mapping_is_its_own_affair() -> None:
    class Clears(Streamed):
        def choose(self, shapes: Any) -> Iterable[str]:
            names = sorted(super().choose(shapes))
            shapes.clear()
            return names

    found = dict(measure(checkpoint(), {"grid": Transformed(Clears())}))
    assert found[None]["grid"].shape == (5, 5)


PLUGIN = """
from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block

class Matrices(LayoutTransformer):
    "matrices"
    name = "matrices"

    def choose(self, shapes):
        return {choice}

    def layout(self, shapes, max_cells):
        blocks, row = [], 0
        for name, (height, width) in shapes.items():
            blocks.append(Block(name, 0, row, 0, ((height, 1, 0), (width, 0, 1))))
            row += height
        return Layout(row, 5, (1, 1), tuple(blocks))
"""
CHOICE = "[name for name, shape in shapes.items() if len(shape) == 2]"


def write(folder: Path, choice: str = CHOICE, more: str = "") -> Path:
    save_file(arrays(), folder / "model.safetensors")
    (folder / "plugin.py").write_text(PLUGIN.replace("{choice}", choice) + more, encoding="utf-8")
    return folder / "model.safetensors"


def test_the_line_names_the_transformer_and_counts_what_it_left_out(tmp_path: Path) -> None:
    write(tmp_path)
    done = torch2grid("model.safetensors", "--load-plugin", "plugin.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "grid: 2 of 4 tensors, chosen by matrices" in done.stderr
    usual = torch2grid("model.safetensors", cwd=tmp_path)
    assert "chosen by" not in usual.stderr


def test_the_title_counts_the_weights_that_are_drawn() -> None:
    (page,) = t2g.grid(arrays(), Streamed())
    assert "22 weights" in page.title
    assert page.about["tensors"] == 2
    (page,) = t2g.grid(arrays())
    assert "27 weights" in page.title


@pytest.mark.parametrize("choice", ["[]", "(name for name in shapes if False)"])
def test_no_choice_is_one_line(tmp_path: Path, choice: str) -> None:
    write(tmp_path, choice)
    done = torch2grid("model.safetensors", "--load-plugin", "plugin.py", cwd=tmp_path)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if "matrices" in line] == [
        "torch2grid: transformer 'matrices' does not draw any of these 4 tensors"
    ]
    none = type("ChoosesNone", (Plain,), {"choose": lambda self, shapes: ()})()
    for work in (lambda: t2g.grid(arrays(), none), lambda: none(arrays())):
        with pytest.raises(NotDrawable, match="transformer 'plain' does not draw any of these 4 tensors"):
            work()


def test_a_wrong_choice_is_one_line_of_the_command(tmp_path: Path) -> None:
    write(tmp_path, "['c.weight']")
    done = torch2grid("model.safetensors", "--load-plugin", "plugin.py", cwd=tmp_path)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "transformer 'matrices'" in line
    assert line.endswith("choose names 'c.weight', which is not one of the tensors")


STEP = """
    def preprocess(self, tensors):
        return tensors
"""


def test_a_step_that_stops_the_stream_is_said_once(tmp_path: Path) -> None:
    model = write(tmp_path, more=STEP)
    (tmp_path / "again.safetensors").write_bytes(model.read_bytes())
    done = torch2grid("model.safetensors", "again.safetensors", "--load-plugin", "plugin.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "streamed" in line]
    assert line.startswith("torch2grid: transformer 'matrices' overrides preprocess and is not streamed")
    assert "choose" in line
    write(tmp_path)
    assert "streamed" not in torch2grid("model.safetensors", "--load-plugin", "plugin.py", cwd=tmp_path).stderr


@pytest.mark.parametrize("step", ["preprocess", "transform", "postprocess", "__call__"])
def test_every_step_that_stops_the_stream_warns_in_python(step: str) -> None:
    name = f"stops_{step}"
    stops = type("Stops", (Streamed,), {"name": name, step: lambda self, each: getattr(Streamed, step)(self, each)})()
    with pytest.warns(UserWarning, match=rf"transformer '{name}' overrides {step} and is not streamed"):
        t2g.grid(arrays(), stops)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        t2g.grid(arrays(), stops)  # said once
        t2g.grid(arrays(), type("Judges", (Streamed,), {"can_handle": lambda self, each: len(each) == 2})())
        t2g.grid(arrays(), Plain())


def test_two_models_are_compared_by_what_is_chosen(tmp_path: Path) -> None:
    write(tmp_path)
    other = {name: array + 1 for name, array in arrays().items()}
    save_file(other, tmp_path / "other.safetensors")
    words = ("compare", "model.safetensors", "other.safetensors", "--load-plugin", "plugin.py", "--plugin", "matrices")
    done = torch2grid(*words, "--atlas", "--format", "png,gif", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert (tmp_path / "grids" / "delta_atlas.png").is_file(), done.stderr
    assert any(path.suffix == ".gif" for path in (tmp_path / "grids").rglob("*")), done.stdout


def test_a_batch_says_of_which_model_nothing_was_chosen(tmp_path: Path) -> None:
    write(tmp_path, "[]")
    np.savez(tmp_path / "one.npz", only=np.ones((3, 3), np.float32))
    done = torch2grid("model.safetensors", "one.npz", "--load-plugin", "plugin.py", cwd=tmp_path)
    told = [line for line in done.stderr.splitlines() if "does not draw" in line]
    assert told == [
        "model.safetensors: transformer 'matrices' does not draw any of these 4 tensors",
        "one.npz: transformer 'matrices' does not draw the one tensor",
    ]


@pytest.mark.parametrize("words", [["compare", "a.npz", "b.npz"], ["compare", "a.npz", "b.npz", "c.npz", "--format", "gif"]])
def test_a_comparison_says_that_a_transformer_chose(tmp_path: Path, words: list[str]) -> None:
    write(tmp_path, "[name for name in shapes if name == 'a']")
    for number, name in enumerate("abc"):
        np.savez(tmp_path / f"{name}.npz", a=np.full((3, 3), number, np.float32), b=np.full((2, 2), number, np.float32))
    done = torch2grid(*words, "--load-plugin", "plugin.py", "--plugin", "matrices", cwd=tmp_path)
    assert [line for line in done.stderr.splitlines() if "chosen" in line] == ["1 of 2 tensors is drawn, chosen by matrices"]
    assert "chosen" not in torch2grid(*words, cwd=tmp_path).stderr
    assert "chosen" not in torch2grid(*words, "--load-plugin", "plugin.py", "--plugin", "matrices", "-q", cwd=tmp_path).stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_curve_that_cannot_travel_is_its_authors(tmp_path: Path, jobs: int) -> None:
    (tmp_path / "curl.py").write_text(
        "import math\nfrom torch2grid_core import Layout, LayoutTransformer\nfrom torch2grid_core.grids import Curve\n\n\n"
        "class Curl(LayoutTransformer):\n    'curls'\n\n    name = 'curl'\n\n    def layout(self, shapes, max_cells):\n"
        "        blocks, row = [], 0\n        for name, shape in shapes.items():\n"
        "            blocks.append(Curve(name, 0, math.prod(shape), 0, 1, lambda index, row=row: (index * 0 + row, index)))\n"
        "            row += 1\n        return Layout(row, max(map(math.prod, shapes.values())), (1, 1), tuple(blocks))\n"
    )
    np.savez(tmp_path / "a.npz", a=np.ones((3, 3), np.float32), b=np.ones((2, 2), np.float32))
    done = torch2grid("a.npz", "--load-plugin", "curl.py", "--jobs", jobs, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "pickled" in line]
    assert line.startswith("torch2grid: transformer 'curl'")
    assert "layout: ValueError: the place of a curve of 'a' cannot be pickled" in line
    assert "give a function of a module, or a frozen dataclass" in line
