"""What can be measured of weights, and what a plugin needs to measure something else."""

from torch2grid_core.measures.figures import Duplicates, NotFinite, Of, Profile, Summary, Values
from torch2grid_core.measures.grids import Raster, Transformed
from torch2grid_core.measures.need import Chunk, Collector, Need

__all__ = [
    "Chunk",
    "Collector",
    "Duplicates",
    "Need",
    "NotFinite",
    "Of",
    "Profile",
    "Raster",
    "Summary",
    "Transformed",
    "Values",
]
