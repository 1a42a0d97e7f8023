"""docs/layouts.md: every transformer with its picture, and an example that works as it stands."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.support.tools import PROJECT
from tests.transformers.test_places import gpt2_like

from torch2grid_builtin.plugin import torch2grid_transformers
from torch2grid_core import LayoutTransformer

PAGE = (PROJECT / "docs" / "layouts.md").read_text(encoding="utf-8")
NAMES = [each.name for each in torch2grid_transformers()]


@pytest.mark.parametrize("name", NAMES)
def test_every_transformer_is_described_with_a_picture(name: str) -> None:
    assert f"\n## {name}\n" in PAGE
    assert f"[`{name}`](#{name})" in PAGE
    picture = PROJECT / "docs" / "pictures" / f"{name}.png"
    assert f"![{name}](pictures/{name}.png)" in PAGE
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 300_000


def test_nothing_else_is_described_as_one() -> None:
    pictured = re.findall(r"!\[(\w+)\]\(pictures/\1\.png\)", PAGE)
    assert sorted(pictured) == sorted(NAMES)


def test_the_example_works() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    place: dict[str, type[LayoutTransformer]] = {}
    exec(source, place)
    stacked = place["Stacked"]()
    shapes = gpt2_like() | {"conv.weight": (8, 3, 3, 3), "empty": (0, 4)}
    for side in (None, 60, 200, 2048):
        layout = stacked.layout(shapes, side).validate(shapes, side)
        assert [region.name for region in layout.regions] == [name for name in shapes if name != "empty"]
    grid = stacked({"w": np.arange(6.0).reshape(2, 3), "b": np.ones(2)})
    np.testing.assert_array_equal(grid.values, [[0, 1, 2], [3, 4, 5], [1, 1, 0]])
