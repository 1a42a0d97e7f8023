"""What is told of an address, and which names may stand behind one."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from torch2grid_core import LoadError
from torch2grid_core.text import without_secrets

# What stands in place of a port may be a password, of an address without its host.
_NO_PORT = re.compile(r"(://[^/?#:\[\]]*):(?!\d*(?:[/?#]|$)).*", re.DOTALL)


def split(location: str) -> SplitResult:
    """The parts of *location*. Raises ``LoadError`` for a chain of locations, and for what is no address."""
    if "::" in location.partition("://")[2].partition("?")[0] and not _is_ipv6(location):
        raise LoadError(
            without_secrets(location), "is a chain of locations (::), which torch2grid does not open", "give one location"
        )
    try:
        found = urlsplit(location)
        if found.port == 0:
            raise ValueError("no server listens at port 0")
    except ValueError:  # whose text may hold a password
        shown = _NO_PORT.sub(r"\1:…", without_secrets(location))
        raise LoadError(shown, "is not an address", "check the address; write a password as %2F for / and %40 for @") from None
    return found


def _is_ipv6(location: str) -> bool:
    host, _, path = location.partition("://")[2].partition("/")
    return host.rpartition("@")[2].startswith("[") and "::" not in path


def inside(shown: str, name: str) -> str:
    """*name*, if that is the name of something inside a folder, ``a/b`` of one in another. Raises ``LoadError``."""
    if not name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise LoadError(shown, f"has nothing called {name!r}", "a name in a file is never a location")
    return name
