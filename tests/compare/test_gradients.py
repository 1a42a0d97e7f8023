"""Gradients: saved ones are ``param.grad``, verdicts follow their thresholds, the recorder counts what was there."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.support.compare.training import backward, digits_net
from tests.support.tools import DIGITS, torch2grid
from torch import nn

import torch2grid as t2g
from torch2grid_core import NotDrawable, UsageError
from torch2grid_core.measures import Distribution


@pytest.fixture
def net():
    module, *batch = digits_net()
    backward(module, *batch)
    return module


def rows(pages):
    (table,) = pages.tables
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_what_is_saved_is_param_grad(net, tmp_path):
    path = t2g.save_gradients(net, tmp_path / "grads.safetensors", step=12)
    found = load_file(path)
    assert len(found) == 16
    for name, parameter in net.named_parameters():
        assert torch.equal(found[f"{name}.grad"], parameter.grad)
        assert torch.equal(found[name], parameter)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "torch2grid gradients 1", "step": "12"}
    alone = load_file(t2g.save_gradients(net.bfloat16(), tmp_path / "alone.safetensors", weights=False))
    assert set(alone) == {f"{name}.grad" for name, _ in net.named_parameters()}


def test_figures_are_those_of_param_grad_live_and_saved(net, tmp_path):
    t2g.save_gradients(net, tmp_path / "grads.safetensors")
    for pages in (t2g.gradients(net), t2g.gradients(str(tmp_path / "grads.safetensors"))):
        found = rows(pages)
        assert list(found) == [name for name, _ in net.named_parameters()]
        for name, parameter in net.named_parameters():
            g, w = parameter.grad.double().numpy(), parameter.detach().double().numpy()
            row = found[name]
            assert row["Mean |g|"] == pytest.approx(np.abs(g).mean(), rel=1e-10)
            assert row["Max |g|"] == np.abs(g).max()
            assert row["‖g‖/‖w‖"] == pytest.approx(np.linalg.norm(g) / np.linalg.norm(w), rel=1e-10)
            assert row["Zero%"] == pytest.approx(100 * np.mean(g == 0))
            page = pages[f"{name}_grad"]
            assert [panel.title for panel in page.panels[:2]] == ["weight", "gradient"]
            values = page.panels[1].grid
            assert values.largest[2] == pytest.approx(g.flat[np.abs(g).argmax()])


@pytest.mark.parametrize("folder", ["grads", "gradients"])
def test_a_training_checkpoint_that_holds_gradients(net, tmp_path, folder):
    grads = {name: parameter.grad for name, parameter in net.named_parameters()}
    torch.save({"model": net.state_dict(), folder: grads, "epoch": 3}, tmp_path / "run.pth")
    found = rows(t2g.gradients(str(tmp_path / "run.pth")))
    assert list(found) == list(grads)
    assert all(row["‖g‖/‖w‖"] for row in found.values())


def test_only_the_gradients_of_what_is_chosen_are_drawn(net, tmp_path):
    names = [name for name, _ in net.named_parameters()]
    grads = {name: parameter.grad for name, parameter in net.named_parameters()}
    torch.save({"model": net.state_dict(), "grads": grads}, tmp_path / "run.pth")
    found = rows(t2g.gradients(str(tmp_path / "run.pth"), only="fc1*"))
    assert list(found) == [name for name in names if name.startswith("fc1")]
    assert list(rows(t2g.gradients(str(tmp_path / "run.pth")))) == names
    torch.save({"model": net.state_dict(), "grads": {"fc2.bias": grads["fc2.bias"]}}, tmp_path / "few.pth")
    done = torch2grid("few.pth", "--gradients", "--only", "fc1*", cwd=tmp_path)
    assert done.returncode == 1
    assert "no gradient of the tensors that were chosen" in done.stderr


def test_a_file_of_nothing_but_gradients(net, tmp_path):
    save_file({name: parameter.grad for name, parameter in net.named_parameters()}, tmp_path / "g.safetensors")
    pages = t2g.gradients(str(tmp_path / "g.safetensors"))
    assert "every tensor is taken for a gradient" in pages["gradients"].title
    assert all(row["‖w‖"] is None for row in rows(pages).values())


def test_a_checkpoint_without_gradients_says_so():
    with pytest.raises(NotDrawable, match="no gradients"):
        t2g.gradients(str(DIGITS.parents[4] / "examples" / "digits_run" / "epoch_01.pth"))
    with pytest.raises(UsageError, match="backward"):
        t2g.gradients(nn.Linear(2, 2))


def test_verdicts_and_their_thresholds(tmp_path):
    generator = torch.Generator().manual_seed(0)
    gradients = {f"layer{i}.weight.grad": torch.randn(30, 30, generator=generator) * 1e-2 for i in range(7)}
    gradients["layer0.weight.grad"] *= 1e-7  # mean 8e-10
    gradients["layer1.weight.grad"] *= 2e-5  # mean 1.6e-7: more than 10,000 times below the others
    gradients["layer2.weight.grad"][3, 3] = 200.0
    gradients["layer3.weight.grad"][0, 0] = math.nan
    gradients["layer4.weight.grad"] *= 0
    save_file(gradients, tmp_path / "g.safetensors")
    pages = t2g.gradients(str(tmp_path / "g.safetensors"))
    verdicts = [row["Verdict"].partition(":")[0] for row in rows(pages).values()]
    assert verdicts == ["vanishing", "vanishing", "exploding", "not finite", "none", "", ""]
    title = pages["gradients"].title
    assert "5 of 7 parameters look ill" in title
    assert "mean |g| < 1e-07" in title
    assert "max |g| > 100" in title
    lax = t2g.gradients(str(tmp_path / "g.safetensors"), vanishing=0, exploding=1e3, spread=1e20)
    assert [bool(row["Verdict"]) for row in rows(lax).values()] == [False, False, False, True, True, False, False]


def test_on_the_command_line(net, tmp_path):
    t2g.save_gradients(net, tmp_path / "grads.safetensors")
    done = torch2grid("grads.safetensors", "--gradients", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 of 8 parameters look ill" in done.stdout
    assert (tmp_path / "grids" / "gradient_flow.png").is_file()
    assert len(list((tmp_path / "grids" / "gradients").iterdir())) == 8


def train(net, batch, steps, optimizer, look=None):
    for step in range(steps):
        backward(net, *batch)
        if look is not None:
            look(step)
        optimizer.step()


def test_the_recorder_counts_what_the_optimizer_is_about_to_use(tmp_path):
    net, *batch = digits_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen = {}

    def look(step):
        if step % 3 == 0:
            seen[step + 1] = {name: p.grad.clone() for name, p in net.named_parameters()}

    with t2g.GradientRecorder(net, every=3) as recorder:
        train(net, batch, 8, optimizer, look)
    train(net, batch, 4, optimizer)  # nothing is recorded after the block
    assert recorder.steps == [1, 4, 7]
    for name, parameter in net.named_parameters():
        for step, found in zip(recorder.steps, recorder.distributions(name), strict=True):
            exact = Distribution()
            exact.update(seen[step][name].numpy())
            assert found.count == exact.count == parameter.numel()
            assert (found.zeros, found.min, found.max) == (exact.zeros, exact.min, exact.max)
            assert found.std == pytest.approx(exact.std, rel=1e-5)
            assert found.mean == pytest.approx(exact.mean, abs=1e-6 * exact.rms)
            assert found.l2 == pytest.approx(exact.l2, rel=1e-5)
            kept = parameter.numel() <= 1024  # of so few the distribution keeps the weights, and the recorder counts
            differ = 0.004 if kept else 0
            np.testing.assert_allclose(found.quantiles([0.1, 0.5, 0.9]), exact.quantiles([0.1, 0.5, 0.9]), rtol=differ, atol=0)


@pytest.mark.parametrize("size", [100, 70_000])
def test_what_is_not_finite_is_counted_apart(size):
    net = nn.Linear(size, 1, bias=False)
    net.weight.grad = torch.linspace(-1, 1, size)[None]
    net.weight.grad[0, :5] = torch.tensor([math.nan, math.inf, -math.inf, 0.0, math.inf])
    recorder = t2g.GradientRecorder(net)
    recorder.record()
    (found,) = recorder.distributions("weight")
    assert (found.nan, found.posinf, found.neginf, found.zeros, found.count) == (1, 2, 1, 1, size)
    assert found.max == 1
    net.weight.grad.fill_(math.nan)
    recorder.record(step=9)
    assert recorder.steps == [1, 9]
    assert recorder.distributions("weight")[1].finite == 0


def test_another_models_optimizer_and_parameters_without_gradient(tmp_path):
    net, other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), nn.Linear(3, 3)
    with t2g.GradientRecorder(net, every=1) as recorder:
        other(torch.ones(1, 3)).sum().backward()
        torch.optim.SGD(other.parameters(), lr=1).step()
        net[0](torch.ones(1, 3)).sum().backward()
        torch.optim.SGD(net.parameters(), lr=1).step()
    assert recorder.steps == [1]
    assert recorder.distributions("1.weight") == [None]
    found = load_file(recorder.save(tmp_path / "r.safetensors"))
    assert "0.weight/codes" in found
    assert "1.weight/codes" not in found


def test_a_saved_recording_is_drawn_as_a_series(tmp_path):
    net, *batch = digits_net()
    with t2g.GradientRecorder(net, every=2) as recorder:
        train(net, batch, 6, torch.optim.AdamW(net.parameters(), lr=1e-2))
    recorder.save(tmp_path / "gradients.safetensors")
    done = torch2grid("compare", "gradients.safetensors", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["steps"] == [1, 3, 5]
    for name, parameter in net.named_parameters():
        expected = [each.l2 for each in recorder.distributions(name)]
        assert report["tensors"][name]["norm"] == pytest.approx(expected, rel=1e-9)
        assert all(ratio > 0 for ratio in report["tensors"][name]["ratio"])
        assert parameter.shape
    drawn = torch2grid("compare", "gradients.safetensors", "-q", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "grids" / "series_trends.png").is_file()
    assert [page.name for page in t2g.series(recorder)][:2] == ["series", "series_trends"]


def test_nothing_recorded_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="nothing was recorded"):
        t2g.GradientRecorder(nn.Linear(2, 2)).save(tmp_path / "x.safetensors")
    with pytest.raises(ValueError):
        t2g.GradientRecorder(nn.Linear(2, 2), every=0)


def test_a_damaged_recording_is_one_line(tmp_path):
    arrays = {
        "steps": torch.tensor([1, 2]),
        "w/codes": torch.zeros(3, dtype=torch.uint16),
        "w/counts": torch.ones(3, dtype=torch.int64),
    }
    arrays |= {"w/ends": torch.tensor([1, 9]), "w/figures": torch.zeros(2, 9, dtype=torch.float64)}
    metadata = {"format": "torch2grid recording 1", "figures": "mean,std,min,max,zeros,nan,posinf,neginf,weight_norm"}
    save_file(arrays, tmp_path / "r.safetensors", metadata)
    done = torch2grid("compare", "r.safetensors", "-q", cwd=tmp_path)
    assert done.returncode == 2
    assert "damaged recording" in done.stderr
    assert len(done.stderr.splitlines()) == 1
