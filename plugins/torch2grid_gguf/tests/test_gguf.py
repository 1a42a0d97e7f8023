"""GGUF files made here, against what the gguf package itself makes of them."""

from __future__ import annotations

import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

from torch2grid_core import LazyTensor, LoadError
from torch2grid_core.sources import LocalSource
from torch2grid_core.testing import conformance
from torch2grid_gguf.loader import Gguf

PLAIN = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")


def dequantised() -> list[GGMLQuantizationType]:
    """Every quantisation that the installed gguf package can dequantise."""
    found = []
    for kind, (_, width) in GGML_QUANT_SIZES.items():
        if kind.name not in PLAIN:
            try:
                dequantize(np.zeros(width, np.uint8), kind)
            except NotImplementedError:
                continue
            found.append(kind)
    return found


def blocks(kind: GGMLQuantizationType, rows: int, columns: int) -> np.ndarray:
    """Quantised rows: made by the package where it can, else random bytes with NaN-free scales, as uint8 (rows, bytes)."""
    block, width = GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(int(kind))
    try:
        return quantize(random.normal(size=(rows, columns)).astype(np.float32), kind)
    except NotImplementedError:
        return random.integers(0, 256, (rows, columns // block * width), dtype=np.uint8)


def write(path: Path, endianess: GGUFEndian = GGUFEndian.LITTLE, kinds: list[GGMLQuantizationType] | None = None) -> Path:
    """A file with plain tensors and one of each quantisation of *kinds*."""
    random = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama", endianess=endianess)
    writer.add_name("a small one")
    writer.add_context_length(2048)
    writer.add_token_list([f"token {i}" for i in range(300)])
    writer.add_token_scores([0.5] * 300)
    writer.add_tensor("token_embd.weight", random.normal(size=(5, 64)).astype(np.float32))
    writer.add_tensor("norm.weight", np.ones(64, np.float16))
    writer.add_tensor("ids", np.arange(12, dtype=np.int32).reshape(3, 4))
    for kind in kinds or []:
        data = blocks(kind, 3, 512)
        writer.add_tensor(f"blk.{kind.name}.weight", data, raw_shape=data.shape, raw_dtype=kind)
    bf16 = random.normal(size=(2, 6)).astype(ml_dtypes.bfloat16)
    writer.add_tensor("half.weight", bf16.view(np.uint8), raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def samples(folder: Path) -> list[Path]:
    kinds = [GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q8_0, GGMLQuantizationType.IQ2_XXS]
    return [write(folder / "small.gguf", kinds=kinds)]


@conformance("torch2grid_gguf.plugin", files=samples)
def test_it_conforms(check):
    check()


@pytest.mark.parametrize("kind", dequantised(), ids=lambda kind: kind.name)
def test_values_are_those_of_the_gguf_package(kind: GGMLQuantizationType, tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", kinds=[kind])
    (theirs,) = (each for each in GGUFReader(path).tensors if each.tensor_type == kind)
    tensor = Gguf().load(LocalSource(path))[f"blk.{kind.name}.weight"]
    with np.errstate(all="ignore"):
        expected = dequantize(theirs.data, kind)
    assert tensor.shape == expected.shape == (3, 512)
    assert (tensor.dtype, tensor.note) == (np.float32, f"{kind.name}, dequantised")
    np.testing.assert_array_equal(tensor.numpy(), expected)
    in_pieces = np.concatenate([part.copy() for part in tensor.chunks(4 * 100)])
    np.testing.assert_array_equal(in_pieces, expected.reshape(-1))


def test_every_usual_quantisation_is_among_them() -> None:
    names = {kind.name for kind in dequantised()}
    assert names >= {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"}


def test_a_large_tensor_is_read_in_stretches(tmp_path: Path) -> None:
    data = quantize(np.random.default_rng(1).normal(size=(300, 1024)).astype(np.float32), GGMLQuantizationType.Q8_0)
    writer = GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("w", data, raw_shape=data.shape, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensor = Gguf().load(LocalSource(tmp_path / "x.gguf"))["w"]
    expected = dequantize(data, GGMLQuantizationType.Q8_0)
    np.testing.assert_array_equal(tensor.numpy(), expected)
    assert sum(len(part) for part in tensor.chunks()) == 300 * 1024


def test_plain_types_and_metadata(tmp_path: Path) -> None:
    checkpoint = Gguf().load(LocalSource(write(tmp_path / "x.gguf")))
    assert {name: (each.dtype.name, each.shape) for name, each in checkpoint.items()} == {
        "token_embd.weight": ("float32", (5, 64)),
        "norm.weight": ("float16", (64,)),
        "ids": ("int32", (3, 4)),
        "half.weight": ("bfloat16", (2, 6)),
    }
    assert checkpoint["ids"].numpy().tolist() == np.arange(12).reshape(3, 4).tolist()
    assert checkpoint.format == "GGUF v3"
    assert checkpoint.metadata["general.name"] == "a small one"
    assert checkpoint.metadata["llama.context_length"] == "2048"
    assert checkpoint.metadata["tokenizer.ggml.tokens"] == "300 texts"


def test_a_big_endian_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", GGUFEndian.BIG, [GGMLQuantizationType.Q8_0])
    checkpoint = Gguf().load(LocalSource(path))
    np.testing.assert_array_equal(checkpoint["ids"].numpy(), np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(checkpoint["norm.weight"].numpy(), np.ones(64))
    assert [(skip.name, skip.reason) for skip in checkpoint.skipped] == [
        ("blk.Q8_0.weight", "Q8_0: quantised, in a big-endian file")
    ]


def header(tensors: int = 0, pairs: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def text(value: bytes, claimed: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if claimed is None else claimed) + value


def described(kind: int, dims: tuple[int, ...], offset: int = 0) -> bytes:
    return text(b"w") + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


DAMAGED = {
    "claims 4,611,686,018,427,387,904 tensors": header(1 << 62, 1 << 62),
    "metadata entries": header(0, 1 << 60) + bytes(100),
    "version 1;": header(version=1) + bytes(100),
    "version 7;": header(version=7) + bytes(100),
    "unknown type 77": header(0, 1) + text(b"key") + struct.pack("<I", 77) + bytes(100),
    "characters of a text": header(0, 1) + text(b"key", 1 << 50) + bytes(100),
    "values of an array": header(0, 1) + text(b"key") + struct.pack("<IIQ", 9, 4, 1 << 61) + bytes(100),
    "unknown type 9": header(0, 1) + text(b"key") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9 + bytes(100),
    "alignment of 3": header(0, 1) + text(b"general.alignment") + struct.pack("<II", 4, 3) + bytes(100),
    "tensor of 4,000,000 dimensions": header(1) + text(b"w") + struct.pack("<I", 4_000_000) + bytes(100),
    "a record claims": header(1) + described(0, (1 << 40,)) + bytes(100),
    "bytes, a record": header(1) + described(0, (4,), 1 << 63) + bytes(100),
    "in blocks of 32": header(1) + described(2, (33,)) + bytes(100),
    "two tensors of the name 'w'": header(2) + described(0, (4,)) * 2 + bytes(100),
}


@pytest.mark.parametrize("told", DAMAGED)
def test_a_header_that_lies_is_a_clear_error(told: str, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(DAMAGED[told])
    with pytest.raises(LoadError) as failure:
        Gguf().load(LocalSource(path))
    assert told in str(failure.value)
    assert str(path) in str(failure.value)


def test_a_type_without_dequantisation_is_skipped_and_says_so(tmp_path: Path) -> None:
    kind = GGMLQuantizationType.Q8_K
    assert kind not in dequantised()
    width = GGML_QUANT_SIZES[kind][1]
    (tmp_path / "x.gguf").write_bytes(
        header(2) + described(int(kind), (256,)) + text(b"v") + described(999, (4,))[9:] + bytes(width + 64)
    )
    checkpoint = Gguf().load(LocalSource(tmp_path / "x.gguf"))
    assert not checkpoint
    assert [skip.reason for skip in checkpoint.skipped] == ["Q8_K: not dequantised by the gguf package", "unknown type 999"]


def test_tensors_travel_to_other_processes(tmp_path: Path) -> None:
    tensor = Gguf().load(LocalSource(write(tmp_path / "x.gguf", kinds=[GGMLQuantizationType.Q6_K])))["blk.Q6_K.weight"]
    assert isinstance(tensor, LazyTensor)
    assert tensor.storage.shippable
