"""``measure``: needs of anybody's, by tensor, by group and of the whole, split and merged, that fail and that decline."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.tools import DIGITS, torch2grid
from tests.support.views.drawing import checkpoint_of

import torch2grid_core._engine
from torch2grid_builtin._transformers.flatten import Flatten, Normalized
from torch2grid_core import (
    Checkpoint,
    LazyTensor,
    Need,
    NotDrawable,
    Page,
    PluginError,
    PluginManager,
    Settings,
    View,
    draw,
    measure,
)
from torch2grid_core._engine import reading, scheduling
from torch2grid_core._pictures.layouts import matrix_layout
from torch2grid_core.measures import Chunk, Collector, Distribution, Profile, Raster, Summary, Transformed
from torch2grid_core.sources import JointTensor

RNG = np.random.default_rng(7)
ARRAYS = {
    f"layers.{layer}.{kind}": RNG.standard_normal((40 + layer, 30)).astype(np.float32)
    for layer in range(3)
    for kind in ("query", "key")
}


class Sum(Collector):
    """The exact sum of squares of integers, and how many chunks came."""

    def __init__(self) -> None:
        self.total, self.places = 0, 0

    def update(self, chunk: Chunk) -> None:
        whole = np.rint(chunk.values * 1000).astype(np.int64)
        self.total += int((whole * whole).sum())
        self.places += int((np.arange(chunk.start, chunk.start + len(whole)) * whole).sum())

    def merge(self, other: Sum) -> None:
        self.total += other.total
        self.places += other.places

    def result(self) -> tuple[int, int]:
        return self.total, self.places


@dataclass(frozen=True)
class Stubborn(Need[float]):
    """Of many small tensors at once, but of none named w5."""

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        if "w5" in tensors:
            raise ValueError("not w5")
        return Sum()

    def collectors(self, tensors: Any, stored: Any) -> Any:
        raise ValueError("not w5") if "w5" in [each.name for each in tensors] else AssertionError


@dataclass(frozen=True)
class Squares(Need[tuple[int, int]]):
    """Of each tensor, in any number of pieces."""

    def merges(self, tensor: LazyTensor) -> bool:
        return True

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Sum:
        return Sum()


def by_layer(checkpoint: Checkpoint) -> dict[Any, tuple[str, ...]]:
    found: dict[Any, tuple[str, ...]] = {}
    for name in checkpoint:
        layer = int(name.split(".")[1])
        found[layer] = (*found.get(layer, ()), name)
    return found


@dataclass(frozen=True)
class OfLayers(Squares):
    """Of all tensors of a layer together, each read where it suits."""

    def groups(self, checkpoint: Checkpoint) -> Mapping[Any, tuple[str, ...]]:
        return by_layer(checkpoint)


@dataclass(frozen=True)
class InOrder(Need[list[str]]):
    """The names of a layer's tensors, in the order in which their weights came; it cannot be merged."""

    def groups(self, checkpoint: Checkpoint) -> Mapping[Any, tuple[str, ...]]:
        return by_layer(checkpoint)

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Names:
        return Names()


class Names(Collector):
    def __init__(self) -> None:
        self.names: list[str] = []

    def update(self, chunk: Chunk) -> None:
        if chunk.start == 0:
            self.names.append(chunk.tensor)

    def result(self) -> list[str]:
        return self.names


@dataclass(frozen=True)
class Product(Need[float]):
    """The trace of QᵀK, which no stream of weights gives."""

    def groups(self, checkpoint: Checkpoint) -> Mapping[Any, tuple[str, ...]]:
        return by_layer(checkpoint)

    def compute(self, tensors: Mapping[str, LazyTensor]) -> float:
        query, key = (tensor.numpy().astype(np.float64) for tensor in tensors.values())
        return float(np.trace(query.T @ key))


@dataclass(frozen=True)
class Fails(Need[None]):
    """Fails in one of its steps, at one tensor."""

    step: str

    def _at(self, step: str, name: str) -> None:
        if step == self.step and "layers.1.key" in name:
            raise ZeroDivisionError(f"in {step}")

    def groups(self, checkpoint: Checkpoint) -> Mapping[Any, tuple[str, ...]]:
        self._at("groups", "layers.1.key")
        return super().groups(checkpoint)

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        name = next(iter(tensors))
        self._at("collector", name)
        return FailingCollector(self, name)

    def finish(self, gathered: Any) -> None:
        self._at("finish", gathered.name)


class FailingCollector(Collector):
    def __init__(self, need: Fails, name: str) -> None:
        self.need, self.name = need, name

    def update(self, chunk: Chunk) -> None:
        self.need._at("update", chunk.tensor)


def in_a_file(folder: Path, arrays: Mapping[str, Any] = ARRAYS) -> Checkpoint:
    save_file(dict(arrays), folder / "model.safetensors")
    return PluginManager.discover().open(str(folder / "model.safetensors"))


NEEDS: dict[str, Need[Any]] = {
    "summary": Summary((0.1,)),
    "squares": Squares(),
    "of layers": OfLayers(),
    "order": InOrder(),
    "product": Product(),
    "grid": Transformed(Flatten(), "mean", 32),
    "scaled": Transformed(Normalized(), "mean", 32),
}


def plain(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results as values that can be compared bit by bit."""
    found = dict(results)
    for name in ("grid", "scaled"):
        if name in found:
            found[name] = found[name].values.tobytes()
    if "summary" in found:
        found["summary"] = [
            getattr(found["summary"], name) for name in ("count", "mean", "std", "min", "max", "l1", "kurtosis")
        ]
    return found


def test_results_come_by_what_they_are_about_in_the_order_of_the_file(tmp_path: Path) -> None:
    checkpoint = in_a_file(tmp_path)
    found = list(measure(checkpoint, NEEDS))
    names = [key for key, _ in found if isinstance(key, str)]
    assert names == list(checkpoint)
    assert [key for key, _ in found if isinstance(key, int)] == [0, 1, 2]
    assert found[-1][0] is None
    by_key = dict(found)
    for name, array in ARRAYS.items():
        assert set(by_key[name]) == {"summary", "squares"}
        assert by_key[name]["squares"][0] == int((np.rint(array * 1000).astype(np.int64) ** 2).sum())
    for layer in range(3):
        query, key = (ARRAYS[f"layers.{layer}.{kind}"] for kind in ("query", "key"))
        assert by_key[layer]["of layers"][0] == sum(by_key[f"layers.{layer}.{kind}"]["squares"][0] for kind in ("query", "key"))
        assert by_key[layer]["order"] == [name for name in checkpoint if name.startswith(f"layers.{layer}.")]
        assert by_key[layer]["product"] == pytest.approx(float(np.trace(query.T.astype(np.float64) @ key)))
    assert by_key[None]["grid"].weights == sum(array.size for array in ARRAYS.values())


def test_pieces_and_workers_never_change_a_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 500)  # every tensor is large
    checkpoint = in_a_file(tmp_path)
    alone = {key: plain(results) for key, results in measure(checkpoint, NEEDS)}
    # Forked, so that their pieces are small, too.
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes, ThreadPoolExecutor(2) as threads:
        for executor in (processes, threads):
            assert {key: plain(results) for key, results in measure(checkpoint, NEEDS, executor=executor)} == alone


class Counting(Executor):
    """Notes what it is given, and does it at once."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        self.given.append((function.__name__, *arguments))
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **named))
        return future


def test_a_third_partys_need_is_split_over_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 500)
    checkpoint, executor = in_a_file(tmp_path, {"w": ARRAYS["layers.2.key"]}), Counting()
    (split,) = measure(checkpoint, {"squares": Squares()}, executor=executor)
    assert [(name, piece.start, piece.stop) for name, piece in executor.given] == [
        ("gather", 0, 420),
        ("gather", 420, 840),
        ("gather", 840, 1260),
    ]
    monkeypatch.undo()
    assert [split] == list(measure(checkpoint, {"squares": Squares()}))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("kind", ["finite", "of any bits", "negative", "few"])
def test_bits_tell_what_the_numbers_tell(dtype: Any, kind: str) -> None:
    rng, width = np.random.default_rng(7), np.dtype(dtype).itemsize
    numbers = rng.normal(0.001, 0.02, (37, 4001)) if kind != "few" else rng.choice([0.0, -0.0, 1e-8, 0.5, -3.0], (37, 4001))
    values = (-np.abs(numbers) - 1e-3 if kind == "negative" else numbers).astype(dtype)
    if kind == "of any bits":
        values = rng.integers(0, 256, (37, 4001 * width), np.uint8).view(dtype)
    thresholds = (0.0, 1e-7, 2.0**-126, 2.0**-14, 0.5, np.inf)
    found = dict(measure(checkpoint_of({"w": values}), {"all": Summary(thresholds, brief=True), "units": Profile()}))["w"]
    alone = Distribution(thresholds, brief=True)
    alone.update(values)
    for one in ("count", "finite", "zeros", "nan", "posinf", "neginf", "min", "max"):
        assert getattr(found["all"], one) == getattr(alone, one), one
    assert [found["all"].near_zero(each) for each in thresholds] == [alone.near_zero(each) for each in thresholds]
    np.testing.assert_allclose(found["all"].std, alone.std, rtol=1e-9)
    np.testing.assert_allclose(found["all"].mean, alone.mean, rtol=0, atol=1e-12 * alone.rms)
    with np.errstate(all="ignore"):
        sizes = np.abs(values.astype(np.float64))
        np.testing.assert_array_equal(found["units"].output_absmax, sizes.max(axis=1))
        np.testing.assert_array_equal(found["units"].input_absmax, sizes.max(axis=0))
        if kind != "of any bits":
            np.testing.assert_allclose(found["units"].output_norm, np.sqrt((sizes**2).sum(axis=1)), rtol=1e-12)
            np.testing.assert_allclose(found["units"].input_norm, np.sqrt((sizes**2).sum(axis=0)), rtol=1e-12)


def test_small_tensors_travel_together(tmp_path: Path) -> None:
    checkpoint = in_a_file(tmp_path, {f"w{number:04}": np.full(10, number, np.float32) for number in range(5000)})
    executor = Counting()
    found = list(measure(checkpoint, {"squares": Squares()}, executor=executor))
    assert [key for key, _ in found] == list(checkpoint)
    assert [len(tasks) for _, tasks in executor.given] == [2048, 2048, 904]


def test_small_tensors_are_counted_together_where_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arrays = {f"w{number:03}": rng.normal(number, 2, 1 + number % 7).astype(np.float32) for number in range(600)}
    arrays |= {"w003": np.array([np.nan, 1, -np.inf], np.float32), "w004": np.zeros(9, np.float32)}
    checkpoint, executor = in_a_file(tmp_path, arrays), Counting()
    for brief in (False, True):
        found = dict(measure(checkpoint, {"summary": Summary((0.5,), brief)}, executor=executor))
        for name, array in arrays.items():
            alone = Distribution((0.5,), brief)
            alone.update(array)
            if not brief:
                levels = np.linspace(0, 1, 9)
                np.testing.assert_equal(found[name]["summary"].quantiles(levels), alone.quantiles(levels))
            same = [
                (each.mean, each.std, each.min, each.near_zero(0.5), each.not_finite)
                for each in (found[name]["summary"], alone)
            ]
            np.testing.assert_equal(*same)
    assert not executor.given


def test_what_fails_of_a_small_tensor_fails_of_it_alone(tmp_path: Path) -> None:
    checkpoint = in_a_file(tmp_path, {f"w{number}": np.full(10, number, np.float32) for number in range(9)})
    failures: dict[str, str] = {}
    needs = {"fails": Stubborn(), "summary": Summary(brief=True)}
    found = dict(measure(checkpoint, needs, failed=lambda name, error: failures.setdefault(name, str(error))))
    assert [found[f"w{number}"]["summary"].mean for number in range(9)] == list(range(9))
    assert "Stubborn: ValueError: not w5" in failures["fails"]


def test_the_order_is_the_callers(tmp_path: Path) -> None:
    names = sorted(ARRAYS, reverse=True)
    read: list[str] = []
    found = measure(
        in_a_file(tmp_path), {"squares": Squares()}, order=names, progress=lambda tensor, _: read.append(tensor.name)
    )
    assert [key for key, _ in found] == names == read


class LastFirst(ThreadPoolExecutor):
    """Does what it was given first when all the rest is done."""

    def __init__(self) -> None:
        super().__init__(2)
        self.rest: list[Future[Any]] = []
        self.all_given = threading.Event()

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        if not self.rest:
            self.rest = [Future()]
            return super().submit(self._late, function, *arguments)
        self.rest.append(super().submit(function, *arguments, **named))
        if len(self.rest) == len(ARRAYS):
            self.all_given.set()
        return self.rest[-1]

    def _late(self, function: Any, *arguments: Any) -> Any:
        assert self.all_given.wait(30)
        wait(self.rest[1:], 30)
        time.sleep(1)  # for whoever takes the rest
        return function(*arguments)


class FloatSum(Sum):
    """A sum whose digits depend on the order in which it is merged."""

    def update(self, chunk: Chunk) -> None:
        self.total += float(chunk.values.sum(dtype=np.float64)) * 1e5 ** int(chunk.tensor.split(".")[1])  # type: ignore[assignment]


@dataclass(frozen=True)
class OfAll(Squares):
    """Of the whole model."""

    def groups(self, checkpoint: Checkpoint) -> Mapping[Any, tuple[str, ...]]:
        return {None: tuple(checkpoint)}

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Sum:
        return FloatSum()


def test_whichever_comes_first_and_the_same_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "_BATCH", 1)  # every tensor travels alone
    checkpoint = in_a_file(tmp_path)
    needs = {**NEEDS, "of all": OfAll()}
    alone = {key: plain(results) for key, results in measure(checkpoint, needs)}
    assert list(measure(checkpoint, {"squares": Squares()}, order="ready")) == list(measure(checkpoint, {"squares": Squares()}))
    with LastFirst() as executor:
        keys = [key for key, _ in measure(checkpoint, {"squares": Squares()}, executor=executor, order="ready")]
        assert keys[-1] == next(iter(checkpoint))
        assert sorted(keys) == sorted(checkpoint)
    with LastFirst() as executor:
        assert {key: plain(each) for key, each in measure(checkpoint, needs, executor=executor, order="ready")} == alone
    with LastFirst() as executor:
        keys = [key for key, _ in measure(checkpoint, {"squares": Squares()}, executor=executor)]
        assert keys == list(checkpoint)


def test_the_largest_come_first_where_any_may(tmp_path: Path) -> None:
    arrays = {f"w{number}": np.zeros((number % 3 + 1) << 18, np.float32) for number in range(4)}
    checkpoint = in_a_file(tmp_path, arrays)
    found = [key for key, _ in measure(checkpoint, {"squares": Squares()}, executor=Counting(), order="ready")]
    assert found == ["w2", "w1", "w0", "w3"]


@pytest.mark.parametrize("step", ["groups", "collector", "update", "finish"])
@pytest.mark.parametrize("away", [False, True])
def test_a_need_that_fails_is_dropped_and_told_and_the_others_go_on(step: str, away: bool, tmp_path: Path) -> None:
    checkpoint, told = in_a_file(tmp_path), {}
    executor = ThreadPoolExecutor(2) if away else None
    needs = {"squares": Squares(), "wrong": Fails(step), "of layers": OfLayers()}
    found = dict(measure(checkpoint, needs, executor=executor, failed=lambda name, error: told.update({name: error})))
    assert list(told) == ["wrong"]
    assert isinstance(told["wrong"], PluginError)
    assert re.search(f"Fails.*ZeroDivisionError: in {step}", str(told["wrong"]))
    assert [key for key in found if isinstance(key, str)] == list(checkpoint)
    assert all("squares" in found[name] for name in ARRAYS)
    assert all("of layers" in found[layer] for layer in range(3))
    assert all("wrong" not in found[name] for name in list(checkpoint)[list(checkpoint).index("layers.1.key") :])
    seen = []
    with pytest.raises(PluginError, match=f"in {step}"):
        seen.extend(key for key, _ in measure(checkpoint, needs))
    assert [key for key in seen if isinstance(key, str)] == list(checkpoint)  # it is raised at the end
    if executor is not None:
        executor.shutdown()


def test_a_need_that_cannot_be_planned_leaves_nothing_behind(tmp_path: Path) -> None:
    """It fails half-way through its groups: what was planned of it must not come back as another need's result."""

    @dataclass(frozen=True)
    class HalfPlanned(OfLayers):
        def merges(self, tensor: LazyTensor) -> bool:
            if tensor.name == "layers.1.key":
                raise ValueError("no idea")
            return True

    class Asks(View):
        """Keeps what it gets."""

        name = "asks"

        def __init__(self, need: Need[Any]) -> None:
            self.need, self.found = need, dict[Any, Any]()

        def needs(self, checkpoint: Checkpoint, run: Settings) -> dict[str, Need[Any]]:
            return {"x": self.need}

        def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> tuple[Page, ...]:
            self.found = dict(results["x"])
            return ()

    checkpoint, failed, other = in_a_file(tmp_path), [], Asks(Squares())
    assert not list(draw(checkpoint, [Asks(HalfPlanned()), other], failed=lambda view, error: failed.append(str(error))))
    assert len(failed) == 1
    assert "no idea" in failed[0]
    assert list(other.found) == list(checkpoint)


def test_nothing_is_read_for_a_need_that_declines(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Declines(Squares):
        def groups(self, checkpoint: Checkpoint) -> Mapping[Any, tuple[str, ...]]:
            raise NotDrawable("nothing for me")

    checkpoint = checkpoint_of({"w": np.ones(3, np.float32)})
    monkeypatch.setattr(type(checkpoint["w"].storage), "read_into", lambda *arguments: pytest.fail("a read"))
    with pytest.raises(NotDrawable, match="nothing for me"):
        list(measure(checkpoint, {"x": Declines()}))


def test_it_can_be_stopped(tmp_path: Path) -> None:
    arrays = {f"w{number:03}": np.ones(300_000, np.float32) for number in range(80)}
    read: list[str] = []
    with ThreadPoolExecutor(1) as executor:
        going = measure(
            in_a_file(tmp_path, arrays), {"s": Summary()}, executor=executor, progress=lambda t, _: read.append(t.name)
        )
        next(going)
        going.close()
    assert len(read) < 5


def test_a_raster_of_one_tensor_and_one_of_several() -> None:
    arrays = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones((2, 2), np.float32)}
    found = dict(measure(checkpoint_of(arrays), {"a": Raster(matrix_layout("a", (3, 4), 8)), "profile": Profile()}))
    np.testing.assert_array_equal(found[None]["a"].values, arrays["a"])
    np.testing.assert_array_equal(found["b"]["profile"].output_absmax, [1, 1])


def test_the_engine_knows_no_need_view_or_rule() -> None:
    """One check, where a plugin's answer enters; everything else is a method of what is asked."""
    kinds = "Need|View|Rule|Summary|Profile|NotFinite|Duplicates|Values|Of|Raster|Transformed|GridTransformer|LayoutTransformer"
    folder = Path(torch2grid_core._engine.__file__).parent
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(folder.glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(rf"(isinstance|issubclass)\(.*\b({kinds})\b", line)
        or re.search(r"\b(type\(need\)|match need)\b.* is ", line)
    ]
    assert found == ["planning.py: if not isinstance(need, Need):"]


BROKEN = '''
from dataclasses import dataclass
from torch2grid_core import Finding, Need, Page, Rule, View, hookimpl
from torch2grid_core.measures import Collector
from torch2grid_core.pages import Text

class Broken(Collector):
    def update(self, chunk):
        raise RuntimeError("a bad day")

@dataclass(frozen=True)
class Wrong(Need):
    def collector(self, tensors):
        return Broken()

class Odd(Rule):
    """tensors that are odd"""
    name, code, severity = "odd", "X901", "error"
    def needs(self, checkpoint, run):
        return {"x": Wrong()}
    def findings(self, checkpoint, results, run):
        for name, result in results["x"].items():
            if result:
                yield Finding("is odd", name)

class OddView(View):
    """tensors that are odd"""
    name, flag, default_format = "odd_table", "odd", "text"
    def needs(self, checkpoint, run):
        return {"x": Wrong()}
    def pages(self, checkpoint, results, run):
        odd = [name for name, result in results["x"].items() if result]
        yield Page("odd", f"{len(odd)} of {len(checkpoint)} tensors are odd", (Text("odd"),), kind="table")

@hookimpl
def torch2grid_rules():
    yield Odd

@hookimpl
def torch2grid_views():
    yield OddView
'''


@pytest.mark.parametrize(
    ("words", "code", "who"), [(["check"], 2, "rule 'odd'"), (["--view", "odd_table"], 1, "view 'odd_table'")]
)
def test_a_failing_collector_is_a_line_and_never_a_finding(words: list[str], code: int, who: str, tmp_path: Path) -> None:
    """Of ``check``, exit code 1 says that there are findings, and 2 that a file could not be checked."""
    (tmp_path / "odd.py").write_text(BROKEN, encoding="utf-8")
    done = torch2grid(*words, str(DIGITS), "--load-plugin", "odd.py", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert not done.stdout
    (line,) = [line for line in done.stderr.splitlines() if "a bad day" in line]
    assert line.startswith(f"torch2grid: {who}")


ANSWERS: dict[str, tuple[Any, str]] = {
    "a tensor twice": ({"x": ("layers.0.key", "layers.0.key")}, "'x' names a tensor twice"),
    "the model beside others": ({None: ("layers.0.key",), "x": ("layers.1.key",)}, "None, the model as a whole, stands beside"),
    "a list": (["layers.0.key"], "groups returned a list, not a mapping"),
    "no tuple": ({"x": ["layers.0.key"]}, "'x' is of a list, not of a tuple of names of tensors"),
    "no such tensor": (
        {"x": ("layers.0.keys",)},
        "'x' names 'layers.0.keys', and there is no such tensor",
    ),
}


@pytest.mark.parametrize("about", ANSWERS)
def test_groups_that_would_lose_or_double_results_are_refused(about: str, tmp_path: Path) -> None:
    given, said = ANSWERS[about]

    @dataclass(frozen=True)
    class Grouped(Squares):
        def groups(self, checkpoint: Checkpoint) -> Any:
            return given

    with pytest.raises(PluginError, match=said):
        list(measure(in_a_file(tmp_path), {"x": Grouped()}))


def test_a_collector_that_is_none_and_a_need_that_exits_are_errors_of_their_author(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Forgets(Squares):
        def collector(self, tensors: Mapping[str, LazyTensor]) -> Any:
            return None

    @dataclass(frozen=True)
    class Leaves(Squares):
        def collector(self, tensors: Mapping[str, LazyTensor]) -> Any:
            raise SystemExit(3)

    for need, said in (
        (Forgets(), "collector returned None, not a Collector; is a 'return' missing?"),
        (Leaves(), "Leaves: SystemExit: 3"),
    ):
        with pytest.raises(PluginError, match=said):
            list(measure(in_a_file(tmp_path), {"x": need}))


@dataclass
class Written(Collector):
    """What happens to who writes into a chunk."""

    attribute: str
    refused: int = 0

    def update(self, chunk: Chunk) -> None:
        arrays = list(chunk.members.values()) if self.attribute == "members" else [getattr(chunk, self.attribute)]
        for array in arrays:
            try:
                array[...] = 0
            except ValueError:
                self.refused += 1


@dataclass(frozen=True)
class Writes(Need[int]):
    attribute: str

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Written:
        return Written(self.attribute)

    def finish(self, gathered: Any) -> int:
        return int(gathered.refused)


def added(arrays: Mapping[str, Any]) -> Any:
    return arrays["a"] + arrays["b"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("joint", [False, True])
def test_no_need_can_change_what_the_others_see(dtype: Any, joint: bool) -> None:
    """Needs share each chunk: one that writes into it would falsify every figure that another measures."""
    checkpoint = checkpoint_of({"a": np.full((4, 4), 3, dtype), "b": np.full((4, 4), 4, dtype)})
    if joint:
        members = {name: checkpoint[name] for name in ("a", "b")}
        checkpoint = checkpoint.with_tensors([JointTensor.of("sum", members, added, dtype)])
    needs = {name: Writes(name) for name in ("stored", "values", *(["members"] if joint else []))}
    for name, results in measure(checkpoint, {**needs, "summary": Summary()}):
        assert results["summary"].mean == {"a": 3, "b": 4, "sum": 7}[name]
        assert {each: results[each] for each in needs} == {"stored": 1, "values": 1, **({"members": 2} if joint else {})}
