"""``inspect_torch_object``: the tensors of anything that holds weights."""

from torch2grid._compat import inspect_torch_object

__all__ = ["inspect_torch_object"]
