"""``--stats`` beside weightlens, sft-cli and the plain loop, and ``check`` beside sft-cli's and a loop over ``isfinite``."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.tools import COMMAND

from benchmarks.measure import Command, Proof
from benchmarks.models import dtype, model, tensors, title
from benchmarks.peers import LENS, SFT, peers
from benchmarks.task import SCRIPTS, Check, Measured, Section, Task, at_most, section

STATS, DETAIL, CHECK = "torch2grid --stats", "torch2grid --view stats:detail=true", "torch2grid check"
FINITE_ONLY = "torch2grid check --select nan,inf"
ANALYZE, ANALYZE_AUTO = f"{LENS}, lens analyze", f"{LENS}, lens analyze --num-workers auto"
STAT, SFT_CHECK, STAT_CHECK = f"{SFT}, sft stat", f"{SFT}, sft check", f"{SFT}, sft stat --check"
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
    " fourteen rules; sft-cli and the loop look for NaN and Inf alone. `sft check` passes over bfloat16 (it calls such a"
    " file with a NaN healthy), so `sft stat --check` stands for it there. Each finds the one NaN of a small file, too."
)
PLANTED = "planted.weight"


def run(folder: Path, rounds: int) -> Section:
    names = ("gpt2.safetensors", "gpt2.pth", "llama.safetensors", "small.safetensors")
    found = {name: _statistics(model(name)).measured(folder, rounds) for name in names}
    rows = [
        each.beside(f"Statistics with quantiles and norms of {title(name)}", DETAIL, {"weightlens": (ANALYZE, ANALYZE_AUTO)})
        for name, each in found.items()
    ]
    looking = ("gpt2.safetensors", "llama.safetensors")
    finite = [_check(name).measured(folder, rounds) for name in looking]
    checks = [check for name, least in TIMES.items() for check in found[name].faster(*least)]
    checks += [*_memory(found), *(_finds(name, folder) for name in looking)]
    return section("Statistics", _ABOUT, [*found.values(), *finite], checks, rows)


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


def _looking(name: str) -> dict[str, Callable[[Path], Command]]:
    """What looks for NaN and Inf in weights of the dtype of the model *name*."""
    programs = peers()
    sft = {SFT_CHECK: ["check"]} if dtype(name) == "float32" else {STAT_CHECK: ["stat", "--check"]}
    return {
        CHECK: lambda path: [str(COMMAND), "check", str(path)],
        FINITE_ONLY: lambda path: [str(COMMAND), "check", str(path), "--select", "nan,inf"],
        **{each: lambda path, words=words: [str(programs / "sft"), *words, str(path)] for each, words in sft.items()},
        FINITE: lambda path: [str(programs / "python"), str(SCRIPTS / "finite_loop.py"), str(path)],
    }


def _check(name: str) -> Task:
    contenders = {each: command(model(name)) for each, command in _looking(name).items()}
    others = {"sft-cli": tuple(each for each in contenders if each in (SFT_CHECK, STAT_CHECK)), "a plain script": (FINITE,)}
    proofs: dict[str, Proof] = {CHECK: "clean", FINITE_ONLY: "clean", SFT_CHECK: "File healthy", FINITE: "are finite"}
    return Task(f"NaN and Inf in {title(name)}", contenders, FINITE_ONLY, (model(name),), others, proofs)


def _finds(name: str, folder: Path) -> Check:
    """Whether each contender says where the only NaN of a small file is, of the dtype of the model *name*."""
    import ml_dtypes
    import numpy as np
    from safetensors.numpy import save_file

    weights = np.ones((100, 100), ml_dtypes.bfloat16 if dtype(name) == "bfloat16" else dtype(name))
    weights[7, 77] = np.nan
    path = folder / f"planted_{dtype(name)}.safetensors"
    save_file({"other.weight": np.ones_like(weights) / 2, PLANTED: weights}, path)
    blind = []
    for each, command in _looking(name).items():
        done = subprocess.run(command(path), cwd=folder, capture_output=True, text=True, check=False)
        if PLANTED not in done.stdout + done.stderr:
            blind.append(each)
    return Check(
        f"One NaN in a small {dtype(name)} file: found by all", not blind, f"not by {', '.join(blind)}" if blind else "yes"
    )


def _memory(found: dict[str, Measured]) -> list[Check]:
    taken = [found[name].base.pss / 1e6 for name in TIMES]
    return [
        at_most("Statistics: peak PSS of the larger", max(taken), MEMORY, " MB"),
        at_most("Statistics: peak PSS, the larger to the smaller", max(taken) / min(taken), SPREAD),
    ]
