"""Where a weight is that the figures tell of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from torch2grid_core._array import Array
from torch2grid_core._data.dtypes import as_float
from torch2grid_core._data.tensor import LazyTensor


def first_index(tensor: LazyTensor, test: Callable[[Array], Array]) -> tuple[int, ...] | None:
    """The index of the first weight (in C order) that *test* holds for; ``None`` where there is none.

    test: from weights (1-D, float32 or float64; complex ones by magnitude, NaN where either part is) to bool of the same
    length, such as ``numpy.isnan``. Reads the tensor from the start until the first one is found. Raises ``LoadError``.
    """
    for start, chunk in tensor.flat_chunks():
        values = as_float(chunk)
        found = np.flatnonzero(test(values))
        if len(found):
            return tuple(int(each) for each in np.unravel_index(start + int(found[0]), tensor.shape))
    return None
