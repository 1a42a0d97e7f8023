"""Few combinations in which any two values meet: most defects need one value or two, and not all that a product holds."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import Any


def all_pairs(*values: Sequence[Hashable]) -> list[tuple[Any, ...]]:
    """Of the product of *values* a few rows that have every two values of two of them, the same in each run.

    Each row takes up a pair that no row has yet, and of the product the one that brings most new pairs with it.
    """
    product = list(itertools.product(*(range(len(each)) for each in values)))
    places = list(itertools.combinations(range(len(values)), min(len(values), 2)))

    def pairs(row: tuple[int, ...]) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
        return {(place, tuple(row[at] for at in place)) for place in places}

    missing, rows = set[Any]().union(*map(pairs, product)), list[tuple[int, ...]]()
    while missing:
        rows.append(max(product, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(rows[-1])
    return [tuple(each[at] for each, at in zip(values, row, strict=True)) for row in rows]
