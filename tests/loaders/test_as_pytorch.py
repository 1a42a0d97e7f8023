"""A pickle that names one thing in two ways, or asks for other numbers than it holds, is shown as PyTorch loads it."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
import torch
from tests.support.hostile.evasions import both, call, name, text
from tests.support.loaders.opened import opened

STORAGE = both(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), b"K\x02") + b"Q"
TENSOR = call(name("torch._utils", "_rebuild_tensor"), STORAGE, b"K\x00", b"K\x02\x85", b"K\x01\x85")
DEVICE = name("torch", "device")
CPU = call(DEVICE, text("cpu:0"))
SAME = {
    "sets": (name("__builtin__", "set"), name("builtins", "set")),
    "complex": (name("__builtin__", "complex"), name("builtins", "complex")),
    "devices": (call(DEVICE, CPU), CPU),
    "devices of devices": (call(DEVICE, call(DEVICE, CPU)), call(DEVICE, text("cpu"), b"K\x00")),
}


def archive(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + pickled + b".")
        file.writestr("a/byteorder", "little")
        file.writestr("a/data/0", struct.pack("<2f", 1.5, 2.75))
        file.writestr("a/version", "3\n")
    return path


@pytest.mark.parametrize("same", SAME)
def test_keys_that_are_one_to_python(same: str, tmp_path: Path) -> None:
    first, second = SAME[same]
    path = archive(tmp_path / "model.pt", b"}(" + first + TENSOR + second + b"]" + TENSOR + b"au")
    assert len(torch.load(path, weights_only=True)) == 1
    assert len(opened(path)) == 1


@pytest.mark.parametrize("dtype", ["float32", "int32", "float16", "float64", "bfloat16"])
def test_tensors_for_another_device_keep_their_numbers_or_are_left_out(dtype: str, tmp_path: Path) -> None:
    made = call(
        name("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"), TENSOR, name("torch", dtype), text("cpu"), b"\x89"
    )
    path = archive(tmp_path / "model.pt", b"}(" + text("w") + made + text("good") + TENSOR + b"u")
    loaded = torch.load(path, weights_only=True)["w"]
    shown = opened(path)
    if "w" in shown:
        assert loaded.double().tolist() == shown["w"].numpy().astype("f8").tolist()
        assert dtype == "float32"
    else:
        assert dtype in shown.skipped[0].reason
