"""Live tensors, where the loaders of live objects are not enough."""

from __future__ import annotations

from torch2grid_builtin._loaders.live import local_shard

__all__ = ["local_shard"]
