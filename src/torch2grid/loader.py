"""``load_torch_model``: open a checkpoint file."""

from torch2grid._compat import load_torch_model

__all__ = ["load_torch_model"]
