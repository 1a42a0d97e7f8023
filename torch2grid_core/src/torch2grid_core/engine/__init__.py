"""The one way through: what all views need, one pass over the weights, pages as soon as they can be drawn.

``Engine.run`` serves the command line, interactive mode and the Python API alike. Each tensor is one task (a lazy tensor
and the needs of every view for it), a very large one read in a few pieces; tasks run in any ``concurrent.futures.Executor``
and are merged in the order of the file, so that the number of workers never changes a digit.
"""

from torch2grid_core.engine.arrays import ArrayMapping
from torch2grid_core.engine.engine import Engine
from torch2grid_core.engine.seen import Seen
from torch2grid_core.engine.tasks import Drawn
from torch2grid_core.engine.workers import workers

__all__ = ["ArrayMapping", "Drawn", "Engine", "Seen", "workers"]
