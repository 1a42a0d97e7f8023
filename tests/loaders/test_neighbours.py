"""Which of the files in a folder is the model, and what lies beside it is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as saving
from safetensors.torch import save_file
from tests.support.loaders.opened import opened
from tests.support.tools import torch2grid
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_optimizer_state_dict

from torch2grid_core import LoadError
from torch2grid_core._data.neighbours import choose_model
from torch2grid_core._data.steps import short_name, step_of
from torch2grid_core.sources import LocalSource, share_of

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

BESIDE = {
    "optimizer.pt": {"state": {0: {"step": torch.tensor(4.0), "exp_avg": torch.ones(3, 2)}}, "param_groups": [{"params": [0]}]},
    "scheduler.pt": {"last_epoch": 4},
    "rng_state.pth": {"cpu": torch.get_rng_state(), "python": (3, (1, 2), None)},
    "training_args.bin": {"lr": 1e-3},
}


def save(folder: Path, name: str, fill: float = 1.0, dtype: torch.dtype = torch.float32) -> None:
    tensors = {"a.weight": torch.full((3, 2), fill, dtype=dtype)}
    if name.endswith(".safetensors"):
        save_file(tensors, folder / name)
    else:
        torch.save(tensors, folder / name)


def trainer(folder: Path, model: str) -> Path:
    save(folder, model)
    for name, value in BESIDE.items():
        torch.save(value, folder / name)
    (folder / "config.json").write_text("{}")
    (folder / "trainer_state.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    "model", ["model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "epoch=3.ckpt", "policy.pth", "model_4.pt"]
)
def test_a_trainers_folder_opens_its_model(model: str, tmp_path: Path) -> None:
    done = torch2grid(trainer(tmp_path, model), "--stats", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"note: {model} is shown; beside it: optimizer.pt, rng_state.pth, scheduler.pt, training_args.bin" in done.stderr
    assert f"{model}: " in done.stderr
    assert "1 tensor, 6 parameters" in done.stderr
    checked = torch2grid("check", tmp_path, "--select", "nan", cwd=tmp_path)
    assert f"{model} is shown; beside it: optimizer.pt" in checked.stderr


def test_accelerate_and_folders_beside_the_model(tmp_path: Path) -> None:
    for name in (
        "optimizer.bin",
        "optimizer_1.bin",
        "scheduler.bin",
        "random_states_0.pkl",
        "random_states_1.pkl",
        "scaler.pt",
    ):
        torch.save({"x": torch.ones(2)}, tmp_path / name)
    save(tmp_path, "model.safetensors")
    inner = tmp_path / "checkpoint-2"
    inner.mkdir()
    save(inner, "model.safetensors", 2.0)
    assert opened(tmp_path)["a.weight"].numpy().max() == 1
    save(tmp_path, "model_1.safetensors")  # of a second network: neither is the model
    with pytest.raises(LoadError, match=r"is a folder of 8 checkpoints: model\.safetensors, model_1\.safetensors, "):
        opened(tmp_path)


def test_a_variant_is_said_and_the_plain_one_opens(tmp_path: Path) -> None:
    save(tmp_path, "model.safetensors")
    for word in ("fp16", "bf16", "non_ema"):
        save(tmp_path, f"model.{word}.safetensors", 2.0, torch.float16)
    done = torch2grid(tmp_path, "--stats", cwd=tmp_path)
    assert done.returncode == 0
    told = "model.bf16.safetensors, model.fp16.safetensors, model.non_ema.safetensors, variants of it"
    assert f"note: model.safetensors is shown; beside it: {told}" in done.stderr
    assert "float32" in done.stderr
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(LoadError, match="is a folder of 3 checkpoints"):
        opened(tmp_path)


CHOSEN = {
    ("model.safetensors", "pytorch_model.bin"): "model.safetensors",
    ("pytorch_model.bin", "optimizer.bin"): "pytorch_model.bin",
    ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin", "diffusion_pytorch_model.safetensors"): (
        "diffusion_pytorch_model.safetensors"
    ),
    ("model.safetensors", "consolidated.safetensors", "anything.pt"): "model.safetensors",
    ("model.safetensors", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"): "model.safetensors",
    ("x.pth", "x.ema.pth"): "x.pth",
    ("optimizer.pt",): "optimizer.pt",
    ("optimizer.pt", "scheduler.pt"): None,
    ("a.pt", "b.pt"): None,
    ("a.safetensors", "a.pt"): None,
    ("model.safetensors", "adapter_model.safetensors"): None,
    ("model.safetensors", "model_1.safetensors"): None,
    ("optimizer_of_the_year.pt", "b.pt"): None,
    (): None,
}


@pytest.mark.parametrize("names", CHOSEN)
def test_which_of_several_files_is_the_model(names: tuple[str, ...]) -> None:
    chosen = choose_model(names)
    assert (chosen and chosen[0]) == CHOSEN[names]
    if chosen is not None:  # what is not shown is named
        assert all((name in chosen[1]) == (len(names) > 1) for name in names)


def test_many_files_beside_a_model_are_counted() -> None:
    chosen = choose_model(["model.safetensors", *(f"optimizer_{number}.bin" for number in range(10))])
    assert chosen is not None
    assert chosen[1].endswith("optimizer_5.bin and 4 more")


def test_a_share_counts_those_beside_it(tmp_path: Path) -> None:
    def share(name: str) -> str:
        (tmp_path / name).write_bytes(b"x")
        return str(share_of(LocalSource(tmp_path / name)))

    assert share("model.pt") == "None"
    assert share("model-00003-of-00003.safetensors") == "shard 3 of 3"
    assert share("model-00001-of-000163.safetensors") == "shard 1 of 163"
    assert share("model-00001-of-00001.safetensors") == "None"
    assert share("model-00004-of-00003.safetensors") == "None"
    assert share("mp_rank_00_model_states.pt") == "rank 0"
    assert share("mp_rank_03_model_states.pt") == "rank 3 of 4"
    found = share_of(LocalSource(tmp_path / "model-00003-of-00003.safetensors"))
    assert found is not None
    assert found.missing == ("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors")


def test_a_relative_path_knows_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mp_rank_01"
    folder.mkdir()
    (tmp_path / "mp_rank_00").mkdir()
    torch.save({"w": torch.ones(2)}, folder / "model_optim_rng.pt")
    for cwd, path in ((folder, "model_optim_rng.pt"), (folder, "."), (tmp_path, "mp_rank_01")):
        done = torch2grid(path, "--stats", cwd=cwd)
        assert "rank 1 of 2 by its name" in done.stderr, done.stderr


def test_a_compressed_shard_is_one_too(tmp_path: Path) -> None:
    import gzip

    save(tmp_path, "x.safetensors")
    packed = gzip.compress((tmp_path / "x.safetensors").read_bytes())
    (tmp_path / "model-00002-of-00002.safetensors.gz").write_bytes(packed)
    checkpoint = opened(tmp_path / "model-00002-of-00002.safetensors.gz")
    assert np.array_equal(checkpoint["a.weight"].numpy(), np.ones((3, 2)))
    assert any(
        "shard 2 of 2 of a checkpoint, alone: model-00001-of-00002.safetensors.gz is not" in note for note in checkpoint.notes
    )


def net() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    made = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))
    optimizer = torch.optim.AdamW(made.parameters())
    made(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    return made, optimizer


def accelerated(
    folder: Path, files: tuple[str, ...] = ("random_states_0.pkl", "scheduler.bin"), models: int = 1
) -> torch.nn.Module:
    """What accelerate and transformers' Trainer save of a sharded model: a distributed checkpoint, and one of the optimizer."""
    made, optimizer = net()
    for number in range(models):
        state = {"model": get_model_state_dict(made)}
        saving.save(state, checkpoint_id=folder / f"pytorch_model_fsdp_{number}", no_dist=True)
        moments = {"optimizer": get_optimizer_state_dict(made, optimizer)}
        saving.save(moments, checkpoint_id=folder / f"optimizer_{number}", no_dist=True)
    for name in files:
        torch.save({"step": 3, "torch_manual_seed": torch.get_rng_state()}, folder / name)
    (folder / "trainer_state.json").write_text("{}")
    return made


@pytest.mark.parametrize(
    "files",
    [
        (),
        ("random_states_0.pkl",),
        ("random_states_0.pkl", "random_states_1.pkl", "scheduler.bin"),
        ("rng_state_0.pth", "rng_state_1.pth", "scheduler.pt", "training_args.bin"),
    ],
)
def test_a_folder_of_a_sharded_model_opens_it(files: tuple[str, ...], tmp_path: Path) -> None:
    model = accelerated(tmp_path / "checkpoint-4", files)
    found = opened(tmp_path / "checkpoint-4")
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(found[f"model.{name}"].numpy(), tensor.numpy())
    done = torch2grid("checkpoint-4", "--stats", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\n0.weight" in done.stdout + done.stderr
    told = "note: pytorch_model_fsdp_0 is shown; beside it: " + ", ".join(["optimizer_0", *files])
    assert told in done.stderr.replace("\n", " ")
    assert "4 tensors, 53 parameters" in done.stderr
    assert (short_name(found.source), step_of(found.source, {})) == ("checkpoint-4", 4)


def test_of_several_sharded_models_none_is_chosen(tmp_path: Path) -> None:
    accelerated(tmp_path / "two", models=2)
    with pytest.raises(LoadError, match="is a folder of 2 checkpoints: pytorch_model_fsdp_0, pytorch_model_fsdp_1; give"):
        opened(tmp_path / "two")


def test_an_optimizer_alone_opens(tmp_path: Path) -> None:
    accelerated(tmp_path)
    shutil.rmtree(tmp_path / "pytorch_model_fsdp_0")
    for path in tmp_path.glob("*.*"):
        path.unlink()
    assert "optimizer.state.0.weight.exp_avg" in opened(tmp_path)


def test_steps_of_torchtitan(tmp_path: Path) -> None:
    model, optimizer = net()
    moments = get_optimizer_state_dict(model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True))
    trained = {"step": torch.tensor(5, dtype=torch.int32), "ntokens_seen": torch.tensor(640)}
    state = {**get_model_state_dict(model), "optimizer": moments, "train_state": trained, "lr_scheduler": {"last_epoch": 5}}
    for step in (5, 10):
        saving.save(state, checkpoint_id=tmp_path / f"step-{step}", no_dist=True)
    done = torch2grid("step-5", "--stats", cwd=tmp_path)
    assert "\n0.weight" in done.stdout + done.stderr
    assert "4 of 18 tensors shown; not shown: optimizer (12), bookkeeping (2)" in done.stderr
    with pytest.raises(LoadError, match="is a folder of 2 checkpoints: step-5, step-10; give the path of one of them"):
        opened(tmp_path)
    shutil.rmtree(tmp_path / "step-5")
    assert "0.weight" in opened(tmp_path)


@pytest.mark.parametrize("sharded", [True, False])
def test_steps_of_a_trainer_are_listed_and_one_alone_opens(sharded: bool, tmp_path: Path) -> None:
    for step in (500, 1000):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if sharded:
            accelerated(folder)
        else:
            trainer(folder, "model.safetensors")
    torch.save({"lr": 1e-3}, tmp_path / "training_args.bin")
    (tmp_path / "runs").mkdir()
    (tmp_path / "checkpoint-1500").mkdir()  # begun, and empty
    with pytest.raises(LoadError, match="is a folder of 2 checkpoints: checkpoint-500, checkpoint-1000; give the path of one"):
        opened(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-500")
    found = opened(tmp_path)
    inner = "pytorch_model_fsdp_0" if sharded else "model.safetensors"
    assert found.source.endswith(f"{tmp_path.name}/checkpoint-1000/{inner}")
    assert any(note.startswith(f"checkpoint-1000/{inner} is shown; beside it: optimizer") for note in found.notes)
    assert any(note.endswith("; beside checkpoint-1000: training_args.bin") for note in found.notes)
