"""The loop that everybody writes before shipping a file: python finite_loop.py MODEL.safetensors"""

import sys

import torch
from safetensors import safe_open

with safe_open(sys.argv[1], framework="pt") as tensors:
    wrong = [name for name in tensors.keys() if not torch.isfinite(tensors.get_tensor(name)).all()]  # noqa: SIM118
print(wrong or "all weights are finite")
