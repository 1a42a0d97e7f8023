"""Tensors whose description is odd: what PyTorch makes of it is what is shown, or the file is refused."""

from __future__ import annotations

import itertools
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.hostile.evasions import both, call, name, text
from tests.support.loaders.opened import opened, same

from torch2grid_builtin._inert.legacy import MAGIC
from torch2grid_core import LoadError

STORAGES = {"Float": (4, 3), "ComplexFloat": (8, 2), "Int": (4, 3), "Byte": (1, 5), "Bool": (1, 3), "BFloat16": (2, 3)}
VALUES = {"true": b"\x88", "false": b"\x89", "none": b"N", "one": b"K\x01"}
_NUMBERS = struct.pack("<6f", 1, -2, 3, 0.5, 7, 8)
_EMPTY = call(name("collections", "OrderedDict"))


def write(path: Path, kind: str, metadata: bytes, length: bytes = b"", more: int = 0) -> Path:
    """A tensor on a whole storage. length: in place of its size. more: bytes that its record has too many."""
    width, count = STORAGES[kind]
    numbers = b"K" + bytes([count])
    stored = both(text("storage"), name("torch", f"{kind}Storage"), text("0"), text("cpu"), numbers) + b"Q"
    size = both(length or numbers)
    tensor = call(name("torch._utils", "_rebuild_tensor_v2"), stored, b"K\x00", size, both(b"K\x01"), b"\x89", _EMPTY, metadata)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}" + text("w") + tensor + b"s.")
        archive.writestr("m/byteorder", "little")
        archive.writestr("m/data/0", (b"\1\0\1" if kind == "Bool" else _NUMBERS[: width * count]) + bytes(more))
        archive.writestr("m/version", "3\n")
    return path


def agrees(path: Path) -> str:
    """``same`` or ``refused``, by both where PyTorch refuses. Fails where what is shown is no tensor of PyTorch's."""
    loaded: Any = None
    try:
        loaded = torch.load(path, weights_only=True)["w"]
        loaded.resolve_conj().resolve_neg()
    except Exception:
        loaded = None
    try:
        shown = opened(path)["w"]
    except LoadError:
        return "refused"
    assert loaded is not None, "PyTorch refuses it"
    assert same(shown, loaded)
    return "same"


@pytest.mark.parametrize("kind", STORAGES)
def test_views_of_metadata(kind: str, tmp_path: Path) -> None:
    """PyTorch asks for the keys, not for what is under them; a key that is set again is there once."""
    told = []
    path = tmp_path / "x.pt"
    entries = [text(key) + value for key in ("neg", "conj", "other") for value in VALUES.values()]
    for first, second in itertools.product([b"", *entries], repeat=2):
        metadata = b"}(" + b"".join(each for each in (first, second) if each) + b"u"
        told.append(agrees(write(path, kind, metadata)))
    assert told.count("same") >= 9  # of names that mean nothing
    views = [b"}" + text(key) + VALUES["false"] + b"s" for key in ("neg", "conj")]
    expected = {"ComplexFloat": ["same", "same"], "Bool": ["refused", "refused"]}.get(kind, ["same", "refused"])
    assert [agrees(write(path, kind, each)) for each in views] == expected


@pytest.mark.parametrize("kind", STORAGES)
def test_sizes_and_records(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    assert agrees(write(path, kind, b"}")) == "same"
    for length in VALUES.values():
        agrees(write(path, kind, b"}", length))
    for more in (1, 8):
        assert agrees(write(path, kind, b"}", more=more)) == "refused"


DTYPES = ("uint8", "uint16", "int32", "float32", "float64", "complex64")


def with_dtype(dtype: str, stored: bytes) -> bytes:
    """The pickle of one number, whose dtype is its own and not that of its storage."""
    first = (b"K\x00", b"K\x01\x85", b"K\x01\x85", b"\x89", _EMPTY, name("torch", dtype))
    return b"\x80\x02}" + text("w") + call(name("torch._utils", "_rebuild_tensor_v3"), stored, *first) + b"s."


@pytest.mark.parametrize("kind", ["Float", "Short", "Double", "ComplexFloat", "Untyped"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_dtypes_that_are_not_those_of_the_storage(kind: str, order: str, tmp_path: Path) -> None:
    """PyTorch turns the bytes of a storage's own numbers: ``uint16``, whose storages have no dtype, it leaves as they are."""
    width = {"Float": 4, "Short": 2, "Untyped": 1}.get(kind, 8)
    stored = both(text("storage"), name("torch.storage" if width == 1 else "torch", f"{kind}Storage"), text("0"), text("cpu"))
    stored = stored[:-1] + b"K" + bytes([16 // width]) + b"tQ"
    told = {}
    for dtype in DTYPES:
        path = tmp_path / f"{dtype}.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("m/data.pkl", with_dtype(dtype, stored))
            archive.writestr("m/byteorder", order)
            archive.writestr("m/data/0", struct.pack("<4f", 1, -2, 3, 0.5))
            archive.writestr("m/version", "3\n")
        told[dtype] = agrees(path)
    own = {"Float": "float32", "Short": "int16", "Double": "float64", "ComplexFloat": "complex64"}.get(kind)
    for dtype, said in told.items():
        assert said == ("refused" if order == "big" and own not in (None, dtype) else "same"), dtype


@pytest.mark.parametrize("kind", ["Float", "Short", "Double"])
def test_slices_under_another_dtype(kind: str, tmp_path: Path) -> None:
    """A slice of a storage in a legacy stream begins at so many numbers of the storage, whatever the tensor's are."""
    width = {"Float": 4, "Short": 2, "Double": 8}[kind]
    told = {}
    for dtype, first in itertools.product(DTYPES, range(3)):
        view = both(text("v"), b"K" + bytes([first]), b"K" + bytes([16 // width]))
        numbers = b"K" + bytes([32 // width])
        stored = both(text("storage"), name("torch", f"{kind}Storage"), text("k"), text("cpu"), numbers, view) + b"Q"
        path = tmp_path / f"{dtype}{first}.pth"
        front = b"".join(pickle.dumps(each, 2) for each in (MAGIC, 1001, {}))
        keys = pickle.dumps(["k"], 2) + struct.pack("<q", 32 // width)
        path.write_bytes(front + with_dtype(dtype, stored) + keys + struct.pack("<8f", *range(1, 9)))
        told[dtype, first] = agrees(path)
    assert {key for key, said in told.items() if said != "same"} == {
        (dtype, first) for dtype, first in told if first * width % torch.empty(0, dtype=getattr(torch, dtype)).element_size()
    }
