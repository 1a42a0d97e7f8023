"""Draws the pictures of docs/compare.md and docs/gradients.md: ``python docs/draw_change_pictures.py``, or ``make pictures``.

They show the digits network: its committed checkpoints, and the gradients of one batch, which this script computes; and a small
network of many layers that it trains with a learning rate far too large.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

import torch2grid as t2g

HERE = Path(__file__).parent
FOLDER, RUN = HERE / "pictures" / "changes", HERE.parent / "examples" / "digits_run"
DATA = HERE.parent / "torch2grid_builtin" / "src" / "torch2grid_builtin" / "data"
UNTRAINED, TRAINED = DATA / "digits_untrained.pth", DATA / "digits_trained.pth"
WANTED = {  # picture of the documentation → what torch2grid calls it
    "delta_atlas.png": "delta_atlas.png",
    "overview.png": "compare_overview.png",
    "pair.png": "compare/fc1.weight_delta.png",
    "trends.png": "series_trends.png",
    "explosion.png": "explosion/series_trends.png",
    "ridges.png": "series/fc1.weight_series.png",
    "run.gif": "series_atlas.gif",
    "optimizer.png": "optimizer/fc1.weight_optimizer.png",
    "updates.png": "optimizer_overview.png",
    "gradient_flow.png": "gradient_flow.png",
    "gradient.png": "gradients/fc1.weight_grad.png",
}


def gradients(target: Path) -> None:
    """The gradients of one batch of the network after its third epoch."""
    sys.path.insert(0, str(HERE.parent / "examples"))
    from train_digits import DigitNet, load_split

    net = DigitNet()
    net.load_state_dict(torch.load(RUN / "epoch_03.pth", weights_only=True)["model"])
    images, _, labels, _ = load_split()
    torch.nn.functional.cross_entropy(net(images[:64].float()), labels[:64]).backward()
    t2g.save_gradients(net, target)


class Block(torch.nn.Module):
    """A layer of the network that explodes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.up, self.down = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


def explosion(folder: Path, steps: int = 12) -> None:
    """Snapshots of every step of a training that explodes."""
    torch.manual_seed(0)
    embed, head = torch.nn.Linear(32, 32, bias=False), torch.nn.Linear(32, 10, bias=False)
    net = torch.nn.ModuleDict({"embed": embed, "layers": torch.nn.Sequential(*(Block(32) for _ in range(10))), "head": head})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.9, momentum=0.9)
    for step in range(steps):
        torch.save({"model": net.state_dict(), "step": step}, folder / f"step_{step}.pth")
        x = torch.randn(64, 32)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(net["layers"](embed(x))), x[:, :10].argmax(dim=1))
        loss.backward()
        optimizer.step()


def main() -> int:
    """Draw all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gradients(folder / "gradients.safetensors")
        (folder / "exploding").mkdir()
        explosion(folder / "exploding")
        for words in (
            ["compare", UNTRAINED, TRAINED],
            ["compare", UNTRAINED, TRAINED, "--layers"],
            ["compare", RUN],
            ["compare", folder / "exploding", "-o", "grids/explosion", "--only", "*.weight"],
            ["compare", RUN, "--format", "gif"],
            [RUN / "epoch_10.pth", "--optimizer"],
            [folder / "gradients.safetensors", "--gradients"],
        ):
            command = [sys.executable, "-m", "torch2grid_core", *map(str, words), "-q"]
            done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False)
            if done.returncode not in (0, 1):  # 1: compare says that they differ
                return done.returncode
        FOLDER.mkdir(parents=True, exist_ok=True)
        for short, long in WANTED.items():
            path = FOLDER / short
            if path.suffix == ".png":
                picture = Image.open(folder / "grids" / long).convert("RGB")
                few = picture.quantize(256, dither=Image.Dither.NONE)  # but for what has two scales of colours
                (picture if short == "explosion.png" else few).save(path, optimize=True)
            else:
                path.write_bytes((folder / "grids" / long).read_bytes())
            print(f"{path}: {path.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
