"""The loop that everybody writes: python statistics_loop.py MODEL.safetensors"""

import sys

from safetensors import safe_open

with safe_open(sys.argv[1], framework="pt") as tensors:
    for name in tensors.keys():  # noqa: SIM118 - not a mapping
        values = tensors.get_tensor(name).float()
        zeros = 100 * (values.abs() < 1e-6).float().mean().item()
        print(f"{name} {values.mean():.4f} {values.std():.4f} {values.min():.4f} {values.max():.4f} {zeros:.2f}")
