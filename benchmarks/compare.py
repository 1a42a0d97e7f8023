"""``torch2grid compare`` of two Llamas of 1.1 billion bfloat16 weights, beside ``sft diff --delta`` and the plain loop."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
from tests.tools import COMMAND

from benchmarks.models import cache, model
from benchmarks.peers import SFT, peers
from benchmarks.task import SCRIPTS, Section, Task, at_most, section

OURS, BARE = "torch2grid compare --stats", "the same with --rank-size 0"
DIFF, LOOP = f"{SFT}, sft diff --delta", "loop over safe_open"
SECONDS, MEMORY = 3.0, 400.0  # of wall time on two idle cores; peak PSS in MB
_PIECE = 1 << 22


def run(folder: Path, rounds: int) -> Section:
    pair, programs = (model("llama.safetensors"), _tuned()), peers()
    words = [str(path) for path in pair]
    contenders = {
        OURS: [str(COMMAND), "compare", *words, "--stats"],
        BARE: [str(COMMAND), "compare", *words, "--stats", "--rank-size", "0"],
        DIFF: [str(programs / "sft"), "diff", *words, "--delta"],
        LOOP: [str(programs / "python"), str(SCRIPTS / "compare_loop.py"), *words],
    }
    others = {"sft-cli": DIFF, "a plain script": LOOP}
    codes = {OURS: 1, BARE: 1}  # the files differ
    found = Task("What changed between two Llamas, 1.1 B bfloat16 each", contenders, OURS, pair, others, codes).measured(rounds)
    checks = [
        *found.faster((DIFF, 5.0), (LOOP, 3.0)),
        at_most("Comparing two Llamas", found.base.wall, SECONDS, " s"),
        at_most("Comparing two Llamas: peak PSS", found.base.pss / 1e6, MEMORY, " MB"),
    ]
    about = "Relative change, cosine, largest change, share changed and stable rank of every tensor of two files of 2.2 GB."
    return section("Comparison", about, [found], checks)


def _tuned() -> Path:
    """The Llama with noise of a fortieth of its weights' size on every weight; made if it is not there."""
    source, path = model("llama.safetensors"), cache() / "llama_tuned.safetensors"
    if not path.exists():
        generator, temporary = np.random.default_rng(1), path.with_suffix(".part")
        with source.open("rb") as old, temporary.open("wb") as new:
            length = old.read(8)
            new.write(length + old.read(int.from_bytes(length, "little")))
            while piece := old.read(2 * _PIECE):
                weights = np.frombuffer(piece, ml_dtypes.bfloat16).astype(np.float32)
                weights += generator.standard_normal(len(weights), dtype=np.float32) * np.float32(5e-4)
                new.write(weights.astype(ml_dtypes.bfloat16).tobytes())
        temporary.rename(path)
    return path
