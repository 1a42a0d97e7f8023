"""Small sets of weights that are counted together: the figures of each, to the last bit, as of each alone."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from torch2grid_core.measures import Distribution


def state(found: Distribution) -> list[str]:
    """All that it holds, as text, so that NaN is equal to NaN."""
    return [repr(each.tolist() if isinstance(each, np.ndarray) else each) for each in found.__getstate__()]


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16, np.float16, np.int32, np.int8])
def test_each_is_what_it_is_alone(dtype: type, brief: bool) -> None:
    rng = np.random.default_rng(1)
    sizes = [*rng.integers(1, 900, 300).tolist(), 5000, 1, 4096, 70_000, 3]
    numbers = (rng.standard_normal(sum(sizes)) * 3).astype(dtype)
    numbers[: sizes[0]] = 3  # all the same
    numbers[-2:] = 0
    if np.dtype(dtype).kind == "f":
        numbers[[5000, 9000, 9001]] = np.nan, np.inf, -np.inf
        numbers[20_000] = 1e300 if dtype is np.float64 else 6e4
    place = 0
    for size, found in zip(sizes, Distribution.of_each(numbers, sizes, (1e-3, 0.5), brief), strict=True):
        alone = Distribution((1e-3, 0.5), brief)
        alone.update(numbers[place : place + size])
        assert state(found) == state(alone)
        place += size
