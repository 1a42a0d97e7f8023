"""How much is asked for at once, how long is waited for it, and how often it is asked for again."""

from __future__ import annotations

import os

HEAD = 20 << 10  # bytes of the first request: the header of most files, and 1 % of a small matrix
NEAR = 64 << 10  # bytes between two ranges that one request may fetch, too, rather than two requests
BLOCKS = 8 << 20  # bytes of headers and other small reads that are kept
GROWTH = 4 << 20  # bytes of a request, at most, where reads that nobody foretold follow each other

WINDOW = 8 << 20  # bytes of a request for weights, aligned to the file; less where connections would have none
AHEAD = 64 << 20  # bytes of windows that a process holds: with what is being copied less than 80 MB
CONNECTIONS = 8  # at once for weights
OPENING = 16  # and for headers

TRIES = 5
WORTH = 1 << 20  # bytes after which a try was none in vain
CONNECT = 10.0  # seconds until a server has answered the call
SILENCE = float(os.environ.get("TORCH2GRID_REMOTE_TIMEOUT", "30"))  # seconds that a server may send nothing
PATIENCE = SILENCE * 5 / 3  # seconds without one byte, over all tries
BACKOFF = 0.2  # seconds before the second try, twice that before the next
PACE = 1 << 10  # bytes that a server has to send for each second of that silence
HOPS = 5  # redirects that are followed
LISTED = 100_000  # names of a folder
LISTING = 8 << 20  # bytes of a page of a listing; as text they take four times as much, at worst
VALUES = 400_000  # of a page that is JSON: objects in memory, of which the smallest take 64 bytes and more
PATH = 1024  # characters of a path in a listing
PAGE = 4 << 20  # bytes of one that is HTML or XML, which takes a second to read for each MiB at worst
REFUSAL = 64 << 10  # bytes that a store may say of an error
