"""Tensors that are not plain memory: sharded, packed, sparse, nested, without numbers, and objects that wrap a module."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import torch2grid as t2g
from torch2grid_core import LoadError


def reasons(checkpoint: t2g.Checkpoint) -> dict[str, str]:
    return {skip.name: skip.reason for skip in checkpoint.skipped}


def test_tensors_without_numbers_are_skipped_and_said() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.zeros(2, 3)
    freed = torch.ones(3)
    freed.untyped_storage().resize_(0)
    lazy = nn.Sequential(nn.LazyLinear(4), nn.Linear(2, 2))
    state = {"fake": fake, "meta": torch.zeros(2, device="meta"), "freed": freed, "zero": torch._efficientzerotensor((2,))}
    found = t2g.load({**state, "batched": None, "net": lazy})
    assert list(found) == ["net.1.weight", "net.1.bias"]
    assert reasons(found) == {
        "fake": "FakeTensor: it has a shape and no data",
        "meta": "meta tensor: it has a shape and no data",
        "freed": "Tensor whose storage was freed",
        "zero": "Tensor without a storage of its own",
        "net.0.weight": "not initialised: it gets its shape when the module is first called",
        "net.0.bias": "not initialised: it gets its shape when the module is first called",
    }
    with pytest.raises(LoadError, match="holds no tensor: weight: meta tensor"):
        t2g.grid(nn.Linear(2, 2, device="meta"))


def test_inside_vmap_other_tensors_are_still_there() -> None:
    seen = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append(t2g.load({"x": x, "w": torch.ones(2)}))
        return x

    torch.vmap(look)(torch.ones(3, 2))
    assert list(seen[0]) == ["w"]
    assert "without a storage" in reasons(seen[0])["x"]


class Packed(torch.Tensor):
    """As quantising libraries do it: a tensor without a storage, which holds codes and a scale."""

    @staticmethod
    def __new__(cls, codes: torch.Tensor, scale: float) -> Packed:
        made: Packed = torch.Tensor._make_wrapper_subclass(cls, codes.shape, dtype=torch.float32, device=codes.device)
        return made

    def __init__(self, codes: torch.Tensor, scale: float) -> None:
        self.codes, self.scale = codes, scale

    def dequantize(self) -> torch.Tensor:
        return self.codes.float() * self.scale

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.detach.default:
            return Packed(args[0].codes, args[0].scale)
        raise NotImplementedError(function)


@pytest.mark.filterwarnings("ignore:.*quantiz:DeprecationWarning", "ignore:.*quantize_per:UserWarning")
def test_packed_numbers_are_dequantised() -> None:
    codes = torch.tensor([[1, -2], [3, 127]], dtype=torch.int8)
    found = t2g.load(
        {
            "packed": Packed(codes, 0.5),
            "tensor": torch.quantize_per_tensor(codes.float(), 0.5, 0, torch.qint8),
            "channel": torch.quantize_per_channel(codes.float(), torch.tensor([0.5, 2.0]), torch.zeros(2), 0, torch.qint8),
            "float4": torch.tensor([[0x21, 0x7F]], dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        }
    )
    np.testing.assert_array_equal(found["packed"].numpy(), codes.numpy() * 0.5)
    np.testing.assert_array_equal(found["tensor"].numpy(), [[1, -2], [3, 63.5]])
    np.testing.assert_array_equal(found["channel"].numpy(), [[1, -2], [4, 128]])
    np.testing.assert_array_equal(np.asarray(found["float4"].numpy(), np.float32), [[0.5, 1, -6, 6]])
    assert [found[name].note for name in ("packed", "tensor")] == ["Packed, dequantised", "qint8, dequantised"]


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta", "ignore:.*nested tensors")
def test_sparse_nested_and_mkldnn_tensors() -> None:
    eye = torch.eye(4)
    found = t2g.load(
        {
            "csr": eye.to_sparse_csr(),
            "bsc": eye.to_sparse_bsc((2, 2)),
            "jagged": torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)], layout=torch.jagged),
            "nested": torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)]),
            "mkldnn": eye.to_mkldnn(),
        }
    )
    assert {name: (each.shape, each.note) for name, each in found.items()} == {
        "csr": ((4,), "sparse_csr of size [4, 4]: its 4 stored values"),
        "bsc": ((2, 2, 2), "sparse_bsc of size [4, 4]: its 8 stored values"),
        "jagged": ((3, 3), "nested: its 9 stored values"),
        "nested": ((9,), "nested: its 9 stored values"),
        "mkldnn": ((4, 4), ""),
    }
    assert {name: float(each.numpy().sum()) for name, each in found.items()} == {
        "csr": 4,
        "bsc": 4,
        "jagged": 6,
        "nested": 6,
        "mkldnn": 4,
    }


def test_wrapped_and_compiled_modules_have_the_names_of_their_state_dict() -> None:
    net = nn.Sequential(nn.Linear(3, 4))
    for wrapped in (torch.compile(net, backend="eager"), nn.DataParallel(net)):
        found = t2g.load(wrapped)
        assert list(found) == list(wrapped.state_dict())
        assert t2g.compare(net, wrapped).same


def test_a_live_training_checkpoint_is_as_its_file(tmp_path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net[1].weight = nn.Parameter(torch.ones(4, 2).t())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    net(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    state = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "history": [torch.ones(2), (torch.zeros(1), 0.5)],
        ("key", 1): np.arange(3.0),
        "best": np.float64(0.5),
        "sparse": torch.eye(3).to_sparse(),
    }
    torch.save(state, tmp_path / "run.pth")
    file, live = t2g.load(tmp_path / "run.pth"), t2g.load(state)
    assert list(live) == list(file)
    for name in file:
        assert (live[name].shape, live[name].dtype) == (file[name].shape, file[name].dtype)
        assert live[name].note == file[name].note.removeprefix("numpy scalar")  # what only a pickle tells apart
        np.testing.assert_array_equal(live[name].numpy(), file[name].numpy())
    assert (live.parts, live.default_part, live.metadata) == (file.parts, file.default_part, file.metadata)
    assert t2g.stats(state).tables[0].rows == t2g.stats(tmp_path / "run.pth").tables[0].rows
    held = t2g.load({"net": net, "optimizer": optimizer})
    assert held.default_part == "model"
    assert "optimizer.state.0.exp_avg" in held


def test_an_object_inside_itself_and_an_array_alone() -> None:
    state = {"w": torch.ones(2)}
    state["again"] = state
    assert list(t2g.load(state)) == ["w"]
    deep: object = torch.ones(1)
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(LoadError, match="nested deeper than 100 levels"):
        t2g.load(deep)
    np.testing.assert_array_equal(t2g.grid(np.ones((2, 3), np.float32)).grid.count.sum(), 6)
    structured = np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])
    assert list(reasons(t2g.load({"s": structured, "o": np.array([None]), "w": np.ones(1)}))) == ["s", "o"]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """One process as a whole cluster: what ``fully_shard`` makes of parameters is the same with more."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    meeting = tmp_path_factory.mktemp("mesh") / "store"
    distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_sharded_parameters_show_what_this_process_holds(mesh, tmp_path) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, Shard

    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    plain = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    fully_shard(net, mesh=mesh)
    assert isinstance(net[0].weight, DTensor)
    found = t2g.load(net)
    for name, parameter in plain.items():
        np.testing.assert_array_equal(found[name].numpy(), parameter.numpy())
    part = DTensor.from_local(torch.ones(2, 3), mesh, [Shard(0)], run_check=False, shape=torch.Size((8, 3)), stride=(3, 1))
    shard = t2g.load({"part": part})["part"]
    assert (shard.shape, shard.note) == ((2, 3), "rank 0 of 1, dimension 0, 8×3 in all")

    with t2g.GradientRecorder(net, every=1) as recorder:
        net(torch.ones(3, 4)).sum().backward()
        torch.optim.SGD(net.parameters(), lr=0.1).step()
    saved = load_file(t2g.save_gradients(net, tmp_path / "grads.safetensors"))
    for name, parameter in net.named_parameters():
        gradient = parameter.grad.to_local()
        assert torch.equal(saved[f"{name}.grad"], gradient)
        assert recorder.distributions(name)[0].max == gradient.max()
    assert len(t2g.gradients(net).tables[0].rows) == 4
