"""``--stats`` beside weightlens, sft-cli and the plain loop, and ``check`` beside sft-cli's and a loop over ``isfinite``."""

from __future__ import annotations

from pathlib import Path

from tests.tools import COMMAND

from benchmarks.measure import Proof
from benchmarks.models import model, tensors, title
from benchmarks.peers import LENS, SFT, peers
from benchmarks.task import SCRIPTS, Check, Measured, Section, Task, at_most, section

STATS, DETAIL, CHECK = "torch2grid --stats", "torch2grid --view stats:detail=true", "torch2grid check"
FINITE_ONLY = "torch2grid check --select nan,inf"
ANALYZE, ANALYZE_AUTO = f"{LENS}, lens analyze", f"{LENS}, lens analyze --num-workers auto"
STAT, SFT_CHECK = f"{SFT}, sft stat", f"{SFT}, sft check"
LOOP, FINITE = "loop over the tensors", "loop over torch.isfinite"
TIMES = {  # as fast as each
    "gpt2.safetensors": ((ANALYZE, 9.0), (STAT, 7.0), (LOOP, 4.5)),
    "llama.safetensors": ((ANALYZE, 15.0), (STAT, 15.0), (LOOP, 5.0)),
}
MEMORY, SPREAD = 350.0, 1.2  # peak PSS in MB, and the most that it may differ between the models
_ABOUT = (
    "`--stats` is a table of mean, deviation, extremes and the share near zero of every tensor, as `sft stat` and the"
    " loops make it (sft-cli counts NaN and Inf, too). `stats:detail=true` adds quantiles, norms and more; weightlens"
    " computes such figures of every tensor for a report on the whole model. `check` asks whether a file can be shipped:"
    " fourteen rules; `sft check` and the loop look for NaN and Inf alone."
)


def run(folder: Path, rounds: int) -> Section:
    names = ("gpt2.safetensors", "gpt2.pth", "llama.safetensors", "small.safetensors")
    found = {name: _statistics(model(name)).measured(folder, rounds) for name in names}
    rows = [
        each.beside(f"Statistics with quantiles and norms of {title(name)}", DETAIL, {"weightlens": (ANALYZE, ANALYZE_AUTO)})
        for name, each in found.items()
    ]
    finite = [_check(model(name)).measured(folder, rounds) for name in ("gpt2.safetensors", "llama.safetensors")]
    checks = [check for name, least in TIMES.items() for check in found[name].faster(*least)]
    return section("Statistics", _ABOUT, [*found.values(), *finite], [*checks, *_memory(found)], rows)


def _statistics(path: Path) -> Task:
    programs, names = peers(), tensors(path.name)
    loop = "statistics_loop.py" if path.suffix == ".safetensors" else "statistics_loop_pth.py"
    contenders = {
        STATS: [str(COMMAND), str(path), "--stats"],
        DETAIL: [str(COMMAND), str(path), "--view", "stats:detail=true"],
        ANALYZE: [str(programs / "lens"), "analyze", str(path)],
        ANALYZE_AUTO: [str(programs / "lens"), "analyze", "--num-workers", "auto", str(path)],
        LOOP: [str(programs / "python"), str(SCRIPTS / loop), str(path)],
    }
    others = {"a plain script": (LOOP,)}
    every = f"{len(names)} of {len(names)} eligible tensors"
    proofs: dict[str, Proof] = {STATS: names[-1], DETAIL: names[-1], LOOP: names[-1], ANALYZE: every, ANALYZE_AUTO: every}
    if path.suffix == ".safetensors":  # all that sft-cli reads
        contenders[STAT] = [str(programs / "sft"), "stat", str(path)]
        others["sft-cli"], proofs[STAT] = (STAT,), names[-1]
    return Task(f"Statistics of {title(path.name)}", contenders, STATS, (path,), others, proofs)


def _check(path: Path) -> Task:
    programs = peers()
    contenders = {
        CHECK: [str(COMMAND), "check", str(path)],
        FINITE_ONLY: [str(COMMAND), "check", str(path), "--select", "nan,inf"],
        SFT_CHECK: [str(programs / "sft"), "check", str(path)],
        FINITE: [str(programs / "python"), str(SCRIPTS / "finite_loop.py"), str(path)],
    }
    others = {"sft-cli": (SFT_CHECK,), "a plain script": (FINITE,)}
    proofs: dict[str, Proof] = {CHECK: "clean", FINITE_ONLY: "clean", SFT_CHECK: "File healthy", FINITE: "are finite"}
    return Task(f"NaN and Inf in {title(path.name)}", contenders, FINITE_ONLY, (path,), others, proofs)


def _memory(found: dict[str, Measured]) -> list[Check]:
    taken = [found[name].base.pss / 1e6 for name in TIMES]
    return [
        at_most("Statistics: peak PSS of the larger", max(taken), MEMORY, " MB"),
        at_most("Statistics: peak PSS, the larger to the smaller", max(taken) / min(taken), SPREAD),
    ]
