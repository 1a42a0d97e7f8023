"""Text from files is shown as one line of characters that a person can tell apart."""

from __future__ import annotations

from hypothesis import given, strategies as st

from torch2grid_core.text import visible


@given(st.text(max_size=60))
def test_it_is_printable_and_tells_names_apart(text: str) -> None:
    assert visible(text).isprintable()
    if text.isprintable():
        assert visible(text) == text


def test_a_space_that_only_looks_like_one_is_shown_as_what_it_is() -> None:
    assert visible("a\u00a0b c\u3000d") == "a\\xa0b c\\u3000d"
