"""Where the page is: an address that is taken, and the token that opens it once. A person has it before the server is made."""

from __future__ import annotations

import secrets
import socket


class Bound:
    """A socket that is bound: browsers may connect, and wait until a server answers. Raises ``OSError`` where it cannot be.

    token: good for one exchange, and renewed after it.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self.socket.getsockname()[1]
        self._host = host
        self.renew()

    def renew(self) -> None:
        """Make another token; the one before is good for nothing any more."""
        self.token = secrets.token_urlsafe(32)

    @property
    def hosts(self) -> frozenset[str]:
        """The values of ``Host`` by which it is meant."""
        return frozenset(f"{name}:{self.port}".lower() for name in (self._host, "localhost", "127.0.0.1", "[::1]"))

    @property
    def address(self) -> str:
        """The address that opens the page once."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}/?token={self.token}"
