"""``torch2grid compare`` of two Llamas of 1.1 billion bfloat16 weights, beside ``sft diff --delta`` and the plain loop."""

from __future__ import annotations

from pathlib import Path

from tests.support.tools import COMMAND

from benchmarks.models import model, tensors
from benchmarks.peers import SFT, peers
from benchmarks.task import SCRIPTS, Section, Task, at_most, section

OURS, BARE = "torch2grid compare --stats", "the same with --rank-size 0"
DIFF, LOOP = f"{SFT}, sft diff --delta", "loop over safe_open"
COMPARING = "What changed between two Llamas, 1.1 B bfloat16 each"
SECONDS, MEMORY = 3.0, 400.0  # of wall time on two idle cores; peak PSS in MB


def run(folder: Path, rounds: int) -> Section:
    pair, programs = (model("llama.safetensors"), model("llama_tuned.safetensors")), peers()
    words = [str(path) for path in pair]
    contenders = {
        OURS: [str(COMMAND), "compare", *words, "--stats"],
        BARE: [str(COMMAND), "compare", *words, "--stats", "--rank-size", "0"],
        DIFF: [str(programs / "sft"), "diff", *words, "--delta"],
        LOOP: [str(programs / "python"), str(SCRIPTS / "compare_loop.py"), *words],
    }
    others = {"sft-cli": (DIFF,), "a plain script": (LOOP,)}
    proofs = dict.fromkeys(contenders, tensors(pair[0].name)[-1])
    codes = {OURS: 1, BARE: 1}  # the files differ
    found = Task(COMPARING, contenders, OURS, pair, others, proofs, codes).measured(folder, rounds)
    checks = [
        *found.faster((DIFF, 5.0), (LOOP, 3.0)),
        at_most("Comparing two Llamas", found.base.wall, SECONDS, " s"),
        at_most("Comparing two Llamas: peak PSS", found.base.pss / 1e6, MEMORY, " MB"),
    ]
    about = "Relative change, cosine, largest change, share changed and stable rank of every tensor of two files of 2.2 GB."
    return section("Comparison", about, [found], checks)
