"""What is recognised as something else than the model, in nested and in flat names, and what is not."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.support.loaders.opened import named, opened
from tests.support.tools import torch2grid

from torch2grid_core import Checkpoint, LazyTensor
from torch2grid_core.sources import BytesStorage, find_parts


def network(*sizes: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in itertools.pairwise(sizes)))


def stepped(model: torch.nn.Module, kind: type[torch.optim.Optimizer] = torch.optim.Adam) -> torch.optim.Optimizer:
    optimizer = kind(model.parameters(), lr=1e-3)
    model(torch.ones(1, next(model.parameters()).shape[1])).sum().backward()
    optimizer.step()
    return optimizer


class Extra:
    """An object that holds tensors, in the middle of a state dict."""

    def __init__(self) -> None:
        self.mean = torch.zeros(4)
        self.std = torch.ones(4)


NET, DISC = network(20, 30, 5), network(20, 30, 1)
MODEL, OTHER = NET.state_dict(), DISC.state_dict()
ADAM = stepped(NET).state_dict()
TWICE = {name: tensor * 0.99 for name, tensor in MODEL.items()}
MOMENTS = [f"state.{index}.{slot}" for index in range(4) for slot in ("step", "exp_avg", "exp_avg_sq")]
RNG = {"python": random.Random(1).getstate(), "numpy": np.random.RandomState(1).get_state(), "torch": torch.get_rng_state()}


def under(prefix: str, names: Any) -> list[str]:
    return [f"{prefix}{name}" for name in names]


# What the file holds → the names of the model by default, and what is not shown with its number of tensors.
CASES: dict[str, tuple[Any, list[str], dict[str, int]]] = {
    "state dict": (MODEL, [*MODEL], {}),
    "an object in a state dict": (
        {**MODEL, "x._extra_state": Extra()},
        [*MODEL, "x._extra_state.mean", "x._extra_state.std"],
        {},
    ),
    "a mapping in a state dict": ({**MODEL, "norm": {"mean": torch.ones(3)}}, [*MODEL, "norm.mean"], {}),
    "such a state dict in training": (
        {"model": {**MODEL, "x": Extra()}, "opt": ADAM},
        [*MODEL, "x.mean", "x.std"],
        {"optimizer": 12},
    ),
    "list": ([MODEL, ADAM, 3], [*MODEL], {"optimizer": 12}),
    "tuple": ((MODEL, ADAM, {"epoch": 3}), [*MODEL], {"optimizer": 12}),
    "list of two models": ([MODEL, ADAM, TWICE], [*under("0.", MODEL), *under("2.", MODEL)], {"optimizer": 12}),
    "composer": (
        {"state": {"model": MODEL, "optimizers": {"AdamW": ADAM}, "seed": 3}, "rng": [RNG]},
        [*MODEL],
        {"optimizer": 12, "random": 2},
    ),
    "fastai": (
        {"model": MODEL, "opt": {"state": [{"grad_avg": torch.ones(3), "sqr_avg": torch.ones(3)}], "hypers": [{"lr": 0.1}]}},
        [*MODEL],
        {"optimizer": 2},
    ),
    "gaussian splatting": (
        ((3, torch.ones(9, 3), torch.ones(9, 1, 3), torch.ones(9, 4), ADAM, 5.0), 30_000),
        ["1", "2", "3"],
        {"optimizer": 12},
    ),
    "generator and discriminator": (
        {"G": MODEL, "D": OTHER, "optG": ADAM, "optD": ADAM},
        [*under("G.", MODEL), *under("D.", OTHER)],
        {"optimizer": 24},
    ),
    "encoder and decoder": ({"encoder": MODEL, "decoder": OTHER}, [*under("encoder.", MODEL), *under("decoder.", OTHER)], {}),
    "actor and critic": (
        {"actor": NET, "critic": DISC, "epoch": 3},
        [*under("actor.", MODEL), *under("critic.", OTHER)],
        {},
    ),
    "two generators of a CycleGAN": ({"G_A": MODEL, "G_B": TWICE}, [*under("G_A.", MODEL), *under("G_B.", MODEL)], {}),
    "an average": ({"model": MODEL, "model_ema": TWICE}, [*MODEL], {"copy model_ema": 4}),
    "an average in a wrapper": ({"net": MODEL, "ema": {"decay": 0.9, "shadow": TWICE}}, [*MODEL], {"copy ema": 4}),
    "an average as a list": ({"net": MODEL, "ema": {"shadow_params": [*TWICE.values()]}}, [*MODEL], {"copy ema": 4}),
    "an average that stands alone": ({"ema": MODEL, "epoch": 3}, [*MODEL], {}),
    "an average of something else": ({"net": MODEL, "ema": OTHER}, [*under("net.", MODEL), *under("ema.", OTHER)], {}),
    "swa": ({"model": MODEL, "swa": torch.optim.swa_utils.AveragedModel(NET).state_dict()}, [*MODEL], {"copy swa": 5}),
    "targets": (
        {"actor": MODEL, "critic": OTHER, "actor_target": TWICE, "critic_target": OTHER},
        [*under("actor.", MODEL), *under("critic.", OTHER)],
        {"copy actor_target": 4, "copy critic_target": 4},
    ),
    "student and teacher": ({"student": MODEL, "teacher": TWICE}, [*MODEL], {"copy teacher": 4}),
    "target_proj beside source_proj is none": (
        {"source_proj": MODEL, "target_proj": TWICE},
        [*under("source_proj.", MODEL), *under("target_proj.", MODEL)],
        {},
    ),
    "random states": (
        {
            "model": MODEL,
            "rng_state": torch.get_rng_state(),
            "cuda_rng_state": [torch.zeros(16, dtype=torch.uint8)],
            "numpy": RNG["numpy"],
        },
        [*MODEL],
        {"random": 3},
    ),
    "schedule": (
        {"model": MODEL, "lr": {"last_epoch": 3, "_step_count": 4, "base_lrs": [torch.tensor(0.1)]}},
        [*MODEL],
        {"schedule": 1},
    ),
    "replay buffer": (
        {"agent": MODEL, "buffer": {"observations": np.ones((50, 4)), "actions": np.ones((50, 1)), "rewards": np.ones(50)}},
        [*MODEL],
        {"buffer": 3},
    ),
    "lightning": (
        {
            "pytorch-lightning_version": "2.0",
            "state_dict": MODEL,
            "optimizer_states": [ADAM],
            "lr_schedulers": [{"last_epoch": 1, "base_lrs": [0.1]}],
            "callbacks": {"ModelCheckpoint{'mode': 'min'}": {"best_model_score": torch.tensor(0.5)}},
            "hyper_parameters": {"scale": torch.ones(2)},
        },
        [*MODEL],
        {"optimizer": 12, "callbacks": 1, "hyper_parameters": 1},
    ),
    "bare tensors beside the one container": (
        {"state_dict": MODEL, "optimizer": ADAM, "mean": torch.ones(3)},
        [*MODEL, "mean"],
        {"optimizer": 12},
    ),
    "an object and a module deep inside": (
        {"run": {"state": {"net": NET, "optimizer": ADAM, "trainer": Extra()}}},
        [*under("net.", MODEL), "trainer.mean", "trainer.std"],
        {"optimizer": 12},
    ),
}
FLAT: dict[str, tuple[Any, list[str], dict[str, int]]] = {
    "the model in the root": (
        {**MODEL, **{f"optimizer.state.{name}.exp_avg": tensor * 2 for name, tensor in MODEL.items()}},
        [*MODEL],
        {"optimizer": 4},
    ),
    "groups": (
        {**MODEL, "optim.param_groups.0.weight.lr": torch.tensor(0.1), "lr_scheduler.last_epoch": torch.tensor([3.0])},
        [*MODEL],
        {"optimizer": 1, "schedule": 1},
    ),
    "an average by its prefix": (
        {
            **{f"model.{name}": tensor for name, tensor in MODEL.items()},
            **{f"model_ema.{name}": tensor for name, tensor in TWICE.items()},
        },
        under("model.", MODEL),
        {"copy model_ema": 4},
    ),
    "an average of latent diffusion": (
        {
            **{f"model.{name}": tensor for name, tensor in MODEL.items()},
            **{f"model_ema.{name.replace('.', '')}": tensor for name, tensor in TWICE.items()},
            "model_ema.decay": torch.tensor(0.9),
            "model_ema.num_updates": torch.tensor(3, dtype=torch.int32),
        },
        under("model.", MODEL),
        {"copy model_ema": 6},
    ),
    "random": ({**MODEL, "rng.0": torch.get_rng_state()}, [*MODEL], {"random": 1}),
    "a network called optimizer": (
        {f"optimizer.{name}": tensor for name, tensor in MODEL.items()},
        under("optimizer.", MODEL),
        {},
    ),
}


def check(path: Path, names: list[str], hidden: dict[str, int], cwd: Path) -> None:
    checkpoint = opened(path)
    part = checkpoint.part(checkpoint.default_part) if checkpoint.default_part else checkpoint
    assert sorted(part) == sorted(names)
    done = torch2grid(path, "--stats", "--include-buffers", cwd=cwd)
    assert done.returncode == 0, done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines()[3:]]
    assert sorted(rows) == sorted(names)
    if hidden:
        told = ", ".join(f"{what} ({count})" for what, count in hidden.items())
        shown = f"{len(names)} of {len(names) + sum(hidden.values())} tensors shown; not shown: {told}; "
        assert shown in done.stderr
    else:
        assert "not shown" not in done.stderr
        assert f", {len(names)} tensors, " in done.stderr


@pytest.mark.parametrize("case", CASES)
def test_nested(case: str, tmp_path: Path) -> None:
    value, names, hidden = CASES[case]
    torch.save(value, tmp_path / "x.pt")
    check(tmp_path / "x.pt", names, hidden, tmp_path)


@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file])
@pytest.mark.parametrize("case", FLAT)
def test_flat(case: str, save: Callable[..., None], tmp_path: Path) -> None:
    tensors, names, hidden = FLAT[case]
    save(tensors, tmp_path / "x.any")
    check(tmp_path / "x.any", names, hidden, tmp_path)


def test_networks_side_by_side_are_named(tmp_path: Path) -> None:
    torch.save({"G": MODEL, "D": OTHER, "optG": ADAM}, tmp_path / "gan.pt")
    assert ", networks G and D, " in torch2grid("gan.pt", "--stats", cwd=tmp_path).stderr


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("make", [torch.jit.script, lambda module: torch.jit.trace(module, torch.ones(2, 20))])
def test_a_torchscript_archive_has_the_names_of_its_state_dict(make: Callable[..., Any], tmp_path: Path) -> None:
    model = torch.nn.Sequential(network(20, 30, 5), torch.nn.BatchNorm1d(5)).eval()
    make(model).save(tmp_path / "m.pt")
    checkpoint = opened(tmp_path / "m.pt")
    assert {name: tensor.shape for name, tensor in checkpoint.items()} == {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items()
    }
    check(tmp_path / "m.pt", [*model.state_dict()], {}, tmp_path)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_frozen_graph_says_that_it_keeps_no_names(tmp_path: Path) -> None:
    torch.jit.freeze(torch.jit.trace(network(20, 5).eval(), torch.ones(2, 20))).save(tmp_path / "f.pt")
    done = torch2grid("f.pt", "--stats", cwd=tmp_path)
    assert all(name.startswith("constants.") for name in opened(tmp_path / "f.pt"))
    assert "note: a frozen graph keeps no names" in done.stderr


@pytest.mark.parametrize("case", [case for case, (_, _, hidden) in CASES.items() if hidden])
def test_every_part_can_be_shown_and_all_parts_are_the_file(case: str, tmp_path: Path) -> None:
    value = CASES[case][0]
    torch.save(value, tmp_path / "x.pt")
    checkpoint = opened(tmp_path / "x.pt")
    names = [name for part in checkpoint.parts for name in part.names]
    assert sorted(names) == sorted(checkpoint)
    assert len(set(names)) == len(names)
    for part in checkpoint.parts:
        assert len(checkpoint.part(part.name)) == len(part.names)
        assert all(each is part for each in checkpoint.part(part.name).part_of.values())
    assert list(checkpoint.part("all")) == list(checkpoint)


def test_two_names_never_become_one() -> None:
    tensors = [LazyTensor(name, (2, 2), np.dtype("f4"), BytesStorage(bytes(16))) for name in ("model.w", "model.v", "w")]
    parts, default = find_parts({each.name: each for each in tensors}, {"": "", "model": ""})
    assert default in (None, "model")
    checkpoint = Checkpoint(tensors, parts=parts, default_part=default)
    assert len(checkpoint.part("model") if parts else checkpoint) == 3


def test_parts_of_a_file_with_very_many_and_very_deep_names_are_found_in_time(tmp_path: Path) -> None:
    one = LazyTensor("", (2, 2), np.dtype("f4"), BytesStorage(bytes(16)))
    wide = {f"ema{index}.{leaf}": one for index in range(30_000) for leaf in ("a", "b")}
    wide |= {f"m{index}.{leaf}": one for index in range(30_000) for leaf in ("a", "c")}
    deep = {".".join(["opt"] * 3000 + [str(index)]): one for index in range(300)}
    started = time.perf_counter()
    for tensors in (wide, deep):
        parts, _ = find_parts(tensors)
        assert not parts or sum(len(part.names) for part in parts) == len(tensors)
    assert time.perf_counter() - started < 20


def test_what_torch_saves_is_all_there(tmp_path: Path) -> None:
    for case, (value, _, _) in CASES.items():
        if any(isinstance(each, (Extra, torch.nn.Module)) or getattr(each, "is_nested", False) for each in _below(value)):
            continue
        torch.save(value, tmp_path / "x.pt")
        assert sorted(opened(tmp_path / "x.pt")) == sorted(name for name, _ in named(value)), case


def _below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(each for item in value.values() for each in _below(item))]
    if isinstance(value, (list, tuple)):
        return [value, *(each for item in value for each in _below(item))]
    return [value]
