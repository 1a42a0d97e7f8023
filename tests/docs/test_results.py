"""The figures that pages quote are those of the last run of the benchmarks."""

from __future__ import annotations

import re

from benchmarks.report import FIGURES, NUMBER, RATIOS, README, RESULTS


def test_the_table_of_ratios_is_that_of_the_results() -> None:
    table, results = RATIOS.parts()[1], RESULTS.read_text(encoding="utf-8")
    assert table.startswith("| whole process")
    assert "failed" not in table
    assert f"\n{table}\n" in results
    assert "-dirty" not in results  # a commit that can be checked out again


def test_the_number_in_the_readme_is_of_the_table() -> None:
    (row,) = [line for line in RATIOS.parts()[1].splitlines() if line.startswith("| A picture of all weights of GPT-2")]
    took, memory, times, more = re.findall(r"[\d.]+(?= s,| MB| × time| × memory)", row)
    said = NUMBER.parts()[1]
    said = said.replace("\n", " ")
    assert f" in **{took} seconds** with {memory} MB of memory, on " in said
    assert f"takes {float(times):.0f} times as long and {float(more):.0f} times the memory." in said
    assert "| torch2grid |" not in README.read_text(encoding="utf-8")  # the table stands in one place


def test_what_limits_each_task_is_told_in_figures_of_the_results() -> None:
    figures, results = FIGURES.parts()[1], RESULTS.read_text(encoding="utf-8")
    assert figures.startswith("- Statistics of half a gigabyte")
    assert f"\n{figures}\n" in results
    rows = [
        line.strip("| ").split(" | ") for line in results.partition("## Targets")[2].partition("## The limit")[0].splitlines()
    ]
    missed = [row[0] for row in rows if len(row) == 3 and "missed" in row[1]]
    assert all(what in figures for what in missed)
    assert ("were all met" in figures) is not bool(missed)


def test_every_task_of_the_table_has_its_figures() -> None:
    results = RESULTS.read_text(encoding="utf-8")
    rows = results.partition("\n## Ratios\n")[2].partition("\n## ")[0].splitlines()
    titles = [row.split(" | ")[0].removeprefix("| ") for row in rows if row.startswith("| ")][2:]
    for title in titles:
        assert f"\n### {title.replace(' with quantiles and norms', '')}\n" in results, title
    assert len(titles) > 5
