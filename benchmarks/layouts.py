"""Pictures of whole models beside the least that any tool must do: ``python -m benchmarks.layouts [GPT2] [LLAMA]``.

That least is a script that imports matplotlib, reads the file and saves a figure of as many cells of noise. GPT2 and LLAMA
are files of GPT-2's shapes (124 million float32) and of a Llama's (1.1 billion bfloat16), those of ``benchmarks.models`` unless
given.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tests.renderers.pixels import framed
from tests.tools import COMMAND

from benchmarks.measure import Result, in_turn, machine, table
from benchmarks.models import model
from torch2grid_core import NOT_FINITE

LEAST = """
import sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

buffer = bytearray(8 << 20)
with open(sys.argv[1], "rb", buffering=0) as stream:
    while stream.readinto(buffer):
        pass
figure = plt.figure(figsize=(20.48, 20.48), dpi=100)
axes = figure.add_axes([0, 0, 1, 1])
axes.axis("off")
noise = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
axes.imshow(noise, cmap="RdBu", interpolation="nearest")
figure.savefig(sys.argv[2])
"""
COLUMN_MAJOR = """
import numpy as np
from torch2grid.plugins.base import TransformerPlugin

class ColumnMajor(TransformerPlugin):
    @property
    def name(self) -> str:
        return "column_major"

    @property
    def description(self) -> str:
        return "weights down the columns"

    def preprocess(self, tensors: dict) -> dict:
        return {k: v for k, v in tensors.items() if "weight" in k}

    def transform(self, tensors: dict) -> np.ndarray:
        values = []
        for _, arr in tensors.items():
            if arr is not None:
                values.extend(arr.flatten())
        side = int(np.ceil(np.sqrt(len(values))))
        grid = np.zeros((side, side))
        for i, v in enumerate(values[: side * side]):
            grid[i % side, i // side] = v
        return grid
"""  # a transformer that knows nothing of layouts: a Python loop over every weight
TRANSFORMERS = ("flatten", "spiral", "hilbert", "normalized", "layer_weighted", "layer_separated", "atlas")
TO_LEAST = {"gpt2": 1.5, "llama": 2.0}  # wall time of flatten
TO_FLATTEN = {"spiral": 1.5, "atlas": 1.5, "hilbert": 3.0}
MORE_MEMORY = 150  # MB above the least
NAN, OUTLIER = ("h.3.mlp.c_fc.weight", 1_234_567), ("h.7.attn.c_proj.weight", 77_777)


def marked(source: Path, target: Path) -> None:
    """A copy of GPT-2's safetensors file with one weight NaN and another 50.0."""
    shutil.copyfile(source, target)
    with target.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        for (name, index), value in ((NAN, np.nan), (OUTLIER, 50.0)):
            stream.seek(8 + length + header[name]["data_offsets"][0] + 4 * index)
            stream.write(np.float32(value).tobytes())


def main(words: list[str]) -> int:
    """Print the tables; exit code 1 where a limit is passed."""
    print(machine())
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        paths = [Path(word) for word in words] or [model(f"{name}.safetensors") for name in TO_LEAST]
        (folder / "least.py").write_text(LEAST, encoding="utf-8")
        checks = []
        for path, name in zip(paths, TO_LEAST, strict=False):
            contenders = {"the least": [sys.executable, str(folder / "least.py"), str(path), str(folder / "least.png")]}
            for each in TRANSFORMERS:
                contenders[each] = [str(COMMAND), str(path), "--plugin", each, "-q", "-o", str(folder / each)]
            results = in_turn(contenders)
            print("", f"## {path.name}", "", table(results, "the least"), sep="\n")
            checks += _checks(name, results)
        checks += [_plain(folder), *_single_weights(paths[0], folder)]
    print()
    for name, good, told in checks:
        print(f"{'ok  ' if good else 'OVER'} {name}: {told}")
    return int(not all(good for _, good, _ in checks))


Check = tuple[str, bool, str]


def _checks(model_name: str, results: dict[str, Result]) -> list[Check]:
    least, flatten = results["the least"], results["flatten"]
    limits = [(name, flatten, limit) for name, limit in TO_FLATTEN.items()]
    found = []
    for name, base, limit in [("flatten", least, TO_LEAST[model_name]), *limits]:
        ratio = results[name].wall / base.wall
        found.append((f"{model_name}, {name} to {base.name}", ratio <= limit, f"{ratio:.2f} (limit {limit})"))
    more = (max(results[name].pss for name in TRANSFORMERS) - least.pss) / 1e6
    found.append((f"{model_name}, memory above the least", more <= MORE_MEMORY, f"{more:.0f} MB (limit {MORE_MEMORY})"))
    failed = [name for name, result in results.items() if result.failed]
    return [*found, (f"{model_name}, all runs", not failed, f"failed: {', '.join(failed)}" if failed else "good")]


def _plain(folder: Path) -> Check:
    (folder / "column_major.py").write_text(COLUMN_MAJOR, encoding="utf-8")
    rng = np.random.default_rng(0)
    arrays = {f"layers.{index}.weight": rng.standard_normal((436, 436), dtype=np.float32) for index in range(10)}
    save_file(arrays, folder / "small.safetensors")
    words = [str(COMMAND), str(folder / "small.safetensors"), "--load-plugin", str(folder / "column_major.py")]
    result = in_turn({"plain": [*words, "-q", "-o", str(folder / "plain")]}, rounds=3)["plain"]
    good = result.cpu < 3 and not result.failed  # one process: on an idle machine its wall time is the same
    return "a plain transform of 1.9 million weights", good, f"{result.cpu:.2f} s, {result.wall:.2f} s of wall time (limit 3)"


def _single_weights(gpt2: Path, folder: Path) -> list[Check]:
    """One NaN and one 50.0 among 124 million weights: both are seen, and neither hides the others."""
    marked(gpt2, folder / "marked.safetensors")
    in_turn({"marked": [str(COMMAND), str(folder / "marked.safetensors"), "-q", "-o", str(folder / "marked")]}, 1, 0)
    entry = json.loads((folder / "marked" / "index.json").read_text())["files"]["neural_grid.png"]["heatmaps"][0]
    pixels = framed((folder / "marked" / "neural_grid.png").read_bytes()).reshape(-1, 3)
    cells = int((pixels == NOT_FINITE).all(axis=1).sum())
    colors = len(np.unique(pixels, axis=0))
    largest = entry["largest"]
    found = (largest["tensor"], largest["index"], largest["value"]) == (*OUTLIER, 50.0) and bool(largest["cell"])
    return [
        ("one NaN among 124 million", cells == 1, f"{cells} cells of its colour"),
        ("one 50.0 among 124 million", found, f"named: {largest}"),
        ("the others", colors > 100, f"{colors} colours (more than 100)"),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
