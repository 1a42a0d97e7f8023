"""Writers of quantised weights, in numpy alone: what a file stores, and the float32 weights that this stands for.

Each packs bit by bit as its format says, without the tables of the decoders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

Array = np.ndarray[Any, Any]
FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
AWQ = (0, 2, 4, 6, 1, 3, 5, 7)


class Quantised(NamedTuple):
    """stored: tensors by name. meant: the weights. config: of ``config.json``. metadata: of the file."""

    stored: Mapping[str, Array]
    meant: Mapping[str, Array]
    config: Mapping[str, Any] = {}
    metadata: Mapping[str, str] = {}

    def write(self, folder: Path, name: str = "model.safetensors") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: np.ascontiguousarray(each) for key, each in self.stored.items()}, folder / name, dict(self.metadata))
        if self.config:
            (folder / "config.json").write_text(json.dumps(self.config))
        return folder / name


def stream(codes: Array, bits: int, word: Any = np.uint32) -> Array:
    """Rows of *codes* as streams of bits in words, the first in the lowest bits; the last word is filled up with zeros."""
    rows, count = codes.shape
    each = (codes[..., None].astype(np.int64) >> np.arange(bits)) & 1
    width = np.dtype(word).itemsize * 8
    flat = each.reshape(rows, count * bits)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % width)))
    return np.ascontiguousarray(np.packbits(flat.astype(np.uint8), axis=1, bitorder="little")).view(word)


def spread(grid: Array, shape: tuple[int, int], block: tuple[int, int], order: Array | None = None) -> Array:
    """*grid* as a number for each weight."""
    rows = np.arange(shape[0]) // block[0]
    columns = np.arange(shape[1]) // block[1] if order is None else order
    return grid.astype(np.float32)[rows][:, columns]


def _scales(random: np.random.Generator, shape: tuple[int, ...], kind: Any = np.float32) -> Array:
    return (random.uniform(0.01, 1, shape) * random.choice([-1, 1], shape)).astype(kind)


def pack_quantized(
    random: np.random.Generator, rows: int, columns: int, bits: int, group: int, *, asymmetric: bool, act_order: bool
) -> Quantised:
    """compressed-tensors: codes along the rows, zero points along the columns."""
    codes, groups = random.integers(0, 1 << bits, (rows, columns)), -(-columns // group)
    half = 1 << (bits - 1)
    scale = _scales(random, (rows, groups), ml_dtypes.bfloat16)
    order = random.permutation(np.arange(columns) // group) if act_order else None
    stored = {
        "fc.weight_packed": stream(codes, bits).view(np.int32),
        "fc.weight_scale": scale,
        "fc.weight_shape": np.array([rows, columns], np.int64),
    }
    values = (codes - half).astype(np.float32)
    if asymmetric:
        zero = random.integers(0, 1 << bits, (rows, groups))
        stored["fc.weight_zero_point"] = stream(zero.T, bits).view(np.int32).T
        values -= spread(zero - half, (rows, columns), (1, group), order)
    if order is not None:
        stored["fc.weight_g_idx"] = order.astype(np.int32)
    weights = {"num_bits": bits, "group_size": group, "strategy": "group", "symmetric": not asymmetric, "type": "int"}
    config = {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}}
    return Quantised(stored, {"fc.weight": values * spread(scale, (rows, columns), (1, group), order)}, config)


def plain(random: np.random.Generator, rows: int, columns: int, kind: str, *, per_row: bool = True) -> Quantised:
    """compressed-tensors: a byte for each code, and a scale for each row or one for all."""
    codes = random.integers(-128, 128, (rows, columns)).astype(np.int8)
    if kind != "int8":
        codes = random.normal(0, 5, (rows, columns)).astype(kind)
    scale = _scales(random, (rows, 1) if per_row else (1,))
    return Quantised(
        {"fc.weight": codes, "fc.weight_scale": scale, "fc.input_scale": np.ones(1, np.float32)},
        {"fc.weight": codes.astype(np.float32) * scale.reshape(-1, 1)},
    )


def nvfp4(random: np.random.Generator, rows: int, groups: int) -> Quantised:
    codes, total = random.integers(0, 16, (rows, 16 * groups)), np.array([random.uniform(1, 2000)], np.float32)
    scale = random.uniform(1, 400, (rows, groups)).astype(ml_dtypes.float8_e4m3fn)
    factor = spread(scale.astype(np.float32) / total, codes.shape, (1, 16))
    stored = {"fc.weight_packed": stream(codes, 4, np.uint8), "fc.weight_scale": scale, "fc.weight_global_scale": total}
    return Quantised(stored, {"fc.weight": FP4[codes] * factor})


def mxfp4(random: np.random.Generator, rows: int, groups: int) -> Quantised:
    codes, scale = random.integers(0, 16, (rows, 32 * groups)), random.integers(100, 140, (rows, groups)).astype(np.uint8)
    factor = spread(np.exp2(scale.astype(np.float32) - 127), codes.shape, (1, 32))
    stored = {"fc.weight_packed": stream(codes, 4, np.uint8), "fc.weight_scale": scale}
    return Quantised(stored, {"fc.weight": FP4[codes] * factor})


def quark(random: np.random.Generator, rows: int, groups: int) -> Quantised:
    """MXFP4 under the names of AMD's Quark."""
    case = mxfp4(random, rows, groups)
    stored = {"fc.weight": case.stored["fc.weight_packed"], "fc.weight_scale": case.stored["fc.weight_scale"]}
    return case._replace(stored=stored, config={"quantization_config": {"quant_method": "quark"}})


def float6(codes: Array) -> Array:
    """E2M3 of six bits: the sign, two bits of the exponent, three of the mantissa."""
    power, part = codes >> 3 & 3, codes & 7
    size = np.where(power == 0, part / 8, (1 + part / 8) * np.exp2(power - 1.0))
    return np.where(codes & 32, -size, size).astype(np.float32)


def mxfp6(random: np.random.Generator, rows: int, groups: int) -> Quantised:
    codes, scale = random.integers(0, 64, (rows, 32 * groups)), random.integers(100, 140, (rows, groups)).astype(np.uint8)
    factor = spread(np.exp2(scale.astype(np.float32) - 127), codes.shape, (1, 32))
    stored = {"fc.weight_packed": stream(codes, 6, np.uint8), "fc.weight_scale": scale}
    return Quantised(stored, {"fc.weight": float6(codes) * factor})


def block_fp8(random: np.random.Generator, rows: int, columns: int, block: tuple[int, int], experts: int = 0) -> Quantised:
    lead = (experts,) if experts else ()
    codes = random.normal(0, 5, (*lead, rows, columns)).astype(ml_dtypes.float8_e4m3fn)
    grid = _scales(random, (*lead, -(-rows // block[0]), -(-columns // block[1])))
    factor = np.repeat(np.repeat(grid, block[0], -2), block[1], -1)[..., :rows, :columns]
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": list(block)}}
    stored = {"fc.weight": codes, "fc.weight_scale_inv": grid}
    return Quantised(stored, {"fc.weight": codes.astype(np.float32) * factor}, config)


def beside(random: np.random.Generator, rows: int, columns: int, end: str, block: int = 0) -> Quantised:
    """float8 with ``scale``, ``qscale_weight`` or ``scale_weight`` beside it: one for all, or one for each square *block*."""
    codes = random.uniform(-400, 400, (rows, columns)).astype(ml_dtypes.float8_e4m3fn)
    grid = (-(-rows // block), -(-columns // block)) if block else (1, 1)
    scale = _scales(random, grid)
    meant = codes.astype(np.float32) * spread(scale, (rows, columns), (block, block) if block else (rows, columns))
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [block, block]}} if block else {}
    return Quantised({"fc.weight": codes, f"fc.{end}": scale if block else scale.reshape(())}, {"fc.weight": meant}, config)


def experts8(random: np.random.Generator, experts: int, rows: int, columns: int) -> Quantised:
    """Experts in float8 as one parameter, with a scale for each column of each, as FBGEMM's FP8 has them."""
    codes = random.uniform(-400, 400, (experts, rows, columns)).astype(ml_dtypes.float8_e4m3fn)
    scale = _scales(random, (experts, 1, columns))
    stored = {"experts.down_proj": codes, "experts.down_proj_scale": scale}
    return Quantised(stored, {"experts.down_proj": codes.astype(np.float32) * scale})


def bitnet(random: np.random.Generator, rows: int, columns: int, *, multiplies: bool) -> Quantised:
    """−1, 0 and 1: the rows in four parts, the first in the low bits; a bias says how many rows there are."""
    codes, scale = random.integers(-1, 2, (rows, columns)), _scales(random, (1,))
    parts = -(-rows // 4)
    packed = np.zeros((parts, columns), np.uint8)
    for part in range(4):
        own = codes[part * parts : (part + 1) * parts]
        packed[: len(own)] |= ((own + 1) << (2 * part)).astype(np.uint8)
    bias = np.zeros(rows, np.float32)
    meant = codes.astype(np.float32) * scale if multiplies else codes.astype(np.float32) / scale
    linear = "autobitlinear" if multiplies else "bitlinear"
    config = {"quantization_config": {"quant_method": "bitnet", "linear_class": linear}}
    stored = {"fc.weight": packed, "fc.weight_scale": scale, "fc.bias": bias}
    return Quantised(stored, {"fc.weight": meant, "fc.bias": bias}, config)


def openai(random: np.random.Generator, experts: int, out: int, groups: int) -> Quantised:
    """MXFP4 in the files of OpenAI: the names end in ``.blocks`` and ``.scales``, and nothing is turned."""
    case = gpt_oss(random, experts, out, groups)
    blocks, scales = (next(each for name, each in case.stored.items() if name.endswith(end)) for end in ("_blocks", "_scales"))
    (meant,) = (each for name, each in case.meant.items() if f"{name}_blocks" in case.stored)
    stored = {"block.0.mlp.mlp1_weight.blocks": blocks, "block.0.mlp.mlp1_weight.scales": scales}
    return Quantised(stored, {"block.0.mlp.mlp1_weight": np.swapaxes(meant, -1, -2)})


def gpt_oss(random: np.random.Generator, experts: int, out: int, groups: int) -> Quantised:
    codes = random.integers(0, 16, (experts, out, groups, 32))
    scale = random.integers(100, 140, (experts, out, groups)).astype(np.uint8)
    blocks = (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)
    values = FP4[codes] * np.exp2(scale.astype(np.float32) - 127)[..., None]
    stored = {"mlp.experts.up_proj_blocks": blocks, "mlp.experts.up_proj_scales": scale}
    return Quantised(stored, {"mlp.experts.up_proj": values.reshape(experts, out, -1).transpose(0, 2, 1)})


def gptq(
    random: np.random.Generator, words: int, out: int, bits: int, group: int, *, version: int, act_order: bool
) -> Quantised:
    """*words* groups of 32 inputs; *out* a multiple of 32."""
    width = 32 * words
    groups = -(-width // group)
    codes, scale = random.integers(0, 1 << bits, (out, width)), _scales(random, (groups, out), np.float16)
    zero = random.integers(0, (1 << bits) - (version == 1), (out, groups))  # as they are stored
    order = np.arange(width) // group
    order = random.permutation(order) if act_order else order
    stored = {
        "fc.qweight": stream(codes, bits).view(np.int32).T,
        "fc.qzeros": stream(zero.T, bits).view(np.int32),
        "fc.scales": scale,
        "fc.g_idx": order.astype(np.int32),
    }
    values = codes - spread(zero + (version == 1), codes.shape, (1, group), order)
    config = {"bits": bits, "group_size": group, "desc_act": act_order, "quant_method": "gptq"}
    config["checkpoint_format"] = "gptq" if version == 1 else "gptq_v2"
    return Quantised(
        stored, {"fc.weight": values * spread(scale.T, codes.shape, (1, group), order)}, {"quantization_config": config}
    )


def _awq_words(codes: Array) -> Array:
    """(rows, 8·n) codes as (rows, n) words, whose field k is column AWQ[k]."""
    split = codes.reshape(len(codes), -1, 8)
    words = sum(split[..., column].astype(np.uint32) << np.uint32(4 * k) for k, column in enumerate(AWQ))
    return np.ascontiguousarray(words).view(np.int32)


def awq(random: np.random.Generator, width: int, words: int, group: int) -> Quantised:
    groups, out = -(-width // group), 8 * words
    codes, zero = random.integers(0, 16, (width, out)), random.integers(0, 16, (groups, out))
    scale = _scales(random, (groups, out), np.float16)
    stored = {"fc.qweight": _awq_words(codes), "fc.qzeros": _awq_words(zero), "fc.scales": scale}
    index = np.arange(width) // group
    values = (codes - zero[index]).astype(np.float32) * scale[index].astype(np.float32)
    config = {"bits": 4, "group_size": group, "quant_method": "awq", "version": "gemm", "zero_point": True}
    return Quantised(stored, {"fc.weight": values.T}, {"quantization_config": config})


def bitsandbytes4(random: np.random.Generator, shape: tuple[int, ...], block: int, *, kind: str, nested: bool) -> Quantised:
    count = int(np.prod(shape))
    table = np.sort(random.uniform(-1, 1, 16)).astype(np.float32)
    codes, blocks = random.integers(0, 16, count), -(-count // block)
    even = np.pad(codes, (0, count % 2))
    stored: dict[str, Array] = {"fc.weight": (even[0::2] << 4 | even[1::2]).astype(np.uint8)[:, None]}
    state: dict[str, Any] = {"quant_type": kind, "blocksize": block, "shape": list(shape), "dtype": "float32"}
    absmax = random.uniform(0.1, 2, blocks).astype(np.float32)
    if nested:
        outer, second = random.uniform(0.1, 2, -(-blocks // 256)).astype(np.float32), random.integers(0, 256, blocks)
        second_table = np.linspace(-1, 1, 256, dtype=np.float32)
        state |= {"nested_blocksize": 256, "nested_offset": 0.25, "nested_dtype": "float32"}
        stored |= {"fc.weight.nested_absmax": outer, "fc.weight.nested_quant_map": second_table}
        stored["fc.weight.absmax"] = second.astype(np.uint8)
        absmax = second_table[second] * outer[np.arange(blocks) // 256] + np.float32(0.25)
    else:
        stored["fc.weight.absmax"] = absmax
    stored["fc.weight.quant_map"] = table
    stored[f"fc.weight.quant_state.bitsandbytes__{kind}"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    values = table[codes] * absmax[np.arange(count) // block]
    return Quantised(stored, {"fc.weight": values.reshape(shape)})


def bitsandbytes8(random: np.random.Generator, rows: int, columns: int) -> Quantised:
    codes, scale = random.integers(-127, 128, (rows, columns)).astype(np.int8), random.uniform(0.1, 2, rows).astype(np.float32)
    stored = {"fc.weight": codes, "fc.SCB": scale, "fc.weight_format": np.zeros((), np.uint8)}
    return Quantised(stored, {"fc.weight": codes.astype(np.float32) * (scale / np.float32(127))[:, None]})


def mlx(random: np.random.Generator, rows: int, groups: int, bits: int, group: int, lead: tuple[int, ...] = ()) -> Quantised:
    count = rows * int(np.prod(lead, dtype=int))
    codes = random.integers(0, 1 << bits, (count, groups * group))
    scale, bias = (_scales(random, (count, groups), np.float16) for _ in range(2))
    values = codes.astype(np.float32) * spread(scale, codes.shape, (1, group)) + spread(bias, codes.shape, (1, group))
    stored = {"embed.weight": stream(codes, bits), "embed.scales": scale, "embed.biases": bias}
    shape = (*lead, rows)
    return Quantised(
        {name: each.reshape(*shape, -1) for name, each in stored.items()},
        {"embed.weight": values.reshape(*shape, -1)},
        {"quantization": {"bits": bits, "group_size": group}},
        {"format": "mlx"},
    )


def mlx_floats(random: np.random.Generator, rows: int, groups: int, mode: str, *, config: bool = True) -> Quantised:
    """MLX's modes without biases; their scales are a byte each, whatever it stands for."""
    bits, group = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}[mode]
    codes, scale = (
        random.integers(0, 1 << bits, (rows, groups * group)),
        random.integers(100, 126, (rows, groups)).astype(np.uint8),
    )
    codes = np.where(codes & 127 == 127, 0, codes)  # which is NaN in eight bits
    factor = (
        scale.view(ml_dtypes.float8_e4m3fn).astype(np.float32) if mode == "nvfp4" else np.exp2(scale.astype(np.float32) - 127)
    )
    values = codes.astype(np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32) if bits == 8 else FP4[codes]
    stored = {"fc.weight": stream(codes, bits), "fc.scales": scale}
    settings = {"quantization": {"bits": bits, "group_size": group, "mode": mode}} if config else {}
    return Quantised(stored, {"fc.weight": values * spread(factor, codes.shape, (1, group))}, settings)


def tiled(scale: Array) -> Array:
    """*scale* as tensor cores read it: in tiles of 128 × 4, whose rows r, r + 32, r + 64 and r + 96 stand side by side."""
    rows, columns = scale.shape
    found = np.zeros((-(-rows // 128) * 32, -(-columns // 4) * 16), scale.dtype)
    flat = found.reshape(-1)
    for row in range(rows):
        for column in range(columns):
            tile = row // 128 * -(-columns // 4) + column // 4
            flat[tile * 512 + row % 32 * 16 + row % 128 // 32 * 4 + column % 4] = scale[row, column]
    return found


def torchao_floats(random: np.random.Generator, rows: int, groups: int, kind: str, *, in_tiles: bool) -> Quantised:
    """torchao's NVFP4Tensor and MXTensor of four and eight bits."""
    nvidia, bits = kind == "nvfp4", 8 if kind == "mxfp8" else 4
    group = 16 if nvidia else 32
    codes = random.integers(0, 1 << bits, (rows, groups * group)).astype(np.uint8)
    codes = np.where(codes & 127 == 127, 0, codes).astype(np.uint8)
    raw = random.integers(100, 126, (rows, groups)).astype(np.uint8)
    factor = raw.view(ml_dtypes.float8_e4m3fn).astype(np.float32) if nvidia else np.exp2(raw.astype(np.float32) - 127)
    scale = raw.view(ml_dtypes.float8_e4m3fn if nvidia else ml_dtypes.float8_e8m0fnu)
    values = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) if bits == 8 else FP4[codes]
    stored = {
        "fc._weight_qdata": codes.view(ml_dtypes.float8_e4m3fn) if bits == 8 else stream(codes, 4, np.uint8),
        "fc._weight_scale": tiled(scale) if in_tiles else scale,
    }
    if nvidia:
        stored["fc._weight_per_tensor_scale"] = total = random.uniform(1e-4, 1e-2, ()).astype(np.float32)
        factor = factor * total
    about = {"_type": "NVFP4Tensor" if nvidia else "MXTensor", "_data": {}}
    return Quantised(
        stored, {"fc.weight": values * spread(factor, codes.shape, (1, group))}, {}, {"fc.weight": json.dumps(about)}
    )


def torchao_affine(random: np.random.Generator, rows: int, groups: int, group: int, *, inner: str = "tensor_impl") -> Quantised:
    """``AffineQuantizedTensor`` as it is seen in a pickle: a tensor of a layout within, and what activations need around it."""
    codes = random.integers(-8, 8, (rows, groups * group)).astype(np.int8)
    scale, points = _scales(random, (rows, groups)), random.integers(-8, 8, (rows, groups)).astype(np.int64)
    values = (codes - spread(points, codes.shape, (1, group))) * spread(scale, codes.shape, (1, group))
    names = (f"fc.weight.{inner}.{name}" for name in ("int_data", "scale", "zero_point"))
    return Quantised(dict(zip(names, (codes, scale, points), strict=True)), {"fc.weight": values.astype(np.float32)})


def torchao(random: np.random.Generator, rows: int, groups: int, group: int, *, zero: bool) -> Quantised:
    """Described in the metadata of the file: int8 with a scale for each group."""
    codes = random.integers(-8, 8, (rows, groups * group)).astype(np.int8)
    scale, points = _scales(random, (rows, groups), ml_dtypes.bfloat16), random.integers(-8, 8, (rows, groups)).astype(np.int8)
    stored = {"fc._weight_qdata": codes, "fc._weight_scale": scale}
    values = codes.astype(np.float32)
    if zero:
        stored["fc._weight_zero_point"] = points
        values = values - spread(points, codes.shape, (1, group))
    about = {"_type": "IntxUnpackedToInt8Tensor", "_data": {"block_size": [1, group]}, "_tensor_data_names": ["qdata", "scale"]}
    metadata = {"fc.weight": json.dumps(about), "tensor_names": '["fc.weight"]'}
    return Quantised(stored, {"fc.weight": values * spread(scale, codes.shape, (1, group))}, {}, metadata)


def quanto(random: np.random.Generator, rows: int, groups: int, group: int, bits: int) -> Quantised:
    """A weight of *rows* × (groups · group), packed along the rows of its groups in parts, the first in the lowest bits."""
    count, per = rows * groups, 8 // bits
    codes = random.integers(0, 1 << bits, (count, group))
    height = -(-count // per)
    padded = np.pad(codes, ((0, height * per - count), (0, 0))).reshape(per, height, group)
    packed = sum(part << (bits * place) for place, part in enumerate(padded))
    scale, shift = _scales(random, (count, 1)), _scales(random, (count, 1))
    stored = {
        "fc.weight._data._data": np.asarray(packed).astype(np.uint8),
        "fc.weight._scale": scale,
        "fc.weight._shift": shift,
        "fc.input_scale": np.ones((), np.float32),
        "fc.output_scale": np.ones((), np.float32),
        "fc.bias": np.zeros(rows, np.float32),
    }
    values = codes.astype(np.float32) * scale - shift
    return Quantised(stored, {"fc.weight": values.reshape(rows, -1), "fc.bias": stored["fc.bias"]})


def quanto_kernel(random: np.random.Generator, shape: tuple[int, int, int, int], bits: int) -> Quantised:
    """A kernel, packed along its first dimension in parts, with a scale for each of that."""
    count, per = shape[0], 8 // bits
    codes = random.integers(0, 1 << bits, shape)
    height = -(-count // per)
    padded = np.pad(codes, ((0, height * per - count), (0, 0), (0, 0), (0, 0))).reshape(per, height, *shape[1:])
    packed = sum(part << (bits * place) for place, part in enumerate(padded))
    scale, shift = _scales(random, (count, 1, 1, 1)), _scales(random, (count, 1, 1, 1))
    names = "conv.weight._data._data", "conv.weight._scale", "conv.weight._shift"
    stored = dict(zip(names, (np.asarray(packed).astype(np.uint8), scale, shift), strict=True))
    return Quantised(stored, {"conv.weight": codes.astype(np.float32) * scale - shift})


def hqq(
    random: np.random.Generator, rows: int, groups: int, group: int, bits: int, axis: int, as_float: Any = None
) -> Quantised:
    """as_float: the dtype that the words of the codes are stored as (``view_as_float``), where their rows are long enough."""
    shape = (rows, groups * group)
    count = rows * groups
    form = (count, group) if axis else (group, count)
    codes = random.integers(0, 1 << bits, form)
    if bits == 8:
        packed: Array = codes.astype(np.uint8)
    else:
        per, kind, top = (10, np.int32, 27) if bits == 3 else (8 // bits, np.uint8, 8 - bits)
        height = -(-form[0] // per)
        parts = np.pad(codes, ((0, height * per - form[0]), (0, 0))).reshape(per, height, form[1])
        packed = np.asarray(sum(part << (top - bits * place) for place, part in enumerate(parts))).astype(kind)
    if as_float is not None and packed.shape[1] * packed.itemsize % np.dtype(as_float).itemsize == 0:
        packed = np.ascontiguousarray(packed).view(as_float)
    scale, zero = (_scales(random, (count, 1) if axis else (1, count)) for _ in range(2))
    settings = {"nbits": np.array(bits, np.int32), "group_size": np.array(group, np.int32), "axis": np.array(axis, np.int32)}
    settings["shape"] = np.array(shape, np.int64)
    stored = {"W_q": packed, "scale": scale, "zero": zero, **settings}
    values = ((codes.astype(np.float32) - zero) * scale).reshape(shape)
    return Quantised({f"fc.{name}": each for name, each in stored.items()}, {"fc.weight": values})


def onnx_runtime(random: np.random.Generator, shape: tuple[int, ...], axis: int | None, kind: str) -> Quantised:
    """Codes of *kind* with a scale and a zero point for all, or for each place of dimension *axis*."""
    low, high = (0, 256) if kind == "uint8" else (-128, 128)
    codes = random.integers(low, high, shape).astype(kind)
    count = () if axis is None else (shape[axis],)
    scale, zero = _scales(random, count), random.integers(low, high, count).astype(kind)
    form = [1] * len(shape)
    if axis is not None:
        form[axis] = shape[axis]
    values = (codes.astype(np.float32) - zero.reshape(form).astype(np.float32)) * scale.reshape(form)
    stored = {"fc.weight_quantized": codes, "fc.weight_scale": scale, "fc.weight_zero_point": zero}
    return Quantised(stored, {"fc.weight": values})


def matmul_nbits(random: np.random.Generator, rows: int, blocks: int, group: int, bits: int, *, zero: bool) -> Quantised:
    """``MatMulNBits`` of ONNX Runtime: each output's zero points begin with a byte of their own."""
    codes, scale = random.integers(0, 1 << bits, (rows, blocks * group)), _scales(random, (rows, blocks))
    points = random.integers(0, 1 << bits, (rows, blocks)) if zero else np.full((rows, blocks), 1 << (bits - 1))
    packed = stream(codes, bits, np.uint8).reshape(rows, blocks, group * bits // 8)
    stored = {f"fc.MatMul.weight_Q{bits}": packed, "fc.MatMul.weight_scales": scale.reshape(-1)}
    if zero:
        stored["fc.MatMul.weight_zero_points"] = stream(points, bits, np.uint8).reshape(-1)
    values = (codes - spread(points, codes.shape, (1, group))) * spread(scale, codes.shape, (1, group))
    return Quantised(stored, {"fc.MatMul.weight": values.astype(np.float32)})
