"""Transformers that need data: what is measured first, that one layout serves all pictures of a run, and what goes wrong."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.tools import torch2grid

import torch2grid as t2g
from torch2grid_builtin._compare.order import in_order
from torch2grid_builtin._compare.series import Frames, joint_series
from torch2grid_core import (
    Checkpoint,
    Finding,
    Layout,
    LayoutTransformer,
    LazyTensor,
    LoadError,
    Need,
    NotDrawable,
    PluginError,
    PluginManager,
    Rule,
    Settings,
    check,
    draw,
    measure,
)
from torch2grid_core.grids import Block, Region, drawable_sizes
from torch2grid_core.measures import Collector, Duplicates, Of, Raster, Summary, Transformed, workers
from torch2grid_core.sources import BytesStorage, JointTensor
from torch2grid_core.testing._samples import PicklingExecutor

Shapes = Mapping[str, tuple[int, ...]]
NAMES = ("small", "large", "middle")


def arrays(factor: float = 1.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    sizes = dict(zip(NAMES, (1, 100, 10), strict=True))
    return {name: (factor * size * random.normal(size=(4, 6))).astype(np.float32) for name, size in sizes.items()}


class Counting(BytesStorage):
    """Counts how many bytes are read of it."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        object.__setattr__(self, "read", [])

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.read.append(len(buffer))  # type: ignore[attr-defined]
        super().read_into(offset, buffer)


def checkpoint(values: Mapping[str, np.ndarray] | None = None) -> Checkpoint:
    held = arrays() if values is None else values
    tensors = [LazyTensor(name, array.shape, array.dtype, Counting(array)) for name, array in held.items()]
    return Checkpoint(tensors, source="model", format="test")


def bytes_read(held: Checkpoint) -> dict[str, int]:
    return {name: sum(tensor.storage.read) for name, tensor in held.items()}  # type: ignore[attr-defined]


def stacked(names: Iterable[str], shapes: Shapes) -> Layout:
    blocks, regions, row = [], [], 0
    for name in names:
        height, width = shapes[name]
        blocks.append(Block(name, 0, row, 0, ((height, 1, 0), (width, 0, 1))))
        regions.append(Region(name, ((row, 0, height, width),)))
        row += height
    return Layout(row, 6, (1, 1), tuple(blocks), tuple(regions))


class ByNorm(LayoutTransformer):
    """the largest first"""

    name = "by_norm"

    def needs(self, shapes: Shapes) -> Mapping[str, Need[Any]]:
        return {"figures": Summary(), "copies": Duplicates()}

    def arrange(self, shapes: Shapes, max_cells: int | None, results: Mapping[str, Any]) -> Layout:
        figures = results["figures"]
        return stacked(sorted(shapes, key=lambda name: -figures[name].l2), shapes)


LARGEST_FIRST = ["large", "middle", "small"]


def order(grid: Any) -> list[str]:
    return [region.name for region in grid.regions]


def drawn(held: Checkpoint, transformer: LayoutTransformer, executor: Executor | None = None) -> Any:
    return dict(measure(held, {"grid": Transformed(transformer)}, executor=executor))[None]["grid"]


def test_the_layout_follows_from_what_was_measured_whoever_does_the_work() -> None:
    expected = np.concatenate([arrays()[name] for name in LARGEST_FIRST])
    called = ByNorm()(arrays())
    with workers(checkpoint(), 2) as pool:
        for grid in (drawn(checkpoint(), ByNorm()), drawn(checkpoint(), ByNorm(), PicklingExecutor()), called):
            assert order(grid) == LARGEST_FIRST
            np.testing.assert_array_equal(grid.values, expected)
        np.testing.assert_array_equal(drawn(checkpoint(), ByNorm(), pool).values, expected)
    bound = Transformed(ByNorm()).bind(checkpoint())  # a need around it may bind it by itself
    assert order(dict(measure(checkpoint(), {"grid": bound}))[None]["grid"]) == LARGEST_FIRST


def test_it_is_one_class_with_needs_and_arrange_or_with_layout() -> None:
    assert not inspect.isabstract(ByNorm)
    neither = type("Neither", (LayoutTransformer,), {"name": "neither"})
    assert neither.__abstractmethods__ == {"layout"}
    assert pickle.loads(pickle.dumps(ByNorm())).layout.__name__


class Sometimes(ByNorm):
    """needs something of more than two tensors only"""

    def needs(self, shapes: Shapes) -> Mapping[str, Need[Any]]:
        return super().needs(shapes) if len(shapes) > 2 else {}

    def layout(self, shapes: Shapes, max_cells: int | None) -> Layout:
        return stacked(shapes, shapes)


class Chooses(ByNorm):
    """two of three"""

    def choose(self, shapes: Shapes) -> Iterable[str]:
        return ("large", "small")


def test_where_nothing_is_needed_there_is_no_first_pass() -> None:
    held = checkpoint()
    assert order(drawn(held, Sometimes())) == LARGEST_FIRST
    assert set(bytes_read(held).values()) == {2 * 4 * 24}
    held = checkpoint().select(["large", "small"])
    assert order(drawn(held, Sometimes())) == ["small", "large"]
    assert set(bytes_read(held).values()) == {4 * 24}


def test_both_passes_read_only_what_is_chosen_and_progress_counts_both() -> None:
    held, told = checkpoint(), list[tuple[str, int]]()
    results = measure(held, {"grid": Transformed(Chooses())}, progress=lambda tensor, total: told.append((tensor.name, total)))
    assert order(dict(results)[None]["grid"]) == ["large", "small"]
    assert bytes_read(held) == {"small": 192, "large": 192, "middle": 0}
    assert told == [("small", 480), ("large", 480), ("small", 480), ("large", 480), ("middle", 480)]


def test_two_pictures_of_one_run_share_the_first_pass() -> None:
    held = checkpoint()
    needs = {"mean": Transformed(ByNorm()), "rms": Transformed(ByNorm(), "rms", 64), "figures": Summary()}
    same = ByNorm()
    shared = {"mean": Transformed(same), "rms": Transformed(same, "rms", 64)}
    for each in (needs, shared):
        found = dict(measure(held, each))[None]
        assert order(found["mean"]) == order(found["rms"]) == LARGEST_FIRST
    assert set(bytes_read(held).values()) == {4 * 4 * 24}


def test_drawing_reads_nothing_before_the_first_page_is_asked_for() -> None:
    held = checkpoint()
    pages = t2g.grid(held, ByNorm())
    assert not any(bytes_read(held).values())
    assert order(pages.grid) == LARGEST_FIRST


def last_minus_first(members: Mapping[str, np.ndarray]) -> np.ndarray:
    return members["b"] - members["a"]


def test_one_layout_serves_a_b_and_delta() -> None:
    a, b = arrays(), arrays()
    b["small"] = b["small"] + 1000  # what changed most, in a model where it is the smallest
    b["middle"] = b["middle"] + 1
    joint = [JointTensor.of(name, {"a": checkpoint(a)[name], "b": checkpoint(b)[name]}, last_minus_first) for name in NAMES]
    whole = Transformed(ByNorm())
    found = dict(measure(Checkpoint(joint, source="Δ", format="Δ"), {"d": whole, "a": Of("a", whole), "b": Of("b", whole)}))[
        None
    ]
    assert [order(found[key]) for key in "abd"] == [["small", "middle", "large"]] * 3
    np.testing.assert_array_equal(found["a"].values, np.concatenate([a[name] for name in ("small", "middle", "large")]))


def test_all_frames_of_an_animation_have_one_layout(tmp_path: Path) -> None:
    for step in range(3):
        held = arrays()
        held["middle"] = held["middle"] * (1 + 100 * step)
        save_file(held, tmp_path / f"step_{step}.safetensors")
    ordered = in_order([t2g.load(tmp_path / f"step_{step}.safetensors") for step in range(3)])
    joint, _ = joint_series(ordered)
    frames = [page.panels[0].grid for page, _, _ in draw(joint, [Frames(ByNorm(), ordered.labels)])]
    assert len(frames) == 3
    assert len({tuple(order(grid)) for grid in frames}) == 1
    assert order(frames[0])[0] == "middle"
    np.testing.assert_array_equal(
        frames[2].values[:4], arrays()["middle"] * 201
    )  # it moved most, and is not the largest at first
    (tmp_path / "plugin.py").write_text(PLUGIN, encoding="utf-8")
    words = ("--load-plugin", "plugin.py", "--plugin", "by_norm", "--format", "gif")
    done = torch2grid("compare", *(f"step_{step}.safetensors" for step in range(3)), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "grids" / "series_atlas.gif").is_file()


def names_in_order(page: Path) -> list[str]:
    """The tensors of a page's grid from top to bottom."""
    text = page.read_text(encoding="utf-8")
    return sorted(NAMES, key=lambda name: text.index(f'"name": "{name}"'))


def test_every_model_of_a_batch_has_a_layout_of_its_own(tmp_path: Path) -> None:
    held = arrays()
    save_file(held, tmp_path / "one.safetensors")
    save_file({**held, "large": held["small"], "small": held["large"]}, tmp_path / "two.safetensors")
    (tmp_path / "plugin.py").write_text(PLUGIN, encoding="utf-8")
    words = ("--load-plugin", "plugin.py", "--format", "json")
    done = torch2grid("one.safetensors", "two.safetensors", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    orders = {tuple(names_in_order(path)) for path in (tmp_path / "grids").rglob("neural_grid*.json")}
    assert orders == {("large", "middle", "small"), ("small", "middle", "large")}


class Asks(Rule):
    """asks for a grid"""

    name = "asks"
    code = "X001"

    def needs(self, checkpoint: Checkpoint, run: Any) -> Mapping[str, Need[Any]]:
        return {"grid": Transformed(ByNorm())}

    def findings(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Any) -> Iterable[Finding]:
        yield Finding(",".join(order(results["grid"])))


def test_a_rule_may_ask_for_such_a_grid() -> None:
    (found,) = check(checkpoint(), [Asks()])
    assert found.message == "large,middle,small"


class Breaks(Collector):
    def update(self, chunk: Any) -> None:
        raise ValueError("cannot count to three")


class Broken(Need[Any]):
    def collector(self, tensors: Any) -> Collector:
        return Breaks()

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


class Declines(Need[Any]):
    def bind(self, checkpoint: Checkpoint) -> Need[Any]:
        raise NotDrawable("there is nothing to measure")


WRONG = {
    "no mapping": (
        {"needs": lambda self, shapes: None},
        "needs returned None, not a mapping of key to need; is a 'return' missing?",
    ),
    "no need": ({"needs": lambda self, shapes: {"x": 3}}, "needs: 'x' is int, not a need such as Summary() or Raster(layout)"),
    "collector": ({"needs": lambda self, shapes: {"x": Broken()}}, "Broken: ValueError: cannot count to three"),
    "raises": ({"arrange": lambda self, *given: 1 / 0}, "ZeroDivisionError: division by zero"),
    "no layout": ({"arrange": lambda self, *given: None}, "arrange returned None, not a Layout; is a 'return' missing?"),
    "wrong layout": (
        {"arrange": lambda self, shapes, most, found: stacked(["small"], shapes)},
        "arrange: ValueError: 'large' has 24 weights, 0 have a place",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_names_the_transformer(case: str) -> None:
    methods, message = WRONG[case]
    wrong = type("Wrong", (ByNorm,), {"name": "wrong", **methods})()
    with pytest.raises(PluginError) as failure:
        drawn(checkpoint(), wrong)
    assert "'wrong'" in str(failure.value)
    assert failure.value.reason.endswith(message)
    with pytest.raises(PluginError, match="'wrong'"):
        list(t2g.grid(checkpoint(), wrong))


def test_what_declines_is_no_failure_and_bytes_that_cannot_be_read_are_said_as_such() -> None:
    declines = type("Declining", (ByNorm,), {"needs": lambda self, shapes: {"x": Declines()}})()
    with pytest.raises(NotDrawable, match="nothing to measure"):
        drawn(checkpoint(), declines)
    cut = Checkpoint([LazyTensor("w", (4, 6), np.dtype(np.float32), BytesStorage(b"12345678"))], source="m", format="t")
    with pytest.raises(LoadError):
        drawn(cut, ByNorm())


def test_the_other_views_of_a_run_go_on() -> None:
    views = [PluginManager.discover(third_party=False).create("view", name) for name in ("grid", "stats")]
    wrong = type("Wrong", (ByNorm,), {"name": "wrong", "arrange": lambda self, *given: 1 / 0})()
    failures: list[str] = []
    pages = draw(
        checkpoint(), views, Settings(transformer=wrong), failed=lambda view, error: failures.append(f"{view.name}: {error}")
    )
    assert {view.name for _, view, _ in pages} == {"stats"}
    (failure,) = failures
    assert failure.startswith("grid: ")
    assert "'wrong'" in failure


class NeedsAGrid(LayoutTransformer):
    """by the largest cell of a grid of all tensors"""

    name = "needs_a_grid"

    def needs(self, shapes: Shapes) -> Mapping[str, Need[Any]]:
        return {"whole": Raster(stacked(shapes, shapes), "absmax"), "inner": Transformed(ByNorm())}

    def arrange(self, shapes: Shapes, max_cells: int | None, results: Mapping[str, Any]) -> Layout:
        assert results["whole"].reduce == "absmax"
        return stacked(order(results["inner"])[::-1], drawable_sizes(shapes) and shapes)


def test_results_about_the_whole_are_given_as_they_are_and_may_need_a_pass_themselves() -> None:
    assert order(drawn(checkpoint(), NeedsAGrid())) == LARGEST_FIRST[::-1]
    assert order(NeedsAGrid()(arrays())) == LARGEST_FIRST[::-1]


class Scaled(ByNorm):
    """shares of the largest |weight|"""

    name = "scaled"
    needs_summaries = True
    quantity = "share"

    def scale(self, summaries: Mapping[str, Any]) -> Any:
        return {name: (1 / max(abs(each.min), abs(each.max)), 0.0) for name, each in summaries.items()}


def test_scale_still_works_in_the_second_pass() -> None:
    grid = drawn(checkpoint(), Scaled())
    assert (grid.quantity, order(grid)) == ("share", LARGEST_FIRST)
    assert np.abs(grid.values).max() == 1
    np.testing.assert_array_equal(Scaled()(arrays()).values, grid.values)


PLUGIN = '''
from torch2grid_core import Layout, LayoutTransformer
from torch2grid_core.grids import Block, Region
from torch2grid_core.measures import Summary


class ByNorm(LayoutTransformer):
    """the largest first"""

    name = "by_norm"

    def needs(self, shapes):
        return {"figures": Summary()}

    def arrange(self, shapes, max_cells, results):
        blocks, regions, row = [], [], 0
        for name in sorted(shapes, key=lambda name: -results["figures"][name].l2):
            height, width = shapes[name]
            blocks.append(Block(name, 0, row, 0, ((height, 1, 0), (width, 0, 1))))
            regions.append(Region(name, ((row, 0, height, width),)))
            row += height
        return Layout(row, 6, (1, 1), tuple(blocks), tuple(regions))
'''


def test_a_failing_need_is_one_line_of_the_command(tmp_path: Path) -> None:
    save_file(arrays(), tmp_path / "model.safetensors")
    (tmp_path / "plugin.py").write_text(PLUGIN.replace('{"figures": Summary()}', '{"figures": max}'), encoding="utf-8")
    done = torch2grid("model.safetensors", "--load-plugin", "plugin.py", cwd=tmp_path)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "transformer 'by_norm'" in line
    assert "'figures' is builtin_function_or_method, not a need" in line
