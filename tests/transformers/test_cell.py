"""Transformers with square cells take their side, which is what the levels of a map are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.tools import DIGITS, torch2grid

from torch2grid_builtin.transformers import Atlas, LayerSeparated
from torch2grid_core import NotDrawable

sides = st.lists(st.integers(1, 90), min_size=1, max_size=3).map(tuple)


@settings(max_examples=settings().max_examples // 5)
@given(
    st.sampled_from([Atlas, LayerSeparated]), st.dictionaries(st.sampled_from("abcdef"), sides, min_size=1), st.integers(1, 40)
)
def test_a_layout_has_the_cells_that_were_asked_for_and_all_weights(
    kind: type[Atlas | LayerSeparated], shapes: dict[str, tuple[int, ...]], cell: int
) -> None:
    layout = kind(cell=cell).layout(shapes, None)
    assert layout.cell == (cell, cell)
    layout.validate(shapes)
    if cell > 1:
        layout.refined((1, 1)).validate(shapes)


@pytest.mark.parametrize("kind", [Atlas, LayerSeparated])
def test_what_does_not_fit_is_said(kind: type[Atlas | LayerSeparated]) -> None:
    with pytest.raises(NotDrawable, match=r"cells of 2×2 weights make .* over 100 a side"):
        kind(cell=2).layout({"w": (900, 900)}, 100)
    with pytest.raises(ValueError, match="from 1 to 4096"):
        kind(cell=0)


def test_on_the_command_line(tmp_path: Path) -> None:
    run = torch2grid(DIGITS, "--plugin", "atlas:cell=4", "--format", "json", cwd=tmp_path)
    assert run.returncode == 0
    assert '"cell": [4, 4]' in next((tmp_path / "grids").glob("neural_grid_atlas.json")).read_text().replace("\n", "")
