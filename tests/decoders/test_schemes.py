"""Each scheme, written by numpy bit by bit, is decoded to the weights that it stands for, whole and in any part."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support import quantised
from tests.support.quantised import Quantised

import torch2grid as t2g
from torch2grid_core import Checkpoint

Draw = Callable[[Any], Any]
small, few = st.integers(1, 70), st.integers(1, 5)


def _random(draw: Draw) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32)))


@st.composite
def packed(draw: Draw) -> Quantised:
    flags = draw(st.booleans()), draw(st.booleans())
    size = draw(st.integers(1, 200)), draw(st.integers(1, 8)), draw(st.sampled_from([8, 16, 32, 33, 128]))
    return quantised.pack_quantized(_random(draw), draw(small), *size, asymmetric=flags[0], act_order=flags[1])


@st.composite
def eight_bits(draw: Draw) -> Quantised:
    kind = draw(st.sampled_from(["int8", "float8_e4m3fn", "float8_e5m2"]))
    return quantised.plain(_random(draw), draw(small), draw(small), kind, per_row=draw(st.booleans()))


@st.composite
def float4(draw: Draw) -> Quantised:
    made = draw(st.sampled_from([quantised.nvfp4, quantised.mxfp4, quantised.mxfp6, quantised.quark]))
    return made(_random(draw), draw(small), draw(few))  # type: ignore[no-any-return]


@st.composite
def fp8(draw: Draw) -> Quantised:
    block = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    return quantised.block_fp8(_random(draw), draw(small), draw(small), block, draw(st.integers(0, 3)))


@st.composite
def experts(draw: Draw) -> Quantised:
    return quantised.gpt_oss(_random(draw), draw(few), draw(small), draw(few))


@st.composite
def fp8_beside(draw: Draw) -> Quantised:
    end, block = draw(st.sampled_from([("scale", 0), ("scale", 8), ("scale", 128), ("qscale_weight", 0), ("scale_weight", 0)]))
    return quantised.beside(_random(draw), draw(small), draw(small), end, block)


@st.composite
def fp8_experts(draw: Draw) -> Quantised:
    return quantised.experts8(_random(draw), draw(few), draw(st.integers(2, 70)), draw(st.integers(2, 70)))


@st.composite
def bitnet(draw: Draw) -> Quantised:
    return quantised.bitnet(_random(draw), draw(small), draw(small), multiplies=draw(st.booleans()))


@st.composite
def openai(draw: Draw) -> Quantised:
    return quantised.openai(_random(draw), draw(few), draw(small), draw(few))


@st.composite
def gptq(draw: Draw) -> Quantised:
    bits, group = draw(st.sampled_from([2, 3, 4, 8])), draw(st.sampled_from([16, 32, 64, 128]))
    version, out = draw(st.sampled_from([1, 2])), 32 * draw(st.integers(1, 3))
    return quantised.gptq(_random(draw), draw(few), out, bits, group, version=version, act_order=draw(st.booleans()))


@st.composite
def awq(draw: Draw) -> Quantised:
    return quantised.awq(_random(draw), draw(st.integers(1, 200)), draw(few), draw(st.sampled_from([16, 32, 64, 128])))


@st.composite
def four_bits(draw: Draw) -> Quantised:
    shape = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=3)))
    kind, block = draw(st.sampled_from(["nf4", "fp4"])), draw(st.sampled_from([32, 64, 128]))
    return quantised.bitsandbytes4(_random(draw), shape, block, kind=kind, nested=draw(st.booleans()))


@st.composite
def int8(draw: Draw) -> Quantised:
    return quantised.bitsandbytes8(_random(draw), draw(small), draw(small))


@st.composite
def mlx(draw: Draw) -> Quantised:
    bits, group = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 8])), draw(st.sampled_from([32, 64, 128]))
    return quantised.mlx(_random(draw), draw(small), draw(few), bits, group, draw(st.sampled_from([(), (3,)])))


@st.composite
def mlx_floats(draw: Draw) -> Quantised:
    mode = draw(st.sampled_from(["mxfp4", "mxfp8", "nvfp4"]))
    return quantised.mlx_floats(_random(draw), draw(small), draw(few), mode, config=draw(st.booleans()))


@st.composite
def torchao_floats(draw: Draw) -> Quantised:
    kind, rows = draw(st.sampled_from(["nvfp4", "mxfp4", "mxfp8"])), draw(st.integers(1, 300))
    return quantised.torchao_floats(_random(draw), rows, draw(st.integers(1, 9)), kind, in_tiles=draw(st.booleans()))


@st.composite
def torchao_affine(draw: Draw) -> Quantised:
    inner = draw(st.sampled_from(["tensor_impl", "layout_tensor", "original_weight_tensor.tensor_impl"]))
    group = draw(st.sampled_from([8, 48, 64]))
    return quantised.torchao_affine(_random(draw), draw(small), draw(few), group, inner=inner)


@st.composite
def torchao(draw: Draw) -> Quantised:
    group = draw(st.sampled_from([8, 32, 64]))
    return quantised.torchao(_random(draw), draw(st.integers(2, 70)), draw(few), group, zero=draw(st.booleans()))


@st.composite
def quanto(draw: Draw) -> Quantised:
    group = draw(st.sampled_from([8, 32, 128]))
    return quantised.quanto(_random(draw), draw(st.integers(4, 70)), draw(few), group, draw(st.sampled_from([2, 4])))


@st.composite
def quanto_kernels(draw: Draw) -> Quantised:
    shape = draw(st.integers(3, 40)), draw(few), draw(few), draw(few)
    return quantised.quanto_kernel(_random(draw), shape, draw(st.sampled_from([2, 4])))


@st.composite
def onnx_runtime(draw: Draw) -> Quantised:
    shape = tuple(draw(st.lists(st.integers(1, 30), min_size=1, max_size=4, unique=True)))
    axes = st.sampled_from([None, 0, len(shape) - 1])
    return quantised.onnx_runtime(_random(draw), shape, draw(axes), draw(st.sampled_from(["int8", "uint8"])))


@st.composite
def matmul_nbits(draw: Draw) -> Quantised:
    bits, group = draw(st.sampled_from([2, 4, 8])), draw(st.sampled_from([16, 32, 128]))
    return quantised.matmul_nbits(_random(draw), draw(small), draw(few), group, bits, zero=draw(st.booleans()))


@st.composite
def hqq(draw: Draw) -> Quantised:
    bits, per = draw(st.sampled_from([1, 2, 3, 4, 8])), draw(st.sampled_from([8, 32, 64]))
    rows = 8 * draw(few)  # hqq packs whole words, but for 3 bits
    axis, as_float = draw(st.sampled_from([0, 1])), draw(st.sampled_from([None, np.float32, np.float16]))
    return quantised.hqq(_random(draw), rows, draw(few), per, bits, axis, as_float)


SCHEMES = {
    "compressed_tensors packed": packed(),
    "compressed_tensors plain": eight_bits(),
    "compressed_tensors float4": float4(),
    "block_fp8": fp8(),
    "block_fp8 beside": fp8_beside(),
    "block_fp8 experts": fp8_experts(),
    "bitnet": bitnet(),
    "mxfp4": experts(),
    "mxfp4 openai": openai(),
    "gptq": gptq(),
    "awq": awq(),
    "bitsandbytes four": four_bits(),
    "bitsandbytes eight": int8(),
    "mlx": mlx(),
    "mlx floats": mlx_floats(),
    "torchao": torchao(),
    "torchao floats": torchao_floats(),
    "torchao affine": torchao_affine(),
    "quanto": quanto(),
    "quanto kernels": quanto_kernels(),
    "hqq": hqq(),
    "onnx_runtime": onnx_runtime(),
    "onnx_runtime blocks": matmul_nbits(),
}


def opened(case: Quantised, folder: str) -> Checkpoint:
    return t2g.load(case.write(Path(folder)))


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=settings().max_examples // 5)
@given(data=st.data())
def test_the_weights_are_what_is_meant(scheme: str, data: Any) -> None:
    case: Quantised = data.draw(SCHEMES[scheme])
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = opened(case, folder)
        assert set(checkpoint) == set(case.meant), checkpoint.notes
        assert not checkpoint.notes
        for name, meant in case.meant.items():
            tensor = checkpoint[name]
            assert tensor.shape == meant.shape
            np.testing.assert_array_max_ulp(tensor.numpy(), meant.astype(np.float32), maxulp=0)
            if name in checkpoint.composed:
                assert checkpoint.composed[name].by == scheme.split()[0]
                assert set(checkpoint.composed[name].of) <= set(case.stored)
        assert checkpoint.parameters == sum(each.size for each in case.meant.values())


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=settings().max_examples // 5)
@given(data=st.data())
def test_any_part_is_that_part_of_the_whole(scheme: str, data: Any) -> None:
    case: Quantised = data.draw(SCHEMES[scheme])
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = opened(case, folder)
        name = next(iter(checkpoint.composed))
        tensor = pickle.loads(pickle.dumps(checkpoint[name]))
        whole = tensor.numpy()
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, tensor.size)] * 2)))
        np.testing.assert_array_equal(tensor.read(start, stop), whole.reshape(-1)[start:stop])
        index = tuple(data.draw(st.slices(length)) for length in tensor.shape)
        index = tuple(slice(each.start, each.stop, abs(each.step or 1)) for each in index)
        np.testing.assert_array_equal(tensor[index], whole[index])
        least = 4 * (1 + tensor.size // 500)  # bytes: single weights of a small tensor, and never more than 500 pieces
        pieces = [piece.copy() for piece in tensor.chunks(data.draw(st.sampled_from([least, 11 * least, 1 << 20])))]
        np.testing.assert_array_equal(np.concatenate(pieces), whole.reshape(-1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_raw_shows_what_is_stored(scheme: str, tmp_path: Path) -> None:
    case = ONE[scheme]()
    raw = t2g.load(case.write(tmp_path), raw=True)
    assert set(raw) == set(case.stored)


def _large(make: Callable[[np.random.Generator], Quantised]) -> Callable[[], Quantised]:
    return lambda: make(np.random.default_rng(3))


ONE = {
    "compressed_tensors packed": _large(
        lambda random: quantised.pack_quantized(random, 300, 2100, 4, 128, asymmetric=True, act_order=False)
    ),
    "compressed_tensors plain": _large(lambda random: quantised.plain(random, 700, 900, "float8_e4m3fn")),
    "compressed_tensors float4": _large(lambda random: quantised.nvfp4(random, 500, 60)),
    "block_fp8": _large(lambda random: quantised.block_fp8(random, 700, 900, (128, 128))),
    "block_fp8 beside": _large(lambda random: quantised.beside(random, 700, 900, "scale", 128)),
    "block_fp8 experts": _large(lambda random: quantised.experts8(random, 3, 300, 900)),
    "bitnet": _large(lambda random: quantised.bitnet(random, 702, 900, multiplies=False)),
    "mxfp4 openai": _large(lambda random: quantised.openai(random, 3, 700, 10)),
    "mxfp4": _large(lambda random: quantised.gpt_oss(random, 3, 700, 10)),
    "gptq": _large(lambda random: quantised.gptq(random, 20, 960, 3, 128, version=1, act_order=True)),
    "awq": _large(lambda random: quantised.awq(random, 900, 90, 128)),
    "bitsandbytes four": _large(lambda random: quantised.bitsandbytes4(random, (701, 901), 64, kind="nf4", nested=True)),
    "bitsandbytes eight": _large(lambda random: quantised.bitsandbytes8(random, 700, 900)),
    "mlx": _large(lambda random: quantised.mlx(random, 700, 14, 6, 64)),
    "mlx floats": _large(lambda random: quantised.mlx_floats(random, 700, 28, "mxfp8")),
    "torchao floats": _large(lambda random: quantised.torchao_floats(random, 700, 56, "nvfp4", in_tiles=True)),
    "torchao affine": _large(lambda random: quantised.torchao_affine(random, 700, 28, 32)),
    "torchao": _large(lambda random: quantised.torchao(random, 700, 28, 32, zero=True)),
    "quanto kernels": _large(lambda random: quantised.quanto_kernel(random, (701, 100, 3, 3), 4)),
    "quanto": _large(lambda random: quantised.quanto(random, 700, 7, 128, 4)),
    "onnx_runtime": _large(lambda random: quantised.onnx_runtime(random, (700, 901), 1, "int8")),
    "onnx_runtime blocks": _large(lambda random: quantised.matmul_nbits(random, 700, 28, 32, 4, zero=True)),
    "hqq": _large(lambda random: quantised.hqq(random, 704, 14, 64, 3, 0)),
}


@pytest.mark.parametrize("scheme", ONE)
def test_what_takes_many_steps_is_decoded_as_well(scheme: str, tmp_path: Path) -> None:
    case = ONE[scheme]()
    checkpoint = t2g.load(case.write(tmp_path))
    for name, meant in case.meant.items():
        np.testing.assert_array_equal(checkpoint[name].numpy(), meant)
        pieces = [piece.copy() for piece in checkpoint[name].chunks(40_004)]
        np.testing.assert_array_equal(np.concatenate(pieces), meant.reshape(-1))
