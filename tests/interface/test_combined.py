"""All flags together in one run, on models of every kind; nothing is lost and nothing is a blank picture."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from tests.support.corpus import real
from tests.support.interface.reading import read_back
from tests.support.tools import DIGITS, torch2grid

FLAGS = ("--grid", "--layers", "--histogram", "--conv", "--stats", "--dead-neurons")
_RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return _RANDOM.normal(0, 0.1, size=shape).astype(np.float32)


def one_nan(path: Path) -> None:
    state = torch.load(DIGITS, weights_only=True)
    state["fc1.weight"][4, 5] = float("nan")
    torch.save(state, path)


def int8(path: Path) -> None:
    codes = _RANDOM.integers(-128, 128, size=(40, 30)).astype(np.int8)
    save_file({"q.weight": codes, "q.scale": weights(40), "steps": np.array(7)}, path)


def empty_tensor(path: Path) -> None:
    save_file({"w": weights(8, 8), "none": np.empty((0, 4), np.float32)}, path)


def scalar(path: Path) -> None:
    save_file({"w": weights(8, 8), "logit_scale": np.array(2.5, np.float32)}, path)


def case(path: Path) -> None:
    save_file({"Layer.weight": weights(6, 5), "layer.weight": weights(5, 6), "LAYER.weight": weights(4)}, path)


def transformer(path: Path) -> None:
    block = {
        "attn.c_attn.weight": weights(96, 32),
        "attn.c_proj.weight": weights(32, 32),
        "mlp.c_fc.weight": weights(128, 32),
        "ln_1.weight": 1 + weights(32),
        "ln_1.bias": weights(32),
    }
    tensors = {f"h.{layer}.{name}": array for layer in range(4) for name, array in block.items()}
    tensors["wte.weight"] = weights(200, 32)
    save_file({name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}, path)


MODELS: dict[str, Callable[[Path], None] | str] = {
    "digits": "digits",
    "facenet": "facenet/rnet.pt",
    "rxnmapper": "rxnmapper/pytorch_model.bin",
    "one_nan.pth": one_nan,
    "int8.safetensors": int8,
    "empty_tensor.safetensors": empty_tensor,
    "scalar.safetensors": scalar,
    "case.safetensors": case,
    "transformer.safetensors": transformer,
}


@pytest.mark.parametrize("name", MODELS)
def test_all_flags_in_one_run(tmp_path: Path, name: str) -> None:
    source = MODELS[name]
    if callable(source):
        model = tmp_path / name
        source(model)
    else:
        model = DIGITS if source == "digits" else real(source)
    run = torch2grid(model, *FLAGS, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "Layer Statistics Comparison" in run.stdout
    index = json.loads((tmp_path / "grids/index.json").read_text())["files"]
    written = [line for line in run.stdout.splitlines() if line.startswith("grids/")]
    assert len({line.casefold() for line in written}) == len(written)  # unique where case does not count
    assert {line.removeprefix("grids/") for line in written} == set(index)
    tensors = int(re.findall(r", (\d+)(?: of \d+)? tensors?(?: shown;|,) ", run.stderr)[0])
    for folder in ("layers", "histograms"):
        assert len([line for line in written if line.startswith(f"grids/{folder}/")]) == tensors
    for line in written:
        if line.endswith(".png"):
            with Image.open(tmp_path / line) as image:
                low, high = image.convert("L").getextrema()
                assert high - low > 60, f"{line} is blank"
                assert min(image.size) > 60
    if "conv" in name or name in ("digits", "facenet", "one_nan.pth"):
        assert [line for line in written if line.startswith("grids/conv_kernels/")]
    else:
        assert "conv: nothing to draw" in run.stderr


def test_a_nan_is_seen_everywhere(tmp_path: Path) -> None:
    one_nan(tmp_path / "m.pth")
    run = torch2grid("m.pth", "--grid", "--layers", "--max-cells", "20", "--stats", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for picture in ("neural_grid.png", "layers/fc1.weight.png"):
        values, empty, _ = read_back(tmp_path / "grids" / picture, tmp_path / "grids")
        assert (np.isnan(values.data) & ~empty.data).sum() == 1, picture


def test_bookkeeping_is_left_out_counted_and_brought_back(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = {**net.state_dict(), "position_ids": torch.arange(12).reshape(1, 12), "codes": torch.arange(20).reshape(4, 5)}
    torch.save(state, tmp_path / "m.pth")
    run = torch2grid("m.pth", "--stats", cwd=tmp_path)
    assert "num_batches_tracked" not in run.stdout
    assert "position_ids" not in run.stdout
    assert "codes" in run.stdout  # other integers are weights
    assert "7 of 9 tensors shown; not shown: bookkeeping (2); " in run.stderr
    every = torch2grid("m.pth", "--stats", "--include-buffers", cwd=tmp_path)
    assert "1.num_batches_tracked" in every.stdout
    assert "position_ids" in every.stdout
    torch.save({"steps": torch.tensor(3), "n.num_batches_tracked": torch.tensor(5)}, tmp_path / "only.pth")
    only = torch2grid("only.pth", cwd=tmp_path)
    assert only.returncode == 0
    assert "nothing but bookkeeping is there, so it is drawn" in only.stderr


def test_filters_by_flag_and_by_name(tmp_path: Path) -> None:
    def names(*words: str) -> list[str]:
        run = torch2grid(DIGITS, "--stats", *words, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        return [line.split()[0] for line in run.stdout.splitlines()[3:]]

    every = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert names() == every
    assert names("--only", "conv*") == every[:4]
    assert names("--only", "conv1.*", "--only", "*.bias") == [every[0], *[name for name in every if name.endswith("bias")]]
    assert names("--skip", "*.bias") == [name for name in every if name.endswith("weight")]
    assert names("--tensors", "1,3-5") == [every[0], *every[2:5]]
    assert names("--filter", "weights_only") == [name for name in every if name.endswith("weight")]
    assert names("--filter", "largest:count=2") == ["conv2.weight", "fc1.weight"]
    assert names("--filter", "min_size:weights=100") == [every[0], every[2], every[4], every[6]]
    assert names("--filter", "largest:count=2", "--only", "fc*") == ["fc1.weight"]
    assert names("--filter", "floating") == every
    nothing = torch2grid(DIGITS, "--filter", "min_size:weights=1000000", cwd=tmp_path)
    assert nothing.returncode == 1
    assert "keeps none of 8 tensors" in nothing.stderr


def test_a_run_that_draws_nothing_is_an_error(tmp_path: Path) -> None:
    save_file({"w": weights(3, 3)}, tmp_path / "m.safetensors")
    run = torch2grid("m.safetensors", "--conv", cwd=tmp_path)
    assert run.returncode == 1
    assert "conv: nothing to draw among 1 tensor" in run.stderr
    assert not (tmp_path / "grids").exists()
