"""All sections as ``RESULTS.md``; the table of ratios and the figures that pages quote, from the same run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.machine import commit, cores, load, machine, versions
from benchmarks.measure import Result
from benchmarks.peers import releases
from benchmarks.task import CAT, OTHERS, SUM, Measured, Section, markdown, megabytes, seconds

ROOT = Path(__file__).resolve().parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md"
BEGIN, END = "<!-- ratios: written by make bench -->", "<!-- end of ratios -->"
_OURS = ("torch2grid", "numpy", "matplotlib", "torch", "safetensors", "pytest-benchmark")


@dataclass(frozen=True)
class Facts:
    """What is known before anything is measured: a line for the README, and lines for the results."""

    where: str
    lines: list[str]


def facts() -> Facts:
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    lines = [f"commit {commit()}", machine(), load(), versions(_OURS), f"beside it: {releases()}"]
    return Facts(f"{date}, {machine()}", [date, *lines])


def ready() -> None:
    """Raises ``RuntimeError`` where the README has no place for its table."""
    text = README.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise RuntimeError(f"{README} does not hold {BEGIN} and {END}, once each")


@dataclass(frozen=True)
class Report:
    """sections: what ran. rounds: timed turns. took: seconds, all of it. facts: see there."""

    sections: list[Section]
    rounds: int
    took: float
    facts: Facts

    @property
    def good(self) -> bool:
        return all(check.good for section in self.sections for check in section.checks)

    def targets(self) -> str:
        """Markdown: a row for each target."""
        checks = [check for section in self.sections for check in section.checks]
        rows = [[check.what, "met" if check.good else "**missed**", check.told] for check in checks]
        return markdown(["target", "", "seen"], rows, words=3)

    def ratios(self) -> str:
        """Markdown: a row for each task that somebody else does too; how many times our time, and our memory, theirs are."""
        rows = [_ratios(each) for each in self._tasks() if each.task.others]
        return f"{markdown(['whole process, start to end', 'torch2grid', *OTHERS], rows)}\n\n{self.facts.where}."

    def limits(self) -> str:
        """Markdown: how far each task is from only reading its files."""
        head = ["task", "wall s", "÷ cat", "÷ one numpy sum", "cpu ÷ that of the sum"]
        rows = []
        for each in self._tasks():
            if CAT in each.results:
                cells = [each.task.title, seconds(each.base.wall), *(f"{1 / each.ratio(name):.1f}" for name in (CAT, SUM))]
                rows.append([*cells, f"{each.base.cpu / each.results[SUM].cpu:.1f}"])
        return markdown(head, rows)

    def text(self) -> str:
        lines = "\n".join(f"- {line}" for line in [*self.facts.lines, f"`make bench` took {self.took / 60:.0f} minutes"])
        parts = ["# Results", _HOW.format(rounds=self.rounds), lines]
        parts += ["## Ratios", _RATIOS.format(cores=cores()), self.ratios(), "## Targets", self.targets()]
        parts += ["## The limit", _LIMITS, self.limits()]
        parts += [f"## {section.title}\n\n{section.text}" for section in self.sections]
        return "\n\n".join(parts) + "\n"

    def _tasks(self) -> list[Measured]:
        return [each for section in self.sections for each in section.tasks]


_HOW = (
    "Written by `make bench`. Whole processes in turn (A B A B …) with warm file caches: a warm-up, then {rounds} timed"
    " turns; what takes more than 20 s is timed twice, more than 60 s once, the warm-up included. Medians. At the end each"
    " runs once with its files dropped from the page cache, to be observed: peak memory is the largest sum of the"
    " proportional set sizes of all its processes, sampled every 20 ms (pages of a library that other programs have mapped,"
    " too, count in part); bytes from disk count memory maps, bytes by read calls those between its processes. Every"
    " contender was held to have done its work: by its exit code, and by its output or a file. Weights are random, shapes"
    " those of the models named. Times of a shared machine drift: compare ratios."
)
_RATIOS = (
    "Times as long as torch2grid took, and times its memory; – where a tool has no such command. torch2grid used {cores}"
    " processes where a file is larger than 48 MiB, the others mostly one: processor time stands in the tables below. Of"
    " contenders that can do it in several ways the fastest counts."
)
_LIMITS = (
    "What the task takes beside only reading the same bytes from the page cache: by `cat FILE > /dev/null`, and by one"
    " numpy sum of each megabyte, as 64-bit words, while it is in the processor's cache (one process, interpreter and"
    " import included)."
)


def _ratios(each: Measured) -> list[str]:
    cells = [each.task.title, f"{seconds(each.base.wall)} s, {megabytes(each.base.pss)} MB"]
    return [*cells, *(_ratio(each.other(column), each.base) for column in OTHERS)]


def _ratio(other: Result | None, base: Result) -> str:
    if other is None:
        return "–"
    if other.failure:
        return f"failed ({other.failure})"
    return f"{other.wall / base.wall:.1f} × time, {other.pss / base.pss:.1f} × memory"


def write(report: Report) -> None:
    """The table of ratios in the README, and ``RESULTS.md`` anew; each whole or not at all."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    for path, text in ((README, f"{before}{BEGIN}\n{report.ratios()}\n{END}{after}"), (RESULTS, report.text())):
        temporary = path.with_suffix(".part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
