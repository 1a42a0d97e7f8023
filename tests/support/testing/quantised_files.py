"""Checkpoints for each built-in decoder, as the conformance kit wants them: what is stored, opened from files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from tests.support import adapters, quantised
from tests.support.quantised import Quantised

from torch2grid_core import Checkpoint, PluginManager

_R = np.random.default_rng
CASES: dict[str, list[Callable[[], Quantised]]] = {
    "decoder-awq": [lambda: quantised.awq(_R(1), 70, 3, 32)],
    "decoder-bitsandbytes": [
        lambda: quantised.bitsandbytes4(_R(1), (21, 13), 64, kind="nf4", nested=True),
        lambda: quantised.bitsandbytes4(_R(1), (300,), 64, kind="fp4", nested=False),
        lambda: quantised.bitsandbytes8(_R(1), 7, 9),
    ],
    "decoder-bitnet": [lambda: quantised.bitnet(_R(1), 21, 13, multiplies=True)],
    "decoder-block_fp8": [
        lambda: quantised.beside(_R(1), 37, 45, "scale", 16),
        lambda: quantised.beside(_R(1), 37, 45, "qscale_weight"),
        lambda: quantised.block_fp8(_R(1), 37, 45, (16, 32)),
        lambda: quantised.block_fp8(_R(1), 37, 45, (16, 32), 2),
    ],
    "decoder-compressed_tensors": [
        lambda: quantised.pack_quantized(_R(1), 21, 50, 4, 16, asymmetric=True, act_order=True),
        lambda: quantised.pack_quantized(_R(1), 21, 50, 3, 16, asymmetric=False, act_order=False),
        lambda: quantised.plain(_R(1), 5, 7, "int8"),
        lambda: quantised.nvfp4(_R(1), 5, 3),
        lambda: quantised.mxfp4(_R(1), 5, 3),
        lambda: quantised.mxfp6(_R(1), 5, 3),
    ],
    "decoder-gptq": [
        lambda: quantised.gptq(_R(1), 3, 32, 3, 32, version=1, act_order=True),
        lambda: quantised.gptq(_R(1), 3, 32, 8, 128, version=2, act_order=False),
    ],
    "decoder-hqq": [partial(quantised.hqq, _R(1), 8, 3, 32, bits, axis) for bits in (1, 2, 3, 4, 8) for axis in (0, 1)],
    "decoder-mlx": [
        lambda: quantised.mlx(_R(1), 5, 3, 6, 32),
        lambda: quantised.mlx(_R(1), 5, 3, 4, 64, (2,)),
        *(partial(quantised.mlx_floats, _R(1), 5, 3, mode) for mode in ("mxfp4", "mxfp8", "nvfp4")),
    ],
    "decoder-mxfp4": [lambda: quantised.gpt_oss(_R(1), 2, 5, 3), lambda: quantised.openai(_R(1), 2, 5, 3)],
    "decoder-onnx_runtime": [
        lambda: quantised.onnx_runtime(_R(1), (5, 7), 1, "int8"),
        lambda: quantised.matmul_nbits(_R(1), 5, 3, 16, 4, zero=True),
    ],
    "decoder-quanto": [lambda: quantised.quanto(_R(1), 7, 3, 32, 4), lambda: quantised.quanto(_R(1), 7, 1, 32, 2)],
    "decoder-torchao": [
        lambda: quantised.torchao(_R(1), 7, 3, 32, zero=True),
        lambda: quantised.torchao_affine(_R(1), 7, 3, 32),
        lambda: quantised.torchao_floats(_R(1), 7, 3, "nvfp4", in_tiles=True),
        lambda: quantised.torchao_floats(_R(1), 7, 3, "mxfp8", in_tiles=False),
    ],
}


def _writer(cases: list[Callable[[], Quantised]]) -> Callable[[Path], Iterable[Checkpoint]]:
    def write(folder: Path) -> list[Checkpoint]:
        manager = PluginManager.discover(third_party=False)
        return [manager.open(case().write(folder / str(number)), raw=True) for number, case in enumerate(cases)]

    return write


FILES = {name: _writer(cases) for name, cases in CASES.items()}


def adapter_files(folder: Path) -> list[Path]:
    """Adapters of each kind."""
    made = [
        adapters.peft(_R(1), {"layers.0.q_proj": (48, 32), "layers.1.q_proj": (16, 32)}, use_rslora=True),
        adapters.peft(_R(1), {"fc": (8, 40)}, name="default", fan_in_fan_out=True),
        adapters.embedding(_R(1), "embed", 50, 16, 3, 6),
        adapters.kohya(_R(1), {"lora_unet_conv": (6, 5, 3, 3), "lora_unet_to_q": (40, 20)}, 4, 2),
    ]
    return [each.write(folder / str(number)) for number, each in enumerate(made)]


def _adapters(folder: Path) -> list[Checkpoint]:
    manager = PluginManager.discover(third_party=False)
    return [manager.open(path, raw=True) for path in adapter_files(folder)]


FILES["decoder-adapter"] = _adapters
