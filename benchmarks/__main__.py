"""``make bench``: every benchmark, into RESULTS.md and the pages that quote it; or those that are named, printed."""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import click

from benchmarks.measure import able
from benchmarks.models import MODELS, model, room
from benchmarks.peers import peers
from benchmarks.report import Report, facts, ready, write
from benchmarks.running import run_one

NAMES = (
    "kernels",
    "startup",
    "recorder",
    "stats",
    "layouts",
    "views",
    "compare",
    "distributed",
    "quantised",
    "explore",
    "remote",
    "cluster",
    "growth",
)
ROUNDS = 5


_HELP = (
    "Run the benchmarks NAMES, of: {}. Without NAMES, all of them run, and RESULTS.md and the pages that quote it are written."
)


@click.command(help=_HELP.format(", ".join(NAMES)))
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option(
    "--rounds", type=click.IntRange(min=1), default=ROUNDS, show_default=True, help="Timed turns; slow ones take fewer."
)
def main(names: tuple[str, ...], rounds: int) -> None:
    able()
    ready()
    peers()
    for name in () if names else MODELS:
        if not room(name):
            model(name)
    lines, started, sections = facts(), time.monotonic(), []
    for name in names or NAMES:
        click.echo(f"{name} …", err=True)
        # A process for each: what one of them imports would be shared with, and taken off, what the next one measures.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            sections.append(process.submit(run_one, name, rounds).result())
        click.echo(sections[-1].text + "\n")
    report = Report(sections, rounds, time.monotonic() - started, lines)
    click.echo(report.targets())
    if names or rounds < ROUNDS:
        click.echo("printed only: RESULTS.md holds one run of all benchmarks", err=True)
    elif not all(section.whole for section in sections):
        click.echo("RESULTS.md is left as it was: something failed", err=True)
    else:
        write(report)
    sys.exit(int(not report.good))


if __name__ == "__main__":
    main()
