"""What the metadata say of optimizers: plain settings of their groups, and nothing that a hostile file can blow up."""

from __future__ import annotations

import json
import time
from collections import OrderedDict

import pytest
import torch
from tests.support.loaders.opened import opened

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.groups import optimizer_facts
from torch2grid_builtin._inert.limits import KEPT, Work
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.values import Pairs

KEY = "optimizer.param_groups"


def facts(tmp_path, state, name="run.pth"):
    torch.save(state, tmp_path / name)
    return opened(tmp_path / name).metadata


def training(optimizer):
    return {"model": {"w.weight": torch.ones(2, 2)}, "optimizer": optimizer, "epoch": 2}


def test_plain_settings_and_the_order_of_parameters(tmp_path):
    groups = [{"lr": 0.1, "betas": (0.9, 0.99), "amsgrad": False, "foreach": None, "params": [0, 1], "name": "decayed"}]
    groups.append(
        {"lr": torch.tensor(0.5), "hook": OrderedDict(a=1), "odd": float("nan"), "params": [2], "param_names": ["x.w"]}
    )
    found = facts(tmp_path, training({"state": {0: {"step": 7}, 1: {"step": torch.tensor(8.0)}}, "param_groups": groups}))
    assert found["epoch"] == "2"
    one, two = json.loads(found[KEY])
    settings = {"lr": 0.1, "betas": [0.9, 0.99], "amsgrad": False, "foreach": None, "name": "decayed"}
    assert one == {**settings, "params": ["0", "1"], "steps": {"0": 7}}
    assert two == {"params": ["2"], "param_names": ["x.w"]}


@pytest.mark.parametrize(
    "wrap",
    [lambda each: {"optimizer_states": [each]}, lambda each: {"a": {"b": each}}, lambda each: {"optimizer_states": (each,)}],
)
def test_optimizers_inside_lists_and_mappings(tmp_path, wrap):
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1, "params": [0]}]}
    found = facts(tmp_path, {"model": {"w": torch.ones(2)}, **wrap(optimizer)})
    (key,) = [key for key in found if key.endswith("param_groups")]
    assert key in ("optimizer_states.0.param_groups", "a.b.param_groups")
    assert json.loads(found[key])[0]["lr"] == 1


def test_a_file_that_repeats_itself_is_looked_at_once(tmp_path):
    started = time.perf_counter()
    assert not [key for key in facts(tmp_path, {"model": {"w.w": torch.ones(1)}, "a": 1}) if "param_groups" in key]
    root = Pairs("dict", [])
    inner = root
    for _ in range(4):
        inner = Pairs("dict", [(str(place), inner) for place in range(900)])
    assert optimizer_facts(inner) == {}
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("groups", [[], [3], [{"params": 5}], [{"params": [[1]], "lr": "high"}], [{1: 2}]])
def test_odd_groups_open_all_the_same(tmp_path, groups):
    found = facts(tmp_path, training({"state": {0: {"momentum_buffer": torch.ones(2, 2)}}, "param_groups": groups}))
    assert isinstance(json.loads(found[KEY]), list)


def repeated(optimizers, groups, steps):
    """Optimizers that share their groups and states."""
    state = Pairs("dict", [(key, Pairs("dict", [("step", 7)])) for key in range(steps)])
    group = Pairs("dict", [("lr", 0.1), ("params", list(range(steps)))])
    optimizer = [Pairs("dict", [("state", state), ("param_groups", [group] * groups)]) for _ in range(optimizers)]
    return Pairs("dict", list(enumerate(optimizer)))


def test_groups_that_are_repeated_are_refused_where_they_are_too_many(monkeypatch):
    found = optimizer_facts(repeated(2, 3, 50))
    assert [len(json.loads(groups)) for groups in found.values()] == [3, 3]
    assert json.loads(found["1.param_groups"])[2]["steps"] == {str(key): 7 for key in range(50)}
    monkeypatch.setattr(limits, "WORK_ALWAYS", 1 << 22)
    with pytest.raises(Malformed, match="repeats its objects more often"):
        optimizer_facts(repeated(20, 100, 20_000))


def test_each_parameter_of_a_group_is_paid_for():
    work = Work()
    before = work.left
    optimizer_facts(repeated(1, 2, 5), work)
    assert before - work.left == 1 + 3 * 5 * (KEPT + 1)  # the name of the optimizer, its steps, and the keys of two groups
    work.left = 3 * 5 * (KEPT + 1)
    with pytest.raises(Malformed):
        optimizer_facts(repeated(1, 2, 5), work)


def test_a_shared_state_is_looked_into_once():
    shared = Pairs("dict", [*[(key, 0) for key in range(10_000)], ("step", 3)])
    state = Pairs("dict", [(key, shared) for key in range(20_000)])
    optimizer = Pairs("dict", [("state", state), ("param_groups", [Pairs("dict", [("params", [5])])])])
    started = time.perf_counter()
    (found,) = optimizer_facts(optimizer).values()
    assert time.perf_counter() - started < 5
    assert json.loads(found) == [{"params": ["5"], "steps": {"5": 3}}]
