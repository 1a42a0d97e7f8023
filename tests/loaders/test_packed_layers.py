"""Quantised layers of ``torch.ao`` have the names of plain ones: in state dicts, modules, graphs and TorchScript archives."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.ao.quantization as ao
from safetensors.numpy import load_file
from tests.support.corpus import cases
from tests.support.loaders.opened import opened
from tests.support.tools import torch2grid
from torch import nn
from torch.ao.nn.quantized import Embedding, EmbeddingBag

from torch2grid_core import Checkpoint


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that its own quantised layers will go
        yield


def saved(value: Any, path: Path) -> Checkpoint:
    torch.save(value, path)
    return opened(path)


def plain(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.dequantize() if tensor.is_quantized else tensor).detach().numpy()


def check(checkpoint: Checkpoint, expected: dict[str, torch.Tensor], more: set[str] | None = None) -> None:
    """All of *expected* is there, bit for bit, and nothing else but *more*."""
    assert set(checkpoint) == set(expected) | (more or set())
    for name, tensor in expected.items():
        np.testing.assert_array_equal(checkpoint[name].numpy(), plain(tensor))
    assert not checkpoint.skipped


class Net(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv = nn.Conv2d(1, 6, 3, bias=bias)
        self.up = nn.ConvTranspose2d(6, 4, 2, bias=bias)
        self.fc = nn.Linear(4, 10, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(self.conv(self.quant(x)))
        found: torch.Tensor = self.dequant(self.fc(x.mean((2, 3))))
        return found


def static(bias: bool) -> Any:
    """A network of which every layer is quantised, with the scales of what it was shown."""
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, "fbgemm"
    net = Net(bias).eval()
    net.qconfig = ao.QConfig(activation=ao.default_observer, weight=ao.default_weight_observer)
    prepared = ao.prepare(net)
    prepared(torch.randn(2, 1, 8, 8))
    converted = ao.convert(prepared)
    torch.backends.quantized.engine = before  # it belongs to the whole process
    return converted


def layers(net: Any) -> dict[str, torch.Tensor]:
    """Weights and biases as the modules themselves give them."""
    found = {}
    for name in ("conv", "up", "fc"):
        module = getattr(net, name)
        found[f"{name}.weight"] = module.weight()
        if module.bias() is not None:
            found[f"{name}.bias"] = module.bias()
    return found


@pytest.mark.parametrize("bias", [True, False])
def test_layers_with_fixed_scales(bias: bool, tmp_path: Path) -> None:
    net = static(bias)
    expected, scales = layers(net), {"quant.scale", "quant.zero_point"}
    each = {f"{name}.{what}" for name in ("conv", "up", "fc") for what in ("scale", "zero_point")}
    check(saved(net.state_dict(), tmp_path / "state.pt"), expected, scales | each)
    check(saved(net, tmp_path / "module.pt"), expected, scales)
    checkpoint = saved({"model": net, "epoch": 1}, tmp_path / "in.pt")
    check(checkpoint, {f"model.{name}": each for name, each in expected.items()}, {f"model.{name}" for name in scales})
    assert list(saved(net, tmp_path / "module.pt")) == ["quant.scale", "quant.zero_point", *expected]
    assert checkpoint["model.fc.weight"].note == "qint8, dequantised"
    assert {(each.kind, each.severity) for each in checkpoint.not_run} <= {("make", "note")}  # the test's own module


def scripted(net: Any, path: Path) -> dict[str, np.ndarray]:
    torch.jit.script(net).save(str(path))
    return {name.removeprefix("."): tensor.numpy() for name, tensor in opened(path).items()}


def test_scripted_layers(tmp_path: Path) -> None:
    net = static(True)
    found, expected = scripted(net, tmp_path / "x.pt"), layers(net)
    assert set(found) == set(expected) | {"quant.scale", "quant.zero_point"}
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], plain(tensor))


class Recurring(nn.Module):
    """One that can be scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 6, 2, bidirectional=True)
        self.fc = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.fc(self.rnn(x)[0])
        return found


def test_scripted_recurrent_layers(tmp_path: Path) -> None:
    module = Recurring()
    net = ao.quantize_dynamic(module, {nn.LSTM, nn.Linear}, dtype=torch.qint8)
    found, expected = scripted(net, tmp_path / "x.pt"), recurrent(module, torch.qint8)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], plain(tensor))


class Recurrent(nn.Module):
    def __init__(self, layers: int, both: bool, given: int, bias: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(given, 6, layers, bidirectional=both, bias=bias)
        self.gru = nn.GRU(5, 3, bias=bias)
        self.cell = nn.LSTMCell(4, 3)
        self.fc = nn.Linear(6, 2, bias=bias)


def recurrent(module: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights as the plain module has them, and as its quantisation rounds them."""
    expected = {}
    for name, tensor in module.state_dict().items():
        weight = tensor.detach()
        if "weight" in name and dtype == torch.qint8:
            observer = ao.default_dynamic_qconfig.weight()
            observer(weight)
            scale, zero = observer.calculate_qparams()
            weight = torch.quantize_per_tensor(weight, float(scale), int(zero), torch.qint8)
        elif "weight" in name:
            weight = weight.half().float()
        expected[name] = weight
    return expected


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (1, True), (2, False), (2, True), (3, False), (3, True)])
@pytest.mark.parametrize("given", [8, 6])
def test_dynamic_layers(dtype: torch.dtype, layers: int, both: bool, given: int, tmp_path: Path) -> None:
    module = Recurrent(layers, both, given, bias=True)
    kinds = {nn.LSTM, nn.GRU, nn.LSTMCell, nn.Linear}
    net: Any = ao.quantize_dynamic(module, kinds, dtype=dtype)
    expected = recurrent(module, dtype)
    scales = {"fc.scale", "fc.zero_point"}
    again = {"cell.bias_ih#2", "cell.bias_hh#2"}  # a cell keeps its biases beside what is packed, too
    check(saved(net, tmp_path / "module.pt"), expected, again)
    checkpoint = saved(net.state_dict(), tmp_path / "state.pt")
    unsure = given == 6 and (layers, both) in ((1, True), (2, False))  # two entries of one size
    if unsure:
        wrong = {
            name.replace("_l0_reverse", "_l1") if name.startswith("rnn.") else name: each for name, each in expected.items()
        }
        check(checkpoint, wrong, scales)
        assert "layer 1, or layer 0 reversed: the file does not say" in checkpoint["rnn.weight_ih_l1"].note
    else:
        check(checkpoint, expected, scales)
        assert not any("the file does not say" in tensor.note for tensor in checkpoint.values())
    inner = saved(net.rnn.state_dict(), tmp_path / "inner.pt")
    assert {name.removeprefix("rnn.") for name in checkpoint if name.startswith("rnn.")} == set(inner)


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
def test_embeddings(kind: Any, tmp_path: Path) -> None:
    module = nn.ModuleDict({"table": kind(12, 8)})
    weight = {"table.weight": module["table"].weight()}
    check(saved(module, tmp_path / "module.pt"), weight)
    check(saved(module.state_dict(), tmp_path / "state.pt"), weight)


def test_graphs_of_quantised_layers(tmp_path: Path) -> None:
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    sample = torch.randn(1, 1, 8, 8)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)).eval()
    prepared = prepare_fx(net, ao.get_default_qconfig_mapping("fbgemm"), (sample,))
    prepared(sample)
    graph = convert_fx(prepared)
    modules = dict(graph.named_modules())
    expected = {f"{name}.{what}": getattr(modules[name], what)() for name in ("0", "3") for what in ("weight", "bias")}
    scales = set(graph.state_dict()) - {"0.weight", "0.bias", "3._packed_params.dtype", "3._packed_params._packed_params"}
    check(saved(graph.state_dict(), tmp_path / "state.pt"), expected, scales)
    check(
        saved(graph, tmp_path / "module.pt"),
        expected,
        {name for name in scales if "_input_" in name or "scale_0" in name or "point_0" in name},
    )


def test_modules_of_mkldnn(tmp_path: Path) -> None:
    from torch.utils.mkldnn import to_mkldnn

    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(3, 4)).eval()
    expected = {name: each for name, each in net.state_dict().items() if "tracked" not in name}
    check(saved(to_mkldnn(net), tmp_path / "x.pt"), expected)


class Lookalike(nn.Module):
    """A module whose own names look like those of packed layers, and are not."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_packed_weight", torch.randn(3))
        self.register_buffer("_packed_params", torch.randn(3))
        self.register_buffer("_packed_weight_ih", torch.randn(2))
        self._all_weight_values = nn.ModuleList([nn.Linear(2, 2)])


def test_what_only_looks_packed_keeps_its_names(tmp_path: Path) -> None:
    net = nn.ModuleDict({"m": Lookalike()})
    state = net.state_dict()
    check(saved(state, tmp_path / "state.pt"), dict(state))
    check(saved(net, tmp_path / "module.pt"), dict(state))
    odd = {
        "a._packed_params._packed_params": [torch.ones(2), torch.ones(3)],
        "b._packed_params._packed_params": (torch.ones(2), torch.ones(3), torch.ones(4)),
        "c._all_weight_values.0.param": torch.ones(2),
        "c._all_weight_values.1.param": {"w": torch.ones(2)},
    }
    assert list(saved(odd, tmp_path / "odd.pt")) == [
        *(f"a._packed_params._packed_params.{index}" for index in range(2)),
        *(f"b._packed_params._packed_params.{index}" for index in range(3)),
        "c._all_weight_values.0.param",
        "c._all_weight_values.1.param.w",
    ]


@pytest.mark.parametrize("name", ["ao-dynamic-module", "ao-dynamic-sd", "ao-static-sd", "ao-static-script"])
def test_cases_have_the_weights_of_their_truth(name: str) -> None:
    checkpoint = opened(cases(f"formats/{name}/ckpt/model.pt"))
    found = {key.removeprefix("."): tensor for key, tensor in checkpoint.items()}
    for key, truth in load_file(cases(f"formats/{name}/truth.safetensors")).items():
        np.testing.assert_array_equal(found[key].numpy(), truth)


def test_the_table_has_the_plain_names(tmp_path: Path) -> None:
    torch.save(static(True).state_dict(), tmp_path / "x.pt")
    done = torch2grid("x.pt", "--stats", cwd=tmp_path)
    assert all(f"\n{name} " in done.stdout for name in ("conv.weight", "conv.bias", "up.weight", "fc.weight", "fc.bias"))
    assert "_packed" not in done.stdout
