"""``make bench``: every benchmark, into RESULTS.md and the README; or those that are named, printed."""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
import traceback
from pathlib import Path

import click

from benchmarks.report import Report, write
from benchmarks.task import Benchmark, Check, Section

NAMES = ("stats", "layouts", "views", "compare", "startup", "recorder", "growth", "kernels")


@click.command(
    help=f"Run the benchmarks NAMES, of: {', '.join(NAMES)}; all of them are also written to RESULTS.md and the README."
)
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--rounds", default=5, show_default=True, help="Timed turns of each contender; slow ones take one or two.")
def main(names: tuple[str, ...], rounds: int) -> None:
    started, sections = time.monotonic(), []
    for name in names or NAMES:
        click.echo(f"{name} …", err=True)
        sections.append(_run(name, rounds))
        click.echo(sections[-1].text + "\n")
    report = Report(sections, rounds, time.monotonic() - started)
    click.echo(report.targets())
    if not names and all(section.whole for section in sections):
        write(report)
    sys.exit(int(not report.good))


def _run(name: str, rounds: int) -> Section:
    """A benchmark that breaks does not stop the others, whose figures are still printed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").run
            return benchmark(Path(folder), rounds)
        except Exception as error:
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            return Section(name, f"It broke: {what}", [Check(f"{name} ran to its end", False, what)], whole=False)


if __name__ == "__main__":
    main()
