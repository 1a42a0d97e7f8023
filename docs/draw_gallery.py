"""Draws the pictures of docs/gallery.md by the commands that stand there, and the demo's; ``make pictures`` runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from draw_pictures import smaller

DOCS = Path(__file__).resolve().parent
PAGE, TARGET = DOCS / "gallery.md", "pictures/gallery"
DEMO = DOCS / "pictures" / "demo.png"  # of docs/index.md
DATA = DOCS.parent / "torch2grid_builtin" / "src" / "torch2grid_builtin" / "data"


def commands(text: str) -> list[str]:
    """The commands of a page, as they stand behind ``$``."""
    return re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE)


def shown(text: str) -> list[str]:
    """The files below the gallery's folder that a page shows or links to, in order."""
    return re.findall(rf"\]\({TARGET}/([^)\s]+)\)", text)


def main() -> int:
    """Run the page's commands in an empty folder, and keep what the page shows."""
    text = PAGE.read_text(encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(DATA / "digits_trained.pth", folder / "model.pth")
        shutil.copy(DATA / "digits_untrained.pth", folder / "untrained.pth")
        for command in [*commands(text), "torch2grid demo -o demo"]:
            subprocess.run(
                ["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, check=True, capture_output=True
            )
        shutil.rmtree(DOCS / TARGET, ignore_errors=True)
        for file in shown(text):
            data = (folder / file).read_bytes()
            target = DOCS / TARGET / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(smaller(data) if target.suffix == ".png" else data)
            print(f"{target.relative_to(DOCS.parent)}: {target.stat().st_size // 1000} kB")
        DEMO.write_bytes(smaller((folder / "demo" / "demo_grid.png").read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
