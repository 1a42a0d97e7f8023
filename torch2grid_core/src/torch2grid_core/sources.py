"""Where numbers come from: sources, storages, the statements of a checkpoint about itself, and its parts."""

from __future__ import annotations

from torch2grid_core._data.checkpoint import Action, ActionKind, Composed, Problem, Skip
from torch2grid_core._data.combined import Combine, ComputedStorage, JointTensor
from torch2grid_core._data.dtypes import as_float, bits_of, dtype_named, has_sizes, is_complex, is_floating
from torch2grid_core._data.indexing import PartShape, Taken, kept_places, stated_shape, taken_of, whole_shape
from torch2grid_core._data.local import LocalSource
from torch2grid_core._data.neighbours import Share, share_of
from torch2grid_core._data.parts import ALL, ContainerKind, PartKind, find_parts
from torch2grid_core._data.source import ObjectSource, Range, Source, SourceBase, ahead_of, has_file, prepare
from torch2grid_core._data.steps import STEP_KEYS, named_step, stated_step
from torch2grid_core._data.storage import (
    BytesStorage,
    ByteSwapped,
    CheckedStorage,
    DerivedNumbers,
    DerivedStorage,
    Joined,
    Storage,
    beneath,
    unchecked,
    verify,
)
from torch2grid_core._data.target import Target
from torch2grid_core._data.tiled import Blocks, Tiled
from torch2grid_core._errors import NotRead

__all__ = [
    "ALL",
    "STEP_KEYS",
    "Action",
    "ActionKind",
    "Blocks",
    "ByteSwapped",
    "BytesStorage",
    "CheckedStorage",
    "Combine",
    "Composed",
    "ComputedStorage",
    "ContainerKind",
    "DerivedNumbers",
    "DerivedStorage",
    "Joined",
    "JointTensor",
    "LocalSource",
    "NotRead",
    "ObjectSource",
    "PartKind",
    "PartShape",
    "Problem",
    "Range",
    "Share",
    "Skip",
    "Source",
    "SourceBase",
    "Storage",
    "Taken",
    "Target",
    "Tiled",
    "ahead_of",
    "as_float",
    "beneath",
    "bits_of",
    "dtype_named",
    "find_parts",
    "has_file",
    "has_sizes",
    "is_complex",
    "is_floating",
    "kept_places",
    "named_step",
    "prepare",
    "share_of",
    "stated_shape",
    "stated_step",
    "taken_of",
    "unchecked",
    "verify",
    "whole_shape",
]
