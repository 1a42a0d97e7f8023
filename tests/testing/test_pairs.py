"""The rows that tests take instead of a product have every pair of values, and are few."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, strategies as st
from tests.support.pairs import all_pairs


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_any_two_values_meet_in_a_row(sizes: list[int]) -> None:
    values = [[f"{place}{number}" for number in range(size)] for place, size in enumerate(sizes)]
    rows = all_pairs(*values)
    for one, other in itertools.combinations(range(len(sizes)), 2):
        assert {(row[one], row[other]) for row in rows} == {*itertools.product(values[one], values[other])}
    assert {value for row in rows for value in row} == set(itertools.chain(*values))
    assert len(rows) == len(set(rows)) <= math.prod(sizes)
    assert rows == all_pairs(*values)


def test_the_rows_are_few() -> None:
    assert len(all_pairs(range(3), range(3), range(3), range(3))) == 9  # of 81
    assert len(all_pairs(range(4), range(2), range(3))) == 12  # of 24
