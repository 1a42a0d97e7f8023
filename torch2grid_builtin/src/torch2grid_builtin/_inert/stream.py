"""The bytes of a pickle through a small window, so that a long one is not held in memory."""

from __future__ import annotations

from collections.abc import Collection

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.malformed import Broken, CutShort, LongLine, Malformed
from torch2grid_builtin._inert.storages import Slice
from torch2grid_core.sources import Range, Storage

WINDOW = 1 << 20  # the most; it grows from FIRST while a pickle goes on
FIRST = 1 << 12
_NUMERAL = 64  # bytes of a number's line that are looked at before it is read
WIDEST = 9  # bytes of the longest opcode with a fixed argument


class PickleStream:
    """Reads a storage forwards. ``data`` is the window, ``base`` the place of its first byte, ``pos`` the next byte in it.

    The machine reads ``data`` directly and calls ``opcode`` when it comes near the end of the window, or of a frame.
    frame: where the open one ends, -1 without one. framed: a frame must be whole, and nothing may cross its end; otherwise
    frames are passed over, as CPython's faster unpickler does.
    """

    def __init__(self, storage: Storage, start: int = 0, framed: bool = True) -> None:
        self.storage = storage
        self.size = storage.size
        self.base = start
        self.pos = 0
        self.data = b""
        self.window = min(FIRST, WINDOW)
        self.safe = 0  # up to here in the window, every fixed argument is inside it, and no frame ends
        self.frame = -1
        self.framed = framed

    def tell(self) -> int:
        """The place of the next byte in the storage."""
        return self.base + self.pos

    def opcode(self, pos: int) -> int:
        """The place in the window of the opcode at *pos*: the window moves, and a frame that ends here is closed.

        Raises ``CutShort`` when no byte is left, ``Malformed`` where an argument has crossed the end of its frame: CPython's
        two unpicklers go on in different places then.
        """
        if self.frame >= 0:
            left = self.frame - self.base - pos
            if left < 0:
                raise Malformed("broken pickle: an argument crosses the end of its frame", "it is damaged or hostile")
            if left == 0:
                self.frame = -1
                self._find_safe()
        return pos if pos < self.safe else self.advance(pos)

    def open_frame(self, size: int) -> None:
        """The next *size* bytes are a frame. Raises ``Malformed`` inside of another, ``CutShort`` where they are not there."""
        if not self.framed:
            return
        if self.frame >= 0:
            raise Malformed("broken pickle: a frame begins inside of another", "it is damaged or hostile")
        self.check(self.pos, size)
        self.frame = self.tell() + size
        self._find_safe()

    def close(self) -> None:
        """The frame that is open, if one is, ends here. Raises ``Malformed`` where it does not."""
        if self.frame not in (-1, self.tell()):
            raise Malformed("broken pickle: it ends before or behind its frame", "it is damaged or hostile")
        self.frame = -1

    def _find_safe(self) -> None:
        length = len(self.data)
        self.safe = length if self.base + length == self.size else length - WIDEST
        if self.frame >= 0:
            self.safe = min(self.safe, self.frame - self.base)

    def advance(self, pos: int, need: int = WIDEST) -> int:
        """Move the window so that it starts at *pos* and holds *need* bytes where there are so many; the new *pos*.

        Raises ``CutShort`` when no byte is left.
        """
        place = self.base + pos
        if place >= self.size:
            raise CutShort("the pickle ends before its STOP", "the file is cut short; fetch it again")
        if not self.data:  # the first, or behind what was left unread: little may be wanted here
            self.window = min(FIRST, WINDOW)
        length = min(max(self.window, need), self.size - place)
        self.window = min(4 * self.window, WINDOW)
        kept = self.data[pos : pos + length]
        if len(kept) < length:
            rest = bytearray(length - len(kept))
            self.storage.read_into(place + len(kept), memoryview(rest))
            kept += rest
        self.base, self.data = place, kept
        self._find_safe()
        self.pos = 0
        return 0

    def check(self, pos: int, count: int) -> None:
        """Raise ``CutShort`` unless *count* bytes follow *pos*."""
        if count < 0 or self.base + pos + count > self.size:
            raise CutShort(
                f"a string of {count} bytes is claimed where {max(self.size - self.base - pos, 0)} are left",
                "the file is cut short or hostile",
            )

    def take(self, pos: int, count: int) -> tuple[bytes, int]:
        """*count* bytes from *pos*, and the place after them in the window."""
        self.check(pos, count)
        if pos + count > len(self.data):
            pos = self.advance(pos, count + WIDEST) if count else pos
        return self.data[pos : pos + count], pos + count

    def leave(self, pos: int, count: int) -> tuple[Storage, int]:
        """The next *count* bytes as a storage, not read, and the place after them in the window."""
        self.check(pos, count)
        storage = part(self.storage, self.base + pos, count)
        if pos + count > len(self.data):
            self.base, self.data, self.safe = self.base + pos + count, b"", 0
            return storage, 0
        return storage, pos + count

    def raw(self, count: int) -> bytes:
        """The next *count* bytes, which are no part of a pickle."""
        data, self.pos = self.take(self.pos, count)
        return data

    def skip(self, count: int) -> Storage:
        """The next *count* bytes as a storage, not read."""
        storage, self.pos = self.leave(self.pos, count)
        return storage

    def numeral(self, pos: int, allowed: Collection[int]) -> tuple[bytes, bool, int]:
        """The number in the line at *pos*, whether a zero byte ends it, behind which C looks at nothing, and the place after
        the line. Raises ``Broken`` where another character than *allowed* stands in front of that, ``LongLine`` for thousands
        of digits.
        """
        if pos + _NUMERAL > len(self.data) and self.base + len(self.data) < self.size:
            pos = self.advance(pos, 2 * _NUMERAL)
        for place, each in enumerate(self.data[pos : pos + _NUMERAL], pos):
            if each == 0:
                return self.data[pos:place], True, self._behind_line(place)
            if each == 10:
                break
            if each not in allowed:
                raise Broken("broken pickle: a number that is not valid")
        raw, pos = self.line(pos, limits.DECIMAL_DIGITS + 1)  # an L behind them
        number, zero, _ = raw.partition(b"\0")
        return number, bool(zero), pos

    def _behind_line(self, pos: int) -> int:
        """The place after the next line feed, however far it is."""
        while True:
            end = self.data.find(b"\n", pos)
            if end >= 0:
                return end + 1
            pos = self.advance(len(self.data))

    def rest_of_line(self) -> Storage:
        """The bytes up to the next line feed, not held in memory; the stream stands behind it. Raises ``CutShort``."""
        begun = self.tell()
        self.pos = self._behind_line(self.pos)
        return part(self.storage, begun, self.tell() - 1 - begun)

    def ahead(self, count: int) -> bytes:
        """The next *count* bytes, or all that are left; they are still to be read. Raises ``CutShort`` where none is."""
        if self.pos + count > len(self.data) and self.base + len(self.data) < self.size:
            self.advance(self.pos, count)
        return self.data[self.pos : self.pos + count]

    def line(self, pos: int, most: int) -> tuple[bytes, int]:
        """The bytes up to the next line feed, at most so many, and the place after it.

        Raises ``CutShort`` without one, ``LongLine`` where it is farther, which is found through a small window: the stream
        stands at *pos* then.
        """
        begun, end = self.base + pos, self.data.find(b"\n", pos)
        if end < 0:
            while end < 0 and self.base + len(self.data) - begun <= most:
                if self.data and self.base + len(self.data) == self.size:
                    raise CutShort("a line of text does not end")
                self.advance(len(self.data))
                end = self.data.find(b"\n")
            end = self.base + end - begun if end >= 0 else most + 1
            self.base, self.data, self.safe, self.pos = begun, b"", 0, 0
            pos = self.advance(0, end + 1) if end <= most else 0
        if end - pos > most:
            raise LongLine(most)
        return self.data[pos:end], end + 1


def part(storage: Storage, offset: int, size: int) -> Storage:
    """A range of *storage*; of a source, a range of the source."""
    if isinstance(storage, Range):
        return Range(storage.source, storage.offset + offset, size)
    return Slice(storage, offset, size)
