"""Draws the pictures of docs/layouts.md and of the README: ``python docs/draw_pictures.py MODEL``, or ``make pictures``.

MODEL is silero_vad_16k.safetensors of silero-vad 6.2.3 (MIT licence), a network that finds speech in sound; its wheel on PyPI
holds the file (``pip download --no-deps silero-vad==6.2.3``, then unzip).
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from torch2grid_core.grids import colormap

FOLDER = Path(__file__).parent / "pictures"
CELLS = {  # a side, small enough for a page of the documentation; two show each weight
    "flatten": 330,
    "spiral": 330,
    "hilbert": 330,
    "normalized": 330,
    "layer_weighted": 330,
    "layer_separated": 2048,
    "atlas": 2048,
}


def main(words: list[str]) -> int:
    """Draw all; exit code 1 where the model is missing."""
    if len(words) != 1 or not Path(words[0]).is_file():
        print(f"no model {' '.join(words)}; {(__doc__ or '').split('MODEL is ')[1].strip()}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        for name, cells in CELLS.items():
            picture = Path(folder) / f"{name}.png"
            command = [sys.executable, "-m", "torch2grid_core", words[0], "--plugin", name, "-o", str(picture)]
            subprocess.run([*command, "--max-cells", str(cells), "--quiet"], check=True)
            data = smaller(picture.read_bytes())
            (FOLDER / picture.name).write_bytes(data)
            print(f"{FOLDER / picture.name}: {len(data) // 1000} kB")
    return 0


_SECOND = 0.01  # of a picture, from which a second map is one of its own


def smaller(png: bytes) -> bytes:
    """The picture in 256 colours: shades of text, every second level of its map, then the most frequent.

    Any other becomes the nearest, which is the next level of the map. A picture with two maps keeps all its colours.
    """
    rgb = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    found, places, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    shades = np.linspace((0x1F, 0x23, 0x28), (255, 255, 255), 12).astype(np.int64)
    maps = [colormap(name)[::2] for name in ("t2g_diverging", "t2g_sequential")]
    pixels = [int(counts[(found[:, None] == table[None]).all(axis=2).any(axis=1)].sum()) for table in maps]
    if min(pixels) > _SECOND * counts.sum():
        target = io.BytesIO()
        Image.fromarray(rgb).save(target, "PNG", optimize=True)
        return target.getvalue()
    levels = maps[int(np.argmax(pixels))]
    common = found[np.argsort(-counts, kind="stable")]
    rest = common[~(common[:, None] == levels[None]).all(axis=2).any(axis=1)][: 256 - len(shades) - len(levels)]
    palette = np.concatenate([shades, levels, rest]).astype(np.int64)
    nearest = np.array([np.abs(palette - color).sum(axis=1).argmin() for color in found.astype(np.int64)], dtype=np.uint8)
    image = Image.fromarray(nearest[places].reshape(rgb.shape[:2]), "P")
    image.putpalette(palette.astype(np.uint8).tobytes())
    target = io.BytesIO()
    image.save(target, "png", optimize=True)
    return target.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
