"""Tensors read side by side: what they compute, what is asked of their members, what a plugin measures itself."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from tests.support.views.drawing import checkpoint_of, drawn_of

from torch2grid_builtin._transformers.flatten import Flatten
from torch2grid_core import Checkpoint, LazyTensor, LoadError, Need, NotDrawable, Page, Part, PluginError, TensorFilter, View
from torch2grid_core.grids import matrix_layout
from torch2grid_core.measures import Collector, Of, Profile, Raster, Summary, Transformed, Values, counted_distribution
from torch2grid_core.pages import Table
from torch2grid_core.selection import select
from torch2grid_core.sources import JointTensor, LocalSource, Range


def difference(arrays):
    return arrays["b"].astype(np.float64) - arrays["a"]


SHAPES = {"w": (300, 700), "v": (5,), "one": ()}


@pytest.fixture
def pairs():
    generator = np.random.default_rng(0)
    return {
        name: (generator.standard_normal(shape).astype(np.float32), generator.standard_normal(shape).astype(np.float16))
        for name, shape in SHAPES.items()
    }


def stored(tmp_path, name, array):
    path = tmp_path / f"{name}.bin"
    path.write_bytes(np.ascontiguousarray(array).tobytes())
    return LazyTensor(name, array.shape, array.dtype, Range(LocalSource(path), 0, array.nbytes))


def joint(tmp_path, pairs):
    tensors = []
    for name, (a, b) in pairs.items():
        members = {"a": stored(tmp_path, f"{name}_a", a), "b": stored(tmp_path, f"{name}_b", b)}
        tensors.append(JointTensor.of(name, members, difference, np.float64))
    return Checkpoint(tensors, aliases={})


class Everything(View):
    """Asks for everything there is, and keeps what came back."""

    name = "everything"

    def __init__(self):
        self.found = {}

    def tensor_needs(self, tensor, run):
        raster = Raster(matrix_layout(tensor.name, tensor.shape, 64), "absmax")
        return {"d": Summary(), "a": Of("a", Summary()), "grid": raster, "grid b": Of("b", raster), "no": Of("c", raster)}

    def tensor_pages(self, tensor, results, run):
        yield Page(tensor.name, tensor.name, (Table(("k", "v"), ()),), data=None, about={"results": results})

    def needs(self, checkpoint, run):
        return {
            "profile": Of("b", Profile()),
            "values": Values(),
            "values a": Of("a", Values()),
            "whole": Transformed(Flatten(), "mean", 64),
            "whole a": Of("a", Transformed(Flatten(), "mean", 64)),
            "pair": Pair(),
        }

    def pages(self, checkpoint, results, run):
        self.found.update(results)
        return ()


@dataclass(frozen=True)
class Pair(Need[float]):
    """The sum of products of both members."""

    def collector(self, tensors):
        return _Pair()


class _Pair(Collector):
    def __init__(self):
        self.sum, self.next = 0.0, 0

    def update(self, chunk):
        assert chunk.start == self.next
        chunk = chunk.members
        self.next += len(chunk["a"])
        self.sum += float(chunk["a"].astype(np.float64) @ chunk["b"].astype(np.float64))

    def result(self):
        return self.sum


@pytest.mark.parametrize("processes", [0, 2])
def test_one_pass_answers_for_the_computed_tensor_and_for_its_members(tmp_path, pairs, processes):
    checkpoint, view = joint(tmp_path, pairs), Everything()
    executor = ProcessPoolExecutor(processes) if processes else None
    pages = [drawn.page for drawn in drawn_of(checkpoint, [view], executor=executor)]
    if executor:
        executor.shutdown()
    assert [page.name for page in pages] == list(SHAPES)
    for page in pages:
        a, b = (each.astype(np.float64) for each in pairs[page.name])
        results = page.about["results"]
        assert results["d"].mean == pytest.approx((b - a).mean())
        assert results["a"].max == a.max()
        assert results["grid"].largest[2] == pytest.approx((b - a).flat[np.abs(b - a).argmax()])
        assert results["grid b"].values.max() == np.abs(b).max()
        assert results["no"] is None
        np.testing.assert_array_equal(view.found["values"][page.name], b - a)
        np.testing.assert_array_equal(view.found["values a"][page.name], a)
        np.testing.assert_allclose(
            view.found["profile"][page.name].output_absmax, np.abs(b).reshape(b.shape[0] if b.ndim else 1, -1).max(axis=1)
        )
        assert view.found["pair"][page.name] == pytest.approx((a * b).sum())
    for key, flat in (
        ("whole", [b.astype(np.float64) - a for a, b in pairs.values()]),
        ("whole a", [a for a, _ in pairs.values()]),
    ):
        grid = view.found[key]
        assert (grid.values * grid.counts).sum() == pytest.approx(sum(each.sum(dtype=np.float64) for each in flat), rel=1e-4)


def test_it_is_a_tensor_like_any_other(tmp_path, pairs):
    tensor = joint(tmp_path, pairs)["w"]
    a, b = pairs["w"]
    np.testing.assert_array_equal(tensor.numpy(), b.astype(np.float64) - a)
    np.testing.assert_array_equal(np.concatenate([part.copy() for part in tensor.chunks(4096)]), tensor.numpy().reshape(-1))
    again = pickle.loads(pickle.dumps(tensor))
    assert again.storage.shippable
    np.testing.assert_array_equal(again.numpy(), tensor.numpy())
    assert not JointTensor.of("x", dict.fromkeys("ab", checkpoint_of({"x": a})["x"]), difference).storage.shippable


def test_members_that_are_not_contiguous(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    plain = stored(tmp_path, "t", array.T)
    turned = LazyTensor("u", (3, 4), plain.dtype, plain.storage, 0, (1, 3))
    tensor = JointTensor.of("x", {"a": turned, "b": stored(tmp_path, "b", 2 * array)}, difference)
    np.testing.assert_array_equal(tensor.numpy(), array)
    chunks = [(start, {name: part.copy() for name, part in parts.items()}) for start, parts in tensor.lockstep()]
    np.testing.assert_array_equal(chunks[0][1]["a"], array.reshape(-1))


def test_members_of_different_shapes_and_bytes_that_are_missing(tmp_path, pairs):
    one, two = stored(tmp_path, "one", pairs["w"][0]), stored(tmp_path, "two", pairs["v"][1])
    with pytest.raises(ValueError, match="shapes"):
        JointTensor.of("x", {"a": one, "b": two}, difference)
    (tmp_path / "one.bin").write_bytes(b"short")
    broken = JointTensor.of("x", {"a": one, "b": one}, difference)
    with pytest.raises(LoadError):
        list(drawn_of(Checkpoint([broken], aliases={}), [Everything()]))


@dataclass(frozen=True)
class Wrong(Need[None]):
    def collector(self, tensors):
        raise RuntimeError("no collector today")


class Asks(View):
    name = "asks"

    def tensor_needs(self, tensor, run):
        return {"x": Wrong()}


def test_a_measure_that_fails_is_the_views_failure():
    with pytest.raises(PluginError, match=r"asks.*Wrong.*no collector today"):
        list(drawn_of(checkpoint_of({"w": np.ones(3)}), [Asks()]))


class OfTheOptimizer(View):
    """Draws what is beside the chosen part."""

    name = "beside"

    def subject(self, checkpoint, run):
        if not checkpoint.whole.parts:
            raise NotDrawable("no parts")
        return checkpoint.whole.part("optimizer")

    def needs(self, checkpoint, run):
        return {"x": Summary()}

    def pages(self, checkpoint, results, run):
        yield Page("beside", ",".join(results["x"]), ())


class OfTheModel(OfTheOptimizer):
    name = "model"

    def subject(self, checkpoint, run):
        return checkpoint


class Rebuilt(TensorFilter):
    """Keeps everything, in a checkpoint of its own making."""

    name = "rebuilt"

    def apply(self, checkpoint):
        return Checkpoint(dict(checkpoint), source=checkpoint.source, parts=())


def test_views_about_other_tensors_than_those_chosen():
    tensors = checkpoint_of({"model.w": np.ones(2), "optimizer.m": np.ones(2), "optimizer.v": np.ones(2)})
    names = list(tensors)
    parts = [Part("model", "model.", tuple(names[:1])), Part("optimizer", "optimizer.", tuple(names[1:]))]
    whole = Checkpoint(tensors, parts=parts, default_part="model")
    chosen = whole.part("model").select(["w"])
    assert chosen.whole is whole
    assert whole.whole is whole
    for checkpoint in (select(whole, filters=[Rebuilt()]).checkpoint, select(whole, "all", [Rebuilt()]).checkpoint):
        assert list(checkpoint.whole) == names
        assert {part.name for part in checkpoint.part_of.values()} == (
            {"model"} if len(checkpoint) == 1 else {"model", "optimizer"}
        )
    pages = [drawn.page for drawn in drawn_of(chosen, [OfTheOptimizer(), OfTheModel()])]
    assert [page.title for page in pages] == ["m,v", "w"]
    told = []
    list(drawn_of(chosen, [OfTheOptimizer(), OfTheModel()], progress=lambda tensor, total: told.append((tensor.nbytes, total))))
    assert [total for _, total in told] == [sum(size for size, _ in told)] * 3  # of all that is read, whatever it is about
    with pytest.raises(NotDrawable):
        list(drawn_of(tensors, [OfTheOptimizer()]))


def test_a_distribution_of_what_was_counted_elsewhere():
    values = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    codes, counts = np.unique(values.view(np.uint16)[1::2], return_counts=True)
    figures = {"mean": values.mean(), "std": values.std(), "low": values.min(), "high": values.max(), "zeros": 0}
    found = counted_distribution(codes, counts, **figures, nan=3)
    assert (found.count, found.finite, found.nan) == (5003, 5000, 3)
    assert found.quantile(0.5) == pytest.approx(np.quantile(values, 0.5, method="inverted_cdf"), rel=0.004)
    assert found.std == pytest.approx(values.std(dtype=np.float64), rel=1e-6)
    assert found.l1 == pytest.approx(np.abs(values, dtype=np.float64).sum(), rel=0.004)
    assert pickle.loads(pickle.dumps(found)).merge(found).finite == 10_000
    for wrong in ({**figures, "zeros": 6000}, {**figures, "mean": 9}, {**figures, "neginf": -1}):
        with pytest.raises(ValueError):
            counted_distribution(codes, counts, **wrong)
    with pytest.raises(ValueError):
        counted_distribution(np.array([0x7F80]), np.array([1]), **figures)
    assert counted_distribution(codes[:0], counts[:0], mean=0, std=0, low=0, high=0, zeros=0).count == 0


def test_members_that_repeat_are_joined_as_what_they_store(tmp_path):
    one, row = stored(tmp_path, "one", np.ones((1, 1), np.float32)), np.arange(700, dtype=np.float32)
    expanded = LazyTensor("e", (300, 700), one.dtype, one.storage, 0, (0, 0))
    rows = LazyTensor("r", (300, 700), one.dtype, stored(tmp_path, "row", row).storage, 0, (0, 1))
    columns = LazyTensor("c", (300, 700), one.dtype, stored(tmp_path, "column", row[:300]).storage, 0, (1, 0))
    sliding = LazyTensor("s", (300, 401), one.dtype, rows.storage, 0, (1, 1))
    alike = JointTensor.of("x", {"a": rows, "b": rows}, difference, note="Δ")
    assert (alike.shape, alike.note) == ((1, 700), "Δ, 1×700 stored, repeated to 300×700")
    np.testing.assert_array_equal(alike.numpy(), np.zeros((1, 700)))
    assert JointTensor.of("x", {"a": sliding, "b": sliding}, difference).shape == (700,)
    full = np.random.default_rng(0).standard_normal((300, 700)).astype(np.float32)
    for other, values in ((expanded, 1), (rows, row), (columns, row[:300, None])):
        mixed = JointTensor.of("x", {"a": stored(tmp_path, "full", full), "b": other}, difference)
        assert mixed.shape == (300, 700)
        np.testing.assert_array_equal(mixed.numpy(), (values - full.astype(np.float64)).astype(np.float32))
        parts = [np.array(chunks["b"]) for _, chunks in mixed.lockstep()]
        np.testing.assert_array_equal(np.concatenate(parts).reshape(300, 700), np.broadcast_to(values, (300, 700)))
    for first, second in ((rows, columns), (rows, expanded)):
        with pytest.raises(ValueError, match="each in a way of its own"):
            JointTensor.of("x", {"a": first, "b": second}, difference)
