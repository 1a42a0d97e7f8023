"""Pictures of every tensor beside one ``plt.figure`` a tensor."""

from __future__ import annotations

from pathlib import Path

from tests.support.tools import COMMAND

from benchmarks.measure import Proof
from benchmarks.models import model, tensors, title
from benchmarks.peers import peers
from benchmarks.task import SCRIPTS, Section, Task, at_most, section

LAYERS, HISTOGRAM, TOGETHER = "--layers", "--histogram", "--layers --histogram"
NAIVE = "one plt.figure each"
GPT2, LLAMA = "gpt2.safetensors", "llama.safetensors"
SECONDS = {LAYERS: 12.0, HISTOGRAM: 10.0}  # of wall time on two idle cores
LLAMA_SECONDS = 25.0
BOTH = 1.7  # times the slower one that both views together may take
MEMORY = 500.0  # peak PSS in MB, of all processes together


def run(folder: Path, rounds: int) -> Section:
    layers, histogram = (_beside_naive(views, folder).measured(folder, rounds) for views in (LAYERS, HISTOGRAM))
    both = _together(folder).measured(folder, rounds)
    large = _large(folder).measured(folder, rounds)
    slower = max(both.results[LAYERS].wall, both.results[HISTOGRAM].wall)
    checks = [
        at_most(layers.task.title, layers.base.wall, SECONDS[LAYERS], " s"),
        at_most(histogram.task.title, histogram.base.wall, SECONDS[HISTOGRAM], " s"),
        at_most("Both views together to the slower one", both.base.wall / slower, BOTH),
        at_most(large.task.title, large.base.wall, LLAMA_SECONDS, " s"),
    ]
    tasks = [layers, histogram, both, large]
    checks += [at_most(f"{each.task.title}: peak PSS", each.base.pss / 1e6, MEMORY, " MB") for each in tasks]
    about = (
        "A heatmap of each tensor and an overview (`--layers`), a histogram of each and an overview (`--histogram`),"
        " beside a script that loads the file and calls `plt.figure()` and `plt.savefig()` for each of the 148 tensors:"
        " pictures of 640 by 480 pixels; those of `--layers` are as large as their matrix needs, about a million pixels."
    )
    return section("Pictures of every tensor", about, tasks, checks)


def _ours(name: str, views: str, folder: Path) -> tuple[list[str], Proof]:
    """The command, and the last picture that it writes."""
    out = folder / views.replace(" ", "")
    last = {LAYERS: "layer_overview.png"}.get(views, "histogram_overview.png")
    return [str(COMMAND), str(model(name)), *views.split(), "-o", str(out)], out / last


def _beside_naive(views: str, folder: Path) -> Task:
    kind, name = views.removeprefix("--"), "gpt2.pth"
    ours, made = _ours(name, views, folder)
    naive = [str(peers() / "python"), str(SCRIPTS / "one_figure_each.py"), str(model(name)), kind, str(folder / kind)]
    proofs: dict[str, Proof] = {views: made, NAIVE: folder / kind / f"{tensors(name)[-1]}.png"}
    what = f"A {'heatmap' if views == LAYERS else kind} of each tensor of {title(name)}"
    return Task(what, {views: ours, NAIVE: naive}, views, (model(name),), {"a plain script": (NAIVE,)}, proofs)


def _together(folder: Path) -> Task:
    commands = {views: _ours(GPT2, views, folder) for views in (LAYERS, HISTOGRAM, TOGETHER)}
    contenders = {views: command for views, (command, _) in commands.items()}
    proofs = {views: made for views, (_, made) in commands.items()}
    return Task(f"Two views in one pass, {title(GPT2)}", contenders, TOGETHER, (model(GPT2),), proofs=proofs)


def _large(folder: Path) -> Task:
    command, made = _ours(LLAMA, LAYERS, folder / "large")
    what = f"A heatmap of each tensor of {title(LLAMA)}"
    return Task(what, {LAYERS: command}, LAYERS, (model(LLAMA),), proofs={LAYERS: made})
