"""Numbers below zero have minus signs wherever a picture writes them, and so have exponents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import torch2grid as t2g
from torch2grid_core.pages import Histogram

HYPHEN = re.compile(r"(?<![\w.])-\d|\de-\d")
SMALL = {
    f"layers.{layer}.{kind}.weight": (np.random.default_rng(layer).normal(-4e-5, 1e-6, (24, 24))).astype(np.float32)
    for layer in range(4)
    for kind in ("fc", "out")
}


def texts_of(page: Any) -> Iterator[str]:
    """All texts of a page's picture."""
    yield from (page.title, *page.column_notes, *page.row_names, *page.column_names)
    for panel in page.panels:
        yield from (getattr(panel, name, "") or "" for name in ("title", "xlabel", "ylabel", "label", "text"))
        if isinstance(panel, Histogram):
            yield from (*panel.summary, *panel.summary.values(), *panel.marks)
        if hasattr(panel, "grid"):
            yield from panel.grid.remarks


@pytest.mark.parametrize("view", ["layers", "histogram", "grid", "conv", "dead_neurons"])
def test_pictures_write_minus_signs(view: str) -> None:
    pages = [page for page in t2g.draw(SMALL, [view]) if page.kind == "picture"]
    assert pages or view == "conv"
    for page in pages:
        for text in texts_of(page):
            assert not HYPHEN.search(text), (page.name, text)
    if view == "histogram":
        assert any("−4" in text for page in pages for text in texts_of(page))


def test_so_does_the_picture_of_a_change() -> None:
    moved = {name: each - np.float32(1e-7) for name, each in SMALL.items()}
    for page in t2g.compare(SMALL, moved):
        if page.kind == "picture":
            for text in texts_of(page):
                assert not HYPHEN.search(text), (page.name, text)
