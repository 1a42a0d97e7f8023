"""The script that everybody writes: python one_figure_each.py MODEL.pth layers|histogram FOLDER"""

import sys
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

state = torch.load(sys.argv[1], weights_only=True)
folder = Path(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
for name, tensor in state.items():
    values = tensor.numpy()
    plt.figure()
    if sys.argv[2] == "layers":
        plt.imshow(values.reshape(len(values), -1), cmap="coolwarm", aspect="auto")
        plt.colorbar()
    else:
        plt.hist(values.flatten(), bins=100)
    plt.title(name)
    plt.savefig(folder / f"{name}.png")
    plt.close()
