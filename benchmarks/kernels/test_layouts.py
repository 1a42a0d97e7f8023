"""The layout of a model of 10,000 tensors, with its validation: 1,111 layers, and 48 layers of 68 experts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.transformers.networks import Shapes, mixture, transformer

from torch2grid_builtin._transformers.atlas import Atlas

MODELS: dict[str, Shapes] = {
    "1,111 layers": transformer(64, 16, 176, 1111, 1000),
    "48 layers of 68 experts": mixture(64, 128, 48, 68, 1000),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.benchmark(group="atlas of 10,000 tensors, laid out and validated")
def test_atlas(benchmark: Any, name: str) -> None:
    shapes = MODELS[name]
    layout = benchmark(lambda: Atlas().layout(shapes, 2048).validate(shapes, 2048))
    assert len(layout.regions) == len(shapes) > 9_500
