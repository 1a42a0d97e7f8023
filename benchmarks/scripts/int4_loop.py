"""Statistics of a model in INT4 by compressed-tensors' own dequantisation: python int4_loop.py MODEL.safetensors"""

import sys

from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from safetensors import safe_open

with safe_open(sys.argv[1], framework="pt") as tensors:
    for name in tensors.keys():  # noqa: SIM118 - not a mapping
        front, _, last = name.rpartition("weight_")
        if last in ("scale", "shape"):
            continue
        values = tensors.get_tensor(name)
        if last == "packed":
            scale = tensors.get_tensor(f"{front}weight_scale")
            codes = unpack_from_int32(values, 4, tensors.get_tensor(f"{front}weight_shape"))
            values = (codes.reshape(*scale.shape, -1).to(scale.dtype) * scale[..., None]).flatten(1)
            name = f"{front}weight"
        values = values.float()
        zeros = 100 * (values.abs() < 1e-6).float().mean().item()
        print(f"{name} {values.mean():.4f} {values.std():.4f} {values.min():.4f} {values.max():.4f} {zeros:.2f}")
