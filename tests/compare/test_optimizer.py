"""The optimizer's page agrees with the step that torch takes on a copy."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.support.compare.opened import MANAGER
from tests.support.compare.training import SNAPSHOTS, backward, digits_net
from tests.support.tools import DIGITS, torch2grid

import torch2grid as t2g
from torch2grid import _changes
from torch2grid_builtin._views.optimizer import OptimizerView
from torch2grid_core import NotDrawable, Settings
from torch2grid_core.selection import select


def joint(path):
    return OptimizerView().subject(select(MANAGER.open(str(path))).checkpoint, Settings())


def step(net, optimizer, batch):
    """One step on *net*; by how much each weight moved, less the decay of AdamW."""
    decay = {
        id(p): group["lr"] * group["weight_decay"] if type(optimizer) is torch.optim.AdamW else 0.0
        for group in optimizer.param_groups
        for p in group["params"]
    }
    before = {name: p.detach().double().clone() for name, p in net.named_parameters()}
    backward(net, *batch)
    optimizer.step()
    return {
        name: (before[name] * (1 - decay[id(p)]) - p.detach().double()).numpy()
        for name, p in net.named_parameters()
        if id(p) in decay and p.grad is not None
    }


def saved(tmp_path, net, optimizer):
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, tmp_path / "run.pth")
    return tmp_path / "run.pth"


def test_the_next_step_of_the_digits_run(tmp_path):
    net, *batch = digits_net()
    run = torch.load(SNAPSHOTS[2], weights_only=True)
    net.load_state_dict(run["model"])
    optimizer = torch.optim.AdamW(net.parameters())
    optimizer.load_state_dict(copy.deepcopy(run["optimizer"]))
    moved = step(net, optimizer, batch)
    found = joint(saved(tmp_path, net, optimizer))
    assert list(found) == list(moved)
    for name, update in moved.items():
        np.testing.assert_allclose(found[name].numpy(), update, rtol=2e-3, atol=3e-7)  # what float32 weights resolve
        assert np.linalg.norm(found[name].numpy() - update) < 1e-3 * np.linalg.norm(update)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=1e-2),
        lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True, betas=(0.8, 0.9)),
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=1e-2, maximize=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.01),
    ],
)
def test_other_optimizers_on_a_live_model(make):
    net, *batch = digits_net()
    net = net.double()
    batch[0] = batch[0].double()
    optimizer = make(net.parameters())
    for _ in range(2):
        step(net, optimizer, batch)
    moved = step(net, optimizer, batch)
    pages = t2g.optimizer(net, optimizer)
    found = OptimizerView().subject(select(_changes.live_training(net, optimizer)).checkpoint, Settings())
    for name, update in moved.items():
        np.testing.assert_allclose(found[name].numpy(), update, rtol=1e-5, atol=1e-10)
    (table,) = pages.tables
    for row in table.rows:
        weight = dict(net.named_parameters())[row[0]].detach().numpy()
        ratio = row[table.columns.index("‖update‖/‖w‖")]
        after = np.linalg.norm(weight)  # of the weight as it is in the checkpoint
        assert ratio == pytest.approx(np.linalg.norm(moved[row[0]]) / after, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "decay"),
    [
        (lambda p: torch.optim.Adam(p, lr=1e-3), 0.0),
        (lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True), 0.0),
        (lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1), 1e-4),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 0.0),
    ],
    ids=["adam", "amsgrad", "adamw", "sgd"],
)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.complex64, 1e-3), (torch.complex128, 1e-9)], ids=str)
@pytest.mark.parametrize("steps", [1, 3])
def test_complex_weights_keep_both_parts(tmp_path, make, decay, dtype, rtol, steps):
    torch.manual_seed(0)
    real = torch.nn.Parameter(torch.randn(3, dtype=torch.float64))
    weight = torch.nn.Parameter(torch.randn(4, 4, dtype=dtype))
    optimizer = make([real, weight])
    for _ in range(steps):
        before = [each.detach().clone() for each in (real, weight)]
        optimizer.zero_grad()
        ((weight * (1 + 2j)).abs() ** 3).sum().add((real**2).sum()).backward()
        optimizer.step()
    moved = [(old * (1 - decay) - new.detach()).numpy() for old, new in zip(before, (real, weight), strict=True)]
    state = {"real": real.detach(), "weight": weight.detach()}
    torch.save({"model": state, "optimizer": optimizer.state_dict()}, tmp_path / "run.pth")
    found = joint(tmp_path / "run.pth")
    assert list(found) == ["real", "weight"]
    for update, torch_s in zip(found.values(), moved, strict=True):
        assert update.numpy().dtype.kind == torch_s.dtype.kind
        np.testing.assert_allclose(update.numpy(), torch_s, rtol=rtol, atol=1e-3 * rtol)
    done = torch2grid("run.pth", "--optimizer", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (table,) = json.loads((tmp_path / "grids" / "optimizer.json").read_text(encoding="utf-8"))["panels"]
    row = dict(zip(table["columns"], table["rows"][1], strict=True))
    assert row["‖update‖"] == pytest.approx(np.linalg.norm(moved[1]), rel=rtol)
    assert np.linalg.norm(moved[1].real) < 0.95 * row["‖update‖"]
    assert row["‖w‖"] == pytest.approx(float(weight.detach().abs().square().sum().sqrt()), rel=1e-6)
    slots = optimizer.state_dict()["state"][1]
    first = slots["exp_avg"] if "exp_avg" in slots else slots["momentum_buffer"]
    assert row["RMS m"] == pytest.approx(float(first.abs().square().mean().sqrt()), rel=1e-6)
    if "exp_avg_sq" in slots:
        second = torch.view_as_real(slots["exp_avg_sq"]).sum(dim=-1)  # of both parts: the size of a complex gradient
        assert row["RMS √v"] == pytest.approx(float(second.mean().sqrt()), rel=1e-6)
    page = json.loads((tmp_path / "grids" / "optimizer" / "weight_optimizer.json").read_text(encoding="utf-8"))
    assert page["about"]["dtype"] == str(dtype).removeprefix("torch.")
    assert not any("pairs" in panel["title"] for panel in page["panels"])


def test_parameters_are_found_by_order_and_shape_where_groups_split_them(tmp_path):
    net, *batch = digits_net()
    net.conv2.requires_grad_(False)
    trained = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in trained if p.ndim == 1]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.0)
    moved = step(net, optimizer, batch)
    found = joint(saved(tmp_path, net, optimizer))
    assert set(found) == set(moved)
    assert "2 parameters have no state" in found.notes[0]
    for name, update in moved.items():
        np.testing.assert_allclose(found[name].numpy(), update, rtol=5e-3, atol=1e-7)


def test_an_unknown_rule_is_said_and_its_state_is_drawn(tmp_path):
    net, *batch = digits_net()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-3, momentum=0.9)
    step(net, optimizer, batch)
    pages = t2g.optimizer(str(saved(tmp_path, net, optimizer)))
    assert "not known" in pages.tables[0].title or "not known" in next(iter(pages)).title
    page = next(page for page in pages if page.name == "fc1.weight_optimizer")
    assert [panel.title.split(":")[0] for panel in page.panels] == ["weight", "square_avg", "momentum_buffer"]
    assert pages.tables[0].rows[0][-3] is None


def test_on_the_command_line(tmp_path):
    done = torch2grid(SNAPSHOTS[2], "--optimizer", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AdamW, lr 0.00225, betas 0.9 and 0.999, eps 1e-08, step 430" in done.stdout
    assert len(list((tmp_path / "grids" / "optimizer").iterdir())) == 8
    index = json.loads((tmp_path / "grids" / "index.json").read_text())["files"]
    entry = index["optimizer/fc1.weight_optimizer.png"]
    assert entry["about"]["members"] == ["weight", "exp_avg", "exp_avg_sq"]
    assert [each["quantity"] for each in entry["heatmaps"]] == ["weight", "exp_avg", "√v", "update"]


def test_only_chosen_parameters_are_drawn_and_none_is_an_error(tmp_path):
    done = torch2grid(SNAPSHOTS[0], "--optimizer", "--only", "fc1*", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "grids" / "optimizer").iterdir()) == [
        "fc1.bias_optimizer.png",
        "fc1.weight_optimizer.png",
    ]
    none = torch2grid(DIGITS, "--optimizer", cwd=tmp_path)
    assert none.returncode == 1
    assert len([line for line in none.stderr.splitlines() if line.startswith("torch2grid: ")]) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("Adam", "{}", "7", '"x"', "[1, null]", '[{"params": 5}]', "[" * 100_000),
        '[{"params": ["0"], "param_names": 3, "steps": 4, "lr": 0.1, "betas": ["a", "b"], "eps": 1}]',
    ],
)
def test_a_text_that_only_has_the_name_of_parameter_groups(tmp_path, text):
    ones = np.ones((2, 3), np.float32)
    path = tmp_path / "odd.safetensors"
    save_file({"state.0.exp_avg": ones, "state.0.exp_avg_sq": ones}, path, metadata={"param_groups": text})
    run = torch2grid(path, "--optimizer", "-o", "out", cwd=tmp_path)
    known = '"0"' in text
    assert run.returncode == (0 if known else 1), run.stderr
    assert known or "this has parameter groups and no state yet" in run.stderr
    assert "rror" not in run.stderr


def test_a_live_model_without_steps_has_no_state():
    net, *_ = digits_net()
    with pytest.raises(NotDrawable):
        t2g.optimizer(net, torch.optim.Adam(net.parameters()))


def expanded_state(tmp_path, **slots):
    """A tiny file of Adam's state for one parameter of 65536 × 65536."""
    group = {**torch.optim.Adam([torch.zeros(1)]).state_dict()["param_groups"][0], "params": [0]}
    optimizer = {"state": {0: {"step": torch.tensor(3.0), **slots}}, "param_groups": [group]}
    torch.save({"model": {}, "optimizer": optimizer}, tmp_path / "tiny.pth")
    assert (tmp_path / "tiny.pth").stat().st_size < 1 << 20
    return tmp_path / "tiny.pth"


def with_little_memory():
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_state_that_repeats_one_number_costs_one_number(tmp_path):
    side = 65536
    m, v = torch.full((1, 1), 0.5).expand(side, side), torch.full((1, 1), 0.25).expand(side, side)
    path = expanded_state(tmp_path, exp_avg=m, exp_avg_sq=v)
    done = torch2grid(path, "--optimizer", "-j", "1", cwd=tmp_path, preexec_fn=with_little_memory)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "grids" / "optimizer").iterdir())) == 1
    (tensor,) = joint(path).values()
    assert (tensor.shape, "1×1 stored, repeated to 65536×65536" in tensor.note) == ((1, 1), True)
    np.testing.assert_allclose(tensor.numpy(), 1e-3 * (0.5 / (1 - 0.9**3)) / np.sqrt(0.25 / (1 - 0.999**3)), rtol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_state_that_repeats_in_two_ways_is_declined(tmp_path):
    side = 65536
    row, column = torch.zeros(1, side).expand(side, side), torch.zeros(side, 1).expand(side, side)
    path = expanded_state(tmp_path, exp_avg=row, exp_avg_sq=column)
    done = torch2grid(path, "--optimizer", "-j", "1", cwd=tmp_path, preexec_fn=with_little_memory)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "each in a way of its own" in line]
    assert "parameter 0" in line
