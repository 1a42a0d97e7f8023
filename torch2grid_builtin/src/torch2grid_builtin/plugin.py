"""What this distribution brings, by name. Nothing heavy is imported here: every class is ``Lazy``."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl

_HERE = "torch2grid_builtin"


@hookimpl
def torch2grid_loaders() -> list[Lazy]:
    return [
        Lazy(f"{_HERE}.loaders.safetensors:Safetensors", "safetensors", "one .safetensors file"),
        Lazy(f"{_HERE}.loaders.torch_zip:TorchZip", "torch-zip", "what torch.save writes since PyTorch 1.6"),
    ]


@hookimpl
def torch2grid_transformers() -> list[Lazy]:
    return [
        Lazy(f"{_HERE}.transformers.flatten:Flatten", "flatten", "all weights in order, row after row"),
    ]


@hookimpl
def torch2grid_views() -> list[Lazy]:
    return [
        Lazy(f"{_HERE}.views.grid:GridView", "grid", "one grid of all weights"),
    ]


@hookimpl
def torch2grid_renderers() -> list[Lazy]:
    return [
        Lazy(f"{_HERE}.renderers.matplotlib:Matplotlib", "matplotlib", "png, svg and pdf figures", formats=("png", "svg", "pdf")),
    ]


@hookimpl
def torch2grid_commands() -> list[Lazy]:
    return [
        Lazy(f"{_HERE}.commands.demo:Demo", "demo", "draw a small trained network, untrained and trained side by side"),
    ]
