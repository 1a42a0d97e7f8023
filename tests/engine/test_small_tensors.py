"""What needs see of many small tensors at once is what they see of each alone."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support.views.drawing import checkpoint_of

from torch2grid_builtin._rules.texture import Seen, Texture
from torch2grid_core import Need
from torch2grid_core.measures import Chunk, Duplicates, DuplicateUnits, Profile, Summary, UnitProfile

DTYPES = (np.float32, np.float16, np.float64, ml_dtypes.bfloat16, np.int8, np.int32)
SHAPES = [(), (7,), (64,), (8, 16), (8, 16), (16, 8), (40, 30), (4, 3, 3, 3), (1, 90), (2, 200), (300, 5)]


def plain(rng: np.random.Generator, values: Any) -> None:
    pass


def zeros(rng: np.random.Generator, values: Any) -> None:
    values[:: rng.integers(2, 9)] = 0


def not_finite(rng: np.random.Generator, values: Any) -> None:
    values[rng.integers(len(values))] = rng.choice([np.nan, np.inf, -np.inf])


def stray(rng: np.random.Generator, values: Any) -> None:
    values[rng.integers(len(values))] = 90 + rng.random()


def run(rng: np.random.Generator, values: Any) -> None:
    start = rng.integers(len(values))
    values[start : start + 20] = rng.choice([0, 1e-9, 3])


def block(rng: np.random.Generator, values: Any) -> None:
    half = len(values) // 2
    values[half : 2 * half] = values[:half]


def rows(rng: np.random.Generator, values: Any) -> None:
    values[len(values) // 2 :] = values[0]


DEFECTS = (plain, plain, plain, zeros, not_finite, stray, run, block, rows)
NEEDS: tuple[Need[Any], ...] = (Texture(), Duplicates(), Profile(), Summary((1e-6, 0.1), brief=True))


def alike(one: Any, other: Any) -> None:
    if isinstance(one, Seen):
        for field in fields(Seen):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)
    elif isinstance(one, UnitProfile):
        np.testing.assert_array_equal(one.output_absmax, other.output_absmax)
        np.testing.assert_array_equal(one.input_absmax, other.input_absmax)
        np.testing.assert_allclose(one.output_norm, other.output_norm, rtol=1e-12)
        assert (one.input_norm is None) == (other.input_norm is None)
        if one.input_norm is not None:
            np.testing.assert_allclose(one.input_norm, other.input_norm, rtol=1e-12)
    elif isinstance(one, DuplicateUnits):
        assert one == other
    else:
        assert (one.count, one.zeros, one.nan, one.min, one.max) == (other.count, other.zeros, other.nan, other.min, other.max)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@settings(max_examples=settings().max_examples // 5)
@given(seed=st.integers(0, 2**32 - 1))
def test_together_as_alone(dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for number in range(30):
        shape = SHAPES[rng.integers(len(SHAPES))]
        values = rng.standard_normal(shape).reshape(-1) * (40 if np.dtype(dtype).kind == "i" else 1)
        DEFECTS[rng.integers(len(DEFECTS))](rng, values)
        with np.errstate(all="ignore"):
            arrays[f"t{number}"] = values.reshape(shape).astype(dtype)
    garbage = rng.integers(0, 256, 128 * np.dtype(dtype).itemsize, np.uint8).view(dtype)  # NaN of every kind among them
    arrays["garbage"] = garbage.reshape(8, 16)
    tensors = list(checkpoint_of(arrays).values())
    stored = np.concatenate([tensor.numpy().reshape(-1) for tensor in tensors])
    for need in NEEDS:
        both = (need, Profile()) if isinstance(need, Summary) else (need,)
        united = need if len(both) == 1 else need.unite(Profile())
        assert united is not None
        for tensor, found in zip(tensors, united.collectors(tensors, stored), strict=True):
            alone = united.collector({tensor.name: tensor})
            alone.update(Chunk(tensor.name, 0, tensor.numpy().reshape(-1)))
            for each in both:
                alike(each.finish(found), each.finish(alone))
