"""Files that take all pages of a run, and the pages that wait for them."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from tests.support.tools import DIGITS, torch2grid

from torch2grid_core import Grid, Page, PluginError, PluginManager, Renderer, Settings, Style, Torch2GridError, View
from torch2grid_core._output.files import Spool
from torch2grid_core.grids import ColorScale
from torch2grid_core.pages import Heatmap, Output, Table


def page(name: str) -> Page:
    return Page(name, name, (Heatmap(Grid(np.full((2, 3), 7, np.float32)), ColorScale(0, 1)),))


def test_pages_wait_in_order_and_come_back_as_often_as_asked() -> None:
    with Spool() as spool:
        for name in "abc":
            spool.add(page(name))
        assert len(spool) == 3
        first = iter(spool)
        assert next(first).name == "a"
        assert [each.name for each in spool] == ["a", "b", "c"]
        assert [each.name for each in first] == ["b", "c"]
        (panel,) = next(iter(spool)).panels
        assert (panel.grid.values == 7).all()
    assert len(spool) == 0


class Unkept:
    """A panel that no file can keep."""

    def __reduce__(self) -> str:
        raise TypeError("stays in memory")

    def as_table(self) -> Table:
        return Table(("a",), ())


class Restless(View):
    """draws what no file can keep"""

    name = "restless"


def test_a_page_that_cannot_wait_is_the_error_of_its_view(tmp_path: Path) -> None:
    target = tmp_path / "all.pdf"
    with pytest.raises(PluginError, match="'restless': page 'p': TypeError: stays in memory"):  # noqa: SIM117
        with Output(PluginManager.discover(), target, Settings()) as output:
            output.add(Page("p", "t", (Unkept(),)), Restless())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with Spool() as spool, pytest.raises(Torch2GridError, match="cannot be kept in a temporary file: No such file"):
        spool.add(page("a"))


def test_one_pdf_has_every_page_of_a_run(tmp_path: Path) -> None:
    done = torch2grid(DIGITS, "--layers", "--stats", "-o", "report.pdf", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "report.pdf\n"), done.stderr
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b(?!s)", data)) == 8 + 1 + 1
    again = torch2grid(DIGITS, "--layers", "--stats", "-o", "again.pdf", cwd=tmp_path)
    assert again.returncode == 0
    assert (tmp_path / "again.pdf").read_bytes() == data


def test_one_html_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    done = torch2grid(DIGITS, "--layers", "-o", "report.html", "--renderer", "html:megabytes=0", cwd=tmp_path)
    assert done.returncode == 2
    assert "megabytes must be above 0" in done.stderr
    done = torch2grid(DIGITS, "--layers", "-o", "report.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "report.html\n")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_takes_a_page_a_file(tmp_path: Path) -> None:
    done = torch2grid(DIGITS, "--layers", "--format", "html,json,csv", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {each.relative_to(tmp_path / "out").as_posix() for each in (tmp_path / "out").rglob("fc1.*")}
    assert found == {f"layers/fc1.{part}.{ending}" for part in ("weight", "bias") for ending in ("html", "json", "csv")}


def test_a_renderer_that_does_not_combine_says_so() -> None:
    class One(Renderer):
        name = "one"
        formats = ("one",)

        def render(self, page: Page, target: object, style: Style, format: str) -> None:
            raise AssertionError("not asked for")

    with pytest.raises(TypeError, match="one page a file"):
        One().render_all([page("a"), page("b")], None, Style(), "one")  # type: ignore[arg-type]
