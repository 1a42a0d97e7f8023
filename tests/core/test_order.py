"""The order of depth: numbers count, what belongs together stays together, and a file in order stays as it is."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from torch2grid_core import Checkpoint, LazyTensor, Part
from torch2grid_core._data.order import in_depth
from torch2grid_core.sources import BytesStorage


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a.10.w", "a.2.w", "a.2.b"], ["a.2.w", "a.2.b", "a.10.w"]),
        (["z", "m.1.x.10.w", "m.1.x.9.w", "m.0.x.1.w", "b"], ["z", "m.0.x.1.w", "m.1.x.9.w", "m.1.x.10.w", "b"]),
        (["10.weight", "0.weight", "2.weight"], ["0.weight", "2.weight", "10.weight"]),
        (["a.b", "c", "a.0", "a.²", ""], ["a.b", "a.0", "a.²", "c", ""]),
        (["a.1", "a.", "a.0"], ["a.0", "a.1", "a."]),
        (["a.b", "c", "a", "a.d"], ["a", "a.b", "a.d", "c"]),  # a tensor with the name of a module
        (["m.conv1.w", "m.bn1.w", "m.conv10.w", "m.conv2.w"], ["m.conv1.w", "m.bn1.w", "m.conv10.w", "m.conv2.w"]),
        (["x", ".", "", ".1", ".0"], ["x", "", ".", ".0", ".1"]),
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


def test_a_hundred_thousand_tensors_take_less_than_half_a_second():
    inner = [f"model.layers.{i}.mlp.experts.{j}.{k}.weight" for i in range(100) for j in range(100) for k in "abcdefghij"]
    for names in (inner, sorted(inner), random.Random(0).sample(inner, len(inner))):
        spent = []
        for _ in range(3):
            before = time.process_time()
            found = in_depth(names)
            spent.append(time.process_time() - before)
        assert sorted(found) == sorted(inner)
        assert min(spent) < 2  # 0.1 s on a machine of its own, where half a second is the promise
    assert in_depth(sorted(inner)) == inner


def test_more_modules_than_any_model_has_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr("torch2grid_core._data.order._MODULES", 1000)
    names = [f"{number}.{'.'.join('m' * 20)}.w" for number in range(100, 0, -1)]
    assert in_depth(names) == names
    assert in_depth(names[:40]) == names[39::-1]


def checkpoint(names, **facts):
    return Checkpoint([LazyTensor(name, (1,), np.dtype("f4"), BytesStorage(bytes(4))) for name in names], **facts)


def test_an_ordered_checkpoint_knows_the_order_of_its_file():
    sorted_file = checkpoint(["h.0.w", "h.10.w", "h.2.w", "out"])
    found = sorted_file.ordered()
    assert list(found) == ["h.0.w", "h.2.w", "h.10.w", "out"]
    assert found.in_file_order() == list(sorted_file)
    assert found.ordered() is found
    some = found.select(["h.10.w", "h.2.w"])
    assert (list(some), some.in_file_order()) == (["h.2.w", "h.10.w"], ["h.10.w", "h.2.w"])
    more = found.with_tensors([*found.values(), *checkpoint(["new"]).values()])
    assert more.in_file_order() == [*sorted_file, "new"]
    in_order = checkpoint(["b", "a"])
    assert in_order.ordered() is in_order
    assert in_order.in_file_order() == ["b", "a"]


def test_parts_keep_the_order_of_the_file():
    names = ("net.h.10.w", "net.h.9.w", "opt.0")
    whole = checkpoint(names, parts=[Part("model", "net.", names[:2])], default_part="model")
    assert list(whole.part("model")) == ["h.10.w", "h.9.w"]
    for part in (whole.part("model").ordered(), whole.ordered().part("model").ordered()):
        assert (list(part), part.in_file_order()) == (["h.9.w", "h.10.w"], ["h.10.w", "h.9.w"])
    assert whole.ordered().parts == whole.parts
