"""A task and the contenders that do it; what came of it, as a table and as checks of the targets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Command, Result, in_turn

SCRIPTS = Path(__file__).with_name("scripts")
CAT, SUM = "`cat` to /dev/null", "one numpy sum, in cache"
OTHERS = ("weightlens", "sft-cli", "a plain script")  # the columns of the table of ratios
Least = tuple[str, float]  # a contender, and how many times as fast as it we mean to be


@dataclass(frozen=True)
class Check:
    """A target: what, whether it is met, and the figure that was seen beside the limit."""

    what: str
    good: bool
    told: str


def at_most(what: str, found: float, limit: float, unit: str = "") -> Check:
    return Check(what, found <= limit, f"{found:.3g}{unit}, at most {limit:g}{unit}")


def at_least(what: str, found: float, limit: float, unit: str = "") -> Check:
    return Check(what, found >= limit, f"{found:.3g}{unit}, at least {limit:g}{unit}")


@dataclass(frozen=True)
class Task:
    """title: what is done, to what. base: the contender that the others are compared with. files: what is read: two more
    contenders only read it, as the limit of what a machine can do. others: a column of the table of ratios → its contender;
    a task without any is not in that table. codes: the exit code of a contender's run that went well, where it is not 0."""

    title: str
    contenders: Mapping[str, Command]
    base: str
    files: tuple[Path, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)

    def measured(self, rounds: int) -> Measured:
        paths = [str(path) for path in self.files]
        limits = {CAT: ["cat", *paths], SUM: [sys.executable, str(SCRIPTS / "sum_in_cache.py"), *paths]} if paths else {}
        contenders = {**self.contenders, **limits}
        return Measured(self, in_turn(contenders, rounds, dict.fromkeys(contenders, self.files), self.codes))


@dataclass(frozen=True)
class Measured:
    """A task, and the result of each of its contenders."""

    task: Task
    results: Mapping[str, Result]

    @property
    def base(self) -> Result:
        return self.results[self.task.base]

    def ratio(self, name: str) -> float:
        """How many times as long as the base the contender *name* took."""
        return self.results[name].wall / self.base.wall

    def faster(self, *least: Least) -> list[Check]:
        return [at_least(f"{self.task.title}: times as fast as {name}", self.ratio(name), times) for name, times in least]

    def good(self) -> Check:
        """Whether every run ended as it should."""
        failed = [name for name, result in self.results.items() if result.failed]
        return Check(f"{self.task.title}: every run went well", not failed, f"failed: {', '.join(failed)}" if failed else "yes")

    def table(self) -> str:
        """Markdown: a row for each contender."""
        head = ["what", "runs", "wall s", "cpu s", "wall ratio", "peak PSS MB"]
        rows = [self._row(name, result) for name, result in self.results.items()]
        if self.task.files:
            head += ["from disk MB", "by read calls MB"]
        return f"### {self.task.title}\n\n" + markdown(head, rows)

    def _row(self, name: str, result: Result) -> list[str]:
        cells = [f"**{name}**" if name == self.task.base else name, str(len(result.runs)), seconds(result.wall)]
        cells += [
            seconds(result.cpu),
            f"{self.ratio(name):.2f}" + (" (failed)" if result.failed else ""),
            megabytes(result.pss),
        ]
        return cells + [megabytes(result.observed.stored), megabytes(result.observed.called)] * bool(self.task.files)


@dataclass(frozen=True)
class Section:
    """One subject of the report: its prose and tables (Markdown), its targets, its tasks for the tables over all of them.

    whole: it ran to its end.
    """

    title: str
    text: str
    checks: list[Check]
    tasks: list[Measured] = field(default_factory=list)
    whole: bool = True


Benchmark = Callable[[Path, int], Section]  # a scratch folder and the number of rounds → a section


def section(title: str, about: str, tasks: list[Measured], checks: list[Check], *more: str) -> Section:
    """A section of *tasks* alone, whose runs must all have gone well."""
    text = "\n\n".join([about, *(each.table() for each in tasks), *more])
    return Section(title, text, [*(each.good() for each in tasks), *checks], tasks)


def markdown(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A table whose first *words* columns are words and the others figures."""
    marks = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, marks, *rows))


def seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f}"
