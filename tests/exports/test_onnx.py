"""ONNX models: every way of writing numbers, graphs in graphs, files beside, and hostile forms."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st
from tests.support.exports import onnx
from tests.support.loaders.opened import bits, opened
from tests.support.tools import torch2grid

from torch2grid_core import Checkpoint, LoadError

FORMS = ("raw", "packed", "unpacked", "split")


def written(folder: Path, raw: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def of(folder: Path, *initialisers: bytes, nodes: tuple[bytes, ...] = (), rest: bytes = b"") -> Checkpoint:
    return opened(written(folder, onnx.model(onnx.graph(initialisers, nodes, rest))))


def refused(folder: Path, raw: bytes) -> str:
    """The reason why a model does not open."""
    with pytest.raises(LoadError) as caught:
        opened(written(folder, raw))
    return str(caught.value)


def same(checkpoint: Checkpoint, name: str, expected: np.ndarray[Any, Any]) -> bool:
    tensor = checkpoint[name]
    assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype), name
    return bits(tensor) == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_every_dtype_in_every_form(form: str, tmp_path: Path) -> None:
    arrays = onnx.arrays()
    checkpoint = of(tmp_path, *(onnx.tensor(name, array, form) for name, array in arrays.items()))
    assert list(checkpoint) == list(arrays)
    for name, array in arrays.items():
        assert same(checkpoint, name, array)
        flat = array.reshape(-1)
        assert checkpoint[name].read(3, 9).tobytes() == flat[3:9].tobytes(), name


@given(
    kind=st.sampled_from(sorted(onnx.SMALL)),
    form=st.sampled_from(["raw", "packed"]),
    shape=st.lists(st.integers(0, 5), max_size=3),
    seed=st.integers(0, 99),
)
def test_numbers_of_four_and_two_bits(kind: str, form: str, shape: list[int], seed: int, tmp_path_factory: Any) -> None:
    width = 2 if kind.endswith("2") else 4
    count = int(np.prod(shape, dtype=int))
    codes = np.random.default_rng(seed).integers(0, 1 << width, count)
    folder = tmp_path_factory.mktemp("small")
    tensor = of(folder, onnx.small("w", kind, shape, codes.tolist(), form))["w"]
    expected: np.ndarray[Any, Any] = codes.astype(np.uint8)
    if kind.startswith("int"):
        expected = ((codes ^ (1 << (width - 1))) - (1 << (width - 1))).astype(np.int8)
    elif kind.startswith("float"):
        expected = codes.astype(np.uint8).view(ml_dtypes.float4_e2m1fn)
    assert tensor.shape == tuple(shape)
    assert tensor.numpy().reshape(-1).tolist() == expected.tolist()
    assert str(width) in tensor.note or kind.startswith("float4")


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=200), cut=st.integers(0, 200))
def test_numbers_of_any_length_read_in_any_part(values: list[int], cut: int, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("long")
    array = np.array(values, np.int64)
    tensor = of(folder, onnx.tensor("w", array, "packed"))["w"]
    cut = min(cut, len(values))
    assert [*tensor.read(0, cut).tolist(), *tensor.read(cut, len(values)).tolist()] == values


def test_more_numbers_than_are_read_at_once(tmp_path: Path) -> None:
    """Varints are found again from places that are remembered, across every boundary of what is read."""
    array = np.random.default_rng(1).integers(-(2**40), 2**40, 700_000) >> np.random.default_rng(2).integers(0, 40, 700_000)
    encoded = b"".join(onnx.varint(int(value)) for value in array)
    told = onnx.dims(array.shape) + onnx.number(2, 7) + onnx.held(7, encoded) + onnx.held(8, "w")
    tensor = of(tmp_path, told)["w"]
    assert np.array_equal(tensor.numpy(), array)
    for start in (65_535, 65_536, 131_000, 699_999):
        assert np.array_equal(tensor.read(start, start + 1), array[start : start + 1])


def test_graphs_in_graphs_functions_and_training(tmp_path: Path) -> None:
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    deep = onnx.graph([onnx.tensor("deep", one + 3), onnx.tensor("main", one + 4)])
    branch = onnx.graph(
        [onnx.tensor("branch", one + 1)], [onnx.node("Loop", ["z"], onnx.attribute("body", onnx.held(6, deep)), name="loop")]
    )
    nodes = (
        onnx.node("If", ["y"], onnx.attribute("then_branch", onnx.held(6, branch)), name="if"),
        onnx.node("Constant", ["c"], onnx.attribute("value", onnx.held(5, onnx.tensor("", one + 2)))),
        onnx.node(
            "Constant", ["f"], onnx.attribute("value_floats", *(onnx.varint(7 << 3 | 5) + each.tobytes() for each in one[0]))
        ),
        onnx.node("Constant", ["one"], onnx.attribute("value", onnx.held(5, onnx.tensor("", np.ones((), np.int64))))),
        onnx.node("Custom", ["x"], onnx.attribute("table", onnx.held(5, onnx.tensor("", one + 5))), name="lookup"),
    )
    function = onnx.held(
        25,
        onnx.held(1, "f")
        + onnx.held(7, onnx.node("Constant", ["inner"], onnx.attribute("value", onnx.held(5, onnx.tensor("", one + 6))))),
    )
    training = onnx.held(20, onnx.held(1, onnx.graph([onnx.tensor("start", one + 7)])))
    raw = onnx.model(onnx.graph([onnx.tensor("main", one)], nodes), function + training)
    checkpoint = opened(written(tmp_path, raw))
    for name, added in {
        "main": 0,
        "branch": 1,
        "deep": 3,
        "main#2": 4,
        "c": 2,
        "lookup.table": 5,
        "inner": 6,
        "start": 7,
    }.items():
        assert same(checkpoint, name, one + added), name
    assert same(checkpoint, "f", one[0])
    assert len(checkpoint) == 9
    assert "1 constant of one number is not listed" in checkpoint.notes


def test_sparse_initialisers_are_their_stored_values(tmp_path: Path) -> None:
    values = np.array([1.5, -2.5, 3.5], np.float32)

    def sparse(indices: np.ndarray[Any, Any], shape: tuple[int, ...]) -> bytes:
        told = onnx.held(1, onnx.tensor("w", values)) + onnx.held(2, onnx.tensor("", indices))
        return onnx.held(15, told + b"".join(onnx.number(3, length) for length in shape))

    good = (np.array([0, 5, 11], np.int64), np.array([[0, 0], [1, 1], [2, 3]], np.int64))
    for indices in good:
        tensor = of(tmp_path, rest=sparse(indices, (3, 4)))["w"]
        assert tensor.numpy().tolist() == values.tolist()
        assert "sparse, 3 stored values of 3×4" in tensor.note
    for indices, shape in (
        (good[0], (3, 3)),
        (good[1], (2, 4)),
        (good[1] - 1, (3, 4)),
        (good[0][:2], (3, 4)),
        (good[1], (3, 4, 1)),
    ):
        assert "do not fit" in refused(tmp_path, onnx.model(onnx.graph(rest=sparse(indices, shape))))


def test_texts_and_unknown_types_are_skipped(tmp_path: Path) -> None:
    text = onnx.dims((2,)) + onnx.number(2, onnx.STRING) + onnx.held(6, "a") + onnx.held(6, "b") + onnx.held(8, "words")
    unknown = onnx.dims((2,)) + onnx.number(2, 99) + onnx.held(9, b"12") + onnx.held(8, "odd")
    checkpoint = of(tmp_path, text, unknown, onnx.tensor("w", np.ones(3, np.float32)))
    assert list(checkpoint) == ["w"]
    assert {skip.name: skip.reason for skip in checkpoint.skipped} == {
        "words": "a tensor of texts",
        "odd": "a tensor of the type number 99, which is not known",
    }


def beside(location: str, offset: Any = None, length: Any = None) -> bytes:
    return onnx.model(
        onnx.graph([onnx.dims((2, 3)) + onnx.number(2, 1) + onnx.held(8, "w") + onnx.external(location, offset, length)])
    )


def test_numbers_in_files_beside(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "parts").mkdir()
    for name in ("data.bin", "parts/data.bin"):
        (tmp_path / name).write_bytes(bytes(16) + array.tobytes() + bytes(8))
        assert same(opened(written(tmp_path, beside(name, 16, 24))), "w", array)
    (tmp_path / "exact").write_bytes(array.tobytes())
    assert same(opened(written(tmp_path, beside("exact"))), "w", array)
    assert same(opened(written(tmp_path, beside("./exact", 0))), "w", array)
    run = torch2grid("--stats", "model.onnx", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "model.onnx: ONNX, 1 tensor, 6 parameters" in run.stderr


@pytest.mark.parametrize(
    ("location", "offset", "length", "told"),
    [
        ("/etc/passwd", None, None, "outside its folder"),
        ("../secret", None, None, "outside its folder"),
        ("a/../../secret", None, None, "outside its folder"),
        ("..\\secret", None, None, "outside its folder"),
        ("C:\\secret", None, None, "outside its folder"),
        ("\\\\host\\share", None, None, "outside its folder"),
        ("", None, None, "outside its folder"),
        (".", None, None, "outside its folder"),
        ("a\0b", None, None, "outside its folder"),
        ("folder", None, None, "which is a folder"),
        ("link", None, None, "a link that leaves its folder"),
        ("linked/secret", None, None, "a link that leaves its folder"),
        ("missing", None, None, "which is not there"),
        ("data", 8, 24, "claims 8–32"),
        ("data", 2**62, 24, "claims"),
        ("data", 0, 20, "whose shape needs 24"),
        ("data", 0, 2**63, "whose shape needs 24"),
        ("data", -1, 24, "not a number"),
        ("data", "1e3", 24, "not a number"),
        ("data", "٣", 24, "not a number"),
        ("data", "9" * 5000, 24, "where a name is expected"),
        ("data", 4, None, "whose shape needs 24"),
    ],
)
def test_files_beside_are_bounded_and_stay_beside(location: str, offset: Any, length: Any, told: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "folder").mkdir()
    (folder / "data").write_bytes(bytes(24))
    (tmp_path / "secret").write_bytes(bytes(24))
    if sys.platform != "win32":
        os.symlink(tmp_path / "secret", folder / "link")
        os.symlink(tmp_path, folder / "linked")
    assert told in refused(folder, beside(location, offset, length))


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_links_to_one_folder_of_files_are_followed(tmp_path: Path) -> None:
    """As a cache of Hugging Face's has them: the model is a link, too."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / "one"
    blobs.mkdir()
    folder.mkdir(parents=True)
    (blobs / "a1").write_bytes(beside("model.onnx.data"))
    (blobs / "b2").write_bytes(np.ones(6, np.float32).tobytes())
    os.symlink(blobs / "a1", folder / "model.onnx")
    os.symlink(blobs / "b2", folder / "model.onnx.data")
    assert opened(folder / "model.onnx")["w"].numpy().sum() == 6


W = onnx.tensor("w", np.ones(4, np.float32))
KIND = onnx.number(2, 1)
HOSTILE = {
    "two of one name": (onnx.model(onnx.graph([W, W])), "two initialisers named 'w'"),
    "two graphs": (onnx.model(onnx.graph([W]), onnx.held(7, onnx.graph([W]))), "has two graphs"),
    "a negative length": (onnx.model(onnx.graph([onnx.number(1, -1) + KIND + onnx.held(8, "w")])), "impossible shape [-1]"),
    "a huge length": (onnx.model(onnx.graph([onnx.dims((2**62,)) + KIND + onnx.held(8, "w")])), "impossible shape"),
    "huge together": (onnx.model(onnx.graph([onnx.dims((2**40, 2**40)) + KIND + onnx.held(8, "w")])), "impossible shape"),
    "more than there is": (onnx.model(onnx.graph([onnx.dims((2**40,)) + KIND + onnx.held(9, b"1234")])), "whose shape needs"),
    "thousands of dimensions": (onnx.model(onnx.graph([onnx.dims((1,) * 5000) + KIND])), "more than 64 dimensions"),
    "thousands, packed": (onnx.model(onnx.graph([onnx.dims((1,) * 5000, "packed") + KIND])), "are not numbers"),
    "no numbers": (onnx.model(onnx.graph([onnx.dims((2,)) + KIND])), "has 0 bytes of tensor"),
    "numbers twice": (onnx.model(onnx.graph([W + onnx.held(4, bytes(16))])), "twice, in different fields"),
    "raw twice": (onnx.model(onnx.graph([W + onnx.held(9, bytes(16))])), "states the numbers of a tensor twice"),
    "a type twice": (onnx.model(onnx.graph([W + onnx.number(2, 6)])), "states the type of a tensor twice"),
    "another field": (onnx.model(onnx.graph([onnx.dims((1,)) + KIND + onnx.packed(7, [1])])), "in a field of another type"),
    "segments": (onnx.model(onnx.graph([W + onnx.held(3, onnx.number(1, 0))])), "in segments"),
    "a varint of 11 bytes": (onnx.model(onnx.graph([onnx.dims((1,)) + b"\x10" + b"\xff" * 10 + b"\1"])), "more than 64 bits"),
    "a varint of 70 bits": (onnx.model(onnx.graph([onnx.dims((1,)) + b"\x10" + b"\xff" * 9 + b"\x7f"])), "more than 64 bits"),
    "packed, of 11 bytes": (
        onnx.model(onnx.graph([onnx.dims((1,)) + onnx.number(2, 7) + onnx.held(7, b"\x80" * 11 + b"\0")])),
        "more than 64 bits",
    ),
    "packed, cut": (
        onnx.model(onnx.graph([onnx.dims((1,)) + onnx.number(2, 7) + onnx.held(7, b"\x80")])),
        "ends inside a number",
    ),
    "beyond the message": (onnx.model(onnx.graph([onnx.held(8, "w") + b"\x4a\xff\x7f"])), "are left"),
    "a group": (onnx.model(onnx.graph([W + b"\x53"])), "wire type 3"),
    "field 0": (onnx.model(onnx.graph([W + b"\x02\x00"])), "impossible number 0"),
    "nothing": (onnx.model(onnx.graph()), "has no initialisers"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_contradicts_itself_is_refused(kind: str, tmp_path: Path) -> None:
    raw, told = HOSTILE[kind]
    said = refused(tmp_path, raw)
    assert told in said
    assert said.isprintable()


def test_ten_thousand_graphs_in_graphs(tmp_path: Path) -> None:
    inner = onnx.graph([W])
    for _ in range(10_000):
        inner = onnx.graph([], [onnx.node("If", ["y"], onnx.attribute("b", onnx.held(6, inner)))])
    assert "more than 100 graphs within graphs" in refused(tmp_path, onnx.model(inner))


def test_a_model_that_is_cut_short_never_opens_with_less(tmp_path: Path) -> None:
    raw = onnx.model(onnx.graph([W]))
    inside = raw.index(onnx.graph([W])) + len(onnx.graph([W]))
    for cut in range(12, inside):
        said = refused(tmp_path, raw[:cut])
        assert said.isprintable()
    assert list(opened(written(tmp_path, raw[:inside]))) == ["w"]  # only what stands behind the graph is gone


@pytest.mark.parametrize(
    "head", [b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02", b"\x08\x01\x12\x04abcd", b"(dp0\n.", bytes(40), b"\x08", b"\x08\x0a"]
)
def test_what_else_begins_so_is_no_model(head: bytes, tmp_path: Path) -> None:
    from torch2grid_builtin._loaders.onnx import Onnx
    from torch2grid_core.sources import LocalSource

    assert Onnx().sniff(LocalSource(written(tmp_path, head + bytes(10)))) == 0
