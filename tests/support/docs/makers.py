"""A small checkpoint of every maker that the table of docs/formats.md names, as that maker leaves it, and what is meant.

Files of PyTorch, numpy, joblib and gguf are written by these libraries; others in the form of theirs, as the tests of the
readers write them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import pickle
import shutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from safetensors.torch import save_file
from tests.fuzz.samples import arrays, tar_of
from tests.support import adapters, quantised
from tests.support.distributed import made
from tests.support.exports import onnx
from tests.support.quantised import Quantised
from torch.distributed.tensor import Shard

R = np.random.default_rng
State = dict[str, Any]


class Made(NamedTuple):
    """A path to give, and the tensors that a view of it shows."""

    path: Path
    shown: Mapping[str, Any]


def net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))


def weights() -> State:
    return {name: tensor.clone() for name, tensor in net().state_dict().items()}


def trained() -> tuple[State, State]:
    """The state of a network after a step, and that of its optimizer."""
    model = net()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 6)).sum().backward()
    optimizer.step()
    return dict(model.state_dict()), optimizer.state_dict()


def whole() -> State:
    return {name: tensor for name, tensor in made.model().items() if tensor.ndim}


def quiet(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of forms that it will drop; their files stay
        return make()


def under(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    return folder / name


# PyTorch


def torch_save(folder: Path) -> list[Made]:
    state, optimizer = trained()
    torch.save(state, folder / "model.pt")
    torch.save({"model": state, "optimizer": optimizer, "epoch": 3}, folder / "checkpoint.pth")
    torch.save(net(), folder / "whole.pth")
    return [Made(folder / "model.pt", state), Made(folder / "checkpoint.pth", state), Made(folder / "whole.pth", weights())]


def torch_legacy(folder: Path) -> list[Made]:
    torch.save(weights(), folder / "model.pth", _use_new_zipfile_serialization=False)
    return [Made(folder / "model.pth", weights())]


def torch_tar(folder: Path) -> list[Made]:
    (folder / "model.pth").write_bytes(tar_of())
    return [Made(folder / "model.pth", arrays())]


def scripts(folder: Path) -> list[Made]:
    script = quiet(lambda: torch.jit.script(net()))
    quiet(lambda: torch.jit.save(script, folder / "model.pt"))
    script._save_for_lite_interpreter(str(folder / "model.ptl"))
    return [Made(folder / name, weights()) for name in ("model.pt", "model.ptl")]


def package(folder: Path) -> list[Made]:
    def save() -> None:
        with torch.package.PackageExporter(folder / "model.pt") as exporter:
            exporter.save_pickle("weights", "model.pkl", weights())

    quiet(save)
    return [Made(folder / "model.pt", weights())]


def program(folder: Path) -> list[Made]:
    quiet(lambda: torch.export.save(torch.export.export(net(), (torch.ones(2, 6),)), folder / "model.pt2"))
    return [Made(folder / "model.pt2", weights())]


def unpacked(folder: Path) -> list[Made]:
    script = quiet(lambda: torch.jit.script(net()))
    torch.save(weights(), folder / "zip.pt")
    quiet(lambda: torch.jit.save(script, folder / "script.pt"))
    for name in ("zip", "script"):
        with zipfile.ZipFile(folder / f"{name}.pt") as archive:
            archive.extractall(folder / name)
    return [Made(folder / name, weights()) for name in ("zip", "script")]


def dcp(folder: Path) -> list[Made]:
    import torch.distributed.checkpoint as saving

    state, optimizer = trained()
    saving.save({"model": state, "optim": optimizer}, checkpoint_id=folder / "saved", no_dist=True)
    return [Made(folder / "saved", state), Made(made.dcp(folder / "ranks", whole()), whole())]


def dcp_safetensors(folder: Path) -> list[Made]:
    import torch.distributed.checkpoint as saving
    from torch.distributed.checkpoint import HuggingFaceStorageWriter

    places = {name: 1 + place // 2 for place, name in enumerate(weights())}
    writer = HuggingFaceStorageWriter(str(folder / "plain"), places)
    quiet(lambda: saving.save(weights(), storage_writer=writer, no_dist=True))
    return [Made(made.sliced(folder / "sliced", whole()), whole()), Made(folder / "plain", weights())]


def ao(folder: Path) -> list[Made]:
    import torch.ao.quantization as quantization

    layers = quiet(lambda: quantization.quantize_dynamic(net(), {torch.nn.Linear}, torch.qint8))
    torch.save(layers.state_dict(), folder / "state.pt")
    torch.save(layers, folder / "whole.pt")
    meant: State = {}
    for name in ("0", "2"):
        weight, bias = layers.get_submodule(name)._weight_bias()
        meant |= {f"{name}.weight": weight.dequantize(), f"{name}.bias": bias}
    scales = {f"{name}.scale": torch.tensor(1.0) for name in ("0", "2")}
    return [Made(folder / "state.pt", {**meant, **scales}), Made(folder / "whole.pt", meant)]


# Trainers


def fsdp1(folder: Path) -> list[Made]:
    from torch import distributed
    from torch.distributed._shard.sharded_tensor import Shard as Part, ShardedTensor
    from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
    from torch.distributed._shard.sharding_spec import ShardMetadata
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def save(rank: int) -> None:
        held: State = {}
        for name, tensor in whole().items():
            every = [
                ShardMetadata(list(begin), list(lengths), f"rank:{owner}/cpu")
                for owner, (begin, lengths) in enumerate(made.by_rows(tensor.shape, 2))
            ]
            mine = [Part(tensor.chunk(2)[rank].clone(), every[rank])]
            about = ShardedTensorMetadata(every, tensor.shape, TensorProperties(dtype=tensor.dtype))
            held[name] = ShardedTensor._init_from_local_shards_and_global_metadata(mine, about)
        torch.save({"model": held}, under(folder, "saved") / f"model_rank{rank}.pt")

    for rank in range(2):
        distributed.init_process_group("fake", rank=rank, world_size=2, store=FakeStore())
        try:
            quiet(lambda rank=rank: save(rank))
        finally:
            distributed.destroy_process_group()
    return [Made(folder / "saved", whole())]


def fsdp2(folder: Path) -> list[Made]:
    split = {name: [Shard(0)] for name in whole()}
    return [Made(made.dtensors(folder / "saved", whole(), (2,), split), whole())]


def torchtitan(folder: Path) -> list[Made]:
    """As its ``CheckpointManager`` saves them: the names of the model at the top, those of all else below a key."""
    state = {f"layers.{layer}.attention.wq.weight": torch.randn(8, 8) for layer in range(2)}
    state["tok_embeddings.weight"] = torch.randn(16, 8)
    moments = {f"optimizer.state.{name}.{kind}": torch.zeros_like(each) for name, each in state.items() for kind in MOMENTS}
    objects = {"lr_scheduler": {"last_epoch": 10}, "dataloader.dp_rank_0": b"x", "train_state": b"y"}
    step = made.dcp(folder / "checkpoint" / "step-10", {**state, **moments}, objects=objects)
    return [Made(step, state)]


MOMENTS = ("exp_avg", "exp_avg_sq")


def zero2(folder: Path) -> list[Made]:
    return [Made(made.zero(folder / f"stage{stage}", [whole()], 2, stage), whole()) for stage in (1, 2)]


def zero3(folder: Path) -> list[Made]:
    return [Made(made.zero(folder / "saved", [whole()], 2, 3), whole())]


def megatron(folder: Path) -> list[Made]:
    return [Made(made.megatron(folder / "saved", made.gpt()), made.gpt())]


def megatron_core(folder: Path) -> list[Made]:
    step = made.dcp(folder / "saved" / "iter_0000012", made.gpt())
    torch.save({"iteration": 12, "args": argparse.Namespace(num_layers=2)}, step / "common.pt")
    (step / "metadata.json").write_text('{"sharded_backend": "torch_dist", "sharded_backend_version": 1}')
    (folder / "saved" / "latest_checkpointed_iteration.txt").write_text("12")
    return [Made(step, made.gpt()), Made(folder / "saved", made.gpt())]


def nemo(folder: Path) -> list[Made]:
    held = io.BytesIO()
    torch.save(weights(), held)
    members = {"./model_config.yaml": b"target: nemo\n", "./model_weights.ckpt": held.getvalue()}
    (folder / "plain.nemo").write_bytes(tar_of(members))
    (folder / "packed.nemo").write_bytes(gzip.compress(tar_of(members)))
    return [Made(folder / name, weights()) for name in ("plain.nemo", "packed.nemo")]


def lightning(folder: Path) -> list[Made]:
    state, optimizer = trained()
    held = {f"model.{name}": tensor for name, tensor in state.items()}
    contents = {"epoch": 1, "global_step": 16, "pytorch-lightning_version": "2.6.6", "state_dict": OrderedDict(held)}
    contents |= {"loops": {}, "callbacks": {}, "optimizer_states": [optimizer], "lr_schedulers": [{"last_epoch": 1}]}
    torch.save(contents, folder / "epoch=1-step=16.ckpt")
    return [Made(folder / "epoch=1-step=16.ckpt", held)]


def lightning_folder(folder: Path) -> list[Made]:
    import torch.distributed.checkpoint as saving

    state, optimizer = trained()
    held = {f"model.{name}": tensor for name, tensor in state.items()}
    path = folder / "epoch=1-step=16.ckpt"
    saving.save({"state_dict": held, "optimizer_0": optimizer}, checkpoint_id=path, no_dist=True)
    torch.save({"epoch": 1, "global_step": 16, "pytorch-lightning_version": "2.6.6"}, path / "meta.pt")
    return [Made(path, held)]


def pretrained(folder: Path) -> list[Made]:
    for name in ("one", "old", "shards"):
        under(folder, name).joinpath("config.json").write_text('{"model_type": "llama"}')
    save_file(weights(), folder / "one" / "model.safetensors", {"format": "pt"})
    torch.save(weights(), folder / "old" / "pytorch_model.bin")
    names = list(weights())
    files = {name: f"model-{1 + place // 2:05d}-of-00002.safetensors" for place, name in enumerate(names)}
    for file in set(files.values()):
        held = {name: weights()[name] for name in names if files[name] == file}
        save_file(held, folder / "shards" / file, {"format": "pt"})
    size = sum(tensor.nbytes for tensor in weights().values())
    index = {"metadata": {"total_size": size}, "weight_map": files}
    (folder / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    return [Made(folder / name, weights()) for name in ("one", "old", "shards")]


def beside(folder: Path, optimizer: str, random: str, schedule: str) -> None:
    """What trainers save beside a model."""
    torch.save(trained()[1], folder / optimizer)
    torch.save({"cpu": torch.get_rng_state()}, folder / random)
    torch.save({"last_epoch": 4, "_last_lr": [0.1]}, folder / schedule)


def trainer(folder: Path) -> list[Made]:
    state = trained()[0]
    for path in (folder / "out", folder / "out" / "checkpoint-4"):
        path.mkdir(parents=True)
        save_file(state, path / "model.safetensors", {"format": "pt"})
        torch.save(argparse.Namespace(learning_rate=0.1), path / "training_args.bin")
    beside(folder / "out" / "checkpoint-4", "optimizer.pt", "rng_state.pth", "scheduler.pt")
    (folder / "out" / "checkpoint-4" / "trainer_state.json").write_text('{"global_step": 4}')
    return [Made(folder / "out", state), Made(folder / "out" / "checkpoint-4", state)]


def accelerate(folder: Path) -> list[Made]:
    state = trained()[0]
    save_file(state, under(folder, "state") / "model.safetensors", {"format": "pt"})
    beside(folder / "state", "optimizer.bin", "random_states_0.pkl", "scheduler.bin")
    return [Made(folder / "state", state)]


def accelerate_fsdp(folder: Path) -> list[Made]:
    import torch.distributed.checkpoint as saving

    state, optimizer = trained()
    saving.save({"model": state}, checkpoint_id=folder / "state" / "pytorch_model_fsdp_0", no_dist=True)
    saving.save({"optimizer": optimizer}, checkpoint_id=folder / "state" / "optimizer_0", no_dist=True)
    return [Made(folder / "state" / "pytorch_model_fsdp_0", state)]


def composer(folder: Path) -> list[Made]:
    state, optimizer = trained()
    inside = {"model": state, "optimizers": {"AdamW": optimizer}, "schedulers": {}, "timestamp": {"Timestamp": {"batch": 8}}}
    path = folder / "ep1-ba8-rank0.pt"
    torch.save({"state": inside, "rng": [{"torch": torch.get_rng_state()}]}, path)
    return [Made(path, state)]


def fastai(folder: Path) -> list[Made]:
    state = trained()[0]
    moments = [{"grad_avg": torch.ones(3), "sqr_avg": torch.ones(3), "step": 4}]
    torch.save({"model": state, "opt": {"state": moments, "hypers": [{"lr": 0.1}]}}, under(folder, "models") / "stage-1.pth")
    return [Made(folder / "models" / "stage-1.pth", state)]


# Adapters


def peft(folder: Path) -> list[Made]:
    shapes = {f"model.layers.{layer}.self_attn.q_proj": (16, 12) for layer in range(2)}
    written = adapters.peft(R(1), shapes)
    return [Made(written.write(folder / "adapter"), written.meant)]


def kohya(folder: Path) -> list[Made]:
    written = adapters.kohya(R(1), {"lora_unet_down_blocks_0_attentions_0_to_q": (16, 12)}, 4, 2)
    return [Made(written.write(folder, "style.safetensors") / "style.safetensors", written.meant)]


def diffusers_lora(folder: Path) -> list[Made]:
    written = adapters.peft(R(1), {"unet.down_blocks.0.attentions.0.to_q": (16, 12)})
    stored = {name.removeprefix(adapters.PEFT): each for name, each in written.stored.items()}
    about = {"unet.r": 4, "unet.lora_alpha": 8}
    again = adapters.Written(stored, written.meant, {}, {"format": "pt", "lora_adapter_metadata": json.dumps(about)})
    name = "pytorch_lora_weights.safetensors"
    return [Made(again.write(folder, name) / name, again.meant)]


def pipeline(folder: Path) -> list[Made]:
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for name, file in {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}.items():
        save_file(weights(), under(folder, name) / f"{file}.safetensors", {"format": "pt"})
    return [Made(folder / name, weights()) for name in ("unet", "text_encoder")]


# Quantised


def writes(*cases: Callable[[], Quantised], name: str = "model.safetensors") -> Callable[[Path], list[Made]]:
    def write(folder: Path) -> list[Made]:
        found = []
        for place, case in enumerate(cases):
            each = case()
            each.write(folder / str(place), name)
            found.append(Made(folder / str(place), each.meant))
        return found

    return write


def modelopt() -> Quantised:
    """NVFP4 with the names of ModelOpt's ``export_hf_checkpoint``; its second scale multiplies."""
    case = quantised.nvfp4(R(1), 5, 3)
    codes, scale, total = (case.stored[f"fc.weight{end}"] for end in ("_packed", "_scale", "_global_scale"))
    second = np.float32(1) / total
    wide = quantised.spread(scale.astype(np.float32) * second, (5, 48), (1, 16))
    each = np.stack([codes & 15, codes >> 4], -1).reshape(5, 48)
    stored = {"fc.weight": codes, "fc.weight_scale": scale, "fc.weight_scale_2": second.reshape(())}
    config = {"quantization_config": {"quant_algo": "NVFP4", "quant_method": "modelopt"}}
    return Quantised(stored, {"fc.weight": quantised.FP4[each] * wide}, config)


def compressed() -> list[Callable[[], Quantised]]:
    return [
        lambda: quantised.pack_quantized(R(1), 21, 64, 4, 32, asymmetric=False, act_order=False),
        lambda: quantised.plain(R(1), 5, 7, "int8"),
        lambda: quantised.plain(R(1), 5, 7, "float8_e4m3fn"),
        lambda: quantised.nvfp4(R(1), 5, 3),
    ]


def autoround(packing: str, case: Quantised) -> Quantised:
    """GPTQ's tensors or AWQ's, of which ``packing_format`` tells how zero points are stored."""
    config = {"quant_method": "auto-round", "packing_format": packing, "bits": 4, "group_size": 32}
    return case._replace(config={"quantization_config": config})


def hqq(folder: Path) -> list[Made]:
    """``AutoHQQHFModel.save_quantized`` pickles the state of each layer under its name."""
    case = quantised.hqq(R(1), 8, 3, 32, 4, 1)
    held = {name.removeprefix("fc."): each for name, each in case.stored.items()}
    layer: State = {name: torch.from_numpy(held[name]) for name in ("W_q", "scale", "zero")}
    layer |= {"nbits": 4, "group_size": 32, "axis": 1, "shape": torch.Size([8, 96]), "packing": "4bit_u8"}
    torch.save({"embed": {"weight": torch.ones(4, 3)}, "fc": layer}, under(folder, "q") / "qmodel.pt")
    (folder / "q" / "config.json").write_text("{}")
    return [*writes(lambda: case)(folder), Made(folder / "q", {**case.meant, "embed.weight": torch.ones(4, 3)})]


# Others


def gguf(folder: Path) -> list[Made]:
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import dequantize, quantize

    codes = quantize(R(1).normal(size=(4, 64)).astype(np.float32), GGMLQuantizationType.Q8_0)
    state = {"token_embd.weight": R(2).normal(size=(5, 64)).astype(np.float32)}
    writer = GGUFWriter(folder / "model.gguf", "llama")
    writer.add_tensor("token_embd.weight", state["token_embd.weight"])
    writer.add_tensor("blk.0.attn_q.weight", codes, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    state["blk.0.attn_q.weight"] = dequantize(codes, GGMLQuantizationType.Q8_0)
    return [Made(folder / "model.gguf", state)]


def onnx_models(folder: Path) -> list[Made]:
    state = {name: np.ascontiguousarray(each.numpy()) for name, each in weights().items()}
    (folder / "model.onnx").write_bytes(onnx.model(onnx.graph([onnx.tensor(name, each) for name, each in state.items()])))
    apart = under(folder, "apart")
    held, told = bytearray(), []
    for name, each in state.items():
        where = onnx.external("model.onnx.data", len(held), each.nbytes)
        told.append(onnx.dims(each.shape) + onnx.number(2, onnx.KINDS["float32"]) + where + onnx.held(8, name))
        held += each.tobytes()
    (apart / "model.onnx").write_bytes(onnx.model(onnx.graph(told)))
    (apart / "model.onnx.data").write_bytes(held)
    return [Made(folder / "model.onnx", state), Made(apart / "model.onnx", state)]


def onnx_runtime(folder: Path) -> list[Made]:
    found = list[Made]()
    for place, case in enumerate(
        (quantised.onnx_runtime(R(1), (5, 7), None, "int8"), quantised.matmul_nbits(R(1), 5, 3, 32, 4, zero=True))
    ):
        tensors = [onnx.tensor(name, np.ascontiguousarray(each)) for name, each in case.stored.items()]
        (under(folder, str(place)) / "model.onnx").write_bytes(onnx.model(onnx.graph(tensors)))
        found.append(Made(folder / str(place) / "model.onnx", case.meant))
    return found


def numpy_files(folder: Path) -> list[Made]:
    state: State = {"w": R(1).normal(size=(5, 4)), "b": np.ones(4, np.float32)}
    np.save(folder / "w.npy", state["w"])
    np.savez(folder / "model.npz", **state)
    return [Made(folder / "w.npy", {"w": state["w"]}), Made(folder / "model.npz", state)]


def joblibs(folder: Path) -> list[Made]:
    state: State = {"w": R(1).normal(size=(5, 4)), "b": np.ones(4, np.float32)}
    joblib.dump(state, folder / "model.joblib")
    joblib.dump(state, folder / "model.joblib.gz")
    return [Made(folder / name, state) for name in ("model.joblib", "model.joblib.gz")]


def pickles(folder: Path) -> list[Made]:
    state: State = {"w": R(1).normal(size=(5, 4)), "b": np.ones(4, np.float32)}
    (folder / "model.pkl").write_bytes(pickle.dumps(state))
    return [Made(folder / "model.pkl", state)]


def rllib(folder: Path) -> list[Made]:
    state = {"fc1.weight": R(1).normal(size=(5, 4)).astype(np.float32), "fc1.bias": np.ones(5, np.float32)}
    worker = pickle.dumps({"state": {"default_policy": {"weights": state}}})
    (folder / "checkpoint-10").write_bytes(pickle.dumps({"worker": worker, "train_exec_impl": None}))
    return [Made(folder / "checkpoint-10", {f"state.default_policy.weights.{name}": each for name, each in state.items()})]


def archived(folder: Path) -> list[Made]:
    torch.save(weights(), under(folder, "run") / "model.pth")
    (folder / "run" / "notes.txt").write_text("A run.")
    for kind in ("zip", "tar", "gztar"):
        shutil.make_archive(str(folder / "models"), kind, folder, "run")
    return [Made(folder / f"models.{end}", weights()) for end in ("zip", "tar", "tar.gz")]


def packed(folder: Path) -> list[Made]:
    torch.save(weights(), folder / "model.pt")
    (folder / "model.pt.gz").write_bytes(gzip.compress((folder / "model.pt").read_bytes()))
    return [Made(folder / "model.pt.gz", weights())]


# What stays out: the path to give


def written(name: str, raw: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(raw)
        return folder / name

    return write


def keras(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        for name in ("metadata.json", "config.json"):
            archive.writestr(name, "{}")
        archive.writestr("model.weights.h5", HDF5)
    return folder / "model.keras"


HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)


def flax(folder: Path) -> Path:
    """A mapping of one text to an array in Flax' own type (1): its shape, its dtype, its bytes."""
    array = b"\x93" + b"\x92\x02\x03" + b"\xa7float32" + b"\xc4\x18" + np.arange(6, dtype=np.float32).tobytes()
    return written("flax_model.msgpack", b"\x81\xa6params\x81\xa1w" + b"\xc7" + bytes([len(array), 1]) + array)(folder)


def orbax(folder: Path) -> Path:
    for name in ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"):
        (under(folder, "checkpoint") / name).write_text("{}")
    return folder / "checkpoint"


def tensorflow(folder: Path) -> Path:
    under(folder, "saved").joinpath("saved_model.pb").write_bytes(b"\x08\x01\x12\x02\x0a\x00")
    variables = under(folder, "saved/variables")
    (variables / "variables.index").write_bytes(bytes(40) + bytes.fromhex("57fb808b247547db"))
    (variables / "variables.data-00000-of-00001").write_bytes(bytes(range(200)))
    return folder / "saved"


def old_script(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        for name in ("version", "code/net.py", "model.json", "tensors/0"):
            archive.writestr(f"net/{name}", "1")
    return folder / "model.pt"


def compiled(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        for name in ("archive_format", "data/aotinductor/model/a.so", "models/model.json"):
            archive.writestr(f"m/{name}", "pt2")
    return folder / "model.pt2"


def flat_fsdp(folder: Path) -> Path:
    for rank in range(2):
        torch.save({"_flat_param": torch.randn(40)}, under(folder, "saved") / f"model_rank{rank}.pt")
    return folder / "saved"
