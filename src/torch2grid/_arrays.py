"""Tensors as a mapping of numpy arrays: what functions of plain arrays, and plugins, expect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from torch2grid_core import Checkpoint
from torch2grid_core.measures import ArrayMapping


class TensorArrays(Mapping[str, np.ndarray[Any, Any]]):
    """A checkpoint's tensors as float32 arrays by name, each read when it is touched. ``checkpoint`` is what is behind."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._arrays = ArrayMapping(checkpoint)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"<TensorArrays of {self.checkpoint.source!r}: {len(self)} tensors>"
