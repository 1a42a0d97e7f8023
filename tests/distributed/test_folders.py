"""Folders of several ranks open as one model: every sharding, every trainer, bit for bit."""

from __future__ import annotations

import argparse
import pickle
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from tests.support.distributed.made import Box, by_rows, dcp, dtensors, gpt, megatron, model, sliced, zero
from tests.support.tools import torch2grid as command
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

import torch2grid
from torch2grid_core import Checkpoint, LoadError

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def same(opened: Checkpoint, state: dict[str, torch.Tensor], prefix: str = "") -> None:
    """Every tensor of *state* is there, whole and in parts."""
    for name, tensor in state.items():
        found, expected = opened[prefix + name], tensor.numpy()
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
        assert np.asarray(found).tobytes() == np.ascontiguousarray(expected).tobytes(), name
        assert b"".join(part.tobytes() for _, part in found.flat_chunks(400)) == np.ascontiguousarray(expected).tobytes()
        copy = pickle.loads(pickle.dumps(found))
        half = tuple(slice(length // 2, None) for length in found.shape)
        assert copy[half].tobytes() == np.ascontiguousarray(expected[half]).tobytes(), name


def stats(path: Path, *words: str) -> str:
    run = command(path, "--stats", *words, cwd=path)
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


@st.composite
def cut(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Box]]:
    """A shape, and boxes that cover it."""
    shape = tuple(draw(st.lists(st.integers(1, 9), max_size=3)))
    boxes: list[Box] = [((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 6)) if shape else 0):
        begin, lengths = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(0, lengths[axis]))
        rest = [each + at * (place == axis) for place, each in enumerate(begin)]
        first = tuple(at if place == axis else each for place, each in enumerate(lengths))
        second = tuple(each - at if place == axis else each for place, each in enumerate(lengths))
        boxes += [each for each in ((begin, first), (tuple(rest), second)) if all(each[1])]
    return shape, draw(st.permutations(boxes))


DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.float8_e4m3fn, torch.bool)


@given(cut(), st.sampled_from(DTYPES), st.integers(1, 4))
def test_any_sharding_of_a_distributed_checkpoint(made: tuple[tuple[int, ...], list[Box]], dtype: Any, ranks: int) -> None:
    shape, boxes = made
    tensor = (torch.arange(int(np.prod(shape))) % 50).reshape(shape).to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        opened = torch2grid.load(dcp(Path(folder), {"w": tensor}, lambda _: boxes, ranks=ranks))
        found = opened["w"]
        raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        assert found.shape == shape
        assert np.asarray(found).tobytes() == raw
        width = found.dtype.itemsize
        start, stop = found.size // 4, found.size - found.size // 3
        if start < stop:
            assert found.read(start, stop).tobytes() == raw[start * width : stop * width]


def test_a_distributed_checkpoint_of_torch_with_objects_and_an_optimizer(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as saving

    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    state = {
        "model": net.state_dict(),
        "optim": optimizer.state_dict(),
        "epoch": 7,
        "turned": torch.arange(12.0).reshape(3, 4).T,
    }
    saving.save(state, checkpoint_id=tmp_path / "saved", no_dist=True)
    opened = torch2grid.load(tmp_path / "saved")
    same(opened, dict(net.state_dict()), "model.")
    same(opened, {"turned": state["turned"]})
    assert opened.metadata["epoch"] == "7"
    assert opened.format == "distributed checkpoint of 1 rank"
    told = stats(tmp_path / "saved")
    assert "\n0.weight" in told or "\nmodel.0.weight" in told
    assert "not shown: optimizer (12)" in told


def test_names_lose_the_prefix_of_the_model_in_views(tmp_path: Path) -> None:
    state = {f"model.{name}": tensor for name, tensor in model().items()}
    state |= {f"optim.state.{name}.exp_avg": torch.zeros_like(tensor) for name, tensor in model().items()}
    paths = {name: tuple(name.split(".", 1)) for name in state if name.startswith("model")}
    paths |= {name: ("optim", "state", name[12:-8], "exp_avg") for name in state if name.startswith("optim")}
    told = stats(dcp(tmp_path / "c", state, paths=paths))
    assert "\n0.weight" in told
    assert "model.0.weight" not in told
    assert "distributed checkpoint of 2 ranks, 5 of 10 tensors shown; not shown: optimizer (5)" in told
    flat = stats(dcp(tmp_path / "flat", model()))  # as torchtitan writes them
    assert "\n0.weight" in flat


def test_what_lies_in_no_file_or_behind_one_is_said(tmp_path: Path) -> None:
    folder = dcp(tmp_path / "c", model())
    about = pickle.loads((folder / ".metadata").read_bytes())
    gone = next(each for each in about.storage_data if each.fqn == "0.bias")
    del about.storage_data[gone]
    (folder / ".metadata").write_bytes(pickle.dumps(about))
    opened = torch2grid.load(folder)
    assert "0.bias" not in opened
    assert [(each.tensor, each.message) for each in opened.problems] == [("0.bias", "a block of it is in no file")]
    (folder / "__1_0.distcp").write_bytes((folder / "__1_0.distcp").read_bytes()[:-10])
    with pytest.raises(LoadError, match="said to end behind them"):
        torch2grid.load(folder)
    (folder / "__1_0.distcp").unlink()
    with pytest.raises(LoadError, match=r"lacks __1_0\.distcp"):
        torch2grid.load(folder)


def test_damage_in_a_block_is_found_by_its_checksum(tmp_path: Path) -> None:
    folder = dcp(tmp_path / "c", {"w": torch.zeros(40, 30)})
    raw = bytearray((folder / "__1_0.distcp").read_bytes())
    raw[len(raw) // 2] ^= 4
    (folder / "__1_0.distcp").write_bytes(raw)
    opened = torch2grid.load(folder)
    assert opened["w"][:20].sum() == 0
    with pytest.raises(LoadError, match="is damaged"):
        np.asarray(opened["w"])


def test_blocks_that_overlap_or_leave_gaps_are_refused(tmp_path: Path) -> None:
    whole = [((0, 0), (2, 3)), ((2, 0), (2, 3))]
    for boxes in ([whole[0]], [*whole, ((1, 0), (2, 3))], [whole[0], ((0, 0), (2, 3))]):
        folder = dcp(tmp_path / str(len(boxes)), {"w": torch.ones(4, 3)}, lambda _, boxes=boxes: boxes)  # type: ignore[misc]
        with pytest.raises(LoadError):
            torch2grid.load(folder)["w"].numpy()


class Hostile:
    def __reduce__(self) -> Any:
        return (eval, ("1 + 1",))


@pytest.mark.parametrize("where", ["the index", "an entry", "a block", "beside"])
def test_what_a_distributed_checkpoint_would_run_is_named(where: str, tmp_path: Path) -> None:
    state = model()
    folder = dcp(tmp_path / "c", state, objects={"loop": Hostile() if where == "an entry" else {"step": 3}})
    about = pickle.loads((folder / ".metadata").read_bytes())
    if where == "the index":
        about.planner_data = {"x": Hostile()}
        (folder / ".metadata").write_bytes(pickle.dumps(about))
    if where == "beside":
        torch.save({"epoch": 3, "hook": Hostile()}, folder / "meta.pt")
    if where == "a block":
        at = next(key for key in about.storage_data if key.fqn == "scale")
        info, path = about.storage_data[at], folder / "__0_0.distcp"
        torch.save([state["scale"], Hostile()], tmp_path / "item")
        info.offset, info.length = path.stat().st_size, (tmp_path / "item").stat().st_size
        path.write_bytes(path.read_bytes() + (tmp_path / "item").read_bytes())
        (folder / ".metadata").write_bytes(pickle.dumps(about))
    run = command("check", folder, cwd=tmp_path)
    assert run.returncode != 0
    assert "eval('1 + 1')" in run.stdout + run.stderr


def test_an_index_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    folder = dcp(tmp_path / "c", model())
    raw = (folder / ".metadata").read_bytes()
    assert len(b"__1_0.distcp") == len(b"../../../etc")
    (folder / ".metadata").write_bytes(raw.replace(b"__1_0.distcp", b"../../../etc"))
    with pytest.raises(LoadError, match="names a file outside of it"):
        torch2grid.load(folder)


def test_packed_streams_are_unpacked_or_named(tmp_path: Path) -> None:
    state = {"w": torch.arange(5000.0).reshape(50, 100)}
    zstandard = pytest.importorskip("zstandard")
    folder = dcp(tmp_path / "c", state, objects={"step": 3}, pack=zstandard.ZstdCompressor().compress)
    opened = torch2grid.load(folder)
    same(opened, state)
    assert opened.metadata["step"] == "3"


def test_without_a_reader_of_zstandard_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch2grid_builtin._loaders import zstd

    monkeypatch.setattr(zstd, "_module", lambda name: None)
    opened = torch2grid.load(dcp(tmp_path / "c", {"w": torch.ones(3, 3)}, pack=lambda raw: raw))
    with pytest.raises(LoadError, match="packed with Zstandard; pip install zstandard reads it"):
        opened["w"].numpy()


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_slices_in_safetensors(ranks: int, tmp_path: Path) -> None:
    folder = sliced(tmp_path / "c", model(), ranks)
    same(torch2grid.load(folder), model())
    assert f"distributed checkpoint of {ranks} share" in stats(folder)
    share = folder / "shard-00001-model-00001-of-00001.safetensors"
    if ranks > 1:
        assert f"share 1 of {ranks} by its name" in command(share, "--stats", cwd=tmp_path).stderr


PLACEMENTS = {
    "rows": ((2,), [Shard(0)]),
    "columns": ((3,), [Shard(1)]),
    "both": ((2, 2), [Shard(0), Shard(1)]),
    "twice the same": ((2, 3), [Shard(0), Shard(0)]),
    "replicated": ((2, 2), [Replicate(), Shard(0)]),
    "strided": ((2, 2), [_StridedShard(0, split_factor=2), Shard(0)]),
    "strided alone": ((2,), [_StridedShard(0, split_factor=3)]),
    "strided columns": ((2, 3), [_StridedShard(1, split_factor=3), Shard(1)]),
    "more ranks than rows": ((4,), [Shard(0)]),
}


@pytest.mark.parametrize("kind", PLACEMENTS)
def test_files_of_ranks_with_dtensors(kind: str, tmp_path: Path) -> None:
    sizes, placements = PLACEMENTS[kind]
    rows = 3 if kind.startswith("more") else 57
    state = {"w": torch.arange(rows * 40.0).reshape(rows, 40), "whole": torch.arange(7.0)}
    folder = dtensors(tmp_path / "c", state, sizes, {"w": placements}, {"extra": {"step": torch.tensor(3.0)}})
    opened = torch2grid.load(folder)
    same(opened, state, "model.")
    assert opened.metadata["epoch"] == "4"
    told = stats(folder)
    assert f"{int(np.prod(sizes))} ranks of PyTorch zip" in told
    alone = command(folder / "model_rank1.pt", "--stats", cwd=tmp_path)
    assert f"rank 1 of {int(np.prod(sizes))}" in alone.stderr


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from("RSZ"), st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=3
    ),
)
def test_places_of_shards_are_those_that_torch_cuts(shape: list[int], kinds: Sequence[tuple[int, str, int, int]]) -> None:
    from torch2grid_builtin._inert.shards import place_of

    whole = torch.arange(int(np.prod(shape))).reshape(shape)
    sizes = tuple(size for size, *_ in kinds)
    filled = torch.full(shape, -1)
    for at in np.ndindex(*sizes):
        local, cuts = whole, []
        for direction, (size, kind, axis, factor) in enumerate(kinds):
            axis %= len(shape)
            if kind == "R":
                cuts.append(("Replicate", None, None))
                continue
            placement = Shard(axis) if kind == "S" else _StridedShard(axis, split_factor=factor)
            cuts.append((type(placement).__name__, axis, None if kind == "S" else factor))
            local = placement._split_tensor(local, size, with_padding=False)[0][at[direction]]
        place = place_of(tuple(shape), tuple(local.shape), cuts, sizes, at)
        assert place is not None
        index = [np.concatenate([np.arange(*run) for run in runs] or [np.arange(0)]) for runs in place.runs]
        filled[np.ix_(*[each.astype(int) for each in index])] = local
    assert torch.equal(filled, whole)


def test_names_with_a_number_are_ranks_where_their_shards_say_so(tmp_path: Path) -> None:
    state = model()
    placements = {name: [Shard(0) if tensor.ndim else Replicate()] for name, tensor in state.items()}
    folder = dtensors(tmp_path / "c", state, (2,), placements)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"pytorch_model_{number}.bin")
    opened = torch2grid.load(folder)
    assert opened.format == "2 ranks of PyTorch zip"
    same(opened, state, "model.")
    shutil.copy(folder / "pytorch_model_0.bin", folder / "pytorch_model_1.bin")  # two steps of one rank, say
    with pytest.raises(LoadError, match="is a folder of 2 checkpoints"):
        torch2grid.load(folder)


def test_deepspeed_without_zero_is_one_file(tmp_path: Path) -> None:
    state = {"layer.weight": torch.ones(3, 2)}
    for step in (1, 2):
        (tmp_path / f"global_step{step}").mkdir()
        torch.save({"module": state}, tmp_path / f"global_step{step}" / "mp_rank_00_model_states.pt")
        (tmp_path / "latest").write_text(f"global_step{step}")
        if step == 1:
            same(torch2grid.load(tmp_path), state, "module.")
    with pytest.raises(
        LoadError, match="is a folder of 2 checkpoints: global_step1, global_step2; give the path of one of them"
    ):
        torch2grid.load(tmp_path)


def test_a_folder_that_lacks_a_rank_says_so(tmp_path: Path) -> None:
    folder = dtensors(tmp_path / "c", {"w": torch.ones(9, 4)}, (3,), {"w": [Shard(0)]})
    (folder / "model_rank2.pt").unlink()
    with pytest.raises(LoadError, match="holds the files of 2 of 3 ranks"):
        torch2grid.load(folder)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_zero(stage: int, ranks: int, tmp_path: Path) -> None:
    whole = {name: tensor for name, tensor in model().items() if tensor.ndim}
    groups = [{name: tensor for name, tensor in whole.items() if ("bias" in name) == late} for late in (False, True)]
    frozen = {"frozen.weight": torch.arange(7.0)}
    buffers = {"running_mean": torch.arange(3.0)}
    folder = zero(tmp_path / "c", groups, ranks, stage, frozen=frozen, buffers=buffers, shared={"head.weight": "0.weight"})
    opened = torch2grid.load(folder)
    same(opened, {**whole, **frozen, **buffers, "head.weight": whole["0.weight"]})
    assert opened.aliases == {"head.weight": "0.weight"}
    assert list(opened) == [*buffers, *frozen, *groups[0], *groups[1], "head.weight"] or set(opened) >= set(whole)
    assert f"DeepSpeed ZeRO {stage} of {ranks} rank" in stats(folder)
    same(torch2grid.load(folder / "global_step3"), whole)
    if ranks > 1:
        (folder / "global_step3" / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
        with pytest.raises(LoadError, match=f"of {ranks} ranks"):
            torch2grid.load(folder)


def test_zero_with_gaps_behind_parameters(tmp_path: Path) -> None:
    whole = {name: tensor for name, tensor in model().items() if tensor.ndim}
    same(torch2grid.load(zero(tmp_path / "c", [whole], 2, 2, gap=5)), whole)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (2, 1), (4, 1), (2, 2), (1, 2)])
def test_megatron(gated: bool, tensor: int, pipeline: int, tmp_path: Path) -> None:
    folder = megatron(tmp_path / "c", gpt(4, gated), tensor, pipeline, gated, 4)
    opened = torch2grid.load(folder)
    same(opened, gpt(4, gated), "model.")
    told = stats(folder)
    assert "\ndecoder.layers.3.mlp.linear_fc2.weight" in told
    assert "not shown: optimizer" in told
    if tensor > 1:
        note = opened["model.decoder.layers.1.mlp.linear_fc1.weight"].note
        assert note == f"{tensor} ranks side by side along dimension 0, by its name" + (", gate and up apart" if gated else "")
        assert opened["model.decoder.final_layernorm.weight"].note == f"of {tensor} ranks, the same on each"
    same(torch2grid.load(folder / "iter_0000012"), gpt(4, gated), "model.")


def _ranks_of(folder: Path, *shares: dict[str, torch.Tensor], gated: bool = False) -> Path:
    for rank, share in enumerate(shares):
        place = folder / "iter_0000001" / f"mp_rank_{rank:02d}"
        place.mkdir(parents=True)
        torch.save({"args": argparse.Namespace(swiglu=gated), "model": share}, place / "model_optim_rng.pt")
    return folder / "iter_0000001"


def test_experts_of_one_module_are_put_together(tmp_path: Path) -> None:
    """Transformer Engine's grouped layers have a number behind ``weight``, not in the name of a module."""
    torch.manual_seed(0)
    whole = {f"decoder.layers.0.mlp.experts.linear_fc1.weight{each}": torch.randn(24, 6) for each in range(2)}
    whole |= {f"decoder.layers.0.mlp.experts.linear_fc2.weight{each}": torch.randn(6, 12) for each in range(2)}
    shares = [
        {
            name: torch.cat([half.chunk(2)[rank] for half in each.chunk(2)])
            if "fc1" in name
            else each.chunk(2, 1)[rank].clone()
            for name, each in whole.items()
        }
        for rank in range(2)
    ]
    same(torch2grid.load(_ranks_of(tmp_path, *shares, gated=True)), whole, "model.")


def test_parts_of_a_layer_of_mamba_are_put_together_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inner, states, heads, mixer = 16, 6, 4, "decoder.layers.0.mixer."
    rows = {"z": inner, "x": inner, "B": states, "C": states, "dt": heads}
    parts = {name: torch.randn(length, 10) for name, length in rows.items()}
    turns = {name: torch.randn(rows[name], 1, 4) for name in ("x", "B", "C")}
    flat = {
        "A_log": torch.randn(heads),
        "D": torch.randn(heads),
        "dt_bias": torch.randn(heads),
        "norm.weight": torch.randn(inner),
    }
    out = torch.randn(10, inner)
    whole = {
        f"{mixer}in_proj.weight": torch.cat(list(parts.values())),
        f"{mixer}conv1d.weight": torch.cat(list(turns.values())),
    }
    whole |= {f"{mixer}{name}": each for name, each in flat.items()} | {f"{mixer}out_proj.weight": out}
    shares = [
        {
            f"{mixer}in_proj.weight": torch.cat([each.chunk(2)[rank] for each in parts.values()]),
            f"{mixer}conv1d.weight": torch.cat([each.chunk(2)[rank] for each in turns.values()]),
            **{f"{mixer}{name}": each.chunk(2)[rank].clone() for name, each in flat.items()},
            f"{mixer}out_proj.weight": out.chunk(2, 1)[rank].clone(),
        }
        for rank in range(2)
    ]
    same(torch2grid.load(_ranks_of(tmp_path, *shares)), whole, "model.")


def test_what_ranks_hold_differently_is_not_called_the_same(tmp_path: Path) -> None:
    """A share is never shown as the whole: a name that tells nothing is left out, unless all ranks hold the same numbers."""
    shares = [
        {
            "decoder.layers.0.new.weight": torch.full((4, 3), float(rank)),
            "decoder.layers.0.alike.weight": torch.ones(4, 3),
            "decoder.layers.0.view.weight": torch.arange(12.0).reshape(3, 4).t(),  # whose record alone does not tell
            "decoder.final_layernorm.weight": torch.tensor([1.0, 1.0, 1.0 + rank]),
        }
        for rank in range(2)
    ]
    opened = torch2grid.load(_ranks_of(tmp_path / "some", *shares))
    assert [skip.name for skip in opened.skipped] == ["model.decoder.layers.0.new.weight"]
    assert "its name does not tell how it is split" in opened.skipped[0].reason
    assert set(opened) == {f"model.{name}" for name in shares[0] if ".new." not in name}
    assert opened["model.decoder.layers.0.view.weight"].note == "of 2 ranks, the same on each"
    assert "of 2 ranks, which differ" in opened["model.decoder.final_layernorm.weight"].note
    only = [{"decoder.layers.0.new.weight": share["decoder.layers.0.new.weight"]} for share in shares]
    with pytest.raises(LoadError, match=r"model\.decoder\.layers\.0\.new\.weight differs between ranks.*convert"):
        torch2grid.load(_ranks_of(tmp_path / "none", *only))


def test_the_last_iteration_of_a_folder_opens(tmp_path: Path) -> None:
    """Megatron-LM's, as a distributed checkpoint: a file in the folder says which is the last."""
    for number in (5, 12):
        dcp(tmp_path / "c" / f"iter_{number:07d}", {"weight": torch.full((3, 2), float(number))})
    (tmp_path / "c" / "latest_checkpointed_iteration.txt").write_text("5")
    opened = torch2grid.load(tmp_path / "c")
    assert opened["weight"].numpy().tolist() == [[5.0, 5.0]] * 3
    assert "iter_0000005 is shown" in opened.notes
    (tmp_path / "c" / "latest_checkpointed_iteration.txt").write_text("../secret")
    with pytest.raises(LoadError, match="of Megatron-LM"):
        torch2grid.load(tmp_path / "c")


def test_a_folder_of_steps_is_a_series(tmp_path: Path) -> None:
    for step in (100, 20):
        dcp(tmp_path / "c" / f"step-{step}", {"weight": torch.full((3, 2), float(step))})
    run = command("compare", "c", "--stats", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "step 20, step 100" in run.stderr


def test_rows_of_boxes() -> None:
    assert by_rows((5, 2), 2) == [((0, 0), (3, 2)), ((3, 0), (2, 2))]
