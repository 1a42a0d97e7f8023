"""Tensors inside other objects have plain names: shards of ranks, nested tensors, subclasses, what a function rebuilds."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.corpus import cases
from tests.support.loaders.opened import opened, same
from tests.support.tools import torch2grid
from torch import nn

from torch2grid_core import Checkpoint, LoadError

MESH, NESTED = "ranks of a device mesh", "structure of a nested tensor"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of nested and sharded kinds of tensors being new or old
        yield


def saved(value: Any, path: Path) -> Checkpoint:
    torch.save(value, path)
    return opened(path)


def skips(checkpoint: Checkpoint) -> dict[str, str]:
    return {skip.name: skip.reason for skip in checkpoint.skipped}


def check(checkpoint: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    """The checkpoint has these names, in this order, and these bits."""
    assert list(checkpoint) == list(expected)
    assert [name for name in expected if not same(checkpoint[name], expected[name])] == []


@pytest.fixture
def ranks() -> Iterator[Callable[[int, int], None]]:
    """Makes this process one rank of several, of which there are no others: what is saved is what that rank would save."""
    from torch import distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def begin(rank: int, count: int) -> None:
        distributed.init_process_group("fake", rank=rank, world_size=count, store=FakeStore())

    yield begin
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_a_shard_stands_under_the_name_of_its_parameter(ranks, tmp_path: Path) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
    from torch.distributed.tensor.placement_types import _StridedShard

    ranks(5, 8)
    line, grid = init_device_mesh("cpu", (8,)), init_device_mesh("cpu", (2, 4), mesh_dim_names=("dp", "tp"))
    shard = functools.partial(DTensor.from_local, run_check=False)
    local = {name: torch.randn(2, 3) for name in ("rows", "columns", "both", "hybrid", "sub", "whole", "partial", "strided")}
    state = {
        "rows": nn.Parameter(shard(local["rows"], line, [Shard(0)])),
        "columns": shard(local["columns"], line, [Shard(1)]),
        "both": shard(local["both"], grid, [Shard(1), Shard(0)]),
        "hybrid": shard(local["hybrid"], grid, [Replicate(), Shard(0)]),
        "sub": shard(local["sub"], grid["tp"], [Shard(0)]),
        "whole": shard(local["whole"], line, [Replicate()]),
        "partial": shard(local["partial"], line, [Partial()]),
        "strided": shard(local["strided"], grid, [_StridedShard(0, split_factor=4), Shard(0)]),
        "plain": torch.ones(3),
    }
    checkpoint = saved(state, tmp_path / "x.pt")
    check(checkpoint, {**local, "plain": torch.ones(3)})
    assert {name: tensor.note for name, tensor in checkpoint.items()} == {
        "rows": "rank 5 of 8, dimension 0, 16×3 in all",
        "columns": "rank 5 of 8, dimension 1, 2×24 in all",
        "both": "rank 5 of 8, dimensions 0 and 1, 8×6 in all",
        "hybrid": "rank 5 of 8, dimension 0, 8×3 in all",
        "sub": "rank 1 of 4, dimension 0, 8×3 in all",  # of the four that share it
        "whole": "rank 5 of 8, whole",
        "partial": "rank 5 of 8, a partial sum",
        "strided": "rank 5 of 8, dimension 0, strided, 16×3 in all",
        "plain": "",
    }
    # The two meshes have one map of ranks each, however many tensors are spread over them.
    assert list(skips(checkpoint).values()) == [MESH] * 2
    assert checkpoint.notes == (
        "rank 5 of 8: 5 tensors are shards; the rest is in the files of the other ranks",
        "rank 1 of 4: 1 tensor is a shard; the rest is in the files of the other ranks",
    )
    assert checkpoint.not_run == ()


def test_a_tensor_of_one_rank_is_just_that_tensor(ranks, tmp_path: Path) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    ranks(0, 1)
    mesh = init_device_mesh("cpu", (1,))
    net = nn.Linear(3, 2)
    state = {name: distribute_tensor(tensor.detach(), mesh, [Shard(0)]) for name, tensor in net.named_parameters()}
    checkpoint = saved(state, tmp_path / "x.pt")
    check(checkpoint, {name: tensor.detach() for name, tensor in net.named_parameters()})
    assert ([tensor.note for tensor in checkpoint.values()], checkpoint.notes) == (["", ""], ())


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_shards_of_fsdp_1(kept: int, ranks, tmp_path: Path) -> None:
    from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
    from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
    from torch.distributed._shard.sharding_spec import ShardMetadata

    ranks(1, 3)
    owners = {0: [0, 0, 2], 1: [0, 1, 2], 2: [1, 1, 2]}[kept]
    every = [ShardMetadata([4 * index, 0], [4, 3], f"rank:{owner}/cpu") for index, owner in enumerate(owners)]
    mine = [Shard(torch.randn(4, 3), each) for each, owner in zip(every, owners, strict=True) if owner == 1]
    whole = ShardedTensorMetadata(every, torch.Size([12, 3]), TensorProperties(dtype=torch.float32))
    tensor = ShardedTensor._init_from_local_shards_and_global_metadata(mine, whole)
    checkpoint = saved({"layer.weight": tensor, "bias": torch.ones(2)}, tmp_path / "x.pt")
    names = {0: [], 1: ["layer.weight"], 2: ["layer.weight.0", "layer.weight.1"]}[kept]
    check(checkpoint, {**dict(zip(names, [each.tensor for each in mine], strict=True)), "bias": torch.ones(2)})
    assert {checkpoint[name].note for name in names} <= {"rank 1 of 3, dimension 0, 12×3 in all"}
    reason = "rank 1 of 3 holds no shard of it, 12×3 in all"
    assert skips(checkpoint) == ({} if kept else {"layer.weight": reason})


def test_shards_of_two_processes_have_their_words_on_the_command_line() -> None:
    for rank, rows in ((0, [(15, 20), (15,), (3, 30), (3,)]), (1, [(15, 20), (15,), (2, 30), (2,)])):
        checkpoint = opened(cases(f"found/dtensor/fsdp2_rank{rank}.pt"))
        truth = torch.load(cases("found/dtensor/truth.pt"), weights_only=True)
        assert list(checkpoint) == list(truth)
        assert [tensor.shape for tensor in checkpoint.values()] == rows
        for name, tensor in checkpoint.items():
            whole = truth[name]
            first = rank * -(-len(whole) // 2)
            assert same(tensor, whole[first : first + tensor.shape[0]])
            assert tensor.note == f"rank {rank} of 2, dimension 0, {'×'.join(map(str, whole.shape))} in all"
        assert list(skips(checkpoint).values()) == [MESH]
    done = torch2grid(cases("found/dtensor/fsdp2_rank1.pt"), "--stats", cwd=Path.cwd())
    assert "note: rank 1 of 2: 4 tensors are shards; the rest is in the files of the other ranks" in done.stderr
    assert "1 skipped (1 ranks of a device mesh)" in done.stderr
    assert "_rank_map" not in done.stdout


def test_nested_tensors_show_their_stored_values(tmp_path: Path) -> None:
    pieces = [torch.randn(2, 3), torch.randn(1, 3), torch.randn(4, 3)]
    flat = torch.cat([each.flatten() for each in pieces])
    strided = torch.nested.nested_tensor(pieces)
    jagged = torch.nested.nested_tensor(pieces, layout=torch.jagged)
    parameter = nn.Parameter(torch.nested.nested_tensor(pieces, layout=torch.jagged))
    checkpoint = saved({"s": strided, "w": torch.ones(2), "j": jagged, "p": parameter, "again": strided}, tmp_path / "x.pt")
    rows = flat.reshape(7, 3)
    check(checkpoint, {"s": flat, "w": torch.ones(2), "j": rows, "p": rows, "again": flat})
    assert {checkpoint[name].note for name in ("s", "j", "p")} == {"nested: its 21 stored values"}
    found = skips(checkpoint)
    assert set(found.values()) == {NESTED}
    assert {"s.sizes", "s.strides", "s.offsets", "j.offsets", "p.offsets"} <= set(found)
    assert checkpoint.not_run == ()
    holes = torch.nested.nested_tensor_from_jagged(torch.randn(6, 2), torch.tensor([0, 3, 6]), torch.tensor([2, 3]))
    checkpoint = saved({"h": holes}, tmp_path / "x.pt")
    check(checkpoint, {"h": holes._values})
    assert {"h.offsets", "h.lengths"} <= set(skips(checkpoint))


@pytest.mark.parametrize("layout", ["coo", "csr", "csc", "bsr"])
def test_indices_of_sparse_tensors_are_counted(layout: str, tmp_path: Path) -> None:
    eye = torch.eye(4)
    tensor = {
        "coo": eye.to_sparse,
        "csr": eye.to_sparse_csr,
        "csc": eye.to_sparse_csc,
        "bsr": lambda: eye.to_sparse_bsr((2, 2)),
    }
    names = {"coo": {"s.indices"}, "csc": {"s.ccol_indices", "s.row_indices"}}
    checkpoint = saved({"s": tensor[layout]()}, tmp_path / "x.pt")
    assert list(checkpoint) == ["s"]
    expected = names.get(layout, {"s.crow_indices", "s.col_indices"})
    assert skips(checkpoint) == dict.fromkeys(expected, "indices of a sparse tensor")


class Wrapper(torch.Tensor):
    """A wrapper subclass: a shape and dtype of its own, and the numbers in other tensors."""

    @staticmethod
    def __new__(cls, codes: torch.Tensor, scale: torch.Tensor) -> Wrapper:
        made: Wrapper = torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32)
        return made

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor) -> None:
        self.qdata, self.scale, self.block = codes, scale, (1, 32)

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["qdata", "scale"], None

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.detach.default, torch.ops.aten.view.default):
            return cls(args[0].qdata, args[0].scale)
        raise NotImplementedError(func)


class Labelled(torch.Tensor):
    """A subclass that is a tensor and holds others."""


def labelled(tensor: torch.Tensor, **held: Any) -> Any:
    made: Any = tensor.as_subclass(Labelled)
    for name, value in held.items():
        setattr(made, name, value)
    return made


def test_wrapper_subclasses_in_a_state_dict_and_in_a_module(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    codes, scale = torch.randint(-9, 9, (2, 3), dtype=torch.int8), torch.randn(2, 1)
    layer.weight = nn.Parameter(Wrapper(codes, scale), requires_grad=False)
    net = nn.Sequential(layer, nn.Linear(2, 2))
    inner = {"0.weight.qdata": codes, "0.weight.scale": scale, "0.bias": layer.bias.detach()}
    rest = {f"1.{name}": each.detach() for name, each in net[1].named_parameters()}
    check(saved(net.state_dict(), tmp_path / "state.pt"), {**inner, **rest})
    check(saved(net, tmp_path / "module.pt"), {**inner, **rest})


@pytest.mark.parametrize("count", [1, 3])
def test_a_wrapper_is_no_container_beside_others(count: int, tmp_path: Path) -> None:
    def wrapper() -> Wrapper:
        return Wrapper(torch.ones(2, 3, dtype=torch.int8), torch.randn(2, 1))

    state = {f"{index}.weight": wrapper() for index in range(count)}
    names = [f"{name}.{inner}" for name in state for inner in ("qdata", "scale")]
    for value, prefix in ((state, ""), ({**state, "b": torch.ones(2)}, ""), ({"model": state, "epoch": 1}, "model.")):
        checkpoint = saved(value, tmp_path / "x.pt")
        assert [name for name in checkpoint if name.removeprefix(prefix) != "b"] == [prefix + name for name in names]
        if checkpoint.default_part is not None:
            shown = checkpoint.part(checkpoint.default_part)
            assert [name for name in shown if name != "b"] == names


def test_a_shard_of_a_wrapper_shows_what_it_wraps(ranks, tmp_path: Path) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    ranks(0, 2)
    codes, scale = torch.ones(2, 3, dtype=torch.int8), torch.randn(2, 1)
    whole = (torch.Size((4, 3)), (3, 1))
    wrapped = DTensor.from_local(
        Wrapper(codes, scale), init_device_mesh("cpu", (2,)), [Shard(0)], run_check=False, shape=whole[0], stride=whole[1]
    )
    checkpoint = saved({"w": wrapped}, tmp_path / "x.pt")
    check(checkpoint, {"w.qdata": codes, "w.scale": scale})
    assert checkpoint.notes == ("rank 0 of 2: 1 tensor is a shard; the rest is in the files of the other ranks",)


def test_attributes_of_parameters_and_buffers(tmp_path: Path) -> None:
    parameter, buffer = nn.Parameter(torch.randn(2, 3)), nn.Buffer(torch.randn(4))
    parameter.absmax, parameter.of = torch.randn(2), [torch.randn(1), {"code": torch.randn(3)}]  # type: ignore[attr-defined]
    own = labelled(torch.randn(2), scale=torch.randn(1))
    parameter_attributes = vars(parameter)
    expected = {
        "p": parameter.detach(),
        "b": buffer,
        "own": own.as_subclass(torch.Tensor),
        "p.absmax": parameter_attributes["absmax"],
        "p.of.0": parameter_attributes["of"][0],
        "p.of.1.code": parameter_attributes["of"][1]["code"],
        "own.scale": own.scale,
    }
    check(saved({"p": parameter, "b": buffer, "own": own}, tmp_path / "x.pt"), expected)


def test_a_tensor_whose_attribute_would_replace_its_numbers_is_refused(tmp_path: Path) -> None:
    own = labelled(torch.randn(2))
    vars(own)["data"] = torch.randn(3)  # PyTorch sets it, and the tensor has other numbers then
    with pytest.raises(LoadError, match="attributes would replace its numbers"):
        saved({"own": own}, tmp_path / "x.pt")
