"""Every real checkpoint opens with the tensors that it has, bit by bit those that torch reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support.corpus import manifest, needs_corpus, real
from tests.support.loaders.opened import named, opened, same

from torch2grid_core import LoadError

CASES = [case for case in manifest("real") if case.get("expect") != "error"]
# The manifest counts torch tensors here; the files hold numpy arrays as well: the bounds of an action space, and the
# running mean and variance of observations.
NUMPY_BESIDE = {
    "a2c/AntBulletEnv-v0.pt": ("action_space.low", "action_space.high"),
    "a2c/Reacher-v2.pt": ("1.mean", "1.var"),
}
COUNTS = {"burn/reader/tar_2d_tensor.tar": 1, "burn/reader/tar_float32.tar": 1, "burn/reader/tar_float64.tar": 1}
COUNTS |= {"burn/reader/tar_int64.tar": 1, "derived/rxn_tied.pth": 3, "ptserial/torch031_storage_slices.pt": 2}


@needs_corpus
def test_the_manifest_has_cases() -> None:
    assert len(CASES) > 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_a_real_checkpoint_opens_with_all_its_tensors(case: dict[str, Any]) -> None:
    name = case["file"]
    checkpoint = opened(real(name))
    beside = NUMPY_BESIDE.get(name, ())
    assert set(beside) <= set(checkpoint)
    assert len(checkpoint) - len(beside) == case.get("tensors", COUNTS.get(name))
    if "params" in case:
        assert sum(tensor.size for key, tensor in checkpoint.items() if key not in beside) == case["params"]
    for tensor in checkpoint.values():
        assert tensor.numpy().shape == tensor.shape


@pytest.mark.parametrize("name", [case["file"] for case in CASES if case.get("weights_only") == "ok"])
def test_values_are_those_of_torch(name: str) -> None:
    expected = dict(named(torch.load(real(name), map_location="cpu", weights_only=True)))
    checkpoint = opened(real(name))
    assert list(checkpoint) == list(expected)
    assert [key for key in expected if not same(checkpoint[key], expected[key])] == []


@pytest.mark.parametrize("name", [case["file"] for case in CASES if case["file"].endswith(".safetensors")])
def test_values_are_those_of_safetensors(name: str) -> None:
    expected = load_file(real(name))
    checkpoint = opened(real(name))
    assert set(checkpoint) == set(expected)
    assert [key for key in expected if not same(checkpoint[key], expected[key])] == []


def test_shards_are_the_tensors_of_their_files() -> None:
    folder = real("derived/sharded_safetensors")
    expected = {}
    for path in folder.glob("*.safetensors"):
        expected.update(load_file(path))
    for place in (folder, folder / "model.safetensors.index.json"):
        checkpoint = opened(place)
        assert set(checkpoint) == set(expected)
        assert all(same(checkpoint[key], expected[key]) for key in expected)


def test_numpy_files_are_those_of_numpy() -> None:
    assert same(opened(real("candle/test.npy"))["test"], np.load(real("candle/test.npy")))
    with np.load(real("candle/test.npz")) as arrays:
        checkpoint = opened(real("candle/test.npz"))
        assert list(checkpoint) == arrays.files
        assert all(same(checkpoint[key], arrays[key]) for key in arrays.files)


def test_a_tar_of_the_first_pytorch_has_its_values() -> None:
    checkpoint = opened(real("burn/reader/tar_2d_tensor.tar"))
    assert checkpoint["matrix"].numpy().tolist() == np.arange(1, 13, dtype=np.float32).reshape(3, 4).tolist()


def test_a_whole_module_has_the_names_of_its_state_dict() -> None:
    whole = opened(real("derived/cifar_whole_module.pt"))
    plain = torch.load(real("captum/cifar_torchvision.pt"), weights_only=True)
    assert list(whole) == list(plain)
    assert all(same(whole[key], plain[key]) for key in plain)
    assert whole.parts == ()


def test_slices_of_one_storage_share_it() -> None:
    first, second = opened(real("ptserial/torch031_storage_slices.pt")).values()
    assert first.storage is second.storage


def test_tied_and_strided_names_of_one_tensor_are_aliases() -> None:
    checkpoint = opened(real("derived/rxn_tied.pth"))
    assert set(checkpoint.aliases.values()) == {"albert.embeddings.word_embeddings.weight"}
    assert len(checkpoint.aliases) == 2


@pytest.mark.parametrize(
    ("name", "model", "parts"),
    [
        ("admet/classification_model_0.pt", "state_dict.", {"hyper_parameters", "model"}),
        ("burn/reader/checkpoint.pt", "model_state_dict.", {"model", "optimizer"}),
        ("resnet_cifar/resnet20-12fca82f.th", "state_dict.", {"model"}),
        ("burn/config/weights_with_config.pt", "my_model.", {"model"}),
    ],
)
def test_the_model_is_found_among_the_parts(name: str, model: str, parts: set[str]) -> None:
    checkpoint = opened(real(name))
    assert {part.name for part in checkpoint.parts} == parts
    assert checkpoint.default_part == "model"
    found = checkpoint.part("model")
    assert list(found) == [key.removeprefix(model) for key in checkpoint if key.startswith(model)]


@pytest.mark.parametrize("name", ["burn/reader/nested_dict.pt", "facenet/pnet.pt", "burn/reader/scalar.pt"])
def test_a_state_dict_has_no_parts(name: str) -> None:
    assert opened(real(name)).parts == ()


def test_three_bytes_are_no_checkpoint() -> None:
    with pytest.raises(LoadError, match="bytes"):
        opened(real("burn/reader/broken.pt"))
