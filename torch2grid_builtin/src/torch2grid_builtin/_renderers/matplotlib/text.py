"""Text that fits: literal, measured by the advances of its characters, and as the pixels that it covers."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font, LoadFlags

from torch2grid_builtin._renderers.matplotlib.look import DEFAULT_FONT
from torch2grid_core import UsageError
from torch2grid_core.text import did_you_mean, visible

Array = np.ndarray[Any, Any]

_EM = 1000  # pixels to the em at which advances are measured
_FACES = threading.local()  # a face holds the size and text that were set last
_FAMILY: ContextVar[str] = ContextVar("font", default=DEFAULT_FONT)


@contextmanager
def font_in_use(family: str) -> Iterator[None]:
    """Inside, text is measured and drawn in this font. Raises ``UsageError`` for one that is not installed."""
    _font_file(family, False)
    before = _FAMILY.set(family)
    try:
        yield
    finally:
        _FAMILY.reset(before)


@lru_cache(maxsize=32)
def _font_file(family: str, bold: bool) -> str:
    if family == DEFAULT_FONT:
        return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))
    from matplotlib.font_manager import FontProperties, fontManager

    try:
        wanted = FontProperties(family=family, weight="bold" if bold else "normal")
        return str(fontManager.findfont(wanted, fallback_to_default=False))
    except ValueError:
        known = sorted({entry.name for entry in fontManager.ttflist})
        raise UsageError(f"no font {family!r} is installed{did_you_mean(family, known)}") from None


def _face(family: str, bold: bool) -> FT2Font:
    faces: dict[str, FT2Font] = _FACES.__dict__
    name = _font_file(family, bold)
    if name not in faces:
        faces[name] = FT2Font(name)
    return faces[name]


@lru_cache(maxsize=8)
def _characters(family: str, bold: bool) -> frozenset[int]:
    return frozenset(_face(family, bold).get_charmap())


def literal(text: str, bold: bool = False, limit: int = 200) -> str:
    """*text* as one line that the font can show: hidden characters and those without a glyph as escapes."""
    shown = visible(text, limit)
    if shown.isascii():
        return shown
    known = _characters(_FAMILY.get(), bold)
    return "".join(
        char if ord(char) in known else f"\\u{ord(char):04x}" if ord(char) < 65536 else f"\\U{ord(char):08x}" for char in shown
    )


@lru_cache(maxsize=4096)
def _advance(family: str, char: str, bold: bool) -> float:
    """From one character to the next, in units of the size."""
    face = _face(family, bold)
    face.set_size(_EM, 72)
    return face.load_char(ord(char), LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / _EM


def text_width(text: str, size: float = 12, bold: bool = False) -> int:
    """Pixels from the left to the right end of *text*, rounded up. size: pixels to the em."""
    return _width(_FAMILY.get(), text, size, bold)


@lru_cache(maxsize=8192)
def _width(family: str, text: str, size: float, bold: bool) -> int:
    return int(np.ceil(size * sum(_advance(family, char, bold) for char in text))) + 1


def fit(text: str, width: float, size: float = 12, bold: bool = False) -> str:
    """*text*, made literal, with its middle left out (…) where it is wider than *width* pixels; the end says most.

    Of a name with numbers in it, as of layers, words are left out first: the numbers tell it from its like.
    """
    text = literal(text, bold)
    if text_width(text, size, bold) <= width:
        return text
    for shorter in _without_words(text):
        if text_width(shorter, size, bold) <= width:
            return shorter
    low, high = 0, len(text) - 1
    while low < high:
        keep = (low + high + 1) // 2
        if text_width(_without_middle(text, keep), size, bold) <= width:
            low = keep
        else:
            high = keep - 1
    return _without_middle(text, low)


def fit_each(texts: Sequence[str], width: float, size: float = 12) -> list[str]:
    """*texts* as ``fit`` has them, but unlike ones stay unlike: of those that would read the same, what they share is left out.

    One that would still read as another does is empty: no name says more than a wrong one.
    """
    shown = [fit(text, width, size) for text in texts]
    for alike in {name for name in shown if len(_meant(shown, texts)[name]) > 1}:
        meant = sorted(_meant(shown, texts)[alike])
        before, after = _shared(meant), _shared([text[::-1] for text in meant])
        after = min(after, min(map(len, meant)) - before)
        shorter = {text: "…" * (before > 0) + text[before : len(text) - after] + "…" * (after > 0) for text in meant}
        for place, text in enumerate(texts):
            if shown[place] == alike:
                shown[place] = fit(shorter[text], width, size)
    unlike = _meant(shown, texts)
    return [name if len(unlike[name]) == 1 else "" for name in shown]


def _shared(texts: Sequence[str]) -> int:
    """The characters that all *texts* begin with, but for a number that may go on."""
    first, last = min(texts), max(texts)
    alike = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    while alike and first[alike - 1].isdigit():
        alike -= 1
    return alike


def _meant(shown: Sequence[str], texts: Sequence[str]) -> dict[str, set[str]]:
    """What each text that is shown stands for."""
    found: dict[str, set[str]] = {}
    for name, text in zip(shown, texts, strict=True):
        found.setdefault(name, set()).add(text)
    return found


def _without_words(text: str) -> Iterator[str]:
    """A name such as ``model.layers.3.mlp.up.weight`` with ever more of its words left out, all but the last two; at last
    without what follows it in brackets."""
    name, space, rest = text.partition(" ")
    parts = name.split(".")
    words = [place for place, part in enumerate(parts[:-2]) if part and not (part.isdecimal() or part == "*")]
    if len(words) == len(parts[:-2]):
        return
    for end in (space + rest, "") if rest.startswith("(") else (space + rest,):
        for count in range(1, len(words) + 1):
            left_out = set(words[:count])
            shown = ["\0" if place in left_out else part for place, part in enumerate(parts)]
            yield re.sub(r"\.?\0(\.\0)*\.?", "…", ".".join(shown)) + end


def _without_middle(text: str, keep: int) -> str:
    tail = keep - keep // 3
    return text[: keep // 3] + "…" + (text[-tail:] if tail else "")


def wrap(text: str, width: float, size: float = 12, bold: bool = False, lines: int = 2) -> list[str]:
    """*text*, made literal, on at most *lines* lines; the last is fitted.

    Broken at spaces, on short lines best after a comma, and never before ``%``; else after ``. / _ -``, but inside no number.
    """
    rest = literal(text, bold, limit=2000).strip()
    found: list[str] = []
    while rest and len(found) < lines - 1 and text_width(rest, size, bold) > width:
        low, high = 1, len(rest)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if text_width(rest[:middle], size, bold) <= width else (low, middle - 1)
        at = _break(rest, low)
        found.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    if rest:
        found.append(fit(rest, width, size, bold))
    return found


_PROSE = 40  # characters of a line, from which a comma in it is no better place to end it than any other
_POINT = re.compile(r"\d\.\d")


def _break(text: str, limit: int) -> int:
    least = limit // 3
    comma = text.rfind(", ", least, limit) if limit < _PROSE else -1
    if comma > 0:
        return comma + 1
    space = text.rfind(" ", least, limit + 1)
    while space > 0 and text[space + 1 : space + 2] == "%":
        space = text.rfind(" ", least, space)
    if space > 0:
        return space
    for joints in ("./", "_-"):
        places = [place for place in range(least, min(limit, len(text))) if text[place] in joints]
        places = [place for place in places if not _POINT.fullmatch(text[max(place - 1, 0) : place + 2])]
        if places and places[-1] > 0:
            return places[-1] + 1
    return max(limit, 1) + (text[limit : limit + 1] in (",", ";"))  # these begin no line


def text_pixels(text: str, size: float, bold: bool) -> tuple[Array, int]:
    """How much of each pixel *text* covers, uint8, read-only; and how many of its rows are above the baseline.

    Drawn once for all pages: laying out and hinting a text takes a millisecond, and most are drawn again and again.
    """
    return _drawn(_FAMILY.get(), text, size, bold)


@lru_cache(maxsize=1024)
def _drawn(family: str, text: str, size: float, bold: bool) -> tuple[Array, int]:
    face = _face(family, bold)
    face.set_size(size, 72)
    face.set_text(text, 0.0, flags=LoadFlags.FORCE_AUTOHINT | LoadFlags.TARGET_LIGHT)  # sharp stems, true widths
    face.draw_glyphs_to_bitmap(antialiased=True)
    image = np.array(face.get_image())
    image.setflags(write=False)
    return image, (face.get_width_height()[1] - face.get_descent()) // 64 + 1
