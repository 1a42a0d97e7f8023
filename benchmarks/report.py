"""All sections as ``RESULTS.md``; the ratios and figures of docs/performance.md and the README's number, from the same run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.compare import BARE, COMPARING
from benchmarks.machine import commit, cores, load, machine, versions
from benchmarks.measure import Result
from benchmarks.models import tensors, title
from benchmarks.peers import releases
from benchmarks.stats import LOOP
from benchmarks.task import CAT, OTHERS, SUM, Measured, Section, markdown, megabytes, seconds

ROOT = Path(__file__).resolve().parent.parent
README, RESULTS, PERFORMANCE = ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md", ROOT / "docs" / "performance.md"
_OURS = ("torch2grid", "numpy", "matplotlib", "torch", "safetensors", "pytest-benchmark")


@dataclass(frozen=True)
class Facts:
    """What is known before anything is measured: a line for the pages, and lines for the results."""

    where: str
    lines: list[str]


@dataclass(frozen=True)
class Marks:
    """A place in a page that belongs to the benchmarks: what stands between two comments."""

    page: Path
    subject: str

    @property
    def pair(self) -> tuple[str, str]:
        return f"<!-- {self.subject}: written by make bench -->", f"<!-- end of {self.subject} -->"

    def parts(self, text: str | None = None) -> tuple[str, str, str]:
        """The page, or *text* in its place, before, between and after the marks. Raises ``RuntimeError`` without them."""
        text, (begin, end) = self.page.read_text(encoding="utf-8") if text is None else text, self.pair
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise RuntimeError(f"{self.page} does not hold {begin} and {end}, once each")
        before, _, rest = text.partition(begin)
        between, _, after = rest.partition(end)
        return before, between.strip(), after

    def holding(self, new: str, text: str | None = None) -> str:
        """The page with *new* between the marks; *text* stands for the page."""
        (begin, end), (before, _, after) = self.pair, self.parts(text)
        return f"{before}{begin}\n{new}\n{end}{after}"


NUMBER, RATIOS, FIGURES = Marks(README, "number"), Marks(PERFORMANCE, "ratios"), Marks(PERFORMANCE, "figures")


def facts() -> Facts:
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    lines = [f"commit {commit()}", machine(), load(), versions(_OURS), f"beside it: {releases()}"]
    return Facts(f"{date}, {machine()}", [date, *lines])


def ready() -> None:
    """Raises ``RuntimeError`` where a page has no place for what is to be written there."""
    for marks in (NUMBER, RATIOS, FIGURES):
        marks.parts()


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

    def number(self) -> str:
        """Markdown for the README: what one picture costs here and with a plain script. Raises ``KeyError`` without it."""
        each = {each.task.title: each for each in self._tasks()}[f"A picture of all weights of {title('gpt2.safetensors')}"]
        script = each.results[each.task.others["a plain script"][0]]
        return _NUMBER.format(
            seconds=seconds(each.base.wall),
            memory=megabytes(each.base.pss),
            cores=cores(),
            time=f"{script.wall / each.base.wall:.0f}",
            more=f"{script.pss / each.base.pss:.0f}",
        )

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
        parts += ["## The limit", self.figures(), _LIMITS, self.limits()]
        parts += [f"## {section.title}\n\n{section.text}" for section in self.sections]
        return "\n\n".join(parts) + "\n"

    def figures(self) -> str:
        """Markdown: what limits each task, in figures of this run, and which targets it missed."""
        tasks = {each.task.title: each for each in self._tasks()}
        gpt2, llama, small = (tasks[f"Statistics of {title(f'{name}.safetensors')}"] for name in ("gpt2", "llama", "small"))
        pictures = tasks[f"A heatmap of each tensor of {title('llama.safetensors')}"]
        two = tasks[COMPARING]
        missed = [f"{check.what} ({check.told})" for section in self.sections for check in section.checks if not check.good]
        return _FIGURES.format(
            gpt2=seconds(gpt2.base.wall),
            small=seconds(small.base.wall),
            loop=f"{gpt2.ratio(LOOP):.1f}",
            loop_large=f"{llama.ratio(LOOP):.1f}",
            llama=seconds(llama.base.wall),
            sums=f"{1 / llama.ratio(SUM):.1f}",
            cpu=seconds(llama.base.cpu),
            pictures=seconds(pictures.base.wall),
            count=len(tensors("llama.safetensors")),
            two=seconds(two.base.wall),
            bare=seconds(two.results[BARE].wall),
            missed=f"missed: {'; '.join(missed)}" if missed else "were all met",
            where=self.facts.where,
        )

    def _tasks(self) -> list[Measured]:
        return [each for section in self.sections for each in section.tasks]


_HOW = (
    "Written by `make bench`. Whole processes in turn (A B A B …) with warm file caches: a warm-up, then {rounds} timed"
    " turns; what takes more than 20 s is timed twice, more than 60 s once, the warm-up included. Medians. At the end each"
    " runs once with its files dropped from the page cache, to be observed: peak memory is the largest sum of the"
    " proportional set sizes of all its processes, sampled every 20 ms (pages of a library that other programs have mapped,"
    " too, count in part), with and without the pages of mapped files, which a machine that is short of memory can drop; bytes"
    " from disk count memory maps, bytes by read calls those between its processes. Who does a task was held to have done it:"
    " by the exit code, and by the output or a file. Weights are random, shapes"
    " those of the models named. Times of a shared machine drift: compare ratios."
)
_RATIOS = (
    "Times as long as torch2grid took, and times its memory; – where a tool has no such command. torch2grid used {cores}"
    " processes where a file is larger than 48 MiB, the others one, but torch's scripts as many threads: processor time"
    " stands in the tables below. Of contenders that can do it in several ways the fastest counts. Memory is the peak of PSS;"
    " the loops and sft-cli map the file, whose pages count, ours reads it: the tables have it without them, too."
)
_NUMBER = """\
torch2grid draws 124 million weights, in the shapes of GPT-2, in **{seconds} seconds** with {memory} MB of memory, on {cores}
cores. A plain script with torch and matplotlib takes {time} times as long and {more} times the memory.
[More comparisons](docs/performance.md#beside-other-tools)."""
_FIGURES = """\
- Statistics of half a gigabyte: starting. `--stats` of GPT-2 took {gpt2} s, of 500 small tensors {small} s. That is why the
  plain loop took only {loop} times as long there, and {loop_large} times on the larger model.
- Statistics of two gigabytes: counting. {llama} s, {sums} times what one process needs to sum the same bytes, and {cpu} s of
  processor time.
- Pictures of every tensor: painting and compressing them. {pictures} s for {count} tensors of the same file, most of it after
  the weights are read.
- Comparing: the ranks of the changes. {two} s with them, {bare} s with `--rank-size 0`.
- Targets of the run {missed}.

{where}."""
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
    """The README's number, the table and figures of docs/performance.md, and ``RESULTS.md``; each file whole or not at all."""
    pages = {README: NUMBER.holding(report.number()), RESULTS: report.text()}
    pages[PERFORMANCE] = FIGURES.holding(report.figures(), RATIOS.holding(report.ratios()))
    for path, text in pages.items():
        temporary = path.with_suffix(".part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
