"""Untrusted text: tensor names, metadata and paths come from files and are shown, written and compared here only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Categories that move the cursor, reorder or hide text: controls, formats (RTL overrides), surrogates, separators. Spaces too,
# except the plain one, which they look like: two names that differ must look different.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}


LIMIT = 200  # characters of a name, where nothing else is said


def visible(text: str, limit: int = LIMIT) -> str:
    """Return *text* as one printable line: hidden characters as ``\\x1b``-style escapes, cut in the middle at *limit*."""
    if len(text) > limit:
        keep = max(limit - 1, 2)
        text = text[: keep - keep // 3] + "…" + text[len(text) - keep // 3 :]
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _HIDDEN and char != " " else char for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


# Of a location such as ``s3://key:secret@bucket/m.pt?token=…``: who asks, its parameters (``;key=…``), and what follows ``?``
# or ``#``. In a line, each ends with its word.
# A secret may hold any character, as those of S3 hold ``/``: what follows a colon that begins no port goes, to the last ``@``.
_PASSWORD = r"[^/?#\s@:\[]{1,500}:(?!\d{0,5}(?:[/?#\s]|$))"
_USER = re.compile(rf"(?<=://)(?:{_PASSWORD}.*@|[^/?#\s]*@)", re.DOTALL)
_USER_OF_WORD = re.compile(rf"(?<=://)(?:{_PASSWORD}\S{{0,500}}@|[^/?#\s]*@)")
_QUERY = re.compile(r"(://[^?#]*)[?#].*", re.DOTALL)
_QUERY_OF_WORD = re.compile(r"(://[^\s?#'\"<>]*)[?#][^\s'\"<>]+?(?=[,;:.)\]]*(?:[\s'\"<>]|$))")
_PARAMETER = re.compile(r";[^/;=]*=[^/;]*")
_PARAMETER_OF_WORD = re.compile(r";[^\s/;='\"<>]*=[^\s/;'\"<>]*?(?=[,:.)\]]*(?:[\s/;'\"<>]|$))")
_WORD = re.compile(r"://\S*")


def without_secrets(location: str) -> str:
    """Return *location* without what may be a key: its user, password, parameters, query and fragment.

    A path stays as it is.
    """
    scheme, colon, rest = _QUERY.sub(r"\1", _USER.sub("", location)).partition("://")
    return f"{scheme}{colon}{_PARAMETER.sub('', rest)}" if colon else location


def without_secrets_in(line: str) -> str:
    """*line* with every location in it as ``without_secrets`` leaves it."""
    if "://" not in line:
        return line
    left = _QUERY_OF_WORD.sub(r"\1", _USER_OF_WORD.sub("", line))
    return _WORD.sub(lambda found: _PARAMETER_OF_WORD.sub("", found[0]), left)


def display_width(text: str) -> int:
    """Return the terminal columns that *text* takes: two for wide East Asian characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def safe_filename(name: str, limit: int = 120) -> str:
    """Return *name* as one path component that is valid on every common file system and never leaves its folder.

    - Letters, digits, ``. _ - + = @ ,`` and spaces inside stay. Everything else becomes ``_``.
    - Windows' reserved names, and a dash in front, which programs take for an option, get a ``_`` before them. Dots at either
      end are removed.

    The result is not unique: two names may become one (see ``output.Namer``).
    """
    cleaned = re.sub(r"[^\w.+=@, -]", "_", visible(name, limit=10 * limit), flags=re.UNICODE).strip(" .")
    cleaned = unicodedata.normalize("NFC", cleaned)
    while len(cleaned.encode()) > limit:
        cleaned = cleaned[: max(len(cleaned) - 1 - (len(cleaned.encode()) - limit) // 4, 0)]
    if not cleaned:
        return "_"
    cleaned = cleaned.rstrip(" .")
    return f"_{cleaned}" if cleaned.startswith("-") or cleaned.split(".")[0].strip().lower() in _RESERVED else cleaned


def nearest(name: str, valid: Iterable[str]) -> list[str]:
    """Up to three names of *valid* that *name* was probably meant to be, best first; may be empty."""
    import difflib  # only mistakes need it

    folded = {candidate.lower(): candidate for candidate in valid}
    return [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'a' or 'b'?``, or ``; valid: …`` if the list is short, or an empty text."""
    names = sorted(valid)
    close = nearest(name, names)
    if close:
        return "; did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "; valid: " + ", ".join(names) if 0 < len(names) <= 30 else ""


def counted(number: int, thing: str) -> str:
    """Return ``1 rule``, ``9,258 numbers``: *thing* is the singular of a word that takes an s."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def human_count(number: int) -> str:
    """Return a count with a unit, three digits: ``1.10 billion``, ``124 million``, ``21,418``."""
    for size, unit in ((10**6, "million"), (10**9, "billion"), (10**12, "trillion")):
        if number >= size and float(f"{number / size:.3g}") < 1000:
            return f"{number / size:.3g} {unit}"
    return f"{number:,}"


def percentage(share: float, digits: int = 2) -> str:
    """Return *share* as ``12.34%``. It is never 0 for something, nor 100 for less than all: ``<0.01%``, ``>99.99%``."""
    text, least = f"{share:.{digits}%}", 10**-digits
    if share > 0 and float(text[:-1]) == 0:
        return f"<{least:.{digits}f}%"
    return f">{100 - least:.{digits}f}%" if share < 1 and float(text[:-1]) == 100 else text
