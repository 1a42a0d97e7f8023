"""What can be measured of weights, the base classes for measuring something else, and the results."""

from __future__ import annotations

from torch2grid_core._engine.measuring import Progress
from torch2grid_core._engine.reading import Stop
from torch2grid_core._engine.workers import Opener, executor_of, workers
from torch2grid_core._measures.figures import Duplicates, Largest, NotFinite, Of, Profile, Summary, Values
from torch2grid_core._measures.grids import ArrayMapping, Raster, Transformed
from torch2grid_core._measures.need import About, Chunk, Collector
from torch2grid_core._measures.planes import Planes
from torch2grid_core._summary.counted import counted_distribution
from torch2grid_core._summary.distribution import Distribution
from torch2grid_core._summary.duplicates import DuplicateGroup, DuplicateUnits
from torch2grid_core._summary.figures import Figures, first_index
from torch2grid_core._summary.largest import LargestWeights
from torch2grid_core._summary.not_finite import NotFiniteCount, count_not_finite
from torch2grid_core._summary.profile import UnitProfile

__all__ = [
    "About",
    "ArrayMapping",
    "Chunk",
    "Collector",
    "Distribution",
    "DuplicateGroup",
    "DuplicateUnits",
    "Duplicates",
    "Figures",
    "Largest",
    "LargestWeights",
    "NotFinite",
    "NotFiniteCount",
    "Of",
    "Opener",
    "Planes",
    "Profile",
    "Progress",
    "Raster",
    "Stop",
    "Summary",
    "Transformed",
    "UnitProfile",
    "Values",
    "count_not_finite",
    "counted_distribution",
    "executor_of",
    "first_index",
    "workers",
]
