"""Stacks of matrices, as of experts: each matrix as a tensor of its own, and figures of each."""

from __future__ import annotations

from torch2grid_builtin._views.stacks import Matrix, PerMatrix, matrices

__all__ = ["Matrix", "PerMatrix", "matrices"]
