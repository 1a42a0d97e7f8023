"""The type of every array in a signature: numpy's, of any shape and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
