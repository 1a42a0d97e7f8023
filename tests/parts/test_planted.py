"""``check`` finds a NaN wherever it stands in a file, and names the place."""

from __future__ import annotations

from tests.support.parts.planted import run


def test_a_planted_nan_is_found_and_named_in_every_tree() -> None:
    run(200, 20)
