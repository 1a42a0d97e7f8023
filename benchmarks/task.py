"""A task and the contenders that do it; what came of it, as a table and as checks of the targets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.measure import Command, Proof, Result, in_turn

SCRIPTS = Path(__file__).with_name("scripts")
CAT, SUM = "`cat` to /dev/null", "one numpy sum, in cache"
OTHERS = ("weightlens", "sft-cli", "a plain script")  # the columns of the table of ratios


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


def read_only(files: tuple[Path, ...]) -> dict[str, Command]:
    """The contenders that only read *files*: the limit of what a machine can do."""
    paths = [str(path) for path in files]
    return {CAT: ["cat", *paths], SUM: [sys.executable, str(SCRIPTS / "sum_in_cache.py"), *paths]}


@dataclass(frozen=True)
class Task:
    """title: what is done, to what. base: the contender that the others are compared with. files: what is read: two more
    contenders only read it. others: a column of the table of ratios → its contenders, of which the fastest counts; a task
    without any is not in that table. proofs, codes: see ``in_turn``."""

    title: str
    contenders: Mapping[str, Command]
    base: str
    files: tuple[Path, ...] = ()
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    codes: Mapping[str, int] = field(default_factory=dict)

    def measured(self, folder: Path, rounds: int) -> Measured:
        """*folder*: a scratch folder; the contenders run in one that is empty."""
        cwd = folder / "empty"
        cwd.mkdir(exist_ok=True)
        contenders = {**self.contenders, **(read_only(self.files) if self.files else {})}
        files = dict.fromkeys(contenders, self.files)
        return Measured(self, in_turn(contenders, rounds, cwd, files, self.proofs, self.codes))


@dataclass(frozen=True)
class Measured:
    """A task, and the result of each of its contenders."""

    task: Task
    results: Mapping[str, Result]

    @property
    def base(self) -> Result:
        return self.results[self.task.base]

    def beside(self, title: str, base: str, others: Mapping[str, tuple[str, ...]]) -> Measured:
        """The same results as another row of the table of ratios."""
        return replace(self, task=replace(self.task, title=title, base=base, others=others))

    def ratio(self, name: str) -> float:
        """How many times as long as the base the contender *name* took."""
        return self.results[name].wall / self.base.wall

    def other(self, column: str) -> Result | None:
        """The fastest contender of a column of the table of ratios; one that failed only where all did."""
        found = [self.results[name] for name in self.task.others.get(column, ())]
        return min(found, key=lambda result: (bool(result.failure), result.wall), default=None)

    def faster(self, *least: tuple[str, float]) -> list[Check]:
        """Checks that each contender took so many times as long as the base."""
        return [at_least(f"{self.task.title}: times as fast as {name}", self.ratio(name), times) for name, times in least]

    def good(self) -> Check:
        """Whether every run did what it should."""
        failed = [f"{name}: {result.failure}" for name, result in self.results.items() if result.failure]
        return Check(f"{self.task.title}: every run went well", not failed, "; ".join(failed) or "yes")

    def table(self) -> str:
        """Markdown: a row for each contender."""
        head = ["what", "runs", "wall s", "least–most", "cpu s", "wall ratio", "peak PSS MB", "but mapped files MB"]
        if self.task.files:
            head += ["from disk MB", "by read calls MB"]
        return f"### {self.task.title}\n\n" + markdown(head, [self._row(name) for name in self.results])

    def _row(self, name: str) -> list[str]:
        result = self.results[name]
        walls = sorted(run.wall for run in result.runs)
        shown = f"**{name}**" if name == self.task.base else name
        if result.failure:
            shown += f" (failed: {result.failure})"
        cells = [shown, str(len(walls)), seconds(result.wall), f"{seconds(walls[0])}–{seconds(walls[-1])}", seconds(result.cpu)]
        seen = result.pss > 0  # else it had ended before it was looked at
        cells += [f"{self.ratio(name):.2f}", *(megabytes(each) if seen else "–" for each in (result.pss, result.observed.own))]
        if self.task.files:
            cells += [megabytes(result.observed.stored), megabytes(result.observed.called)]
        return cells


@dataclass(frozen=True)
class Section:
    """One subject of the report: its prose and tables (Markdown), its targets, its tasks for the tables over all of them.

    whole: it ran to its end, and no base failed.
    """

    title: str
    text: str
    checks: list[Check]
    tasks: list[Measured] = field(default_factory=list)
    whole: bool = True


Benchmark = Callable[[Path, int], Section]  # a scratch folder and the number of rounds → a section


def section(title: str, about: str, tasks: list[Measured], checks: list[Check], rows: list[Measured] | None = None) -> Section:
    """A section of *tasks*, whose runs must all have gone well. rows: more of them for the table of ratios."""
    text = "\n\n".join([about, *(each.table() for each in tasks)])
    whole = not any(each.base.failure for each in tasks)
    return Section(title, text, [*(each.good() for each in tasks), *checks], [*tasks, *(rows or [])], whole)


def markdown(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A table whose first *words* columns are words and the others figures."""
    marks = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, marks, *rows))


def seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def megabytes(value: float) -> str:
    """``2,200``; of less than ten, one digit more: `cat` takes 0.2."""
    return f"{value / 1e6:.1f}" if 0 < value < 9.95e6 else f"{value / 1e6:,.0f}"
