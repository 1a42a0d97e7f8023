"""The gradients of a live model: drawn, or saved beside the weights for later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch2grid._pages import Pages
from torch2grid._session import manager, view_with
from torch2grid_core import UsageError
from torch2grid_core.sources import ObjectSource

if TYPE_CHECKING:
    from typing import Unpack

    import torch

    from torch2grid._keywords import SettingsFields

FORMAT = "torch2grid gradients 1"


def gradients(
    model: Any,
    *,
    vanishing: float | None = None,
    exploding: float | None = None,
    spread: float | None = None,
    each: bool | None = None,
    overview: bool | None = None,
    **settings: Unpack[SettingsFields],
) -> Pages:
    """The gradient flow of *model* and a page for each parameter.

    model: a module after ``backward()``, or a path or ``Checkpoint`` that holds gradients. Nothing of a module is copied, and
    its gradients stay as they are. vanishing to overview: options of the view. Raises ``UsageError`` for a module without
    gradients.
    """
    from torch2grid._api import draw

    spec = view_with("gradients", vanishing=vanishing, exploding=exploding, spread=spread, each=each, overview=overview)
    return draw(as_gradients(model), [spec], **settings)


def as_gradients(model: Any) -> Any:
    """*model* itself, or the gradients and weights of a live module as a ``Checkpoint``."""
    import sys

    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return model
    return manager().open(ObjectSource(_tensors(model), type(model).__name__))


def save_gradients(model: torch.nn.Module, path: str | os.PathLike[str], *, weights: bool = True, **facts: Any) -> Path:
    """Write the gradients of *model* after ``backward()`` to a safetensors file, and return its path.

    Each is named ``<parameter>.grad``; the parameters come along under their own names unless *weights* is false. facts:
    kept as text in the file's metadata, such as ``step=1200``. Raises ``UsageError`` where no parameter has a gradient.
    """
    from torch2grid._safetensors_file import save

    tensors = _tensors(model)
    if not weights:
        tensors = {name: tensor for name, tensor in tensors.items() if name.endswith(".grad")}
    return save(tensors, path, {"format": FORMAT, **{key: str(value) for key, value in facts.items()}})


def _tensors(model: torch.nn.Module) -> Mapping[str, torch.Tensor]:
    """Parameters by name, each followed by its gradient, as this process holds them; those without a gradient are left out."""
    from torch2grid_builtin.live import local_shard

    found: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[name] = local_shard(parameter.detach())
            found[f"{name}.grad"] = local_shard(parameter.grad.detach())
    if not found:
        raise UsageError(f"{type(model).__name__} has no gradients: call backward() first, and this before zero_grad()")
    return found
