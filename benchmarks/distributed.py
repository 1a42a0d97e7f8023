"""``--stats`` of a folder that four ranks wrote, beside the same weights in one file."""

from __future__ import annotations

from pathlib import Path

from tests.support.tools import COMMAND

from benchmarks.models import distributed, model, tensors
from benchmarks.task import Section, Task, at_most, section

FILE, FOLDER = "one safetensors file", "a distributed checkpoint of four ranks"
NAME = "llama_1gb.safetensors"
TIMES, WORK, MORE = 1.3, 1.5, 50.0  # of the file's wall and processor time, checksums included; MB beyond its peak PSS


def run(folder: Path, rounds: int) -> Section:
    contenders = {
        FILE: [str(COMMAND), str(model(NAME)), "--stats"],
        FOLDER: [str(COMMAND), str(distributed(NAME)), "--stats"],
    }
    proofs = dict.fromkeys(contenders, tensors(NAME)[-1])
    title = "`--stats` of 241 M float32 weights, whole and in shards of rows"
    found = Task(title, contenders, FILE, proofs=proofs).measured(folder, rounds)
    one, many = found.results[FILE], found.results[FOLDER]
    checks = [
        at_most("A distributed checkpoint: times the wall time of one file", many.wall / one.wall, TIMES),
        at_most("A distributed checkpoint: times the processor time of one file", many.cpu / one.cpu, WORK),
        at_most("A distributed checkpoint: peak PSS beyond that of one file", (many.pss - one.pss) / 1e6, MORE, " MB"),
    ]
    about = (
        "Each tensor of the folder is read out of the blocks of all four ranks, whose checksums are checked; a safetensors file"
        " has none."
    )
    return section("Checkpoints of several ranks", about, [found], checks)
