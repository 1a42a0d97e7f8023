"""The figures that pages quote are those of the last run of the benchmarks."""

from __future__ import annotations

from benchmarks.report import BEGIN, END, README, RESULTS


def test_the_table_in_the_readme_is_that_of_the_results() -> None:
    text, results = README.read_text(encoding="utf-8"), RESULTS.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    table = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert table.startswith("| whole process")
    assert "failed" not in table
    assert f"\n{table}\n" in results
    assert "-dirty" not in results  # a commit that can be checked out again


def test_every_task_of_the_table_has_its_figures() -> None:
    results = RESULTS.read_text(encoding="utf-8")
    rows = results.partition("\n## Ratios\n")[2].partition("\n## ")[0].splitlines()
    titles = [row.split(" | ")[0].removeprefix("| ") for row in rows if row.startswith("| ")][2:]
    for title in titles:
        assert f"\n### {title.replace(' with quantiles and norms', '')}\n" in results, title
    assert len(titles) > 5
