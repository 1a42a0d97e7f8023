"""Pictures of whole models: every transformer beside reading the file and an ordinary picture, and beside the obvious script.

The ordinary picture is a script that imports matplotlib, reads the file and saves a figure of as many cells of noise.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.interface.promised import COLUMN_MAJOR
from tests.support.tools import COMMAND

from benchmarks.measure import Command, Proof
from benchmarks.models import model, title
from benchmarks.peers import peers
from benchmarks.task import SCRIPTS, Check, Measured, Section, Task, at_least, at_most, megabytes, section

TRANSFORMERS = ("flatten", "spiral", "hilbert", "normalized", "layer_weighted", "layer_separated", "atlas")
NOISE, OBVIOUS = "read it, draw noise", "load_file, concatenate, imshow"
TO_NOISE = {"gpt2.safetensors": 1.5, "llama.safetensors": 2.0}  # wall time of flatten
TO_FLATTEN = {"spiral": 1.5, "atlas": 1.5, "hilbert": 3.0}
MORE, MOST = 150.0, 350.0  # MB above the noise's, and of every transformer: peak PSS
NAN, OUTLIER = ("h.3.mlp.c_fc.weight", 1_234_567), ("h.7.attn.c_proj.weight", 77_777)


def run(folder: Path, rounds: int) -> Section:
    tasks = [_task(model(name), folder).measured(folder, rounds) for name in TO_NOISE]
    plain = _plain(folder).measured(folder, rounds)
    checks = [check for each, limit in zip(tasks, TO_NOISE.values(), strict=True) for check in _checks(each, limit)]
    # One process: on an idle machine its wall time is the same.
    checks.append(at_most("A transformer that knows nothing of layouts, 1.9 M weights", plain.base.cpu, 3.0, " s of cpu"))
    about = (
        "`torch2grid FILE --plugin NAME` for every built-in transformer, each weight in the picture, beside a script that"
        " reads the file and lets matplotlib draw 2048² cells of noise: what an ordinary picture costs. The obvious script"
        f" holds the model in float32, several times: {megabytes(tasks[0].results[OBVIOUS].pss)} MB for the smaller one; it was"
        " not run on the larger, which has nine times as many weights."
    )
    return section("Pictures of whole models", about, [*tasks, plain], [*checks, *_single_weights(folder)])


def _task(path: Path, folder: Path) -> Task:
    contenders: dict[str, Command] = {}
    proofs: dict[str, Proof] = {}
    for each in TRANSFORMERS:
        contenders[each] = [str(COMMAND), str(path), "--plugin", each, "-q", "-o", str(folder / each / "picture.png")]
        proofs[each] = folder / each / "picture.png"
    proofs[NOISE] = folder / "noise.png"
    contenders[NOISE] = [sys.executable, str(SCRIPTS / "noise_figure.py"), str(path), str(proofs[NOISE])]
    others = {}
    if path.name == "gpt2.safetensors":
        proofs[OBVIOUS] = folder / "whole.png"
        contenders[OBVIOUS] = [str(peers() / "python"), str(SCRIPTS / "whole_grid.py"), str(path), str(proofs[OBVIOUS])]
        others["a plain script"] = (OBVIOUS,)
    return Task(f"A picture of all weights of {title(path.name)}", contenders, "flatten", (path,), others, proofs)


def _plain(folder: Path) -> Task:
    (folder / "column_major.py").write_text(COLUMN_MAJOR, encoding="utf-8")
    words = [str(COMMAND), str(model("squares.safetensors")), "--load-plugin", str(folder / "column_major.py")]
    name, picture = "--load-plugin, a Python loop over weights", folder / "plain.png"
    contenders = {name: [*words, "-q", "-o", str(picture)]}
    return Task("A transformer from a file, 1.9 M float32", contenders, name, proofs={name: picture})


def _checks(measured: Measured, limit: float) -> Iterator[Check]:
    results, what = measured.results, measured.task.title
    yield at_most(f"{what}: flatten to the noise", results["flatten"].wall / results[NOISE].wall, limit)
    for name, most in TO_FLATTEN.items():
        yield at_most(f"{what}: {name} to flatten", measured.ratio(name), most)
    memory = max(results[name].pss for name in TRANSFORMERS)
    yield at_most(f"{what}: memory above the noise's", (memory - results[NOISE].pss) / 1e6, MORE, " MB")
    yield at_most(f"{what}: peak PSS of every transformer", memory / 1e6, MOST, " MB")


def _single_weights(folder: Path) -> list[Check]:
    """One NaN and one 50.0 among 124 million weights: both are seen, and neither hides the others."""
    import numpy as np
    from tests.support.renderers.pixels import framed

    from torch2grid_core.grids import NOT_FINITE

    marked, out = folder / "marked.safetensors", folder / "marked"
    _mark(model("gpt2.safetensors"), marked)
    subprocess.run([str(COMMAND), str(marked), "-q", "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
    entry = json.loads((out / "index.json").read_text())["files"]["neural_grid.png"]["heatmaps"][0]
    pixels = framed((out / "neural_grid.png").read_bytes()).reshape(-1, 3)
    cells = int((pixels == NOT_FINITE).all(axis=1).sum())
    largest = entry["largest"]
    found = (largest["tensor"], largest["index"], largest["value"]) == (*OUTLIER, 50.0) and bool(largest["cell"])
    return [
        Check("One NaN among 124 M: cells of its colour", cells == 1, f"{cells}, exactly 1"),
        Check("One 50.0 among 124 M: named, with its cell", found, "yes" if found else f"no: {largest}"),
        at_least("The other cells: colours", len(np.unique(pixels, axis=0)), 100),
    ]


def _mark(source: Path, target: Path) -> None:
    """A copy of GPT-2's safetensors file with one weight NaN and another 50.0."""
    shutil.copyfile(source, target)
    with target.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        for (name, index), value in ((NAN, math.nan), (OUTLIER, 50.0)):
            stream.seek(8 + length + header[name]["data_offsets"][0] + 4 * index)
            stream.write(struct.pack("<f", value))
