"""Asking again: for the bytes that are missing, a few times, each after a longer pause, as the server says if it does."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from torch2grid_core import LoadError
from torch2grid_remote import limits

Tell = Callable[[int], None]  # how many more bytes have arrived
Attempt = Callable[[int, memoryview, Tell, float], None]


class Again(Exception):
    """A failure that may pass. after: seconds that the server wants to be left alone."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


def persistently(shown: str, attempt: Attempt, start: int, buffer: memoryview, tell: Tell | None = None) -> None:
    """Fill *buffer* from byte *start* by as many attempts as it takes, of which each asks for what is missing.

    attempt: gets the first byte that is missing, the rest of the buffer, what to call with each number of bytes that arrived,
    and the seconds that it may wait for the next of them; raises ``Again``. Raises ``LoadError`` when tries or patience end.
    """
    done, tries, heard, counted = 0, 0, time.monotonic(), 0

    def arrived(count: int) -> None:
        nonlocal done, heard
        done, heard = done + count, time.monotonic()
        if tell is not None:
            tell(count)

    while True:
        left = heard + limits.PATIENCE - time.monotonic()
        try:
            attempt(start + done, buffer[done:], arrived, max(min(left, limits.SILENCE), 0.1))
            if done == len(buffer):
                return
            raise Again("ended too early")
        except Again as error:
            tries = 0 if done - counted >= limits.WORTH else tries + 1
            counted = done if tries == 0 else counted
            pause = max(limits.BACKOFF * 2 ** max(tries - 1, 0) * random.uniform(0.75, 1.25), error.after)
            if tries >= limits.TRIES or time.monotonic() + pause > heard + limits.PATIENCE:
                told = f" (asked {tries} times)" if tries > 1 else ""
                raise LoadError(shown, f"the server {error.reason}{told}", "try again later") from error
            time.sleep(pause)
