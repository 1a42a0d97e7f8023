"""Files that are a part of something, or another library's: opened rightly, or named in one line that says what to do."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from tests.support.corpus import cases
from tests.support.loaders.opened import named, opened, same
from tests.support.tools import torch2grid
from torch import nn
from torch.package import PackageExporter

from torch2grid_core import LoadError

pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch, about its own storages and about TorchScript


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


def refused(path: Path) -> str:
    """The one line with which the command refuses *path*."""
    done = torch2grid("check", path, cwd=path.parent)
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"torch2grid: {path}: ")
    return line.removeprefix(f"torch2grid: {path}: ")


def stats(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = torch2grid(path, "--stats", *words, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    return done


# Distributed checkpoints

STATES: dict[str, dict[str, Any]] = {
    "one tensor": {"a": torch.arange(6.0)},
    "equal tensors": {"a": torch.arange(6.0), "b": torch.ones(6)},
    "different tensors": {"a": torch.arange(6.0), "b": torch.ones(3, 70), "c": torch.zeros(2, dtype=torch.int64)},
    "tensors and objects": {"a": torch.arange(6.0), "step": 7, "names": ["x"]},
}


def distributed(folder: Path, state: dict[str, Any]) -> Path:
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.mark.parametrize("kind", STATES)
def test_a_share_never_opens_with_a_part_of_its_tensors(kind: str, tmp_path: Path) -> None:
    folder = distributed(tmp_path / "saved", STATES[kind])
    share = folder / "__0_0.distcp"
    told = "is a share of a distributed checkpoint (rank 0), with pieces of its tensors; give its folder: "
    assert refused(share) == f"{told}{folder}"
    tensors = {name: value for name, value in STATES[kind].items() if isinstance(value, torch.Tensor)}
    found = opened(folder)
    assert set(found) == set(tensors)
    assert all(found[name].numpy().tobytes() == tensor.numpy().tobytes() for name, tensor in tensors.items())
    if kind != "one tensor":  # under another name, it is one all the same
        renamed = Path(shutil.copy(share, tmp_path / "model.pt"))
        assert refused(renamed).startswith("is a share of a distributed checkpoint, with pieces of its tensors; ")
        with pytest.raises(LoadError, match="share of a distributed checkpoint"):
            opened(renamed)


def test_ranks_are_counted_and_what_is_missing_is_said(tmp_path: Path) -> None:
    folder = distributed(tmp_path / "saved", STATES["equal tensors"])
    shutil.copy(folder / "__0_0.distcp", folder / "__1_0.distcp")
    assert "(rank 1 of 2)" in refused(folder / "__1_0.distcp")
    told = "note: its .metadata does not name __1_0.distcp"
    assert told in stats(folder).stderr
    torch.save({"epoch": torch.tensor(3.0)}, folder / "meta.pt")  # as Lightning writes it
    assert told in stats(folder).stderr
    beside = "note: it lies beside a distributed checkpoint: the tensors in its .distcp files are not shown"
    assert beside in stats(folder / "meta.pt", "--include-buffers").stderr
    (folder / ".metadata").unlink()
    assert refused(folder).startswith("holds shares of a distributed checkpoint, without their index .metadata; ")


def test_archives_one_after_the_other_are_refused_whatever_their_sizes(tmp_path: Path) -> None:
    saved = []
    for number, shape in enumerate(((6,), (6,), (3, 40), (6,))):
        torch.save({"w": torch.full(shape, float(number))}, tmp_path / f"{number}.pt")
        saved.append((tmp_path / f"{number}.pt").read_bytes())
    for count in (2, 3):
        for row in itertools.permutations(saved, count):
            (tmp_path / "row.pt").write_bytes(b"".join(row))
            with pytest.raises(LoadError, match="share of a distributed checkpoint"):
                opened(tmp_path / "row.pt")


DEEPSPEED = "is a checkpoint of DeepSpeed, whose ranks have a file each; gather them with the zero_to_fp32.py that lies in "
MEGATRON = "is a checkpoint of Megatron-LM with no model under the key 'model'; "
RANKS = {
    "fsdp_rank{}.pt": (0, "holds the files of 2 ranks: fsdp_rank0.pt, fsdp_rank1.pt; "),
    "checkpoint-rank-{}.bin": (1, "holds the files of 2 ranks: checkpoint-rank-0.bin, checkpoint-rank-1.bin; "),
    "consolidated.0{}.pth": (1, "holds the files of 2 ranks: consolidated.00.pth, consolidated.01.pth; "),
    "zero_pp_rank_{}_mp_rank_00_model_states.pt": (1, DEEPSPEED),
    "bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt": (0, DEEPSPEED),
    "mp_rank_0{}_model_states.pt": (1, DEEPSPEED),
    "mp_rank_0{}/model_optim_rng.pt": (0, MEGATRON),
    "mp_rank_0{}_000/model_optim_rng.pt": (1, MEGATRON),
}


@pytest.mark.parametrize("form", RANKS)
def test_ranks_are_named(form: str, tmp_path: Path) -> None:
    rank, told = RANKS[form]
    for each in range(2):
        path = tmp_path / form.format(each)
        path.parent.mkdir(exist_ok=True)
        torch.save({"a.weight": torch.full((3, 2), float(each))}, path)
    assert refused(tmp_path).startswith(told)
    done = stats(tmp_path / form.format(rank))
    assert f"note: rank {rank} of 2 by its name: what the others hold is not shown" in done.stderr
    assert f"PyTorch zip, rank {rank} of 2, 1 tensor" in done.stderr


@pytest.mark.parametrize(
    "name", ["fsdp_rank0.pt", "zero_pp_rank_1_mp_rank_00_model_states.pt", "mp_rank_01/model_optim_rng.pt"]
)
def test_a_rank_without_the_others_is_said_to_be_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save({"w": torch.ones(2)}, path)
    (number,) = {each for each in "01" if f"rank{each}" in name or f"pp_rank_{each}" in name or f"mp_rank_0{each}/" in name}
    assert f"note: rank {number} by its name; no other file of its kind lies beside it" in stats(path).stderr


def test_shares_in_safetensors_are_named(tmp_path: Path) -> None:
    for number in (1, 2):
        about = {"DCP_SHARDING_INFO": f'{{"a": {{"saved_offsets": [{3 * number - 3}]}}}}'}
        save_file({"a": torch.ones(3)}, tmp_path / f"shard-0000{number}-model-00001-of-00001.safetensors", about)
    assert opened(tmp_path)["a"].shape == (6,)
    assert "share 2 of 2 by its name" in stats(tmp_path / "shard-00002-model-00001-of-00001.safetensors").stderr


def test_ranks_in_two_directions_are_counted_together(tmp_path: Path) -> None:
    for data, tensor in itertools.product(range(2), range(2)):
        torch.save({"w": torch.ones(2)}, tmp_path / f"zero_pp_rank_{data}_mp_rank_0{tensor}_model_states.pt")
    assert "rank 2 of 4 by its name" in stats(tmp_path / "zero_pp_rank_1_mp_rank_00_model_states.pt").stderr


@pytest.mark.parametrize("name", ["lora_rank16.pt", "rank4.pt", "frank0ly.pt", "franklin1.pt", "consolidated.00.pth"])
def test_names_that_say_nothing_of_ranks(name: str, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / name)
    torch.save({"w": torch.ones(2)}, tmp_path / "lora_rank8.pt")
    assert "note:" not in stats(tmp_path / name).stderr


def test_the_folder_above_the_ranks_is_named(tmp_path: Path) -> None:
    steps = tmp_path / "global_step10"
    steps.mkdir()
    for rank in range(2):
        torch.save({"w": torch.ones(2)}, steps / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
    (tmp_path / "latest").write_text("global_step10")
    assert refused(tmp_path).startswith("is a checkpoint of DeepSpeed")
    torch.save({"w": torch.ones(2)}, tmp_path / "pytorch_model.bin")  # what zero_to_fp32.py makes of it
    assert "1 tensor" in stats(tmp_path).stderr
    megatron = tmp_path / "megatron"
    (megatron / "iter_0000005" / "mp_rank_00").mkdir(parents=True)
    (megatron / "latest_checkpointed_iteration.txt").write_text("5")
    assert refused(megatron).startswith("is a checkpoint of Megatron-LM")


def test_slices_of_safetensors_are_said_whatever_their_name(tmp_path: Path) -> None:
    about = '{"a": {"saved_offsets": [0, 0]}, "b": {"saved_offsets": [3, 0]}}'
    save_file({"a": torch.ones(3, 2), "b": torch.ones(3, 2)}, tmp_path / "x.safetensors", {"DCP_SHARDING_INFO": about})
    told = "note: b is a slice of a larger tensor: the file is a share of a distributed checkpoint"
    assert told in stats(tmp_path / "x.safetensors").stderr
    for odd in ("", "[", "[1]", '{"b": 3}', '{"b": {"saved_offsets": [0, 0]}}', '{"b": {"saved_offsets": ["3"]}}'):
        save_file({"a": torch.ones(3, 2)}, tmp_path / "y.safetensors", {"DCP_SHARDING_INFO": odd})
        assert opened(tmp_path / "y.safetensors").notes == ()


# Packages, exported programs, and other archives


def package(path: Path, contents: dict[tuple[str, str], Any]) -> Path:
    with PackageExporter(path) as exporter:
        exporter.extern("**")
        for (name, resource), value in contents.items():
            exporter.save_pickle(name, resource, value)
        exporter.save_text("notes", "read.me", "not a pickle.")
        exporter.save_source_string("code", "x = 1")
    return path


def test_a_package_opens_under_the_names_of_its_model(tmp_path: Path) -> None:
    net = model()
    checkpoint = opened(package(tmp_path / "x.pt", {("model", "model.pkl"): net}))
    assert checkpoint.format == "torch.package"
    assert list(checkpoint) == list(net.state_dict())
    assert all(same(checkpoint[name], value) for name, value in net.state_dict().items())
    assert "torch.package, 4 tensors" in stats(tmp_path / "x.pt").stderr


def test_every_pickle_of_a_package_is_opened(tmp_path: Path) -> None:
    net, more = model(), {"w": torch.arange(12.0).reshape(3, 4).T, "n": torch.tensor([float("nan")])}
    path = package(
        tmp_path / "x.pt", {("model", "model.pkl"): net, ("other", "data.pkl"): more, ("other", "weights"): [more["w"]]}
    )
    checkpoint = opened(path).part("all")
    expected = {f"model/model.{name}": value for name, value in net.state_dict().items()}
    expected |= {f"other/data.{name}": value for name, value in more.items()} | {"other/weights.0": more["w"]}
    assert set(checkpoint) == set(expected)
    assert all(same(checkpoint[name], expected[name]) for name in expected)
    done = torch2grid("check", path, cwd=tmp_path)
    assert done.returncode == 1
    assert "other/data.n" in done.stdout


def test_scripted_modules_in_a_package_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.package.package_exporter._gate_torchscript_serialization", False)
    net = model()
    path = package(tmp_path / "x.pt", {("model", "model.pkl"): {"net": torch.jit.script(net), "t": torch.ones(3)}})
    checkpoint = opened(path).part("all")
    values = [tensor.numpy().tolist() for tensor in checkpoint.values()]
    assert all(value.tolist() in values for value in [*net.state_dict().values(), torch.ones(3)])
    assert [each.name for each in checkpoint.not_run] == ["code.py"]  # the call of a module by its number is none


def test_a_package_of_code_alone_and_one_that_is_damaged(tmp_path: Path) -> None:
    assert "is a torch.package without a pickle in it, of source code alone" in refused(package(tmp_path / "x.pt", {}))
    path = package(tmp_path / "y.pt", {("model", "model.pkl"): model()})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "z.pt", "w") as new:
        for name in old.namelist():
            if not name.endswith("1.storage"):
                new.writestr(name, old.read(name))
    assert "has no record 'y/.data/1.storage'" in refused(tmp_path / "z.pt")


def test_an_exported_program_is_called_one(tmp_path: Path) -> None:
    net = model()
    torch.export.save(torch.export.export(net, (torch.ones(1, 6),)), tmp_path / "model.pt2")
    for path in (tmp_path / "model.pt2", Path(shutil.copy(tmp_path / "model.pt2", tmp_path / "other.zip"))):
        checkpoint = opened(path)
        assert checkpoint.format == "torch.export program"
        assert list(checkpoint) == list(net.state_dict())
        assert all(same(checkpoint[name], value) for name, value in net.state_dict().items())


ARCHIVES: dict[str, tuple[list[str], str]] = {
    "TorchScript of 1.0": (
        ["net/version", "net/code/net.py", "net/model.json", "net/tensors/0"],
        "TorchScript archive of PyTorch 1.0",
    ),
    "exported by 2.1": (
        ["version", "serialized_exported_program.json", "serialized_state_dict.pt"],
        "program that torch.export saved",
    ),
    "compiled": (
        ["m/archive_format", "m/data/aotinductor/model/a.so", "m/models/model.json"],
        "model that AOTInductor compiled",
    ),
    "Keras": (["metadata.json", "config.json", "model.weights.h5"], "model of Keras"),
    "TorchServe": (["MAR-INF/MANIFEST.json", "model.pt", "handler.py"], "archive for TorchServe"),
    "anything": (["a/b.txt", "models/model.json"], "zip archive without a checkpoint"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_are_called_what_they_are(kind: str, tmp_path: Path) -> None:
    names, told = ARCHIVES[kind]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "something")
    assert told in refused(tmp_path / "x.zip")


# Checkpoints that were unpacked


def unpacked(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def script(path: Path) -> Any:
    net = torch.jit.script(model())
    torch.jit.save(net, path)
    return dict(net.state_dict())


def training(path: Path) -> Any:
    net = model()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    torch.save({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    return torch.load(path, weights_only=True)["model"]


def packed(path: Path) -> Any:
    net = model()
    package(path, {("model", "model.pkl"): net})
    return net.state_dict()


@pytest.mark.parametrize("write", [script, training, packed])
def test_an_unpacked_checkpoint_opens_as_the_packed_one_does(write: Callable[[Path], Any], tmp_path: Path) -> None:
    expected = dict(named(dict(write(tmp_path / "best.pth"))))
    above = unpacked(tmp_path / "best.pth", tmp_path / "out")
    (folder,) = above.iterdir()
    whole = opened(tmp_path / "best.pth")
    for path in (folder, above):
        checkpoint = opened(path)
        assert checkpoint.format == f"{whole.format}, unpacked"
        assert list(checkpoint) == list(whole)
        assert all(checkpoint[name].numpy().tobytes() == whole[name].numpy().tobytes() for name in whole)
        shown = checkpoint.part("model") if checkpoint.parts else checkpoint
        assert all(same(shown[name], value) for name, value in expected.items())
        assert ", unpacked, " in stats(path).stderr


def test_an_unpacked_checkpoint_that_lacks_a_storage(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "best.pth")
    folder = unpacked(tmp_path / "best.pth", tmp_path / "out") / "best"
    (folder / "data" / "2").unlink()
    assert refused(folder) == "has no file 'data/2'; unpack the checkpoint again"


@pytest.mark.parametrize("key", ["../../secret", "/etc/passwd", "..", "a/../../../secret"])
def test_an_unpacked_checkpoint_reads_nothing_outside_its_folder(key: str, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "best.pth")
    folder = unpacked(tmp_path / "best.pth", tmp_path / "out") / "best"
    (tmp_path / "out" / "secret").write_bytes(bytes(12))
    raw = (folder / "data.pkl").read_bytes()
    old, new = b"X\x01\x00\x00\x000q", b"X" + len(key).to_bytes(4, "little") + key.encode() + b"q"
    assert raw.count(old) == 1
    (folder / "data.pkl").write_bytes(raw.replace(old, new))
    with pytest.raises(LoadError, match="has no file"):
        opened(folder)


def test_a_folder_with_a_data_pkl_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "data.pkl").write_bytes(b"\x80\x02]q\x00.")
    done = torch2grid(tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/data.pkl: holds no tensors: a list of 0" in done.stderr


# The cases

CASES = {
    "formats/dcp-plain/ckpt/__0_0.distcp": "is a share of a distributed checkpoint (rank 0)",
    "formats/dcp-fsdp2/ckpt/__1_0.distcp": "is a share of a distributed checkpoint (rank 1 of 2)",
    "formats/keras-zip/ckpt/model.keras": "is a model of Keras",
    "formats/orbax/ckpt/0": "is a checkpoint of Orbax (JAX)",
}
TOLD = {
    "formats/deepspeed-zero3/ckpt/global_step2/zero_pp_rank_1_mp_rank_00_model_states.pt": "rank 1 of 2",
    "formats/deepspeed-zero2/ckpt/global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt": "rank 0 of 2",
    "formats/megatron-tp2/ckpt/iter_0000005/mp_rank_01": "rank 1 of 2",
    "formats/dtensor-per-rank/ckpt/fsdp_rank1.pt": "rank 1 of 2",
    "formats/dcp-hf-plain/ckpt/model-00002-of-00002.safetensors": "shard 2 of 2",
    "formats/dcp-hf-sharded/ckpt/shard-00002-model-00001-of-00001.safetensors": "share 2 of 2",
    "formats/lightning-fsdp-folder/ckpt/meta.pt": "it lies beside a distributed checkpoint",
    "formats/accelerate-state/ckpt": "model.safetensors is shown; beside it: optimizer.bin, random_states_0.pkl, scheduler.bin",
    "formats/hf-trainer/ckpt": "model.safetensors is shown; beside it: training_args.bin",
    "formats/hf-trainer/ckpt/checkpoint-4": "beside it: optimizer.pt, rng_state.pth, scheduler.pt, training_args.bin",
}


@pytest.mark.parametrize("name", CASES)
def test_a_case_that_is_named(name: str, tmp_path: Path) -> None:
    assert CASES[name] in refused(cases(name))


@pytest.mark.parametrize("name", TOLD)
def test_a_case_that_is_said_to_be_a_part(name: str, tmp_path: Path) -> None:
    done = torch2grid(cases(name), "--stats", "--part", "all", "--include-buffers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert TOLD[name] in done.stderr
