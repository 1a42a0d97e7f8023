"""Read a file, and draw an ordinary figure of noise: python noise_figure.py FILE PNG"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

buffer = bytearray(8 << 20)
with open(sys.argv[1], "rb", buffering=0) as stream:
    while stream.readinto(buffer):
        pass
figure = plt.figure(figsize=(20.48, 20.48), dpi=100)
axes = figure.add_axes((0, 0, 1, 1))
axes.axis("off")
noise = np.random.default_rng(0).standard_normal((2048, 2048), dtype=np.float32)
axes.imshow(noise, cmap="RdBu", interpolation="nearest")
figure.savefig(sys.argv[2])
