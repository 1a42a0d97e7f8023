"""What sixteen million weights are like."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from torch2grid_core.measures import Distribution

Array = np.ndarray[Any, Any]
QUANTILES, CHUNK = (0.01, 0.25, 0.5, 0.75, 0.99), 1 << 20  # CHUNK: bytes, what the engine reads at a time
FLOAT32 = np.random.default_rng(0).standard_normal(1 << 24, dtype=np.float32)
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def counted(weights: Array, brief: bool = False) -> Distribution:
    summary = Distribution(brief=brief)
    step = CHUNK // weights.itemsize
    for start in range(0, weights.size, step):
        summary.update(weights[start : start + step])
    return summary


def figures(summary: Distribution) -> list[float]:
    quantiles = list(summary.quantiles(QUANTILES))
    summary.histogram(np.linspace(summary.min, summary.max, 101))
    return [summary.zeros, summary.mean, summary.std, summary.min, summary.max, *quantiles]


def plain(weights: Array) -> list[float]:
    wide = weights.astype(np.float32, copy=False)
    np.histogram(wide, 100)
    quantiles = [float(each) for each in np.quantile(wide, QUANTILES)]
    zeros = float(wide.size - np.count_nonzero(wide))
    return [zeros, float(wide.mean()), float(wide.std()), float(wide.min()), float(wide.max()), *quantiles]


@pytest.mark.parametrize("way", ["ours", "numpy, float32"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_figures(benchmark: Any, dtype: str, way: str) -> None:
    benchmark.group = f"{dtype}: zeros, mean, std, min, max, five quantiles, histogram"
    weights = FLOAT32.astype(DTYPES[dtype])
    found = benchmark((lambda: figures(counted(weights))) if way == "ours" else (lambda: plain(weights)))
    np.testing.assert_allclose(found, plain(weights), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("way", ["ours", "numpy, float32"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_brief(benchmark: Any, dtype: str, way: str) -> None:
    benchmark.group = f"{dtype}: mean, std, min, max"
    weights = FLOAT32.astype(DTYPES[dtype])

    def ours() -> list[float]:
        summary = counted(weights, brief=True)
        return [summary.mean, summary.std, summary.min, summary.max]

    def numpy() -> list[float]:
        wide = weights.astype(np.float32, copy=False)
        return [float(wide.mean()), float(wide.std()), float(wide.min()), float(wide.max())]

    np.testing.assert_allclose(benchmark(ours if way == "ours" else numpy), numpy(), rtol=1e-4, atol=1e-4)
