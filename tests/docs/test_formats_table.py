"""Each row of the table of docs/formats.md, with files in its maker's form: what they are, how they open, what is shown."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests.support import quantised
from tests.support.corpus import cases
from tests.support.docs import makers
from tests.support.docs.blocks import DOCS
from tests.support.docs.makers import Made, R, writes, written
from tests.support.tools import PROJECT, distribution

import torch2grid as t2g
from torch2grid_core import LoadError, PluginManager
from torch2grid_core._cli.main import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # PyTorch's, of forms that it will drop
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Row(NamedTuple):
    maker: str
    files: str
    opens: str
    shown: str


def rows() -> dict[str, Row]:
    """The rows of the first table, by maker."""
    text = (DOCS / "formats.md").read_text(encoding="utf-8")
    table = text[text.index("| made by |") :].split("\n\n", 1)[0].splitlines()[2:]
    found = [Row(*(cell.strip() for cell in line.strip("|").split(" | "))) for line in table]
    assert len({row.maker for row in found}) == len(found)
    return {row.maker: row for row in found}


ROWS = rows()
OPENS: dict[str, Callable[[Path], list[Made]]] = {
    "`torch.save`, since PyTorch 1.6": makers.torch_save,
    "`torch.save` of 0.4 to 1.5, or `_use_new_zipfile_serialization=False`": makers.torch_legacy,
    "`torch.save` of 0.1 to 0.3": makers.torch_tar,
    "`torch.jit.save` since 1.4, `_save_for_lite_interpreter`": makers.scripts,
    "`torch.package.PackageExporter`": makers.package,
    "`torch.export.save`, PyTorch 2.1 to 2.13": makers.program,
    "`unzip` of one of these": makers.unpacked,
    "`torch.ao` quantisation": makers.ao,
    "`torch.distributed.checkpoint.save` (DCP)": makers.dcp,
    "DCP with `HuggingFaceStorageWriter`": makers.dcp_safetensors,
    "FSDP 1, `torch.save` on each rank (`ShardedTensor`)": makers.fsdp1,
    "FSDP 2, tensor parallel, `torch.save` on each rank (`DTensor`)": makers.fsdp2,
    "torchtitan, `CheckpointManager`": makers.torchtitan,
    "DeepSpeed ZeRO 1 and 2, `save_checkpoint`": makers.zero2,
    "DeepSpeed ZeRO 3, `save_checkpoint`": makers.zero3,
    "Megatron-LM, `save_checkpoint` with `--ckpt-format torch`": makers.megatron,
    "Megatron-Core and NeMo 2, `--ckpt-format torch_dist`": makers.megatron_core,
    "NeMo 1, `save_to`": makers.nemo,
    "Lightning, `Trainer.save_checkpoint`, `ModelCheckpoint`": makers.lightning,
    'Lightning with `FSDPStrategy(state_dict_type="sharded")`': makers.lightning_folder,
    "transformers, `save_pretrained`": makers.pretrained,
    "transformers, `Trainer`": makers.trainer,
    "accelerate, `save_state`": makers.accelerate,
    "accelerate with FSDP, `save_state` with `SHARDED_STATE_DICT`": makers.accelerate_fsdp,
    "Composer, `save_folder`": makers.composer,
    "fastai, `Learner.save`": makers.fastai,
    "PEFT, Unsloth, `save_pretrained` of an adapter": makers.peft,
    "kohya's scripts": makers.kohya,
    "diffusers, `save_lora_weights`": makers.diffusers_lora,
    "diffusers, `save_pretrained` of a pipeline": makers.pipeline,
    "compressed-tensors: llm-compressor, vLLM": writes(*makers.compressed()),
    "ModelOpt, `export_hf_checkpoint` with NVFP4": writes(makers.modelopt),
    "AMD's Quark with MXFP4": writes(lambda: quantised.quark(R(1), 5, 3)),
    "DeepSeek and transformers, FP8 in blocks": writes(lambda: quantised.block_fp8(R(1), 37, 45, (16, 32))),
    "DeepSeek's own programs, FP8 with `scale`": writes(
        lambda: quantised.beside(R(1), 37, 45, "scale", 16), name="model0-mp1.safetensors"
    ),
    "Mistral's own files in FP8 (`qscale_weight`)": writes(
        lambda: quantised.beside(R(1), 37, 45, "qscale_weight"), name="consolidated.safetensors"
    ),
    "ComfyUI, FP8 with `scale_weight`": writes(
        lambda: quantised.beside(R(1), 37, 45, "scale_weight"), name="flux1_fp8_scaled.safetensors"
    ),
    "BitNet, transformers": writes(lambda: quantised.bitnet(R(1), 21, 13, multiplies=True)),
    "OpenAI's own files of gpt-oss": writes(lambda: quantised.openai(R(1), 2, 5, 3)),
    "gpt-oss, MXFP4": writes(lambda: quantised.gpt_oss(R(1), 2, 5, 3)),
    "AutoGPTQ, GPTQModel": writes(
        lambda: quantised.gptq(R(1), 3, 32, 4, 32, version=1, act_order=True),
        lambda: quantised.gptq(R(1), 3, 32, 8, 32, version=2, act_order=False),
    ),
    "AutoRound, `auto_round` and `auto_round:auto_gptq`": writes(
        lambda: makers.autoround("auto_round", quantised.gptq(R(1), 3, 32, 4, 32, version=2, act_order=False)),
        lambda: makers.autoround("auto_round:auto_gptq", quantised.gptq(R(1), 3, 32, 4, 32, version=1, act_order=False)),
    ),
    "AutoRound, `auto_round:auto_awq`": writes(lambda: makers.autoround("auto_round:auto_awq", quantised.awq(R(1), 70, 3, 32))),
    "AutoAWQ": writes(lambda: quantised.awq(R(1), 70, 3, 32)),
    "bitsandbytes: NF4, FP4, INT8": writes(
        lambda: quantised.bitsandbytes4(R(1), (21, 13), 64, kind="nf4", nested=True),
        lambda: quantised.bitsandbytes4(R(1), (21, 13), 64, kind="fp4", nested=False),
        lambda: quantised.bitsandbytes8(R(1), 7, 9),
    ),
    "HQQ, `save_quantized`": makers.hqq,
    "optimum-quanto": writes(lambda: quantised.quanto(R(1), 7, 3, 32, 4)),
    "torchao, `quantize_`": writes(lambda: quantised.torchao(R(1), 7, 3, 32, zero=True)),
    "MLX, `mlx_lm.convert -q`": writes(lambda: quantised.mlx(R(1), 5, 3, 4, 64)),
    "llama.cpp (GGUF)": makers.gguf,
    "ONNX, any writer": makers.onnx_models,
    "ONNX Runtime, `quantize_dynamic`, `quantize_static`, `MatMulNBitsQuantizer`": makers.onnx_runtime,
    "numpy, `save`, `savez`, `savez_compressed`": makers.numpy_files,
    "joblib, `dump`": makers.joblibs,
    "`pickle.dump` of tensors or arrays": makers.pickles,
    "RLlib": makers.rllib,
    "`zip`, `tar`, `tar czf`, TorchServe's `.mar`": makers.archived,
    "gzip of any file above": makers.packed,
}
REFUSED: dict[str, Callable[[Path], Path]] = {
    "Keras, `model.save`": makers.keras,
    "Keras, `save_weights`": written("model.weights.h5", makers.HDF5),
    "Flax, `msgpack_serialize`": makers.flax,
    "Orbax": makers.orbax,
    "TensorFlow": makers.tensorflow,
    "TensorFlow Lite": written("model.tflite", b"\x1c\0\0\0TFL3" + bytes(100)),
    "ExecuTorch": written("model.pte", b"\x1c\0\0\0ET12" + bytes(100)),
    "ONNX Runtime": written("model.ort", b"\x1c\0\0\0ORTM" + bytes(100)),
    "AOTInductor": makers.compiled,
    "GGML, llama.cpp before GGUF": written("ggml-model.bin", (0x67676A74).to_bytes(4, "little") + b"\3" + bytes(99)),
    "llama.cpp (GGUF), without the plugin": written("model.gguf", b"GGUF\3\0\0\0" + bytes(100)),
    "`torch.jit.save` of 1.0 to 1.3": makers.old_script,
    "FSDP 1 with flat parameters, `torch.save` on each rank": makers.flat_fsdp,
}
# Entries of the cases that real libraries wrote, by row: in addition to the files that are written here.
ENTRIES = {
    "`torch.jit.save` since 1.4, `_save_for_lite_interpreter`": ["jit-lite", "jit-scripted", "jit-traced"],
    "`torch.package.PackageExporter`": ["package"],
    "`torch.export.save`, PyTorch 2.1 to 2.13": ["pt2"],
    "`torch.ao` quantisation": ["ao-dynamic-module", "ao-dynamic-sd", "ao-static-sd"],
    "`torch.distributed.checkpoint.save` (DCP)": ["dcp-fsdp1", "dcp-fsdp2", "dcp-plain"],
    "DCP with `HuggingFaceStorageWriter`": ["dcp-hf-plain", "dcp-hf-sharded"],
    "FSDP 2, tensor parallel, `torch.save` on each rank (`DTensor`)": ["dtensor-per-rank"],
    "DeepSpeed ZeRO 1 and 2, `save_checkpoint`": ["deepspeed-zero2"],
    "DeepSpeed ZeRO 3, `save_checkpoint`": ["deepspeed-zero3"],
    "Lightning, `Trainer.save_checkpoint`, `ModelCheckpoint`": ["lightning-ckpt"],
    "transformers, `save_pretrained`": ["healthy-llama"],
    "transformers, `Trainer`": ["hf-trainer"],
    "accelerate, `save_state`": ["accelerate-state"],
    "fastai, `Learner.save`": ["fastai-save"],
    "PEFT, Unsloth, `save_pretrained` of an adapter": ["peft-lora"],
    "compressed-tensors: llm-compressor, vLLM": ["ct-fp8-dynamic", "ct-nvfp4a16", "ct-w4a16", "ct-w8a8"],
    "gpt-oss, MXFP4": ["mxfp4-gptoss-e2"],
    "AutoGPTQ, GPTQModel": ["gptq-v1-4bit-g64", "gptq-v1-8bit-g32-sym"],
    "AutoAWQ": ["awq-gemm-g64"],
    "bitsandbytes: NF4, FP4, INT8": ["bnb-int8", "bnb-nf4"],
    "HQQ, `save_quantized`": ["hqq-4bit-pt", "hqq-4bit-qmodel"],
    "optimum-quanto": ["quanto-qint8"],
    "torchao, `quantize_`": ["torchao-hf-int8wo", "torchao-float8wo-safetensors", "torchao-int8wo-safetensors"],
    "MLX, `mlx_lm.convert -q`": ["mlx-4bit", "mlx-8bit-f32"],
    "ONNX, any writer": ["onnx-external", "onnx-inline"],
}


def quoted(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def patterns(cell: str) -> list[re.Pattern[str]]:
    """What the summary line may begin with: for each format of the cell."""
    formats, _, _ = cell.partition(", decoded by ")
    formats, _, _ = formats.partition(", with the plugin ")
    found = []
    for form in quoted(formats):
        words = re.escape(form).replace(r"\ ", " ")
        words = re.sub(r"(?<= )N(?= )|^N(?= )|(?<=v)N$", r"\\d+", words)
        words = re.sub(r"(?<=\\d\+ )(\S+?-parallel )?(rank|share|shard)s", r"\1\2s?", words)
        found.append(re.compile(rf"{words}(, rank \d+)?, \d"))
    return found


def tree(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(["tree", str(path), "--format", "json"])
    return code, *capsys.readouterr()


def summary(err: str) -> str:
    """The last line, behind the path."""
    return err.strip().splitlines()[-1].partition(": ")[2]


def test_every_row_is_tried_and_nothing_else() -> None:
    refused = {maker for maker, row in ROWS.items() if row.opens.startswith("no: ")}
    assert set(OPENS) == set(ROWS) - refused
    assert set(REFUSED) == refused
    assert set(ENTRIES) <= set(OPENS)


def lies_there(row: Row, folder: Path) -> None:
    """Every name that the row quotes is that of a file or folder here."""
    here = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    for name in quoted(row.files):
        pattern = name.replace("[", "[[]").replace("…", "*")
        assert any(fnmatch.fnmatchcase(f"/{path}", f"*/{pattern}") for path in here) or _in_archive(name, folder), name


def _in_archive(name: str, folder: Path) -> bool:
    return any(f"/{name}".encode() in path.read_bytes() for path in folder.iterdir() if path.is_file())


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """torch2grid-gguf, as if it were installed."""
    pytest.importorskip("gguf")
    site = tmp_path_factory.mktemp("site")
    info = distribution(site, "torch2grid-gguf", "", version="0.1.0") / "torch2grid_gguf-0.1.0.dist-info"
    (info / "entry_points.txt").write_text("[torch2grid]\ngguf = torch2grid_gguf.plugin\n", encoding="utf-8")
    (site / "torch2grid_gguf.py").unlink()
    monkeypatch.syspath_prepend(site)
    monkeypatch.syspath_prepend(PROJECT / "plugins" / "torch2grid_gguf" / "src")


@pytest.mark.parametrize("maker", OPENS)
def test_a_row_that_opens(
    maker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    row = ROWS[maker]
    if "with the plugin" in row.opens:
        request.getfixturevalue("plugin")
    made = OPENS[maker](tmp_path)
    lies_there(row, tmp_path)
    expected, matched, told = patterns(row.opens), set(), ""
    decoder = quoted(row.opens.partition(", decoded by ")[2])
    for path, shown in made:
        code, out, err = tree(path, capsys)
        assert code == 0, err
        listed = {each["name"]: tuple(each["shape"]) for each in json.loads(out)["tensors"]}
        assert listed == {name: tuple(each.shape) for name, each in shown.items()}
        line = summary(err)
        fitting = {pattern for pattern in expected if pattern.match(line)}
        assert fitting, f"{line}\nthe page says: {row.opens}"
        assert re.findall(r"decoded by (\w+)", line) == decoder
        assert "not decoded" not in err
        matched |= fitting
        told += err
        opened = PluginManager.discover().open(path)
        for name, values in shown.items():
            (full,) = [each for each in opened if each == name or each.endswith(f".{name}")]
            want = values.detach().numpy() if hasattr(values, "detach") else values
            np.testing.assert_allclose(opened[full].numpy(), want, rtol=1e-6, atol=1e-9, err_msg=full)
    assert matched == set(expected)  # no format stands there that nothing opens as
    for name in quoted(re.sub(r"; one of several .*|ΔW.*", "", row.shown)):
        if name not in NAMED:
            assert name in told, name


NAMED = {"nn.Module", "zero_to_fp32.py", "model_weights.ckpt"}  # words of the last column that no line need say


@pytest.mark.parametrize("maker", REFUSED)
def test_a_row_that_stays_out(maker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = ROWS[maker]
    path = REFUSED[maker](tmp_path)
    lies_there(row, tmp_path)
    code, out, err = tree(path, capsys)
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    (reason,) = quoted(row.opens)
    assert f": {reason}" in line
    assert quoted(row.shown)
    assert [each for each in quoted(row.shown) if each not in line] == []
    with pytest.raises(LoadError, match=re.escape(reason)):
        t2g.load(path)


@pytest.mark.parametrize(("maker", "entry"), [(maker, entry) for maker, entries in ENTRIES.items() for entry in entries])
def test_what_the_library_itself_wrote(maker: str, entry: str, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = cases("formats/manifest.json")
    if not manifest.is_file():
        pytest.skip("no such cases")
    found = {each["name"]: each["entry"] for each in json.loads(manifest.read_text(encoding="utf-8"))}
    code, out, err = tree(cases(f"formats/{found[entry]}"), capsys)
    assert code == 0, err
    assert json.loads(out)["tensors"]
    line = summary(err)
    assert any(pattern.match(line) for pattern in patterns(ROWS[maker].opens)), line
    assert re.findall(r"decoded by (\w+)", line) == quoted(ROWS[maker].opens.partition(", decoded by ")[2])
