"""All sections as ``RESULTS.md``; the table of ratios and the figures that pages quote, from the same run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.measure import machine, versions
from benchmarks.peers import releases
from benchmarks.task import CAT, OTHERS, SUM, Measured, Section, markdown, megabytes, seconds

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- ratios: written by make bench -->", "<!-- end of ratios -->"
README = ROOT / "README.md"


@dataclass(frozen=True)
class Report:
    """sections: what ran. rounds: timed turns. took: seconds, all of it."""

    sections: list[Section]
    rounds: int
    took: float

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
        head = ["whole process, start to end", "torch2grid", *(f"{other}" for other in OTHERS)]
        return markdown(head, [_ratios(each) for each in self._tasks() if each.task.others])

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
        date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        facts = [
            f"- {date}, commit {_commit()}, `make bench`: {self.took / 60:.0f} minutes",
            f"- {machine()}",
            f"- {versions()}",
            f"- beside it: {releases()}",
        ]
        parts = ["# Results", _HOW.format(rounds=self.rounds), "\n".join(facts)]
        parts += ["## Ratios", _RATIOS, self.ratios(), "## Targets", self.targets()]
        parts += ["## The limit", _LIMITS, self.limits()]
        parts += [f"## {section.title}\n\n{section.text}" for section in self.sections]
        return "\n\n".join(parts) + "\n"

    def _tasks(self) -> list[Measured]:
        return [each for section in self.sections for each in section.tasks]


_HOW = (
    "Written by `make bench`. Whole processes with warm file caches, in turn (A B A B …, {rounds} timed turns; those that"
    " take more than 20 s two, more than 60 s one), medians. Before, each ran once with its file dropped from the page"
    " cache, to be observed: peak memory is the largest sum of the proportional set sizes of all its processes, sampled"
    " every 20 ms; bytes from disk count memory maps too. The weights are random, the shapes those of the models named."
    " Times of a shared machine drift: compare ratios."
)
_RATIOS = "Times as long as torch2grid took, and times its memory."
_LIMITS = (
    "What the task takes beside only reading the same bytes from the page cache: by `cat FILE > /dev/null`, and by one"
    " numpy sum of each megabyte while it is in the processor's cache (one process, interpreter and import included)."
    " Statistics use every core; their processor time is beside it."
)


def _ratios(each: Measured) -> list[str]:
    cells = [each.task.title, f"{seconds(each.base.wall)} s, {megabytes(each.base.pss)} MB"]
    for other in OTHERS:
        name = each.task.others.get(other)
        memory = each.results[name].pss / each.base.pss if name else 0
        cells.append(f"{each.ratio(name):.1f} × time, {memory:.1f} × memory" if name else "–")
    return cells


def _commit() -> str:
    answer = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def write(report: Report) -> None:
    """``RESULTS.md`` anew, and the table of ratios in the README."""
    (ROOT / "benchmarks" / "RESULTS.md").write_text(report.text(), encoding="utf-8")
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{report.ratios()}\n{END}{after}", encoding="utf-8")
