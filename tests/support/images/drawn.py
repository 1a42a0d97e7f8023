"""The pictures of the digits network that are compared; ``python -m`` with this module draws the committed ones anew."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image
from tests.support.tools import DIGITS, PROJECT

from torch2grid_core import PluginManager, Settings, Style, draw

BASELINE = PROJECT / "tests" / "images" / "baseline"
VIEWS = {
    "grid": ("neural_grid",),
    "layers": ("conv2.weight", "fc1.weight", "fc1.bias", "layer_overview"),
    "histogram": ("fc1.weight_hist", "histogram_overview"),
    "histogram:initialisation=true": ("conv2.weight_hist",),
    "conv": ("conv1.weight_grid", "conv2.weight_grid"),
    "stats": ("stats",),
    "dead_neurons": ("dead_neurons_overview",),
}
NAMES = [f"{view.partition(':')[0]}-{name}" for view, names in VIEWS.items() for name in names]


def pictures() -> Iterator[tuple[str, bytes]]:
    """``view-page`` and the PNG of each."""
    manager = PluginManager.discover()
    renderer = manager.renderer_for("png").create()
    checkpoint = manager.open(str(DIGITS))
    for view, names in VIEWS.items():
        drawn = draw(checkpoint, [manager.create("view", view)], Settings(title="digits" if view == "grid" else ""))
        pages = {page.name: page for page, *_ in drawn}
        for name in names:
            target = io.BytesIO()
            renderer.render(pages[name], target, Style(), "png")
            yield f"{view.partition(':')[0]}-{name}", target.getvalue()


def main() -> None:
    """Write the pictures that later runs are compared with."""
    BASELINE.mkdir(exist_ok=True)
    for path in BASELINE.glob("*.png"):
        path.unlink()
    for name, data in pictures():
        with Image.open(io.BytesIO(data)) as image:  # fewer greys of letters, half the bytes
            image.quantize(256, dither=Image.Dither.NONE).save(BASELINE / f"{name}.png", optimize=True)
        print(BASELINE / f"{name}.png", (BASELINE / f"{name}.png").stat().st_size)


if __name__ == "__main__":
    main()
