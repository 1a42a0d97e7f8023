"""Trains the small network that ``torch2grid demo`` draws, on the 8×8 digits that scikit-learn ships (UCI, 1797 images).

    python examples/train_digits.py            train again, print the accuracy, compare with the committed files
    python examples/train_digits.py --write    train again and write the files

``--check``, the default, exits 1 where a committed number differs from the new one by more than ``RTOL``/``ATOL``.

The run is repeatable: one seed, one thread, deterministic algorithms. It computes in float64 and saves float32, because
kernels round differently from one processor to the next and some hundred steps of Adam magnify that: of 1e-16 nothing is
left to see in float32, of 1e-7 there would be. Needs torch and scikit-learn.
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "torch2grid_builtin" / "src" / "torch2grid_builtin" / "data"
RUN = ROOT / "examples" / "digits_run"
UNTRAINED, TRAINED = DATA / "digits_untrained.pth", DATA / "digits_trained.pth"

SEED, EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 0, 30, 32, 3e-3, 3e-2
SNAPSHOTS = (1, 3, 10, EPOCHS)  # epochs after which the state of the run is kept
TEST_SHARE, WANTED_ACCURACY = 0.25, 0.97
RTOL, ATOL = 1e-3, 1e-4


class DigitNet(nn.Module):
    """Two convolutions and two linear layers on (batch, 1, 8, 8) images with values in 0…1; ten class scores out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 2 * 2, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(torch.relu(self.conv1(images)), 2)
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def load_split() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images (float64, (n, 1, 8, 8), 0…1), test images, training labels (int64) and test labels."""
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16.0).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    chosen, held_out = train_test_split(range(len(labels)), test_size=TEST_SHARE, random_state=SEED)
    return images[chosen], images[held_out], labels[chosen], labels[held_out]


def accuracy(state: dict[str, torch.Tensor], images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of *images* that a network with this state dict classifies right."""
    net = DigitNet()
    net.load_state_dict(state)
    with torch.no_grad():
        return (net(images.float()).argmax(1) == labels).double().mean().item()


def as_float32(state: Any) -> Any:
    """A copy of a state dict, or of an optimizer's, with every float64 tensor as float32."""
    if isinstance(state, torch.Tensor):
        return state.detach().to(torch.float32 if state.dtype == torch.float64 else state.dtype, copy=True)
    if isinstance(state, dict):
        copy: dict[Any, Any] = OrderedDict() if isinstance(state, OrderedDict) else {}
        copy.update((key, as_float32(value)) for key, value in state.items())
        return copy
    if isinstance(state, list):
        return [as_float32(each) for each in state]
    return state


def train() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[int, dict[str, Any]]]:
    """The untrained state dict, the trained one, and epoch → checkpoint of the run with the optimizer's state."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images, _, labels, _ = load_split()
    net = DigitNet().double()
    for layer in net.children():
        layer.reset_parameters()  # once more, drawn in float64: float32 draws differ in the last bit between processors
    untrained = as_float32(net.state_dict())
    net.load_state_dict(untrained)
    optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    order = torch.Generator().manual_seed(SEED)
    checkpoints = {}
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for batch in torch.randperm(len(images), generator=order).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        if epoch in SNAPSHOTS:
            checkpoints[epoch] = {
                "model": as_float32(net.state_dict()),
                "optimizer": as_float32(optimizer.state_dict()),
                "epoch": epoch,
                "loss": total / len(images),
            }
    return untrained, as_float32(net.state_dict()), checkpoints


def files_of(untrained: Any, trained: Any, checkpoints: dict[int, Any]) -> dict[Path, Any]:
    """Every file of the run with what it holds."""
    run = {RUN / f"epoch_{epoch:02d}.pth": checkpoint for epoch, checkpoint in checkpoints.items()}
    return {UNTRAINED: untrained, TRAINED: trained, **run}


def differences(new: Any, committed: Any, where: str = "") -> list[str]:
    """One line for each place where two nested states differ by more than the tolerance."""
    if isinstance(new, torch.Tensor) and isinstance(committed, torch.Tensor):
        if new.shape != committed.shape or new.dtype != committed.dtype:
            return [f"{where}: {committed.dtype} {tuple(committed.shape)}, now {new.dtype} {tuple(new.shape)}"]
        if not torch.allclose(new, committed, rtol=RTOL, atol=ATOL):
            return [f"{where}: differs by up to {(new - committed).abs().max().item():.3g}"]
        return []
    if isinstance(new, dict) and isinstance(committed, dict):
        if list(new) != list(committed):
            return [f"{where}: has {list(committed)}, now {list(new)}"]
        return [line for key in new for line in differences(new[key], committed[key], f"{where}.{key}".lstrip("."))]
    if isinstance(new, (list, tuple)) and isinstance(committed, (list, tuple)) and len(new) == len(committed):
        pairs = enumerate(zip(new, committed, strict=True))
        return [line for i, (one, two) in pairs for line in differences(one, two, f"{where}[{i}]")]
    if isinstance(new, float) and isinstance(committed, float):
        return [] if abs(new - committed) <= ATOL + RTOL * abs(committed) else [f"{where}: {committed:g}, now {new:g}"]
    return [] if new == committed else [f"{where}: {committed!r}, now {new!r}"]


def check(files: dict[Path, Any]) -> bool:
    """True if every committed file holds these numbers; prints a line for each file, and for each difference."""
    same = True
    for path, new in files.items():
        if not path.is_file():
            lines = ["is missing"]
        else:
            lines = differences(new, torch.load(path, map_location="cpu", weights_only=True))
        print(f"{'ok  ' if not lines else 'DIFF'} {path.relative_to(ROOT)}")
        for line in lines:
            print(f"       {line}")
        same = same and not lines
    return same


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0, or 1 for a difference or too low an accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare with the committed files (the default)")
    mode.add_argument("--write", action="store_true", help="write the files")
    chosen = parser.parse_args(arguments)

    untrained, trained, checkpoints = train()
    _, test_images, _, test_labels = load_split()
    before, after = (accuracy(state, test_images, test_labels) for state in (untrained, trained))
    weights = sum(tensor.numel() for tensor in trained.values())
    print(f"{weights:,} weights, test accuracy untrained {before:.2%}, trained {after:.2%}")
    if after < WANTED_ACCURACY:
        print(f"below {WANTED_ACCURACY:.0%}: nothing written or compared", file=sys.stderr)
        return 1
    files = files_of(untrained, trained, checkpoints)
    if not chosen.write:
        return 0 if check(files) else 1
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)
        print(f"{path.stat().st_size / 1000:7.1f} kB  {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
