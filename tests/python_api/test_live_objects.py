"""Live modules and state dicts: every tensor as torch has it, without a copy of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import torch2grid as t2g
from torch2grid_core import LoadError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("device", DEVICES)
def test_a_module_has_the_tensors_of_its_state_dict(device: str) -> None:
    torch.manual_seed(0)
    net = Net().to(device)
    checkpoint = t2g.load(net)
    state = net.state_dict()
    assert list(checkpoint) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(checkpoint[name].numpy(), tensor.cpu().numpy())
    assert checkpoint.aliases == {"head.weight": "embed.weight"}
    assert checkpoint.parameters == sum(tensor.numel() for tensor in state.values()) - 28


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_is_copied(device: str) -> None:
    weight = torch.zeros(1000, 1000, device=device)
    checkpoint = t2g.load({"w": weight, "t": weight.t(), "part": weight[10:20, 5:7]})
    weight[12, 6] = 3.0  # after loading: the checkpoint sees the memory itself
    assert checkpoint["w"].numpy()[12, 6] == 3.0
    assert checkpoint["t"].numpy()[6, 12] == 3.0
    assert checkpoint["part"].numpy()[2, 1] == 3.0
    assert checkpoint["w"].storage is checkpoint["t"].storage


def test_every_dtype_and_layout() -> None:
    kinds = [torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.bool]
    state = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in kinds}
    state["conj"] = torch.tensor([1 + 2j, 3 - 1j]).conj()
    state["neg"] = torch.tensor([1 + 2j, 3 - 1j]).conj().imag
    state["sparse"] = torch.sparse_coo_tensor(torch.tensor([[0, 2]]), torch.tensor([5.0, 6.0]), (4,), check_invariants=True)
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 3)
    state["array"] = np.arange(4, dtype=">i4")
    checkpoint = t2g.load({"nested": state, "meta": torch.zeros(2, device="meta"), "text": "hello"})
    for kind in kinds:
        got = checkpoint[f"nested.{kind}"]
        assert f"torch.{got.dtype.name}" == str(kind)
        np.testing.assert_array_equal(got.numpy().astype(np.float64), state[str(kind)].to(torch.float64).numpy())
    np.testing.assert_array_equal(checkpoint["nested.conj"].numpy(), [1 - 2j, 3 + 1j])
    np.testing.assert_array_equal(checkpoint["nested.neg"].numpy(), [-2, 1])
    np.testing.assert_array_equal(checkpoint["nested.sparse"].numpy(), [5, 6])
    assert "sparse" in checkpoint["nested.sparse"].note
    assert checkpoint["nested.scalar"].numpy() == 2.5
    assert checkpoint["nested.empty"].shape == (0, 3)
    np.testing.assert_array_equal(checkpoint["nested.array"].numpy(), [0, 1, 2, 3])
    assert {skip.name: skip.reason.split(":")[0] for skip in checkpoint.skipped} == {
        "meta": "meta tensor",
        "nested.sparse.indices": "indices of a sparse tensor",
    }
    assert checkpoint.metadata == {"text": "hello"}


def test_what_holds_no_tensor_is_an_error() -> None:
    with pytest.raises(LoadError, match="holds no tensor"):
        t2g.load({"epoch": 3})
