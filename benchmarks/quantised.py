"""``--stats`` of models in four bits, beside the same shapes in bfloat16, and beside the libraries' own dequantisation."""

from __future__ import annotations

from pathlib import Path

from tests.support.tools import COMMAND

from benchmarks.measure import Command
from benchmarks.models import model, parameters, tensors, title
from benchmarks.packed import SCHEMES, packed
from benchmarks.peers import BITS, COMPRESSED, peers
from benchmarks.task import SCRIPTS, Check, Section, Task, at_least, at_most, section

NAME = "llama.safetensors"
BASE = "bfloat16"
CALLED = {"int4": "INT4 of compressed-tensors", "gptq": "GPTQ", "awq": "AWQ", "nf4": "NF4 of bitsandbytes, nested statistics"}
LOOPS = {"int4": f"{COMPRESSED}, a loop", "gptq": "torch, a loop", "nf4": f"{BITS}, a loop"}
SPEED, MEMORY = 0.25, 150.0  # 10⁹ weights a second from end to end; MB of peak PSS
_ABOUT = (
    "Every matrix in four bits, with a scale for each 128 weights (64 of bitsandbytes), in half a gigabyte: random codes. The"
    " weights that they stand for are computed while they are read; the statistics are of the weights. Beside them, the same"
    " shapes in bfloat16, which need no decoding, and loops over the tensors that decode each with its library's own function"
    " (GPTQ's with what its layers do, written in torch)."
)


def run(folder: Path, rounds: int) -> Section:
    files = {scheme: packed(NAME, scheme) for scheme in SCHEMES}
    ours: dict[str, Command] = {CALLED[scheme]: [str(COMMAND), str(path), "--stats"] for scheme, path in files.items()}
    ours[BASE] = [str(COMMAND), str(model(NAME)), "--stats"]
    last = tensors(NAME)[-1]
    found = Task(f"`--stats` of {title(NAME)}, and in four bits", ours, BASE, proofs=dict.fromkeys(ours, last))
    whole = found.measured(folder, rounds)
    loops = [_beside(scheme, files[scheme]).measured(folder, rounds) for scheme in LOOPS]
    checks: list[Check] = []
    for scheme in SCHEMES:
        result = whole.results[CALLED[scheme]]
        speed = parameters(NAME) / result.wall / 1e9
        checks.append(at_least(f"`--stats` of {CALLED[scheme]}", speed, SPEED, " G weights/s"))
        checks.append(at_most(f"`--stats` of {CALLED[scheme]}: peak PSS", result.pss / 1e6, MEMORY, " MB"))
    return section("Quantised models", _ABOUT, [whole, *loops], checks)


def _beside(scheme: str, path: Path) -> Task:
    """The same statistics by the loop that decodes with the library's own function."""
    ours, loop, last = CALLED[scheme], LOOPS[scheme], tensors(NAME)[-1]
    contenders: dict[str, Command] = {
        ours: [str(COMMAND), str(path), "--stats"],
        loop: [str(peers() / "python"), str(SCRIPTS / f"{scheme}_loop.py"), str(path)],
    }
    return Task(
        f"Statistics of {ours}", contenders, ours, (path,), {"a plain script": (loop,)}, dict.fromkeys(contenders, last)
    )
