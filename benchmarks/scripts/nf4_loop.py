"""Statistics of a model in NF4 by bitsandbytes' own dequantisation: python nf4_loop.py MODEL.safetensors"""

import sys

from bitsandbytes.functional import QuantState, dequantize_4bit
from safetensors import safe_open

with safe_open(sys.argv[1], framework="pt") as tensors:
    names = set(tensors.keys())
    for name in sorted(names):
        if ".weight." in name:
            continue  # what belongs to another tensor
        values = tensors.get_tensor(name)
        parts = {each: tensors.get_tensor(each) for each in names if each.startswith(f"{name}.")}
        if parts:
            values = dequantize_4bit(values, QuantState.from_dict(parts, device="cpu"))
        values = values.float()
        zeros = 100 * (values.abs() < 1e-6).float().mean().item()
        print(f"{name} {values.mean():.4f} {values.std():.4f} {values.min():.4f} {values.max():.4f} {zeros:.2f}")
