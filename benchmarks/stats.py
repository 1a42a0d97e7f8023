"""``--stats`` beside weightlens, sft-cli and the plain loop, and ``check`` beside sft-cli's and a loop over ``isfinite``."""

from __future__ import annotations

from pathlib import Path

from tests.tools import COMMAND

from benchmarks.models import model, title
from benchmarks.peers import LENS, SFT, peers
from benchmarks.task import OTHERS, SCRIPTS, Check, Measured, Section, Task, at_most, section

STATS, CHECK = "torch2grid --stats", "torch2grid check"
ANALYZE, STAT, SFT_CHECK = f"{LENS}, lens analyze", f"{SFT}, sft stat", f"{SFT}, sft check"
LOOP, FINITE = "loop over the tensors", "loop over torch.isfinite"
TIMES = {  # as fast as each
    "gpt2.safetensors": ((ANALYZE, 9.0), (STAT, 7.0), (LOOP, 4.5)),
    "llama.safetensors": ((ANALYZE, 15.0), (STAT, 15.0), (LOOP, 5.0)),
}
MEMORY, SPREAD = 350.0, 1.2  # peak PSS in MB, and the most that it may differ between the models


def run(folder: Path, rounds: int) -> Section:
    names = ("gpt2.safetensors", "gpt2.pth", "llama.safetensors", "small.safetensors")
    found = {name: _statistics(model(name)).measured(rounds) for name in names}
    finite = [_check(model(name)).measured(rounds) for name in ("gpt2.safetensors", "llama.safetensors")]
    checks = [check for name, least in TIMES.items() for check in found[name].faster(*least)]
    about = (
        "Mean, deviation, extremes, the share near zero and more of every tensor, as a table; then the question whether a"
        " file can be shipped. weightlens, sft-cli and the loops compute fewer figures (no quantiles, no norms)."
    )
    return section("Statistics", about, [*found.values(), *finite], [*checks, *_memory(found)])


def _statistics(path: Path) -> Task:
    programs = peers()
    torch = path.suffix == ".pth"
    loop = "statistics_loop_pth.py" if torch else "statistics_loop.py"
    contenders = {
        STATS: [str(COMMAND), str(path), "--stats"],
        ANALYZE: [str(programs / "lens"), "analyze", str(path)],
        STAT: [str(programs / "sft"), "stat", str(path)],
        LOOP: [str(programs / "python"), str(SCRIPTS / loop), str(path)],
    }
    others = dict(zip(OTHERS, (ANALYZE, STAT, LOOP), strict=True))
    if torch:  # sft-cli reads safetensors alone
        del contenders[STAT], others["sft-cli"]
    return Task(f"Statistics of {title(path.name)}", contenders, STATS, (path,), others)


def _check(path: Path) -> Task:
    programs = peers()
    contenders = {
        CHECK: [str(COMMAND), "check", str(path)],
        SFT_CHECK: [str(programs / "sft"), "check", str(path)],
        FINITE: [str(programs / "python"), str(SCRIPTS / "finite_loop.py"), str(path)],
    }
    others = {"sft-cli": SFT_CHECK, "a plain script": FINITE}
    return Task(f"A check of {title(path.name)}", contenders, CHECK, (path,), others)


def _memory(found: dict[str, Measured]) -> list[Check]:
    taken = [found[name].base.pss / 1e6 for name in TIMES]
    return [
        at_most("Statistics: peak PSS of the larger", max(taken), MEMORY, " MB"),
        at_most("Statistics: peak PSS, the larger to the smaller", max(taken) / min(taken), SPREAD),
    ]
