"""Very large tensors in pieces: which ones, and that neither pieces nor workers change what is found."""

from __future__ import annotations

import pickle
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import save_file
from tests.engine.test_ahead import Watched
from tests.support.views.drawing import checkpoint_of, drawn_of

from torch2grid_builtin._views.grid import GridView
from torch2grid_builtin._views.histogram import HistogramView
from torch2grid_builtin._views.layers import LayersView
from torch2grid_core import Checkpoint, LazyTensor, LoadError, Page, PluginManager, Settings, View
from torch2grid_core._data.crc import crc32_combine
from torch2grid_core._engine import reading
from torch2grid_core._engine.reading import Ask, Task
from torch2grid_core._guard import Origin
from torch2grid_core.grids import matrix_layout
from torch2grid_core.measures import Duplicates, Of, Profile, Raster, Summary, Values, workers
from torch2grid_core.sources import CheckedStorage, JointTensor

RNG = np.random.default_rng(3)
LARGE = RNG.standard_normal((370, 41)).astype(np.float32)
ARRAYS = {"small": RNG.standard_normal((20, 30)).astype(np.float32), "large": LARGE, "bias": np.ones(7, np.float32)}


def in_a_file(folder, arrays):
    """Tensors without a checksum, which workers can read for themselves."""
    save_file(arrays, folder / "model.safetensors")
    return PluginManager.discover().open(str(folder / "model.safetensors"))


@pytest.fixture
def small_pieces(monkeypatch):
    """Tensors of more than 1,000 weights are large."""
    monkeypatch.setattr(reading, "PIECE", 1000)


class Everything(View):
    """Keeps what it got."""

    name = "everything"

    def tensor_needs(self, tensor, run):
        layout = matrix_layout(tensor.name, tensor.shape, 8)
        return {
            "brief": Summary((0.5,), brief=True),
            "summary": Summary((0.01,)),
            "profile": Profile(),
            "grid": Raster(layout, "rms"),
            "absmax": Raster(layout, "absmax"),
            "values": Values(limit=600),
        }

    def tensor_pages(self, tensor, results, run):
        yield Page(tensor.name, "", (), about=dict(results))


def found_by(executor, checkpoint, views):
    transformer = PluginManager.discover().create("transformer", "flatten")
    run = Settings(transformer=transformer, max_cells=16, tensor_cells=16)
    return [drawn.page for drawn in drawn_of(checkpoint, views, run, executor=executor)]


def pieces(tensor, needs):
    """The pieces in which a task reads *tensor* for *needs*."""
    asks = [Ask(number, tensor.name, need, Origin("need", ""), True) for number, need in enumerate(needs)]
    return Task((tensor,), tuple(asks)).pieces()


def figures(about):
    summary, profile = about["summary"], about["profile"]
    names = ("count", "zeros", "min", "max", "mean", "std", "l1", "l2", "skewness", "kurtosis")
    return [
        *(getattr(summary, name) for name in names),
        summary.near_zero(0.01),
        about["brief"].near_zero(0.5),
        *summary.quantiles(np.linspace(0, 1, 50)).tolist(),
        *profile.output_absmax.tolist(),
        *profile.output_norm.tolist(),
        *(() if profile.input_norm is None else profile.input_norm.tolist()),
        *about["grid"].values.reshape(-1).tolist(),
        *about["absmax"].values.reshape(-1).tolist(),
        about["grid"].largest,
    ]


def test_pieces_give_what_the_whole_gives(tmp_path, monkeypatch):
    checkpoint = in_a_file(tmp_path, {"large": LARGE})
    (whole,) = found_by(None, checkpoint, [Everything()])
    monkeypatch.setattr(reading, "PIECE", 1000)
    (parts,) = found_by(None, checkpoint, [Everything()])
    one, other = figures(whole.about), figures(parts.about)
    assert one.pop() == other.pop()
    np.testing.assert_allclose(other, one, rtol=1e-12)
    assert other[:4] == one[:4]
    assert other[10:62] == one[10:62]  # counts and quantiles follow from the weights, not from their grouping
    assert parts.about["values"] is None
    assert parts.about["grid"].weights == LARGE.size


def test_a_piece_sends_what_it_touched(tmp_path, monkeypatch):
    checkpoint = in_a_file(tmp_path, {"w": RNG.normal(size=(4000, 100)).astype(np.float32)})
    tensor = checkpoint["w"]
    needs = [Raster(matrix_layout("w", tensor.shape, 4000), "mean"), Profile()]
    (whole,) = pieces(tensor, needs)
    monkeypatch.setattr(reading, "PIECE", 40_000)
    sizes = [[len(pickle.dumps(each)) for each in piece.gather()] for piece in pieces(tensor, needs)]
    assert len(sizes) == 10
    for place, found in enumerate(whole.gather()):
        size = len(pickle.dumps(found))
        assert all(each[place] < size / 10 + 2500 for each in sizes)
        assert size > 60_000


@pytest.mark.usefixtures("small_pieces")
def test_workers_never_change_a_digit(tmp_path):
    checkpoint = in_a_file(tmp_path, ARRAYS)
    watched = Watched()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        runs = [found_by(executor, checkpoint, [Everything()]) for executor in (None, watched, processes)]
    assert [page.name for page in runs[0]] == list(checkpoint)
    for pages in runs[1:]:
        assert [page.name for page in pages] == [page.name for page in runs[0]]
        for page, first in zip(pages, runs[0], strict=True):
            assert figures(page.about) == figures(first.about)
    assert [each[0] for each in watched.given].count("gather") == 16


@pytest.mark.usefixtures("small_pieces")
def test_pictures_of_a_large_tensor_are_the_same_from_any_number_of_workers(tmp_path):
    checkpoint = in_a_file(tmp_path, ARRAYS)
    views = [GridView(), LayersView(), HistogramView()]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        here, away = (found_by(executor, checkpoint, views) for executor in (None, processes))
    assert [page.name for page in here] == [page.name for page in away]
    for one, other in zip(here, away, strict=True):
        assert [each.as_table().texts() for each in one.panels] == [each.as_table().texts() for each in other.panels]


@pytest.mark.usefixtures("small_pieces")
def test_one_large_tensor_is_worth_several_processes(tmp_path):
    checkpoint = in_a_file(tmp_path, {"large": LARGE})
    with workers(checkpoint, jobs=2) as executor:
        assert executor is not None
    with workers(in_a_file(tmp_path, {"small": ARRAYS["small"]}), jobs=2) as executor:
        assert executor is None


@pytest.mark.usefixtures("small_pieces")
def test_what_cannot_be_merged_is_read_at_one_go(tmp_path):
    tensor = in_a_file(tmp_path, {"large": LARGE})["large"]
    assert len(pieces(tensor, [Summary(), Profile()])) == 16
    assert [(each.start, each.stop) for each in pieces(tensor, [Summary()])][::15] == [(0, 948), (14221, 15170)]
    assert len(pieces(tensor, [Summary(), Values(limit=10)])) == 16
    for need in (Duplicates(), Values(limit=LARGE.size)):
        assert len(pieces(tensor, [Summary(), need])) == 1
    turned = LazyTensor("t", (41, 370), tensor.dtype, tensor.storage, tensor.offset, (1, 41))
    checked = LazyTensor("c", tensor.shape, tensor.dtype, CheckedStorage(tensor.storage, 0, "file", "record"))
    joint = JointTensor.of("j", {"a": tensor, "b": tensor}, lambda chunks: chunks["a"])
    part = LazyTensor("p", (41, 369), tensor.dtype, CheckedStorage(tensor.storage, 0, "file", "record"))
    assert [len(pieces(each, [Summary()])) for each in (turned, part, joint)] == [1, 1, 1]
    assert len(pieces(checked, [Summary()])) == 16


def test_a_small_tensor_is_one_piece(tmp_path):
    (piece,) = pieces(in_a_file(tmp_path, {"large": LARGE})["large"], [Summary((1.0,)), Profile(), Summary((2.0,), brief=True)])
    assert (piece.start, piece.stop) == (0, LARGE.size)
    assert [need for need, _ in piece.needs] == [Summary((1.0, 2.0)), Profile()]


class OfOne(View):
    """Asks for a member that only joint tensors have."""

    name = "of_one"

    def needs(self, checkpoint, run):
        return {"a": Of("a", Summary())}

    def pages(self, checkpoint, results, run):
        yield Page("p", "", (), about=dict(results["a"]))


def test_a_tensor_without_the_member_answers_nothing():
    tensors = checkpoint_of({"plain": np.ones(3, np.float32), "other": np.ones(4, np.float32)})
    joint = JointTensor.of("joint", {"a": tensors["other"]}, lambda chunks: chunks["a"])
    (page,) = found_by(None, Checkpoint([tensors["plain"], joint], aliases={}), [OfOne()])
    assert page.about["plain"] is None
    assert page.about["joint"].count == 4


def in_a_zip(folder, array):
    """The array in a record that has a checksum; and where its bytes begin in the file."""
    torch = pytest.importorskip("torch")
    path = folder / "model.pth"
    torch.save({"large": torch.from_numpy(array)}, path)
    return path, path.read_bytes().index(array.tobytes())


@pytest.mark.usefixtures("small_pieces")
def test_a_record_with_a_checksum_is_split_and_its_checksum_combined(tmp_path):
    path, start = in_a_zip(tmp_path, LARGE)
    watched = Watched()
    (page,) = found_by(watched, PluginManager.discover().open(str(path)), [Everything()])
    assert [each[0] for each in watched.given] == ["gather"] * 16
    (alone,) = found_by(None, in_a_file(tmp_path, {"large": LARGE}), [Everything()])
    assert figures(page.about) == figures(alone.about)
    raw = bytearray(path.read_bytes())
    raw[start + 40_000] ^= 1
    path.write_bytes(raw)
    for executor in (None, Watched()):
        with pytest.raises(LoadError, match="its CRC-32 is"):
            found_by(executor, PluginManager.discover().open(str(path)), [Everything()])


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=6))
def test_checksums_of_pieces_combine_to_that_of_the_whole(pieces_of):
    crc, size = 0, 0
    for piece in pieces_of:
        crc, size = crc32_combine(crc, zlib.crc32(piece), len(piece)), size + len(piece)
    assert crc == zlib.crc32(b"".join(pieces_of))


def test_checksums_of_long_pieces_combine():
    one, other = bytes(range(256)) * 5000, b"\0" * 3_000_001
    assert crc32_combine(zlib.crc32(one), zlib.crc32(other), len(other)) == zlib.crc32(one + other)
