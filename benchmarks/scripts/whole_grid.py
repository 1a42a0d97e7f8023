"""The script that everybody writes for a picture of all weights: python whole_grid.py MODEL.safetensors PNG"""

import sys

import matplotlib
import numpy as np
from safetensors.numpy import load_file

matplotlib.use("Agg")
import matplotlib.pyplot as plt

weights = np.concatenate([array.ravel() for array in load_file(sys.argv[1]).values()])
side = int(np.ceil(np.sqrt(len(weights))))
grid = np.zeros(side * side, np.float32)
grid[: len(weights)] = weights
plt.figure(figsize=(20.48, 20.48), dpi=100)
plt.imshow(grid.reshape(side, side), cmap="RdBu")
plt.colorbar()
plt.savefig(sys.argv[2])
