"""The recorder beside mixed precision and unusual parameters: what it counts is the gradient that the step uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import torch2grid as t2g
from torch2grid_core.measures import Distribution


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unscale", [False, True])
def test_a_scaled_loss_leaves_the_gradients_as_they_are(fused, unscale):
    net = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(net.parameters(), fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with t2g.GradientRecorder(net, every=1) as recorder:
        scaler.scale(net(torch.ones(2, 4)).sum()).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
    (found,) = recorder.distributions("bias")
    assert (found.min, found.max) == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.complex64, torch.float8_e5m2])
@pytest.mark.parametrize("size", [1000, 1_200_000])
def test_every_dtype_is_counted_as_a_distribution_is(dtype, size):
    generator = torch.Generator().manual_seed(0)
    wide = torch.complex64 if dtype.is_complex else torch.float32
    values = (torch.randn(size, generator=generator, dtype=wide) * 1e-2).to(dtype)
    if size > 1000:
        values[: size // 2] = 0
    parameter = nn.Parameter(values.clone(), requires_grad=dtype.itemsize > 1)
    net = nn.ParameterDict({"w": parameter})
    if dtype.itemsize == 1:
        parameter.requires_grad = True
    parameter.grad = values
    recorder = t2g.GradientRecorder(net)
    recorder.record()
    (found,) = recorder.distributions("w")
    exact = Distribution()
    exact.update(t2g.load({"w": values})["w"].numpy())
    assert (found.count, found.zeros) == (size, exact.zeros)
    assert found.std == pytest.approx(exact.std, rel=1e-4)
    assert found.max == pytest.approx(exact.max, rel=1e-6)
    np.testing.assert_allclose(found.quantiles([0.1, 0.9]), exact.quantiles([0.1, 0.9]), rtol=0.01)
    norm = recorder.checkpoint()["w/figures"].numpy()[0, -1]
    assert norm == pytest.approx(float(np.linalg.norm(values.to(wide).numpy())), rel=1e-3)


def test_a_sparse_gradient_counts_its_stored_values():
    net = nn.Embedding(100, 4, sparse=True)
    net(torch.tensor([3, 3, 7])).sum().backward()
    recorder = t2g.GradientRecorder(net)
    recorder.record()
    (found,) = recorder.distributions("weight")
    assert (found.count, found.min, found.max) == (8, 1, 2)
