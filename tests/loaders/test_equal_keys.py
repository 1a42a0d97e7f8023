"""Keys of a mapping that are numbers: two are one where they are to Python, and what it would hold is what is shown."""

from __future__ import annotations

import itertools
import pickle
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.loaders.opened import opened

EQUAL = [
    (
        1,
        True,
        1.0,
        complex(1),
        Decimal(1),
        Decimal("1.00"),
        Fraction(3, 3),
        np.float32(1),
        np.int8(1),
        np.bool_(True),
        np.uint64(1),
    ),
    (0.5, Decimal("0.5"), Decimal("5E-1"), Fraction(1, 2), np.float16(0.5), np.complex64(0.5)),
    (0.1, np.float64(0.1)),
    (Fraction(1, 10), Decimal("0.1"), Decimal("0.10")),
    (float(np.float32(0.1)), np.float32(0.1)),
    (0, -0.0, Decimal("-0"), Decimal("0E+999999"), np.float32(-0.0)),
    (2**60, float(2**60), Decimal(2**60), Decimal("1152921504606846976.0"), np.int64(2**60)),
    (float("inf"), Decimal("Infinity"), np.float32("inf")),
    (Decimal("1E+999999"), Decimal("1.0E+999999")),
    (Decimal("1E-999999"),),
    (2j, np.complex128(2j)),
    (-1, Decimal(-1), np.int16(-1)),
    (float("nan"),),
    (Decimal("NaN"),),
    (np.float32("nan"),),
]


class Pairs:
    """What is pickled as a dict of these pairs, in their order."""

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self.pairs = pairs

    def __reduce__(self) -> Any:
        return dict, (), None, None, iter(self.pairs)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # as numpy compares its numbers with Python's
def test_numbers_are_one_key_where_they_are_to_python(tmp_path: Path) -> None:
    keys = [key for row in EQUAL for key in row]
    for first, second in itertools.product(keys, repeat=2):
        raw = pickle.dumps(Pairs([(first, np.zeros(2)), (second, np.ones(3))]), 2)
        try:
            expected = pickle.loads(raw)
        except TypeError:  # Python does not compare a Decimal with an integer of numpy's of the same hash
            continue
        (tmp_path / "x.pkl").write_bytes(raw)
        found = [tensor.shape for tensor in opened(tmp_path / "x.pkl").values() if tensor.shape]  # those of keys are numbers
        assert found == [value.shape for value in expected.values()], (first, second)
