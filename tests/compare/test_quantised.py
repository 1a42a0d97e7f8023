"""A quantised model beside its original: Δ is the quantisation error, of each tensor and of all."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import save_file
from tests.support.compare.llama import Llama
from tests.support.corpus import cases
from tests.support.tools import torch2grid

import torch2grid as t2g

SMALL = Llama()


def block_fp8(weight, block=32):
    """Codes and scales as DeepSeek stores them, and the weights that they stand for."""
    rows, columns = (-(-side // block) for side in weight.shape)
    scales = torch.zeros(rows, columns)
    codes = torch.zeros_like(weight)
    for row in range(rows):
        for column in range(columns):
            at = slice(row * block, (row + 1) * block), slice(column * block, (column + 1) * block)
            scales[row, column] = weight[at].abs().max() / 448
            codes[at] = weight[at] / scales[row, column]
    codes = codes.to(torch.float8_e4m3fn)
    wide = scales.repeat_interleave(block, 0)[: len(weight)].repeat_interleave(block, 1)[:, : weight.shape[1]]
    return codes, scales, codes.float() * wide


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and the same with its projections as block FP8."""
    place = tmp_path_factory.mktemp("quantised")
    SMALL.save_hf(place / "original")
    torch.save(SMALL.meta(), place / "consolidated.00.pth")
    state, truth = {}, {}
    for name, value in SMALL.hf().items():
        if "proj" in name:
            state[name], state[f"{name}_scale_inv"], truth[name] = block_fp8(value)
        else:
            state[name] = value
    (place / "fp8").mkdir()
    save_file(state, place / "fp8" / "model.safetensors")
    quantisation = {"quant_method": "fp8", "weight_block_size": [32, 32]}
    (place / "fp8" / "config.json").write_text(json.dumps({**SMALL.config, "quantization_config": quantisation}))
    return place, truth


def decibels(original, made):
    signal, noise = original.double().norm().item(), (made.double() - original.double()).norm().item()
    return noise / signal, 20 * math.log10(signal / noise)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("original", ["original", "consolidated.00.pth"])
def test_the_table_of_errors(folder, tmp_path, swap, original):
    place, truth = folder
    pair = ["fp8", original] if swap else [original, "fp8"]
    table = tmp_path / "table.csv"
    done = torch2grid("compare", *pair, "--stats", cwd=place)
    assert done.returncode == 1
    side, other = "AB" if swap else "BA"
    assert done.stdout.startswith(f"{side} is {other} quantised ("), done.stdout
    assert "21 of 30 tensors, relative error 0.0" in done.stdout.splitlines()[0]
    assert torch2grid("compare", *pair, "-q", "-o", str(table), cwd=place).returncode == 1
    rows = list(csv.DictReader(table.read_text().split("\n\n")[0].splitlines()))
    report = json.loads(torch2grid("compare", *pair, "-q", "--format", "json", cwd=place).stdout)
    assert report["quantised"] == side.lower()
    found = [each for each in report["tensors"] if "snr_db" in each]
    assert len(found) == len(truth) == len(rows) == 21
    by_name = {}
    for each in found:
        stored = each["name_in_a" if swap else "name_in_b"] if swap and original != "original" else each["name"]
        by_name[stored] = each
    from_hf = SMALL.hf()
    for name, made in truth.items():
        if name in by_name:
            relative, ratio = decibels(from_hf[name], made)
            assert by_name[name]["relative_error"] == pytest.approx(relative, rel=1e-5)
            assert by_name[name]["snr_db"] == pytest.approx(ratio, abs=1e-3)
    assert {*truth} == {*by_name}
    errors = [float(row["Relative error"]) for row in rows]
    assert errors == sorted(errors, reverse=True)  # the worst first


def test_pictures_say_what_they_show(folder):
    place, _ = folder
    pages = t2g.compare(str(place / "original"), str(place / "fp8"), layers=True)
    titles = [page.title for page in pages]
    assert any(title.startswith("Quantisation error Δ = ") for title in titles)
    assert any(title.startswith("Quantisation error of fp8/model.safetensors, relative to ") for title in titles)
    assert sum("quantisation error, SNR " in title for title in titles) == 21


def test_what_else_differs_is_no_quantisation_error(folder, tmp_path):
    place, _ = folder
    state = SMALL.hf()
    state["model.norm.weight"] = state["model.norm.weight"] + 1
    SMALL.save_hf(tmp_path / "other", state)
    done = torch2grid("compare", str(tmp_path / "other"), str(place / "fp8"), "-q", "--stats", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("different: 22 of 30 tensors changed")
    assert "norm of all" not in done.stdout
    assert "model.norm.weight" in done.stdout


@pytest.mark.parametrize("name", ["gptq-v1-4bit-g64", "bnb-nf4", "ct-w4a16", "awq-gemm-g64", "fp8-b64", "mlx-4bit"])
def test_what_libraries_write_beside_its_truth(tmp_path, name):
    """The truth with noise stands for the original: the error is the noise, within what the decoders promise."""
    truth = {key: value.astype(np.float32) for key, value in load_numpy(cases(f"formats/{name}/truth.safetensors")).items()}
    random = np.random.default_rng(0)
    original = {
        key: value + (0.01 * value.std() * random.standard_normal(value.shape)).astype(np.float32) if value.ndim > 1 else value
        for key, value in truth.items()
    }
    np.savez(tmp_path / "original.npz", **original)
    done = torch2grid("compare", "original.npz", cases(f"formats/{name}/ckpt"), "-q", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["quantised"] == "b"
    found = {each["name"]: each["snr_db"] for each in report["tensors"] if "snr_db" in each}
    assert found
    for key, ratio in found.items():
        noise = np.linalg.norm((original[key] - truth[key]).astype(np.float64))
        assert ratio == pytest.approx(20 * math.log10(np.linalg.norm(original[key].astype(np.float64)) / noise), abs=0.3)
