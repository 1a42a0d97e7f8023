"""What torch writes rarely, and archives whose damage is where no tensor is."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.loaders.opened import opened, same

from torch2grid_builtin._inert import limits
from torch2grid_core import LoadError

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning", "ignore:.*sparse.*:UserWarning")
FLOAT4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]  # by code; bit 3 is the sign


def float4(packed: np.ndarray) -> np.ndarray:
    """The numbers of float4_e2m1fn bytes, two each, the low half first."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)
    return np.where(halves & 8, -1.0, 1.0) * np.array(FLOAT4)[halves & 7]


@pytest.mark.parametrize("legacy", [False, True])
def test_packed_float4_has_two_numbers_a_byte(legacy: bool, tmp_path: Path) -> None:
    raw = torch.arange(0, 256, 5, dtype=torch.uint8)[:48].reshape(6, 8)
    packed = raw.view(torch.float4_e2m1fn_x2)
    torch.save({"all": packed, "rows": packed[2:5], "one": packed[3, 5:6], "turned": packed.t()}, tmp_path / "x.pt")
    checkpoint = opened(tmp_path / "x.pt")
    numbers = float4(raw.numpy())
    for name, expected in (("all", numbers), ("rows", numbers[2:5]), ("one", numbers[3, 10:12])):
        np.testing.assert_array_equal(checkpoint[name].numpy().astype(np.float32), expected)
        assert checkpoint[name].note == "float4, two a byte"
    assert [(skip.name, "not contiguous" in skip.reason) for skip in checkpoint.skipped] == [("turned", True)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("legacy", [False, True])
def test_views_of_quantised_tensors_need_not_reach_the_end_of_their_storage(legacy: bool, tmp_path: Path) -> None:
    whole = torch.quantize_per_tensor(torch.linspace(-1, 1, 24).reshape(6, 4), 0.1, 3, torch.qint8)
    torch.save({"rows": whole[1:3], "few": whole[:5]}, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    checkpoint = opened(tmp_path / "x.pt")
    for name, expected in (("rows", whole[1:3]), ("few", whole[:5])):
        np.testing.assert_array_equal(checkpoint[name].numpy(), expected.dequantize().numpy())


class Scaled(torch.Tensor):
    """A wrapper subclass: it has a shape and dtype of its own, and its numbers are in other tensors."""

    @staticmethod
    def __new__(cls, codes: torch.Tensor, scale: torch.Tensor) -> Scaled:
        return torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor) -> None:
        self.codes, self.scale = codes, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["codes", "scale"], None

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].codes, args[0].scale)
        raise NotImplementedError(func)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_wrapper_subclass_is_the_tensors_that_it_wraps(legacy: bool, tmp_path: Path) -> None:
    codes, scale = torch.arange(6, dtype=torch.int8).reshape(2, 3), torch.tensor([0.5])
    value = {"w": Scaled(codes, scale), "b": torch.ones(2)}
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
    assert b"_rebuild_wrapper_subclass" in (tmp_path / "x.pt").read_bytes()
    checkpoint = opened(tmp_path / "x.pt")
    assert set(checkpoint) == {"w.codes", "w.scale", "b"}
    assert same(checkpoint["w.codes"], codes)
    assert same(checkpoint["w.scale"], scale)
    (action,) = checkpoint.not_run  # the class is another package's: its code would run
    assert (action.kind, action.name, action.severity) == ("import", f"{__name__}.Scaled", "note")


def sparse(kind: str) -> torch.Tensor:
    dense = torch.zeros(4, 6)
    dense[0, 1], dense[2, 5], dense[3, 0] = 1.0, 2.0, 3.0
    return {
        "coo": dense.to_sparse,
        "csr": dense.to_sparse_csr,
        "csc": dense.to_sparse_csc,
        "bsr": lambda: dense.to_sparse_bsr((2, 3)),
        "bsc": lambda: dense.to_sparse_bsc((2, 3)),
    }[kind]()


def parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    if tensor.layout is torch.sparse_coo:
        return [tensor.coalesce().indices()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices()]
    return [tensor.ccol_indices(), tensor.row_indices()]


@pytest.mark.parametrize("kind", ["coo", "csr", "csc", "bsr", "bsc"])
@pytest.mark.parametrize("wrong", [-1, 7, 2**40])
def test_a_sparse_tensor_whose_indices_lie_is_an_error(kind: str, wrong: int, tmp_path: Path) -> None:
    for which in range(len(parts(sparse(kind)))):
        tensor = sparse(kind)
        path = tmp_path / f"{which}.pt"
        torch.save(tensor, path)
        assert opened(path)["tensor"].size >= 3
        parts(tensor)[which].view(-1)[-1] = wrong  # in the tensor's own memory: torch checks it when it is made
        torch.save(tensor, path)
        with pytest.raises(LoadError, match=r"outside its size|do not fit"):
            opened(path)


def test_batches_of_sparse_matrices_are_drawn_by_their_values(tmp_path: Path) -> None:
    batch = torch.eye(3).expand(2, 3, 3).to_sparse_csr()
    torch.save({"s": batch}, tmp_path / "x.pt")
    assert opened(tmp_path / "x.pt")["s"].numpy().tolist() == [[1.0, 1.0, 1.0]] * 2


def test_indices_of_a_huge_sparse_tensor_are_left_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(sparse("csr"), tmp_path / "x.pt")
    monkeypatch.setattr(limits, "INDICES", 2)
    assert opened(tmp_path / "x.pt")["tensor"].size == 3


RECORDS = {
    "version": lambda raw: raw.index(b"PK", raw.index(b"x/version") + 9) - 2,
    "serialization_id": lambda raw: raw.index(b"x/.data/serialization_id") + 80,
    "data descriptor": lambda raw: raw.index(b"PK\x07\x08") + 5,
    "size in a data descriptor": lambda raw: raw.index(b"PK\x07\x08") + 12,
}


@pytest.mark.parametrize("where", RECORDS)
def test_damage_beside_the_tensors_is_damage(where: str, tmp_path: Path) -> None:
    torch.save({"w": torch.arange(8.0)}, tmp_path / "x.pt")
    raw = bytearray((tmp_path / "x.pt").read_bytes())
    assert len(opened(tmp_path / "x.pt")) == 1
    raw[RECORDS[where](raw)] ^= 4
    (tmp_path / "x.pt").write_bytes(raw)
    with pytest.raises(LoadError, match="CRC-32"):
        opened(tmp_path / "x.pt")


def test_large_records_beside_the_tensors_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": torch.arange(8.0)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as archive:
        archive.writestr("x/notes", b"a" * 5000)
    raw = (tmp_path / "x.pt").read_bytes().replace(b"aaaa", b"aaab", 1)
    (tmp_path / "x.pt").write_bytes(raw)
    with pytest.raises(LoadError, match="CRC-32"):
        opened(tmp_path / "x.pt")
    monkeypatch.setattr(limits, "CHECKED_BESIDE", 4000)
    assert opened(tmp_path / "x.pt")["w"].numpy().tolist() == list(range(8))


def test_a_key_that_is_set_twice_is_said(tmp_path: Path) -> None:
    value = {"w": np.ones(2), "x": np.zeros(3)}
    raw = pickle.dumps(value, 2).replace(b"X\x01\x00\x00\x00x", b"X\x01\x00\x00\x00w")
    (tmp_path / "x.pkl").write_bytes(raw)
    checkpoint = opened(tmp_path / "x.pkl")
    assert {name: tensor.shape for name, tensor in checkpoint.items()} == {"w": (3,)}
    assert [(skip.name, skip.reason) for skip in checkpoint.skipped] == [
        ("w", "the file sets this key again; the last value is shown")
    ]


def test_an_array_with_more_bytes_than_its_shape_needs_is_an_error(tmp_path: Path) -> None:
    raw = pickle.dumps({"w": np.arange(3.0)}, 2)
    (tmp_path / "x.pkl").write_bytes(raw.replace(b"K\x03\x85", b"K\x02\x85"))
    with pytest.raises(LoadError, match="more than it needs"):
        opened(tmp_path / "x.pkl")
    np.save(tmp_path / "x.npy", np.arange(3.0))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes() + b"more")
    assert opened(tmp_path / "x.npy").notes == ("4 bytes behind the array were not read",)
