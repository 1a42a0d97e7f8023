"""A filter in a module that imports torch."""

import torch

from torch2grid_core import LazyTensor, TensorFilter


class Heavy(TensorFilter):
    """tensors of a type that torch knows"""

    name = "heavy"

    def keep(self, tensor: LazyTensor) -> bool:
        return hasattr(torch, tensor.dtype.name)
