"""Pictures of every tensor beside one ``plt.figure`` a tensor."""

from __future__ import annotations

from pathlib import Path

from tests.tools import COMMAND

from benchmarks.models import model, title
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
    layers, histogram = (_beside_naive(views, folder).measured(rounds) for views in (LAYERS, HISTOGRAM))
    words = {
        views: [str(COMMAND), str(model(GPT2)), *views.split(), "-o", str(folder / "out")]
        for views in (LAYERS, HISTOGRAM, TOGETHER)
    }
    both = Task(f"Two views in one pass, {title(GPT2)}", words, TOGETHER, (model(GPT2),)).measured(rounds)
    large = _large(folder).measured(rounds)
    slower = max(both.results[LAYERS].wall, both.results[HISTOGRAM].wall)
    checks = [
        at_most(f"{layers.task.title}", layers.base.wall, SECONDS[LAYERS], " s"),
        at_most(f"{histogram.task.title}", histogram.base.wall, SECONDS[HISTOGRAM], " s"),
        at_most("Both views together to the slower one", both.base.wall / slower, BOTH),
        at_most(f"{large.task.title}", large.base.wall, LLAMA_SECONDS, " s"),
    ]
    tasks = [layers, histogram, both, large]
    checks += [at_most(f"{each.task.title}: peak PSS", each.base.pss / 1e6, MEMORY, " MB") for each in tasks]
    about = (
        "A heatmap of each tensor and an overview (`--layers`), a histogram of each and an overview (`--histogram`),"
        " beside a script that loads the file and calls `plt.figure` for each of the 148 tensors."
    )
    return section("Pictures of every tensor", about, tasks, checks)


def _beside_naive(views: str, folder: Path) -> Task:
    kind = views.removeprefix("--")
    path = model("gpt2.pth")
    contenders = {
        views: [str(COMMAND), str(path), views, "-o", str(folder / "out")],
        NAIVE: [str(peers() / "python"), str(SCRIPTS / "one_figure_each.py"), str(path), kind, str(folder / "naive")],
    }
    what = {"layers": "A heatmap", "histogram": "A histogram"}[kind]
    return Task(f"{what} of each tensor of {title(path.name)}", contenders, views, (path,), {"a plain script": NAIVE})


def _large(folder: Path) -> Task:
    words = [str(COMMAND), str(model(LLAMA)), LAYERS, "-o", str(folder / "large")]
    return Task(f"A heatmap of each tensor of {title(LLAMA)}", {LAYERS: words}, LAYERS, (model(LLAMA),))
