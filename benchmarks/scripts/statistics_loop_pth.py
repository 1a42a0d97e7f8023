"""The loop that everybody writes for a torch.save file: python statistics_loop_pth.py MODEL.pth"""

import sys

import torch

for name, tensor in torch.load(sys.argv[1], weights_only=True, map_location="cpu").items():
    values = tensor.float()
    zeros = 100 * (values.abs() < 1e-6).float().mean().item()
    print(f"{name} {values.mean():.4f} {values.std():.4f} {values.min():.4f} {values.max():.4f} {zeros:.2f}")
