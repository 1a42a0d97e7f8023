"""``--conv`` through the installed command: every convolution of a file, whatever its name, as dict, module and script."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.tools import torch2grid
from torch import nn

import torch2grid as t2g
from torch2grid_builtin._views.convolutions import is_convolution

NAMED = ("temporal", "c1", "in_layer", "proj_in", "to_qkv", "embed.value")  # 1-D convolutions that are not called so


class Attention(nn.Module):
    """What has three dimensions and more, and is no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.W_Q = nn.Parameter(torch.randn(4, 16, 8))
        self.relative_position_bias = nn.Parameter(torch.randn(1, 4, 9, 9))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Net(nn.Module):
    """Convolutions of all dimensions under any name, beside stacks, tables, tokens and a norm over three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.temporal = nn.Conv1d(3, 8, 5)
        self.c1 = nn.Conv1d(8, 6, 3)
        self.in_layer = nn.Conv1d(6, 6, 3, groups=6)
        self.proj_in = nn.Conv1d(6, 4, 1)
        self.to_qkv = nn.Conv1d(4, 12, 1, bias=False)
        self.embed = nn.ModuleDict({"value": nn.Conv1d(3, 8, 3)})
        self.image = nn.Conv2d(3, 8, 3)
        self.up = nn.ConvTranspose2d(5, 4, 2)
        self.video = nn.Conv3d(2, 4, (2, 3, 3))
        self.long = nn.Conv1d(2, 3, 700)  # only the class can tell
        self.norm = nn.LayerNorm([4, 6, 6])
        self.bilinear = nn.Bilinear(3, 4, 5)
        self.attention = Attention()
        self.pos_embed = nn.Parameter(torch.randn(1, 10, 8))
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.experts = nn.Parameter(torch.randn(4, 8, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c1(self.temporal(x))


FOUND = [f"{name}.weight" for name in (*NAMED, "image", "up", "video")]


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def kernels(path: object, *words: object, cwd: Path) -> list[str]:
    done = torch2grid(path, "--conv", "-o", "out", *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    folder = cwd / "out/conv_kernels"
    return [Path(line).name.removesuffix("_grid.png") for line in done.stdout.splitlines() if (cwd / line).parent == folder]


def test_a_state_dict(net: Net, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "sd.pt")
    assert kernels("sd.pt", cwd=tmp_path) == FOUND
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, tmp_path / "sd.safetensors")
    assert sorted(kernels("sd.safetensors", cwd=tmp_path)) == sorted(FOUND)
    torch.save({"model": net.state_dict(), "epoch": 3}, tmp_path / "training.pt")
    assert kernels("training.pt", cwd=tmp_path) == FOUND


@pytest.mark.parametrize("name", NAMED)
def test_alone_and_beside_another(name: str, net: Net, tmp_path: Path) -> None:
    mine = {each: tensor for each, tensor in net.state_dict().items() if each.startswith(name)}
    torch.save(mine, tmp_path / "alone.pt")
    assert kernels("alone.pt", cwd=tmp_path) == [f"{name}.weight"]
    torch.save({"image.weight": net.image.weight.detach(), **mine}, tmp_path / "both.pt")
    assert kernels("both.pt", cwd=tmp_path) == ["image.weight", f"{name}.weight"]


def test_plain_arrays(net: Net, tmp_path: Path) -> None:
    arrays = {name: array.numpy() for name, array in net.state_dict().items()}
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(arrays))
    assert kernels("net.pkl", cwd=tmp_path) == FOUND
    np.savez(tmp_path / "net.npz", **arrays)
    assert kernels("net.npz", cwd=tmp_path) == FOUND


@pytest.mark.parametrize("inside", [False, True])
def test_the_class_of_a_pickled_module_decides(inside: bool, net: Net, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "net": net} if inside else net, tmp_path / "net.pt")
    assert kernels("net.pt", cwd=tmp_path) == [*FOUND, "long.weight"]
    assert kernels("net.pt", "--only", "long*,norm*", cwd=tmp_path) == ["long.weight"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("traced", [False, True])
def test_so_does_that_of_a_module_of_torchscript(traced: bool, tmp_path: Path) -> None:
    inner = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Conv1d(4, 5, 600))
    chain = nn.Sequential(nn.Conv1d(2, 3, 700), nn.LayerNorm([3, 605]), inner)
    made = torch.jit.trace(chain, torch.ones(1, 2, 1304)) if traced else torch.jit.script(chain)
    made.save(tmp_path / "net.pt")
    checkpoint = t2g.load(tmp_path / "net.pt")
    classes = {each.module_class for each in checkpoint.values()}
    assert classes == {"torch.nn.modules.conv.Conv1d", "torch.nn.modules.normalization.LayerNorm"}
    found = [each for each in checkpoint.values() if is_convolution(each)]
    assert [each.shape for each in found] == [(3, 2, 700), (4, 3, 1), (5, 4, 600)]
    shown = kernels("net.pt", cwd=tmp_path)
    assert shown
    assert all(any(each.name.endswith(name) for each in found) for name in shown)


def test_live_modules(net: Net) -> None:
    for model in (net, {"net": net}):
        pages = t2g.conv(model)
        assert [page.about["tensor"].removeprefix("net.") for page in pages] == [*FOUND, "long.weight"]
    held = {name: each.module_class for name, each in t2g.load(net).items()}
    assert held["long.weight"] == "torch.nn.modules.conv.Conv1d"
    assert held["norm.weight"] == "torch.nn.modules.normalization.LayerNorm"
    assert held["pos_embed"].endswith("Net")
    assert {each.module_class for each in t2g.load(net.state_dict()).values()} == {""}


def test_the_class_stays_with_parts_and_filters(net: Net, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "net": net, "opt": torch.optim.Adam(net.parameters()).state_dict()}, tmp_path / "training.pt")
    done = torch2grid("training.pt", "--conv", "--tensors", "1-28", "--filter", "weights_only", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "long.weight_grid.png" in done.stdout


def test_without_a_convolution_there_is_one_line(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(3, 4), "pos_embed": torch.ones(1, 5, 6)}, tmp_path / "fc.pt")
    done = torch2grid("fc.pt", "--conv", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "conv: nothing to draw" in done.stderr
    assert not (tmp_path / "grids").exists()


def test_the_mean_over_input_channels(net: Net, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "sd.pt")
    words = ("--view", "conv:average=true", "--only", "temporal*,image*,video*", "--format", "json", "-o", "out")
    done = torch2grid("sd.pt", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, tensor in net.state_dict().items():
        if name not in ("temporal.weight", "image.weight", "video.weight"):
            continue
        page = json.loads((tmp_path / f"out/conv_kernels/{name}_grid.json").read_text())
        assert page["title"].endswith(f"mean over {tensor.shape[1]} input channels")
        (panel,) = page["panels"]
        assert panel["label"] == f"mean over {tensor.shape[1]} input channels"
        shown = sorted(value for row in panel["values"] for value in row if value is not None)
        wanted = np.sort(tensor.double().mean(dim=1).numpy().ravel())
        np.testing.assert_allclose(shown, wanted, rtol=1e-5, atol=1e-7)
    pages = t2g.conv(tmp_path / "sd.pt", average=True)
    assert [page.about["tensor"] for page in pages] == FOUND
    wrong = torch2grid("sd.pt", "--view", "conv:average=maybe", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "average" in wrong.stderr
