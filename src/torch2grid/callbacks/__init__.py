"""Checks of each checkpoint as it is saved: ``callbacks.transformers``, ``callbacks.lightning``; each imports its library."""

from __future__ import annotations

from torch2grid.callbacks._saved import CheckFailed, Saved

__all__ = ["CheckFailed", "Saved"]
