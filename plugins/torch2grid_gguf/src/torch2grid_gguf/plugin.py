"""What this distribution brings."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl


@hookimpl
def torch2grid_loaders() -> list[Lazy]:
    return [Lazy("torch2grid_gguf.loader:Gguf", "gguf", "A GGUF file of llama.cpp (.gguf), dequantised while it is read.")]
