"""A live object has the names, notes and reasons of the file that ``torch.save`` makes of it, whatever wraps its tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import torch2grid as t2g


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of quantised, nested and sharded kinds of tensors being old or new
        yield


def agree(value: Any, path: Path) -> t2g.Checkpoint:
    """The live *value*, after comparing it with its file: names and notes in order, every number, what was skipped and why."""
    torch.save(value, path)
    file, live = t2g.load(path), t2g.load(value)
    assert [(name, each.shape, each.note) for name, each in live.items()] == [
        (name, each.shape, each.note) for name, each in file.items()
    ]
    for name, tensor in file.items():
        np.testing.assert_array_equal(live[name].numpy(), tensor.numpy())
    assert [(skip.name, skip.reason) for skip in live.skipped if "mesh" not in skip.reason] == [
        (skip.name, skip.reason) for skip in file.skipped if "mesh" not in skip.reason
    ]
    return live


class Wrapper(torch.Tensor):
    """A subclass without a storage, which holds codes and a scale, and cannot say what they stand for."""

    @staticmethod
    def __new__(cls, codes: torch.Tensor, scale: torch.Tensor) -> Wrapper:
        made: Wrapper = torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)
        return made

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor) -> None:
        self.codes, self.factor = codes, scale

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].codes, args[0].factor)
        raise NotImplementedError(func)


class Scaler:
    """An object that holds tensors, as an entry of a state dict."""

    def __init__(self) -> None:
        self.mean, self.count, self.inner = torch.randn(4), 3, {"std": torch.randn(4)}


def test_subclasses_attributes_and_objects(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.randn(2, 3))
    parameter.absmax, parameter.parts = torch.randn(2), [torch.randn(1), 5]  # type: ignore[attr-defined]
    wrapper = Wrapper(torch.ones(2, 3, dtype=torch.int8), torch.randn(2, 1))
    state = {"w": parameter, "q": nn.Parameter(wrapper, requires_grad=False), "scaler": Scaler(), "b": torch.ones(2)}
    live = agree(state, tmp_path / "x.pt")
    assert set(live) == {
        *("w", "w.absmax", "w.parts.0", "q.codes", "q.factor", "scaler.mean", "scaler.inner.std", "b"),
    }


def test_sparse_and_nested_tensors(tmp_path: Path) -> None:
    pieces = [torch.randn(2, 3), torch.randn(1, 3)]
    holes = torch.nested.nested_tensor_from_jagged(torch.randn(6, 2), torch.tensor([0, 3, 6]), torch.tensor([2, 3]))
    state = {
        "nested": torch.nested.nested_tensor(pieces),
        "jagged": torch.nested.nested_tensor(pieces, layout=torch.jagged),
        "holes": holes,
        "coo": torch.eye(3).to_sparse(),
        "csc": torch.eye(3).to_sparse_csc(),
        "bsr": torch.eye(4).to_sparse_bsr((2, 2)),
    }
    live = agree(state, tmp_path / "x.pt")
    assert {"nested.sizes", "jagged.offsets", "holes.lengths", "coo.indices"} <= {skip.name for skip in live.skipped}


def test_quantised_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.ao.quantization as ao

    monkeypatch.setattr(torch.backends.quantized, "engine", "fbgemm")  # others keep a second copy of each bias
    net = nn.ModuleDict({"rnn": nn.LSTM(5, 3, 2), "cell": nn.GRUCell(3, 3), "fc": nn.Linear(3, 2)})
    quantised = ao.quantize_dynamic(net, {nn.LSTM, nn.GRUCell, nn.Linear}, dtype=torch.qint8)
    live = agree(quantised.state_dict(), tmp_path / "x.pt")
    assert set(live) == {*net.state_dict(), "fc.scale", "fc.zero_point"}
    assert list(t2g.load(quantised)) == list(live)


@pytest.fixture
def ranks() -> Iterator[Callable[[int, int], None]]:
    """Makes this process one rank of several, of which there are no others."""
    from torch import distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def begin(rank: int, count: int) -> None:
        distributed.init_process_group("fake", rank=rank, world_size=count, store=FakeStore())

    yield begin
    distributed.destroy_process_group()


def test_shards(ranks, tmp_path: Path) -> None:
    from torch.distributed._shard.sharded_tensor import Shard as Piece, ShardedTensor, ShardMetadata
    from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    ranks(2, 4)
    grid = init_device_mesh("cpu", (2, 2))
    kinds = {
        "rows": [Replicate(), Shard(0)],
        "both": [Shard(0), Shard(1)],
        "whole": [Replicate(), Replicate()],
        "sum": [Partial(), Replicate()],
        "strided": [_StridedShard(0, split_factor=2), Shard(0)],
    }
    state: dict[str, Any] = {
        name: DTensor.from_local(torch.randn(2, 3), grid, kind, run_check=False) for name, kind in kinds.items()
    }
    for name, owners in (("one", [0, 2, 3]), ("two", [2, 2, 3]), ("none", [0, 1, 3])):
        every = [ShardMetadata([2 * index, 0], [2, 3], f"rank:{owner}/cpu") for index, owner in enumerate(owners)]
        mine = [Piece(torch.randn(2, 3), each) for each, owner in zip(every, owners, strict=True) if owner == 2]
        whole = ShardedTensorMetadata(every, torch.Size([6, 3]), TensorProperties(dtype=torch.float32))
        state[name] = ShardedTensor._init_from_local_shards_and_global_metadata(mine, whole)
    live = agree(state, tmp_path / "x.pt")
    assert list(live) == [*kinds, "one", "two.0", "two.1"]
    assert live["rows"].note == "rank 2 of 4, dimension 0, 4×3 in all"
    assert {skip.name: skip.reason for skip in live.skipped} == {"none": "rank 2 of 4 holds no shard of it, 6×3 in all"}
