"""Draws the pictures of docs/compare.md and docs/gradients.md: ``python docs/draw_change_pictures.py``, or ``make pictures``.

They show the digits network: its committed checkpoints, and the gradients of one batch, which this script computes.
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
    "pair.png": "compare/fc1.weight_delta.png",
    "trends.png": "series_trends.png",
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


def main() -> int:
    """Draw all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gradients(folder / "gradients.safetensors")
        for words in (
            ["compare", UNTRAINED, TRAINED, "--atlas", "--layers"],
            ["compare", RUN],
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
                picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
            else:
                path.write_bytes((folder / "grids" / long).read_bytes())
            print(f"{path}: {path.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
