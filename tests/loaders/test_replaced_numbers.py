"""States, keys and zero points that give a tensor other numbers in PyTorch than it seems: read as PyTorch does, or refused."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.hostile.evasions import both, call, name, text
from tests.support.loaders.opened import opened

from torch2grid_core import LoadError

EMPTY = call(name("collections", "OrderedDict"))


def storage(key: str) -> bytes:
    return both(text("storage"), name("torch", "FloatStorage"), text(key), text("cpu"), b"K\x04") + b"Q"


def tensor(key: str) -> bytes:
    parts = (storage(key), b"K\0", b"K\x04\x85", b"K\x01\x85", b"\x89", EMPTY)
    return call(name("torch._utils", "_rebuild_tensor_v2"), *parts)


def written(path: Path, value: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + value + b".")
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/version", "3\n")
        for key, numbers in {"0": (1, 2, 3, 4), "1": (9, 8, 7, 6)}.items():
            archive.writestr(f"x/data/{key}", struct.pack("<4f", *numbers))
    return path


PARAMETER = call(name("torch._utils", "_rebuild_parameter"), tensor("0"), b"\x89", EMPTY)
MADE = name("torch", "Tensor") + b")\x81" + both(storage("0"), b"K\0", b"K\x04\x85", b"K\x01\x85") + b"b"
FOUR = b"}(" + storage("1") + b"NK\0NK\x04\x85NK\x01\x85Nu"
FIVE = b"}(K\0" + tensor("1") + b"K\x01NK\x02" + EMPTY + b"K\x03\x89K\x04Nu"


@pytest.mark.parametrize("target", [tensor("0"), PARAMETER, MADE], ids=["tensor", "parameter", "made"])
@pytest.mark.parametrize(
    "state",
    [
        both(storage("1"), b"K\0", b"K\x04\x85"),
        both(storage("1"), b"K\0", b"K\x04\x85", b"K\x01\x85"),
        FOUR,
        FIVE,
        b"}" + tensor("1") + b"Ns",
        both(tensor("1")),
    ],
    ids=["three", "four", "four keys", "five keys", "a tensor as a key", "a tensor"],
)
def test_a_state_never_replaces_the_numbers_of_a_tensor(target: bytes, state: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "x.pt", b"}" + text("w") + target + state + b"bs")
    with pytest.raises(LoadError, match="replace its numbers"):
        opened(path)


NAN = b"G" + struct.pack(">d", float("nan"))
KEYS = {
    "nested tuples": (b"K\x01\x85\x85", b"K\x01\x85\x85"),
    "deeper": (b"K\x01K\x02\x85\x86\x85\x85", b"K\x01K\x02\x85\x86\x85\x85"),
    "other nested tuples": (b"K\x01\x85\x85", b"K\x02\x85\x85"),
    "a large integer and a float": (b"\x8a\x07" + (2**53).to_bytes(7, "little"), b"G" + struct.pack(">d", 2.0**53)),
    "a larger integer and a float": (b"\x8a\x07" + (2**53 + 1).to_bytes(7, "little"), b"G" + struct.pack(">d", 2.0**53)),
    "a huge integer and a float": (b"\x8a\x29" + (2**320).to_bytes(41, "little"), b"G" + struct.pack(">d", 2.0**320)),
    "true and one": (b"\x88", b"G" + struct.pack(">d", 1.0)),
    "nothing and zero": (b"\x89", b"G" + struct.pack(">d", -0.0)),
    "numbers in tuples": (b"\x88\x85", b"K\x01\x85"),
    "no number": (NAN, NAN),
    "one that is none, twice": (NAN + b"q\xf0", b"h\xf0"),
    "in a tuple": (NAN + b"\x85", NAN + b"\x85"),
    "devices": (call(name("torch", "device"), text("cuda"), b"K\x01"), call(name("torch", "device"), text("cuda:1"))),
    "sizes": (call(name("torch", "Size"), b"](K\x01K\x02e"), b"K\x01K\x02\x86"),
    "complex": (call(name("builtins", "complex"), b"K\x01", b"K\0"), b"K\x01"),
    "a layout and its name": (call(name("torch.serialization", "_get_layout"), text("torch.strided")), text("torch.strided")),
    "nine": (b"(" + b"K\x01" * 9 + b"t", b"(" + b"K\x01" * 9 + b"t"),
}


@pytest.mark.parametrize(("first", "second"), KEYS.values(), ids=list(KEYS))
def test_keys_are_equal_as_they_are_in_python(first: bytes, second: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "x.pt", b"}(" + first + tensor("0") + second + tensor("1") + b"u")
    expected = [each.tolist() for each in torch.load(path, weights_only=True).values()]
    assert [each.numpy().tolist() for each in opened(path).values()] == expected


def test_keys_that_cost_too_much_are_refused(tmp_path: Path) -> None:
    doubled = b"K\x01\x85" + b"q\x01h\x01\x86" * 60  # hashed, it is 2**60 numbers
    with pytest.raises(LoadError, match="hostile"):
        opened(written(tmp_path / "x.pt", b"}" + doubled + tensor("0") + b"s"))
    for key in (b"K\x01" + b"\x85" * 200, b"\x8a\xff" + b"\x01" * 255, b"X\0\0\x02\0" + b"a" * (1 << 17)):
        with pytest.raises(LoadError, match="as a key"):
            opened(written(tmp_path / "y.pt", b"}" + key + tensor("0") + b"s"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zero", [-(2**31), -100, 0, 100, 2**31 - 1])
def test_zero_points_wrap_as_those_of_pytorch(zero: int, tmp_path: Path) -> None:
    codes = torch.tensor([2**31 - 1, -(2**31), 2**31 - 50, 3, 0, -1], dtype=torch.int32)
    saved = torch._make_per_tensor_quantized_tensor(codes, 0.37, zero)
    torch.save({"w": saved}, tmp_path / "x.pt")
    expected = torch.load(tmp_path / "x.pt", weights_only=True)["w"].dequantize().numpy()
    assert np.array_equal(opened(tmp_path / "x.pt")["w"].numpy(), expected)
