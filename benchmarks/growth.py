"""How cost grows with the model: from a million parameters to four billion."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests.support.tools import COMMAND

from benchmarks.measure import Command, Proof, Result, in_turn
from benchmarks.models import model, parameters, room, tensors, title
from benchmarks.task import SUM, Check, Section, at_most, markdown, megabytes, read_only, seconds

FILES = ("llama_1m.safetensors", "llama_10m.safetensors", "llama_100m.safetensors", "llama.safetensors", "llama_4b.safetensors")
STATS, ATLAS = "Statistics", "A picture of all weights"
LINEAR = 1.25  # times: what a further parameter costs beyond a billion, to what it costs below
FLAT = 1.25  # times: the memory that the largest takes, to that of the hundred million
MOST = {STATS: 100.0, ATLAS: 350.0}  # MB, at any size


def run(folder: Path, rounds: int) -> Section:
    names = [name for name in FILES if not room(name)]
    about = (
        "Llamas in bfloat16, `--stats` and `--plugin atlas`. The time of a further parameter is the difference to the row"
        " above, divided. Files of less than 48 MiB are read by one process, larger ones by one for each core. The picture"
        " stays of one size, so small models have less of it to paint. Memory is bounded by the number of processes and the"
        " cells of the picture: a small model has fewer of both."
    )
    left_out = [f"{title(name)} was left out: {room(name)}." for name in FILES if name not in names]
    parts, checks, whole = [" ".join([about, *left_out])], [], True
    for what in (STATS, ATLAS):
        results, limits = _measured(what, names, folder, rounds)
        further = [_further(results, *pair) for pair in pairwise(names)]
        parts.append(f"### {what}, by size\n\n{_table(results, limits, further)}")
        checks += _checks(what, results, further)
        whole = whole and not any(result.failure for result in results.values())
    return Section("Growth", "\n\n".join(parts), checks, whole=whole)


def _measured(what: str, names: list[str], folder: Path, rounds: int) -> tuple[dict[str, Result], dict[str, Result]]:
    """Of the task, and of one numpy sum over the same bytes."""
    cwd = folder / "empty"
    cwd.mkdir(exist_ok=True)
    commands: dict[str, Command] = {}
    proofs: dict[str, Proof] = {}
    for name in names:
        picture = folder / f"{name}.png"
        words = ["--stats"] if what == STATS else ["--plugin", "atlas", "-q", "-o", str(picture)]
        commands[name] = [str(COMMAND), str(model(name)), *words]
        proofs[name] = tensors(name)[-1] if what == STATS else picture
    sums = {f"sum {name}": read_only((model(name),))[SUM] for name in names}
    files = {key: [model(key.removeprefix("sum "))] for key in (*commands, *sums)}
    found = in_turn({**commands, **sums}, rounds, cwd, files, proofs)
    return {name: found[name] for name in names}, {name: found[f"sum {name}"] for name in names}


def _further(results: dict[str, Result], smaller: str, larger: str) -> float:
    """Nanoseconds of wall time for each parameter that *larger* has more."""
    return 1e9 * (results[larger].wall - results[smaller].wall) / (parameters(larger) - parameters(smaller))


def _table(results: dict[str, Result], limits: dict[str, Result], further: list[float]) -> str:
    head = [
        "parameters",
        "file MB",
        "wall s",
        "cpu s",
        "ns for a further one",
        "peak PSS MB",
        "from disk MB",
        "one numpy sum, s",
    ]
    rows = []
    for (name, result), more in zip(results.items(), [None, *further], strict=True):
        cells = [title(name), megabytes(model(name).stat().st_size), seconds(result.wall), seconds(result.cpu)]
        cells += ["" if more is None else f"{more:.2f}", megabytes(result.pss), megabytes(result.observed.stored)]
        rows.append([*cells, seconds(limits[name].wall)])
    return markdown(head, rows)


def _checks(what: str, results: dict[str, Result], further: list[float]) -> list[Check]:
    failed = [f"{title(name)}: {result.failure}" for name, result in results.items() if result.failure]
    largest = next(reversed(results))
    memory = results[largest].pss / results[FILES[2]].pss
    steps = [f"{title(smaller)} to {title(larger)}" for smaller, larger in pairwise(results)]
    return [
        Check(f"{what}: every size went well", not failed, "; ".join(failed) or "yes"),
        at_most(f"{what}: a further parameter from {steps[-1]}, to one from {steps[-2]}", further[-1] / further[-2], LINEAR),
        at_most(f"{what}: memory of {title(largest)} to that of {title(FILES[2])}", memory, FLAT),
        at_most(f"{what}: peak PSS at any size", max(each.pss for each in results.values()) / 1e6, MOST[what], " MB"),
    ]
