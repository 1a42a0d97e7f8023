"""Live training of the digits network, small enough for tests."""

from __future__ import annotations

import sys
from typing import Any

import torch
from tests.support.tools import PROJECT
from torch import nn

RUN = PROJECT / "examples" / "digits_run"
SNAPSHOTS = [RUN / f"epoch_{epoch:02}.pth" for epoch in (1, 3, 10, 30)]


def digits_net() -> Any:
    """The network of the digits run and a batch of images and labels, float32."""
    sys.path.insert(0, str(PROJECT / "examples"))
    try:
        from train_digits import DigitNet
    finally:
        sys.path.pop(0)
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(16, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (16,), generator=generator)
    torch.manual_seed(0)
    return DigitNet(), images, labels


def backward(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    net.zero_grad()
    nn.functional.cross_entropy(net(images), labels).backward()
