"""Writes quantization_references.json: what the libraries' own functions make of fixed weights.

    python tests/support/insight/quantization_references.py

It needs torch, bitsandbytes 0.50, compressed-tensors 0.20, torchao 0.18 and transformers 5.24; all of it runs on a CPU. The
weights are those of ``quantization_weights.py``. What is written is ‖W − Q(W)‖/‖W‖ of the whole, and of the row where it is
largest, in float64, of the weights that a library gives back after quantising and dequantising. Where a library refuses a
shape, there is no figure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bitsandbytes.functional as bnb
import numpy as np
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from quantization_weights import WEIGHTS
from torchao.prototype.mx_formats.mx_tensor import MXTensor
from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
from torchao.quantization.quant_primitives import (
    _choose_scale_float8,
    _dequantize_affine_float8,
    _quantize_affine_float8,
)
from transformers.integrations.finegrained_fp8 import Fp8Quantize

Tensor = torch.Tensor


def bitsandbytes_int8(w: Tensor) -> Tensor:
    codes, scales, _ = bnb.int8_vectorwise_quant(w.half())
    return bnb.int8_vectorwise_dequant(codes, scales)


def bitsandbytes_nf4(w: Tensor) -> Tensor:
    codes, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4")
    return bnb.dequantize_4bit(codes, state)


def compressed_tensors(**given: Any) -> Callable[[Tensor], Tensor]:
    arguments = QuantizationArgs(**given)

    def quantised(w: Tensor) -> Tensor:
        group = arguments.group_size if given["strategy"] in ("group", "tensor_group") else w.shape[1]
        if w.shape[1] % group:
            raise ValueError("rows are no multiple of the group")
        parts = w.unflatten(-1, (-1, group))
        low, high = parts.amin(-1), parts.amax(-1)
        whole = generate_gparam(w.min(), w.max()) if given["strategy"] == "tensor_group" else None
        scale, zero = calculate_qparams(low, high, arguments, global_scale=whole)
        return fake_quantize(w, scale, zero, arguments, global_scale=whole)

    return quantised


def torchao_fp8(dtype: torch.dtype, row: bool) -> Callable[[Tensor], Tensor]:
    def quantised(w: Tensor) -> Tensor:
        scale = _choose_scale_float8(w, [1, w.shape[1]] if row else list(w.shape), dtype)
        return _dequantize_affine_float8(_quantize_affine_float8(w, scale, dtype), scale)

    return quantised


def transformers_fp8(w: Tensor) -> Tensor:
    settings = SimpleNamespace(quantization_config=SimpleNamespace(weight_block_size=None, scale_fmt="float"))
    found = Fp8Quantize(settings).convert({"fc.weight": w})
    return found["fc.weight"].float() * found["fc.weight_scale_inv"]


def torchao_mxfp4(w: Tensor) -> Tensor:
    return MXTensor.to_mx(w, torch.float4_e2m1fn_x2, 32).dequantize(torch.float32)


def torchao_nvfp4(w: Tensor) -> Tensor:
    scale = per_tensor_amax_to_scale(w.abs().max())
    return NVFP4Tensor.to_nvfp4(w, per_tensor_scale=scale, is_swizzled_scales=False).dequantize(torch.float32)


E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
FUNCTIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "bitsandbytes int8": ("int8", bitsandbytes_int8),
    "bitsandbytes nf4": ("nf4", bitsandbytes_nf4),
    **{
        f"compressed-tensors int4 {group}{' asymmetric' * (not symmetric)}": (
            f"int4_{group}{'_asymmetric' * (not symmetric)}",
            compressed_tensors(num_bits=4, type="int", strategy="group", group_size=group, symmetric=symmetric),
        )
        for group in (32, 64, 128)
        for symmetric in (True, False)
    },
    "compressed-tensors fp8": (
        "fp8_e4m3_row",
        compressed_tensors(num_bits=8, type="float", strategy="channel", symmetric=True),
    ),
    "compressed-tensors nvfp4": (
        "nvfp4",
        compressed_tensors(
            num_bits=4, type="float", strategy="tensor_group", group_size=16, symmetric=True, scale_dtype=torch.float8_e4m3fn
        ),
    ),
    "transformers fp8": ("fp8_e4m3", transformers_fp8),
    "torchao fp8 e4m3": ("fp8_e4m3", torchao_fp8(E4M3, False)),
    "torchao fp8 e4m3 row": ("fp8_e4m3_row", torchao_fp8(E4M3, True)),
    "torchao fp8 e5m2": ("fp8_e5m2", torchao_fp8(E5M2, False)),
    "torchao fp8 e5m2 row": ("fp8_e5m2_row", torchao_fp8(E5M2, True)),
    "torchao mxfp4": ("mxfp4", torchao_mxfp4),
    "torchao nvfp4": ("nvfp4", torchao_nvfp4),
}


def main() -> None:
    found: dict[str, dict[str, Any]] = {}
    for function, (scheme, quantised) in FUNCTIONS.items():
        for name, make in WEIGHTS.items():
            weights = make()
            try:
                got = quantised(torch.from_numpy(weights.copy())).double().numpy()
            except (ValueError, AssertionError) as error:
                print(f"{function}, {name}: {str(error)[:80]}")
                continue
            lost, sizes = (got - weights) ** 2, weights.astype(np.float64) ** 2
            with np.errstate(invalid="ignore"):
                rows = np.sqrt(lost.sum(1) / sizes.sum(1))
            figures = [float(np.sqrt(np.nansum(lost) / sizes.sum())), float(np.nanmax(rows))]
            if np.isnan(lost).any():  # torchao divides by the scale of a row of zeros
                print(f"{function}, {name}: NaN in rows {np.flatnonzero(np.isnan(rows)).tolist()}, which are left out")
            found.setdefault(function, {"scheme": scheme, "weights": {}})["weights"][name] = figures
    path = Path(__file__).parent / "quantization_references.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
