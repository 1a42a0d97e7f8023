"""Scratch arrays that stay with the process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_LARGEST = 8 << 20  # bytes; larger than any scratch array of a pass


@lru_cache(maxsize=1)
def keep_scratch() -> None:
    """Make glibc take arrays of up to 8 MiB from its heap, and keep up to twice that free instead of giving it back.

    By default it maps and unmaps each array of a megabyte anew, and the system then clears every page again: three times
    the work of the pass itself. Freeing one larger mapped array raises its threshold (``M_MMAP_THRESHOLD`` in mallopt(3)).
    Not a page of the array is touched; other C libraries do not notice.
    """
    np.empty(_LARGEST, np.uint8)
