"""``inspect_torch_object``: the tensors of anything that holds weights."""

from __future__ import annotations

from typing import Any

from torch2grid._arrays import TensorArrays
from torch2grid._session import drawable, settings_from


def inspect_torch_object(model_or_state_dict: Any) -> TensorArrays:
    """A mapping of name to float32 array, in order, bookkeeping left out: of a model, state dict, checkpoint or path.

    Raises ``LoadError`` where there is no tensor, ``UsageError`` for something that holds none by its nature.
    """
    return TensorArrays(drawable(model_or_state_dict, settings_from({})))
