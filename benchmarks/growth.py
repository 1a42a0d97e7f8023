"""How cost grows with the model: from a million parameters to four billion."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests.tools import COMMAND

from benchmarks.measure import Result, in_turn
from benchmarks.models import model, parameters, title
from benchmarks.task import Check, Section, at_most, markdown, megabytes, seconds

FILES = ("llama_1m.safetensors", "llama_10m.safetensors", "llama_100m.safetensors", "llama.safetensors", "llama_4b.safetensors")
TASKS = {"Statistics": ["--stats"], "A picture of all weights": ["--plugin", "atlas", "-q"]}
LINEAR = 1.25  # times: what a further parameter costs beyond a billion, to what it costs below
FLAT = 1.25  # times: the memory that the largest takes, to that of the hundred million


def run(folder: Path, rounds: int) -> Section:
    about = (
        "Llamas in bfloat16. The time that a further parameter takes is the difference to the row above, divided; small"
        " files are read by one process, large ones by one for each core."
    )
    parts, checks = [about], []
    for what, words in TASKS.items():
        commands = {name: [str(COMMAND), str(model(name)), *words, "-o", str(folder / "out")] for name in FILES}
        results = in_turn(commands, rounds, {name: [model(name)] for name in FILES})
        further = [_further(results, *pair) for pair in pairwise(FILES)]
        parts.append(f"### {what}\n\n{_table(results, further)}")
        checks += _checks(what, results, further)
    return Section("Growth", "\n\n".join(parts), checks)


def _further(results: dict[str, Result], smaller: str, larger: str) -> float:
    """Nanoseconds of wall time for each parameter that *larger* has more."""
    return 1e9 * (results[larger].wall - results[smaller].wall) / (parameters(larger) - parameters(smaller))


def _table(results: dict[str, Result], further: list[float]) -> str:
    head = ["parameters", "file MB", "wall s", "cpu s", "ns for a further parameter", "peak PSS MB", "from disk MB"]
    rows = []
    for (name, result), more in zip(results.items(), [None, *further], strict=True):
        cells = [title(name), megabytes(model(name).stat().st_size), seconds(result.wall), seconds(result.cpu)]
        cells += ["" if more is None else f"{more:.2f}", megabytes(result.pss), megabytes(result.observed.stored)]
        rows.append(cells)
    return markdown(head, rows)


def _checks(what: str, results: dict[str, Result], further: list[float]) -> list[Check]:
    *_, hundred, _, largest = FILES
    failed = [name for name in FILES if results[name].failed]
    return [
        Check(f"{what}: every size went well", not failed, f"failed: {', '.join(failed)}" if failed else "yes"),
        at_most(f"{what}: a parameter beyond a billion to one below", further[-1] / further[-2], LINEAR),
        at_most(
            f"{what}: memory of four billion to that of a hundred million", results[largest].pss / results[hundred].pss, FLAT
        ),
    ]
