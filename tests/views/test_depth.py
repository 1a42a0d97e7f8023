"""The order of depth: numbers count, what belongs together stays together, and a file in order stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torch2grid_builtin.depth import in_depth


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a.10.w", "a.2.w", "a.2.b"], ["a.2.w", "a.2.b", "a.10.w"]),
        (["z", "m.1.x.10.w", "m.1.x.9.w", "m.0.x.1.w", "b"], ["z", "m.0.x.1.w", "m.1.x.9.w", "m.1.x.10.w", "b"]),
        (["10.weight", "0.weight", "2.weight"], ["0.weight", "2.weight", "10.weight"]),
        (["a.b", "c", "a.0", "a.²", ""], ["a.b", "a.0", "a.²", "c", ""]),
        (["a.1", "a.", "a.0"], ["a.0", "a.1", "a."]),
        ([], []),
    ],
)
def test_numbers_count_and_the_rest_stays(names, wanted):
    assert in_depth(names) == wanted


@given(st.integers(1, 4), st.integers(1, 15))
def test_a_file_in_the_order_of_registration_is_not_touched(stacks, layers):
    names = ["embed.weight"]
    for stack in range(stacks):
        for layer in range(layers):
            names += [f"s{stack}.layers.{layer}.{leaf}" for leaf in ("q.weight", "q.bias", "norm.weight")]
        names.append(f"s{stack}.norm.weight")
    assert in_depth(names) == names
    shuffled = sorted(names)
    assert sorted(in_depth(shuffled)) == shuffled


@given(st.lists(st.text("ab.01", max_size=8), unique=True))
def test_no_name_is_lost(names):
    assert sorted(in_depth(names)) == sorted(names)


def test_numbers_below_the_depth_of_any_model_do_not_count():
    deep = [".".join(["block"] * 60 + [number, "weight"]) for number in ("10", "9")]
    assert in_depth(deep) == deep[::-1]
    endless = [f"{'.' * 50_000}{number}" for number in ("10", "9")]  # each looked at with all before it: gigabytes
    assert in_depth(endless) == endless
