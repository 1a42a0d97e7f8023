"""The least that touching every byte costs: numpy sums each megabyte, as 64-bit words: python sum_in_cache.py FILE [FILE]"""

import sys

import numpy as np

piece, total = np.empty(1 << 17, np.uint64), np.uint64(0)
for path in sys.argv[1:]:
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(piece.data):
            total += piece[: count // 8].sum(dtype=np.uint64)
print(total)
