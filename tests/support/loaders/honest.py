"""What PyTorch itself pickles in checkpoints: every layer as a whole module, optimizers, schedules, tensors of every kind."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.utils.prune
from torch import nn

# Of the layers that need arguments: what they get.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "AdaptiveLogSoftmaxWithLoss": {"in_features": 4, "n_classes": 8, "cutoffs": (2, 5)},
    "Bilinear": {"in1_features": 3, "in2_features": 2, "out_features": 4},
    "Fold": {"output_size": (4, 4), "kernel_size": (2, 2)},
    "FractionalMaxPool2d": {"kernel_size": 2, "output_size": 3},
    "FractionalMaxPool3d": {"kernel_size": 2, "output_size": 3},
    "GroupNorm": {"num_groups": 2, "num_channels": 4},
    "ModuleDict": {"modules": {"a": nn.Linear(2, 2)}},
    "ModuleList": {"modules": [nn.Linear(2, 2)]},
    "MultiheadAttention": {"embed_dim": 4, "num_heads": 2},
    "ParameterDict": {"parameters": {"a": nn.Parameter(torch.zeros(2))}},
    "ParameterList": {"values": [nn.Parameter(torch.zeros(2))]},
    "Threshold": {"threshold": 0.1, "value": 0.2},
    "Unflatten": {"dim": 1, "unflattened_size": (2, 2)},
    "Upsample": {"scale_factor": 2},
    "UpsamplingBilinear2d": {"scale_factor": 2},
    "UpsamplingNearest2d": {"scale_factor": 2},
    "Transformer": {"d_model": 4, "nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "dim_feedforward": 8},
    "TransformerDecoderLayer": {"d_model": 4, "nhead": 2, "dim_feedforward": 8},
    "TransformerEncoderLayer": {"d_model": 4, "nhead": 2, "dim_feedforward": 8},
}
_TRIED: tuple[tuple[Any, ...], ...] = ((), (2,), (2, 3), (3, 3, 3))
_BASES = ("RNNBase", "RNNCellBase")  # of others, and no layers


def layers() -> Iterator[tuple[str, nn.Module]]:
    """A module of each class of ``torch.nn``."""
    for name, kind in inspect.getmembers(nn, inspect.isclass):
        if issubclass(kind, nn.Module) and name not in _BASES:
            yield name, _layer(name, kind)


def _layer(name: str, kind: Callable[..., nn.Module]) -> nn.Module:
    if name == "TransformerEncoder":
        return kind(nn.TransformerEncoderLayer(4, 2, 8), 1)
    if name == "TransformerDecoder":
        return kind(nn.TransformerDecoderLayer(4, 2, 8), 1)
    if name == "DataParallel":
        return kind(nn.Linear(2, 2))
    if name == "Sequential":
        return kind(nn.Linear(2, 2), nn.ReLU())
    if name in _ARGUMENTS:
        return kind(**_ARGUMENTS[name])
    for arguments in _TRIED:
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(f"torch.nn.{name} is new: say with which arguments it is made")


def optimizers() -> Iterator[tuple[str, torch.optim.Optimizer]]:
    """An optimizer of each class of ``torch.optim``, after a step."""
    for name, kind in inspect.getmembers(torch.optim, inspect.isclass):
        if not issubclass(kind, torch.optim.Optimizer) or kind is torch.optim.Optimizer:
            continue
        parameter = nn.Parameter(torch.ones(4, 3))
        made = kind([parameter], lr=0.1)
        parameter.grad = torch.ones(4, 3).to_sparse() if name == "SparseAdam" else torch.ones(4, 3)
        made.step(lambda: torch.tensor(1.0)) if name == "LBFGS" else made.step()
        yield name, made


def schedules(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Any]]:
    """The state of each schedule of ``torch.optim.lr_scheduler`` that a state dict is made of."""
    from torch.optim import lr_scheduler as kinds

    made = (
        kinds.StepLR(optimizer, 2),
        kinds.MultiStepLR(optimizer, [2, 3]),
        kinds.ConstantLR(optimizer),
        kinds.LinearLR(optimizer),
        kinds.ExponentialLR(optimizer, 0.5),
        kinds.CosineAnnealingLR(optimizer, 5),
        kinds.CosineAnnealingWarmRestarts(optimizer, 5),
        kinds.PolynomialLR(optimizer),
        kinds.ReduceLROnPlateau(optimizer),
        kinds.OneCycleLR(optimizer, 0.1, 10),
        kinds.CyclicLR(optimizer, 0.01, 0.1, cycle_momentum=False),
    )
    for each in made:
        yield type(each).__name__, each.state_dict()
    for mode in ("triangular", "triangular2", "exp_range"):
        yield f"whole CyclicLR, {mode}", kinds.CyclicLR(optimizer, 0.01, 0.1, mode=mode, cycle_momentum=False)
    both = [kinds.ConstantLR(optimizer), kinds.ExponentialLR(optimizer, 0.5)]
    yield "SequentialLR", kinds.SequentialLR(optimizer, both, [2]).state_dict()


def tensors() -> Iterator[tuple[str, Any]]:
    """Tensors of every dtype and layout, parameters, subclasses and what stands beside them."""
    dense = torch.arange(24.0).reshape(4, 6)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.uint8, torch.bool):
        yield str(dtype), dense.to(dtype)
    yield "float8", dense.to(torch.float8_e4m3fn)
    yield "sparse", dense.to_sparse()
    yield "csr", dense.to_sparse_csr()
    yield "bsr", dense.to_sparse_bsr((2, 2))
    yield "quantized", torch.quantize_per_tensor(dense, 0.5, 3, torch.quint8)
    channels = torch.full((4,), 0.5), torch.zeros(4, dtype=torch.int64)
    yield "channels", torch.quantize_per_channel(dense, *channels, 0, torch.qint8)
    yield "nested", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    yield "meta", torch.empty(2, device="meta")
    yield "conjugate", torch.ones(2, dtype=torch.complex64).conj()
    yield "parameter", nn.Parameter(dense)
    yield "buffer", nn.Buffer(dense)
    yield "view", dense.t()[1:]
    yield "storage", dense.untyped_storage()
    yield "typed storage", dense.storage()
    yield "packed", nn.utils.rnn.pack_sequence([dense])
    yield "size", dense.shape
    yield "device", torch.device("cpu")
    yield "dtypes", [torch.float32, torch.int64, torch.strided, torch.per_tensor_affine]
    yield "generator", torch.get_rng_state()


def beside() -> Iterator[tuple[str, Any]]:
    """What training loops put into a checkpoint beside their tensors."""
    yield "random", {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    yield "numpy generators", [np.random.RandomState(0), np.random.default_rng(0), np.random.PCG64(1), random.Random(0)]
    yield "numpy", [np.arange(3.0), np.float32(1), np.int64(2), np.dtype("f4"), np.float64, np.array(["a", "b"])]
    yield "numpy's kinds", [np.ma.array([1, 2], mask=[0, 1]), np.matrix([1.0]), np.array([1, "a", None], dtype=object)]
    yield "paths", {"folder": Path("a/b"), "logger": logging.getLogger("train")}
    yield (
        "functions",
        [nn.functional.relu, nn.functional.gelu, torch.tanh, torch.sigmoid, functools.partial(nn.LayerNorm, eps=1e-6)],
    )
    yield "scaler", torch.amp.GradScaler("cpu", init_scale=2.0)
    yield "sampler", torch.utils.data.SubsetRandomSampler([0, 1])
    yield "dataset", torch.utils.data.TensorDataset(torch.ones(2))
    yield "distribution", torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    yield "mixture", torch.distributions.Independent(torch.distributions.Uniform(torch.zeros(2), torch.ones(2)), 1)
    yield "version", torch.__version__


def changed() -> Iterator[tuple[str, nn.Module]]:
    """Modules with hooks, parametrizations, masks and averages."""
    yield "weight norm", nn.utils.weight_norm(nn.Linear(3, 2))
    yield "spectral norm", nn.utils.spectral_norm(nn.Linear(3, 2))
    pruned = nn.Linear(3, 2)
    nn.utils.prune.l1_unstructured(pruned, "weight", 0.5)
    yield "pruned", pruned
    yield "average", torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2))
    fused = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).eval()
    yield "fused", torch.ao.quantization.fuse_modules(copy.deepcopy(fused), [["0", "1", "2"]])
    prepared = nn.Sequential(torch.ao.quantization.QuantStub(), nn.Linear(3, 2), torch.ao.quantization.DeQuantStub()).eval()
    prepared.qconfig = torch.ao.quantization.get_default_qconfig("qnnpack")
    torch.ao.quantization.prepare(prepared, inplace=True)
    prepared(torch.ones(1, 3))
    yield "prepared", prepared
    if "qnnpack" in torch.backends.quantized.supported_engines:
        before, torch.backends.quantized.engine = torch.backends.quantized.engine, "qnnpack"
        converted = torch.ao.quantization.convert(copy.deepcopy(prepared))
        torch.backends.quantized.engine = before  # it belongs to the whole process
        yield "converted", converted
    yield "dynamic", torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 2)), {nn.Linear}, dtype=torch.qint8)


def everything() -> Iterator[tuple[str, Any]]:
    """All of the above, by name, each with a tensor beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = list(optimizers())
        adam = dict(kept)["Adam"]
        whole = [(f"whole {name}", made) for name, made in kept]
        states = [(f"state of {name}", made.state_dict()) for name, made in kept]
        groups = (layers(), whole, states, schedules(adam), tensors(), beside(), changed())
        for name, value in (pair for group in groups for pair in group):
            yield name, {"value": value, "beside": torch.ones(2)}
