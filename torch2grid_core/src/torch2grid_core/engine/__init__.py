"""The one way through: what everybody needs of the weights, from one pass over them.

``measure`` serves whoever wants results, ``draw`` whoever wants pages, ``check`` whoever wants findings. What they ask for is
united: each tensor is read once, small ones together, a very large one in a few pieces, in any
``concurrent.futures.Executor``; results come in the order of the file, so that the number of workers never changes a digit.
"""

from torch2grid_core.engine.drawing import draw
from torch2grid_core.engine.executors import executor_of
from torch2grid_core.engine.measuring import measure
from torch2grid_core.engine.seen import Seen
from torch2grid_core.engine.workers import workers

__all__ = ["Seen", "draw", "executor_of", "measure", "workers"]
