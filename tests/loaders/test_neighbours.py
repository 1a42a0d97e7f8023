"""Which of the files in a folder is the model, and what lies beside it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.support.loaders.opened import opened
from tests.support.tools import torch2grid

from torch2grid_core import LoadError
from torch2grid_core._data.neighbours import choose_model
from torch2grid_core.sources import LocalSource, share_of

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
