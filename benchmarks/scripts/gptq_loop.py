"""Statistics of a model in 4-bit GPTQ, dequantised as its layers do it: python gptq_loop.py MODEL.safetensors"""

import sys

import torch
from safetensors import safe_open

SHIFTS = torch.arange(0, 32, 4, dtype=torch.int32)

with safe_open(sys.argv[1], framework="pt") as tensors:
    for name in tensors.keys():  # noqa: SIM118 - not a mapping
        front, _, last = name.rpartition(".")
        if last in ("qzeros", "scales", "g_idx"):
            continue
        values = tensors.get_tensor(name)
        if last == "qweight":
            zeros, scales, group = (tensors.get_tensor(f"{front}.{each}") for each in ("qzeros", "scales", "g_idx"))
            codes = (values[:, None, :] >> SHIFTS[None, :, None] & 15).flatten(0, 1)
            zeros = (zeros[:, :, None] >> SHIFTS & 15).flatten(1) + 1
            values = (scales[group] * (codes - zeros[group])).T
            name = f"{front}.weight"
        values = values.float()
        zeros = 100 * (values.abs() < 1e-6).float().mean().item()
        print(f"{name} {values.mean():.4f} {values.std():.4f} {values.min():.4f} {values.max():.4f} {zeros:.2f}")
