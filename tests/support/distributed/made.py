"""Checkpoints of several ranks, small, in the form in which PyTorch, DeepSpeed and Megatron-LM write them."""

from __future__ import annotations

import argparse
import io
import json
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

State = dict[str, torch.Tensor]
Box = tuple[tuple[int, ...], tuple[int, ...]]  # where it begins, and how long it is


def model(seed: int = 0) -> State:
    """Weights of shapes that no number of ranks divides evenly."""
    torch.manual_seed(seed)
    shapes = {"0.weight": (57, 40), "0.bias": (57,), "2.weight": (13, 57), "2.bias": (13,), "scale": ()}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def by_rows(shape: Sequence[int], count: int) -> list[Box]:
    """The boxes that ``torch.chunk`` makes along dimension 0."""
    if not shape:
        return [((), ())]
    step = -(-shape[0] // count)
    starts = range(0, shape[0], step)
    rest = tuple(shape[1:])
    return [((start, *[0] * len(rest)), (min(step, shape[0] - start), *rest)) for start in starts]


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def dcp(
    folder: Path,
    state: Mapping[str, torch.Tensor],
    boxes: Callable[[Sequence[int]], Sequence[Box]] = lambda shape: by_rows(shape, 2),
    objects: Mapping[str, Any] | None = None,
    paths: Mapping[str, tuple[Any, ...]] | None = None,
    pack: Callable[[bytes], bytes] | None = None,
    ranks: int = 2,
) -> Path:
    """A folder as ``torch.distributed.checkpoint`` writes it, each tensor in *boxes*, one rank after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [bytearray() for _ in range(ranks)]
    described: dict[str, Any] = {}
    stored: dict[MetadataIndex, _StorageInfo] = {}

    def put(index: MetadataIndex, raw: bytes, rank: int) -> None:
        raw = pack(raw) if pack else raw
        about = _StorageInfo(f"__{rank}_0.distcp", len(files[rank]), len(raw), ["stream.zstd/1"] if pack else None)
        stored[index] = about
        files[rank] += raw

    for name, tensor in state.items():
        chunks = []
        for number, (begin, lengths) in enumerate(boxes(tensor.shape)):
            part = tensor[tuple(slice(start, start + length) for start, length in zip(begin, lengths, strict=True))]
            put(MetadataIndex(name, begin, number), saved(part.clone()), number % ranks)
            chunks.append(ChunkStorageMetadata(torch.Size(begin), torch.Size(lengths)))
        described[name] = TensorStorageMetadata(TensorProperties(tensor.dtype), tensor.shape, chunks)
    for name, value in (objects or {}).items():
        put(MetadataIndex(name), value if isinstance(value, bytes) else saved(value), 0)
        described[name] = BytesStorageMetadata()
    for rank, raw in enumerate(files):
        (folder / f"__{rank}_0.distcp").write_bytes(raw)
    about = Metadata(described, dict(paths or {}), stored, StorageMeta())
    (folder / ".metadata").write_bytes(pickle.dumps(about))
    return folder


def sliced(folder: Path, state: State, ranks: int = 2) -> Path:
    """Slices in safetensors, as ``HuggingFaceStorageWriter`` saves them."""
    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(ranks):
        mine: State = {}
        places = {}
        for name, tensor in state.items():
            every = by_rows(tensor.shape, ranks)
            if rank < len(every):
                begin, lengths = every[rank]
                index = tuple(slice(start, start + length) for start, length in zip(begin, lengths, strict=True))
                mine[name], places[name] = tensor[index].clone(), {"saved_offsets": list(begin)}
        about = {"format": "pt", "DCP_VERSION": "1.0", "DCP_SHARDING_INFO": json.dumps(places)}
        path = folder / f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors"
        safetensors.torch.save_file(mine, path, about)
    return folder


def zero(folder: Path, groups: Sequence[State], ranks: int, stage: int, **more: Any) -> Path:
    """A folder of DeepSpeed's ZeRO. more: ``frozen``, ``buffers`` (states), ``shared`` (name → name), ``gap`` (behind each)."""
    step = folder / "global_step3"
    step.mkdir(parents=True)
    (folder / "latest").write_text("global_step3")
    frozen, buffers = more.get("frozen", {}), more.get("buffers", {})
    gap = more.get("gap", 0)
    shapes = [OrderedDict((name, tensor.shape) for name, tensor in group.items()) for group in groups]
    common = {"buffer_names": list(buffers), "param_shapes": shapes, "shared_params": more.get("shared", {}), "global_steps": 3}
    common["frozen_param_shapes"] = OrderedDict((name, tensor.shape) for name, tensor in frozen.items())
    flats: list[list[torch.Tensor]] = [[] for _ in range(ranks)]
    fragments: list[State] = [{} for _ in range(ranks)]
    for group in groups:
        if stage == 3:
            pieces = [_pieces(tensor, ranks) for tensor in group.values()]
            for rank in range(ranks):
                flats[rank].append(torch.cat([each[rank] for each in pieces]))
        else:
            row = torch.cat([torch.cat([tensor.reshape(-1), torch.full((gap,), 9.0)]) for tensor in group.values()])
            for rank, part in enumerate(_pieces(row, ranks, cut=True)):
                flats[rank].append(part)
    for name, tensor in frozen.items():
        for rank, part in enumerate(_pieces(tensor, ranks) if stage == 3 else [tensor]):
            fragments[rank][name] = part
    for rank in range(ranks if stage == 3 else 1):
        whole = {name: torch.zeros(0) for group in groups for name in group}
        state = {**common, "frozen_param_fragments": OrderedDict(fragments[rank]), "module": OrderedDict({**whole, **buffers})}
        name = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt" if stage == 3 else "mp_rank_00_model_states.pt"
        torch.save(state, step / name)
    for rank in range(ranks):
        inside: dict[str, Any] = {"zero_stage": stage, "partition_count": ranks if stage == 3 else [ranks] * len(groups)}
        inside["fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"] = flats[rank]
        if gap:
            inside["param_alignment_paddings"] = [[gap] * len(group) for group in groups]
        name = f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        torch.save({"optimizer_state_dict": inside, "ds_version": "0.19.8"}, step / name)
    return folder


def _pieces(tensor: torch.Tensor, ranks: int, cut: bool = False) -> list[torch.Tensor]:
    """Equal pieces of the flat tensor, the last ones padded; *cut*: without the padding, as newer versions save groups."""
    flat, size = tensor.reshape(-1), math.ceil(tensor.numel() / ranks)
    padded = torch.cat([flat, torch.full((size * ranks - len(flat),), 7.0)])
    pieces = [padded[rank * size : (rank + 1) * size].clone() for rank in range(ranks)]
    return [piece[: max(len(flat) - rank * size, 0)].clone() for rank, piece in enumerate(pieces)] if cut else pieces


def gpt(layers: int = 2, gated: bool = False) -> State:
    """A model of Megatron-LM's, whole."""
    torch.manual_seed(1)
    wide = 48 if gated else 24
    state = {"embedding.word_embeddings.weight": torch.randn(32, 8)}
    for layer in range(layers):
        name = f"decoder.layers.{layer}"
        state[f"{name}.self_attention.linear_qkv.weight"] = torch.randn(24, 8)
        state[f"{name}.self_attention.linear_qkv.bias"] = torch.randn(24)
        state[f"{name}.self_attention.linear_proj.weight"] = torch.randn(8, 8)
        state[f"{name}.self_attention.linear_proj.bias"] = torch.randn(8)
        state[f"{name}.mlp.linear_fc1.weight"] = torch.randn(wide, 8)
        state[f"{name}.mlp.linear_fc2.weight"] = torch.randn(8, 24)
    return {**state, "decoder.final_layernorm.weight": torch.randn(8), "output_layer.weight": torch.randn(32, 8)}


def megatron(folder: Path, state: State, tensor: int = 2, pipeline: int = 1, gated: bool = False, layers: int = 2) -> Path:
    """A folder of Megatron-LM, *state* split over ranks as its layers do."""
    step = folder / "iter_0000012"
    step.mkdir(parents=True)
    (folder / "latest_checkpointed_iteration.txt").write_text("12")
    each = layers // pipeline
    for stage in range(pipeline):
        for rank in range(tensor):
            held: State = {}
            for name, whole in state.items():
                layer = int(name.split(".")[2]) if ".layers." in name else None
                first, last = name.startswith("embedding"), name.startswith(("decoder.final", "output"))
                if (layer is not None and layer // each != stage) or (first and stage) or (last and stage != pipeline - 1):
                    continue
                short = name.replace(f".{layer}.", f".{layer % each}.", 1) if layer is not None else name
                held[short] = _share(name, whole, rank, tensor, gated)
            place = step / (f"mp_rank_{rank:02d}" + (f"_{stage:03d}" if pipeline > 1 else ""))
            place.mkdir()
            about = argparse.Namespace(tensor_model_parallel_size=tensor, swiglu=gated)
            moments = {0: {"exp_avg": torch.full((3,), float(rank)), "exp_avg_sq": torch.ones(3)}}
            optimizer = {"optimizer": {"state": moments, "param_groups": [{"lr": 0.1, "params": [0]}]}}
            contents = {"args": about, "iteration": 12, "model": OrderedDict(held), "optimizer": optimizer}
            torch.save(contents, place / "model_optim_rng.pt")
    return folder


def _share(name: str, whole: torch.Tensor, rank: int, count: int, gated: bool) -> torch.Tensor:
    if "linear_fc1" in name and gated:
        return torch.cat([half.chunk(count)[rank] for half in whole.chunk(2)])
    if any(word in name for word in ("embedding", "linear_qkv", "linear_fc1", "output_layer")):
        return whole.chunk(count)[rank].clone()
    if name.endswith(("linear_proj.weight", "linear_fc2.weight")):
        return whole.chunk(count, 1)[rank].clone()
    return whole


def dtensors(
    folder: Path, state: State, sizes: tuple[int, ...], placements: Mapping[str, Sequence[Any]], more: Any = None
) -> Path:
    """The files of all ranks of a mesh *sizes* long, each with its shards of *state*. more: what lies beside the tensors."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate
    from torch.testing._internal.distributed.fake_pg import FakeStore

    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(math.prod(sizes)):
        distributed.init_process_group("fake", rank=rank, world_size=math.prod(sizes), store=FakeStore())
        try:
            mesh = init_device_mesh("cpu", sizes)
            at = mesh.get_coordinate()
            held = {}
            for name, tensor in state.items():
                local, kinds = tensor, list(placements.get(name, [Replicate()] * len(sizes)))
                for direction, kind in enumerate(kinds):
                    if not isinstance(kind, Replicate):
                        pieces, _ = kind._split_tensor(local, sizes[direction], with_padding=False, contiguous=True)
                        local = pieces[at[direction]]
                held[name] = DTensor.from_local(
                    local.clone(), mesh, kinds, run_check=False, shape=tensor.shape, stride=tensor.stride()
                )
            torch.save({"model": held, "epoch": 4, **(more or {})}, folder / f"model_rank{rank}.pt")
        finally:
            distributed.destroy_process_group()
    return folder


def sharded_tensors(folder: Path, state: State, ranks: int) -> Path:
    """The files of all ranks with their rows of *state*, as FSDP 1 gives them: each a ``ShardedTensor``."""
    from torch import distributed
    from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor
    from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
    from torch.distributed._shard.sharding_spec import ShardMetadata
    from torch.testing._internal.distributed.fake_pg import FakeStore

    folder.mkdir(parents=True, exist_ok=True)
    for rank in range(ranks):
        distributed.init_process_group("fake", rank=rank, world_size=ranks, store=FakeStore())
        try:
            held = {}
            for name, tensor in state.items():
                boxes = enumerate(by_rows(tensor.shape, ranks))
                every = [ShardMetadata(list(begin), list(lengths), f"rank:{owner}/cpu") for owner, (begin, lengths) in boxes]
                parts = list(zip(tensor.chunk(ranks), every, strict=True))
                mine = [Shard(part.clone(), place) for part, place in parts[rank : rank + 1]]
                whole = ShardedTensorMetadata(every, tensor.shape, TensorProperties(dtype=tensor.dtype))
                held[name] = ShardedTensor._init_from_local_shards_and_global_metadata(mine, whole)
            torch.save({"model": held, "epoch": 4}, folder / f"model_rank{rank}.pt")
        finally:
            distributed.destroy_process_group()
    return folder
