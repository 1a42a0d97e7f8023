"""Sheets of layers and of histograms are drawn of any model, whatever its layers hold."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from tests.support.views.drawing import checkpoint_of

from torch2grid_builtin._renderers.matplotlib.renderer import Matplotlib
from torch2grid_core import PluginManager, Settings, Style, draw

KINDS = {
    "attn.weight": (6, 5),
    "norm.weight": (5,),
    "norm.bias": (1,),
    "mlp.weight": (3, 70),
    "conv.weight": (4, 2, 3, 3),
    "experts.weight": (2, 4, 3),
    "experts.0.w1": (4, 3),
    "scale": (),
    "none": (0, 4),
}
FILLS = ["normal", "zeros", "nan", "all nan", "inf", "negative"]


def filled(fill: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if fill == "zeros":
        made[...] = 0
    elif fill == "all nan":
        made[...] = np.nan
    elif fill in ("nan", "inf") and made.size:
        made.reshape(-1)[0] = np.nan if fill == "nan" else np.inf
    elif fill == "negative":
        made = -np.abs(made)
    return made


@st.composite
def models(draw_: Any) -> dict[str, np.ndarray]:
    made = {}
    for layer in range(draw_(st.integers(0, 4))):
        for kind in draw_(st.sets(st.sampled_from(sorted(KINDS)), max_size=5)):
            made[f"layers.{layer}.{kind}"] = filled(draw_(st.sampled_from(FILLS)), KINDS[kind], len(made))
    for kind in draw_(st.sets(st.sampled_from(sorted(KINDS)), max_size=3)):
        made[f"outer.{kind}"] = filled(draw_(st.sampled_from(FILLS)), KINDS[kind], len(made))
    made["head.weight"] = filled("normal", (3, 4), 0)
    return made


@pytest.mark.parametrize("view", ["layers", "histogram"])
@settings(max_examples=settings().max_examples // 5)
@given(made=models(), dark=st.booleans())
def test_a_sheet_is_drawn(view: str, made: dict[str, np.ndarray], dark: bool) -> None:
    shown = PluginManager.discover(third_party=False).create("view", view)
    pages = [page for page, *_ in draw(checkpoint_of(made), [shown], Settings()) if not page.folder]
    assert pages
    for page in pages:
        target = io.BytesIO()
        Matplotlib(theme="dark" if dark else "light").render(page, target, Style(), "png")
        with Image.open(target) as image:
            assert min(image.size) > 100
        told = {name for each in pages for name in each.about.get("tensors", ())}
        assert not told or told <= set(made)
