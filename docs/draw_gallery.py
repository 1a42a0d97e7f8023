"""Draws the pictures of docs/gallery.md by the commands that stand there, those of reading.md and questions.md, and the demo's.

``make pictures`` runs it; ``python docs/draw_gallery.py reading`` draws those of docs/reading.md and docs/questions.md alone.
"""

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
EXAMPLES = ("planted_models.py", "exported_models.py")
FILES = {"insight.md": ("ranks.py", "vocab.py", "outlier_columns.py"), "adapters.md": ("make_adapter.py",)}  # blocks of pages
READING = {  # picture of docs/reading.md → what draws it
    "dead_neurons_overview.png": "moe.npz --dead-neurons",
    "outliers_overview.png": "lm.npz --outliers",
    "spectrum_overview.png": "ranks.npz --view spectrum:each=false",
    "heads_overview.png": "export --heads",
    "experts_overview.png": "moe.npz --experts",
    "quantization_overview.png": "outlier_columns.npz --quantization",
    "vocabulary_overview.png": "vocab.npz --vocabulary",
    "adapter_overview.png": "adapter --adapter",
}
QUESTIONS = {  # picture of docs/questions.md → what draws it, and the file that it is then
    "largest.png": ("lm.npz --layers --only layers.2.mlp.down_proj.weight", "layers/layers.2.mlp.down_proj.weight.png"),
    "row.png": ("lm.npz --layers --only embed_tokens.weight --slice 1234", "layers/embed_tokens.weight.png"),
    "head.png": ("lm.npz --layers --only '*.7.*q_proj.weight' --slice 40:48", "layers/layers.7.self_attn.q_proj.weight.png"),
    "siblings.png": ("lm.npz --layers --only 'layers.*.self_attn.*'", "layer_overview.png"),
    "export.png": ("compare consolidated.00.pth export --ignore-dtype", "compare_overview.png"),
}


def commands(text: str) -> list[str]:
    """The commands of a page, as they stand behind ``$``."""
    return re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE)


def shown(text: str) -> list[str]:
    """The files below the gallery's folder that a page shows or links to, in order."""
    return re.findall(rf"\]\({TARGET}/([^)\s]+)\)", text)


def run(folder: Path, command: str) -> None:
    """Run a line of bash in *folder*, this environment's commands first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, check=True, capture_output=True)


def keep(data: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(smaller(data) if target.suffix == ".png" else data)
    print(f"{target.relative_to(DOCS.parent)}: {target.stat().st_size // 1000} kB")


def draw_gallery(folder: Path) -> None:
    """Run the page's commands in the empty *folder*, and keep what the page shows."""
    text = PAGE.read_text(encoding="utf-8")
    shutil.copy(DATA / "digits_trained.pth", folder / "model.pth")
    shutil.copy(DATA / "digits_untrained.pth", folder / "untrained.pth")
    for command in [*commands(text), "torch2grid demo -o demo"]:
        run(folder, command)
    shutil.rmtree(DOCS / TARGET, ignore_errors=True)
    for file in shown(text):
        keep((folder / file).read_bytes(), DOCS / TARGET / file)
    keep((folder / "demo" / "demo_grid.png").read_bytes(), DEMO)


def draw_reading(folder: Path) -> None:
    """Make the models in the empty *folder*, and draw what docs/reading.md and docs/questions.md show of them."""
    for name in EXAMPLES:
        run(folder, f"python -W ignore {DOCS.parent / 'examples' / name} .")
    for page, names in FILES.items():
        for name in names:
            found = re.search(
                rf'```python title="{name}"\n(.*?)```', (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL
            )
            assert found is not None, f"{page} holds no {name}"
            (folder / name).write_text(found[1], encoding="utf-8")
            run(folder, f"python {name}")
    for file, words in READING.items():
        run(folder, f"torch2grid {words} -q -o out")
        keep((folder / "out" / file).read_bytes(), DOCS / "pictures" / "reading" / file)
    for number, (file, (words, drawn)) in enumerate(QUESTIONS.items()):
        run(folder, f"torch2grid {words} -q -o out{number}")
        keep((folder / f"out{number}" / drawn).read_bytes(), DOCS / "pictures" / "questions" / file)
    blocks = re.findall(r"```python.*?\n(.*?)```", (DOCS / "questions.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (folder / "three.py").write_text(next(each for each in blocks if '"three.png"' in each), encoding="utf-8")
    run(folder, "python three.py")
    keep((folder / "three.png").read_bytes(), DOCS / "pictures" / "questions" / "three.png")


def main(words: list[str]) -> int:
    for draw in (draw_reading,) if words == ["reading"] else (draw_gallery, draw_reading):
        with tempfile.TemporaryDirectory() as name:
            draw(Path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
