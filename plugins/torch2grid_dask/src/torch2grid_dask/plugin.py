"""What this distribution brings."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl


@hookimpl
def torch2grid_executors() -> list[Lazy]:
    return [Lazy("torch2grid_dask.cluster:Dask", "dask", "a Dask cluster: the one at an address, or workers of this machine")]
