"""Pictures of the digits network against those that were looked at and committed (``make baselines`` draws them anew)."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.images.drawn import BASELINE, NAMES, pictures
from tests.support.renderers.pixels import pixels

TOLERANCE = 3.0  # root mean square of the difference, of 255: letters may be hinted otherwise, nothing may move


@pytest.fixture(scope="module")
def drawn():
    return dict(pictures())


def difference(one, other) -> float:
    return float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)))


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_is_the_one_that_was_looked_at(name, drawn, tmp_path):
    found, wanted = pixels(drawn[name]), pixels((BASELINE / f"{name}.png").read_bytes())
    (tmp_path / f"{name}.png").write_bytes(drawn[name])
    assert found.shape == wanted.shape, tmp_path
    assert difference(found, wanted) < TOLERANCE, tmp_path


def test_the_comparison_sees_what_matters(drawn):
    shown = pixels(drawn["layers-fc1.weight"])
    moved = np.roll(shown, 1, axis=1)
    assert difference(shown, moved) > TOLERANCE
    recoloured = shown[:, :, ::-1]
    assert difference(shown, recoloured) > TOLERANCE


def test_there_is_a_baseline_for_each_picture_and_together_they_are_small():
    files = list(BASELINE.glob("*.png"))
    assert sorted(path.stem for path in files) == sorted(NAMES)
    assert sum(path.stat().st_size for path in files) < 300_000
