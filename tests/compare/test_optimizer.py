"""The optimizer's page agrees with the step that torch takes on a copy."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from tests.compare.opened import MANAGER
from tests.compare.training import SNAPSHOTS, backward, digits_net
from tests.tools import DIGITS, torch2grid

import torch2grid as t2g
from torch2grid_builtin.views.optimizer import OptimizerView
from torch2grid_core import NotDrawable, Run, select


def joint(path):
    return OptimizerView().subject(select(MANAGER.open(str(path))).checkpoint, Run())


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
    found = OptimizerView().subject(select(t2g.changes.live_training(net, optimizer)).checkpoint, Run())
    for name, update in moved.items():
        np.testing.assert_allclose(found[name].numpy(), update, rtol=1e-5, atol=1e-10)
    (table,) = pages.tables
    for row in table.rows:
        weight = dict(net.named_parameters())[row[0]].detach().numpy()
        ratio = row[table.columns.index("‖update‖/‖w‖")]
        after = np.linalg.norm(weight)  # of the weight as it is in the checkpoint
        assert ratio == pytest.approx(np.linalg.norm(moved[row[0]]) / after, rel=1e-6)


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


def test_a_live_model_without_steps_has_no_state():
    net, *_ = digits_net()
    with pytest.raises(NotDrawable):
        t2g.optimizer(net, torch.optim.Adam(net.parameters()))
