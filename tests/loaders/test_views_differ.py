"""Tensors whose description is odd: what PyTorch makes of it is what is shown, or the file is refused."""

from __future__ import annotations

import itertools
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.hostile.evasions import both, call, name, text
from tests.support.loaders.opened import opened, same

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
