"""Everything that the Python API gives back shows itself, in a kernel as a notebook has it."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import pytest
from tests.support.renderers.pages import every_panel, small_grid
from tests.support.tools import DIGITS

from torch2grid_core import Grid
from torch2grid_core._pictures.notebook import grid_html, grid_png, page_html
from torch2grid_core.measures import Distribution

CELLS = {
    "checkpoint": f"import torch2grid as t2g\ncheckpoint = t2g.load({str(DIGITS)!r})\ncheckpoint",
    "grid": "t2g.grid(checkpoint).grid",
    "page": "t2g.histograms(checkpoint)[0]",
    "overview": "t2g.layers(checkpoint)[-1]",
    "distribution": (
        "from torch2grid_core.measures import Distribution\n"
        "weights = Distribution()\n"
        "weights.update(checkpoint['fc1.weight'].numpy())\n"
        "weights"
    ),
    "pictures": "t2g.layers(checkpoint)",
    "tables": "t2g.stats(checkpoint)",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Name of a cell → its output by media type."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    folder = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    results = {}
    for name, cell in zip(CELLS, notebook.cells, strict=True):
        assert [output.output_type for output in cell.outputs] == ["execute_result"], (name, cell.outputs)
        results[name] = dict(cell.outputs[0].data)
    assert not list(folder.iterdir())
    return results


def test_a_checkpoint_is_a_table_of_its_tensors(shown: dict[str, dict[str, Any]]) -> None:
    html = shown["checkpoint"]["text/html"]
    assert "9,258 parameters" in html
    assert re.findall(r"<tr><td style='text-align:left'>([^<]*)</td>", html)[0] == "conv1.weight"
    assert "32×16×3×3" in html


def test_a_grid_is_a_picture_of_its_cells(shown: dict[str, dict[str, Any]]) -> None:
    png = base64.b64decode(shown["grid"]["image/png"])
    assert png.startswith(b"\x89PNG")
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    assert (width, height) == (4 * 97, 4 * 97)
    html = shown["grid"]["text/html"]
    for part in ("&nbsp;·&nbsp; weight &nbsp;", "97 × 97 cells", "0.33 % above", "no weight", "data:image/png;base64,"):
        assert part in html


def test_pages_distributions_and_results_show_themselves(shown: dict[str, dict[str, Any]]) -> None:
    assert shown["page"]["text/html"].count("<rect") > 20
    assert "Histogram of conv1.weight" in shown["page"]["text/html"]
    assert shown["overview"]["text/html"].count("<figure") == 8
    assert "weights 4,096" in shown["distribution"]["text/html"]
    assert shown["distribution"]["text/html"].count("<rect") > 20
    assert base64.b64decode(shown["pictures"]["image/png"]).startswith(b"\x89PNG")
    assert "0.1521" in shown["tables"]["text/html"]


def test_every_panel_is_html_and_its_text_is_inert() -> None:
    html = page_html(every_panel())
    for panel in every_panel().panels[:12]:
        assert panel.title in html
    assert f"… {len(every_panel().panels) - 12} more panels" in html
    from torch2grid_core import Page
    from torch2grid_core.pages import Table, Text

    name = "<script>alert(1)</script>\u202e'\"&"
    hostile = page_html(Page(name, name, (Table((name,), ((name,),), name), Text(name, name))))
    assert "<script" not in hostile
    assert "\u202e" not in hostile
    assert hostile.count("&lt;script&gt;") == 6


def test_a_picture_has_whole_pixels_and_a_bounded_size() -> None:
    assert grid_png(Grid(np.empty((0, 4), np.float32))) is None
    assert "nothing to show" in grid_html(Grid(np.empty((0, 4), np.float32)))
    large = grid_html(Grid(np.random.default_rng(0).standard_normal((3000, 2500)).astype(np.float32)))
    assert "1,000 × 834 cells of 3,000 × 2,500" in large
    assert "mean of 3×3 weights" in large
    assert "NaN or Inf" in grid_html(small_grid())


def test_a_distribution_of_little_shows_what_there_is() -> None:
    for values in ([], [np.nan], [2.0], [np.inf, 1.0, 2.0]):
        summary = Distribution()
        summary.update(np.array(values, dtype=np.float32))
        assert f"weights {len(values)}" in summary._repr_html_()
