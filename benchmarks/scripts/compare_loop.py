"""The loop that everybody writes for two files: python compare_loop.py A.safetensors B.safetensors"""

import sys

import torch
from safetensors import safe_open

with safe_open(sys.argv[1], framework="pt") as first, safe_open(sys.argv[2], framework="pt") as second:
    for name in first.keys():  # noqa: SIM118 - not a mapping
        a, b = first.get_tensor(name).float(), second.get_tensor(name).float()
        d = b - a
        cosine = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()
        changed = (d != 0).float().mean().item()
        print(f"{name} {(d.norm() / a.norm()).item():.3e} {cosine:.6f} {d.abs().max().item():.3e} {100 * changed:.2f}")
