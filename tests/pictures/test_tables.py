"""Tables as text."""

from __future__ import annotations

import math

from hypothesis import example, given, strategies as st

from torch2grid_core._pictures.page import table_lines
from torch2grid_core.pages import Table


def test_numbers_at_the_right_and_names_at_the_left():
    rows = (("conv.weight", 0.12345, 12), ("b", -1.0, None), ("c", math.nan, 1234))
    lines = table_lines(Table(("Name", "Mean", "Count"), rows, formats={"Mean": ".2f", "Count": ",d"}))
    assert lines == [
        "Name          Mean  Count",
        "-----------  -----  -----",
        "conv.weight   0.12     12",
        "b            -1.00      –",
        "c              nan  1,234",
    ]


def test_a_title_comes_first_and_an_empty_table_is_a_header():
    assert table_lines(Table(("a", "bb"), (), "A title")) == ["A title", "a  bb", "-  --"]


def test_names_cannot_move_the_cursor():
    lines = table_lines(Table(("Name", "x"), (("evil\x1b[2J\nname", 1), ("층.weight", 2))))
    assert lines[2:] == [r"evil\x1b[2J\x0aname  1", "층.weight            2"]
    assert all(line.isprintable() for line in lines)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([".4f", ".2f", ",.1f", ".3e", ".3g"]))
@example(-4e-05, ".4f")
@example(-0.0, ".4f")
def test_only_zero_is_written_as_zero(value, spec):
    alone, among = (Table(("a",), ((value,), *more), formats={"a": spec}).texts()[0][0] for more in ((), ((None,),)))
    assert alone == among
    shown = float(alone.replace(",", ""))
    assert (shown == 0) == (value == 0)
    assert (shown < 0) == (value < 0)
    assert value or "-" not in alone


@given(st.floats(-1e300, 1e300), st.sampled_from([".4f", ".2f", ",.1f", ",.0f", ".3f"]))
@example(1986317943472788480.0, ".4f")
@example(-4.62e198, ".4f")
@example(999_999.99999, ".2f")
def test_a_number_of_fixed_places_is_never_long_and_never_another(value, spec):
    alone, among = (Table(("a",), ((value,), *more), formats={"a": spec}).texts()[0][0] for more in ((), ((None,),)))
    assert alone == among
    assert len(alone) <= 21  # with its sign and commas
    shown = float(alone.replace(",", ""))
    assert math.isclose(shown, value, rel_tol=5e-4, abs_tol=0.51 if spec == ",.0f" else 0.051)
    if abs(value) < 999_999:
        assert alone == format(value, spec) or abs(value) < 0.51
