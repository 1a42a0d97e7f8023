"""Changes of bytes, whatever they mean."""

from __future__ import annotations

import random


def changed(raw: bytes, rng: random.Random) -> bytes:
    """A bit, a byte, a few bytes, or the end cut off."""
    at = rng.randrange(len(raw))
    kind = rng.random()
    if kind < 0.15:
        return raw[:at]
    spoilt = bytearray(raw)
    if kind < 0.6:
        spoilt[at] ^= 1 << rng.randrange(8)
    else:
        for place in range(at, min(at + rng.randint(1, 4), len(raw))):
            spoilt[place] = rng.randrange(256)
    return bytes(spoilt)
