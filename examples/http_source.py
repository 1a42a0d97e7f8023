"""https:// and http:// by byte ranges: ``torch2grid https://host/model.safetensors --load-plugin examples/http_source.py``."""

import http.client
import os
import threading
from urllib.parse import quote, unquote, urljoin, urlsplit

from torch2grid_core import LoadError, SourceOpener, text
from torch2grid_core.sources import SourceBase

TIMEOUT = float(os.environ.get("TORCH2GRID_HTTP_TIMEOUT", "30"))  # seconds that a server may be silent
AHEAD = 256 << 10  # bytes of a request, at least: small tensors that lie side by side share one
here = threading.local()  # each thread's connections, which stay open, and the blocks that it read last


def get(url, shown, start, stop, hops=3):
    """(the bytes, the size of the whole, what says which version it is). Raises ``LoadError``."""
    place = urlsplit(url)
    key, connections = (os.getpid(), place[:2]), vars(here).setdefault("open", {})
    kept, kind = connections.pop(key, None), getattr(http.client, f"{place.scheme.upper()}Connection")
    target = quote(place._replace(scheme="", netloc="", fragment="").geturl() or "/", safe="%/?:;,+=&@!$'()*~[]")
    try:
        if not place.hostname:
            raise ValueError("the address names none")
        connection = kept or kind(place.hostname, place.port, timeout=TIMEOUT)
        connection.request("GET", target, headers={"Range": f"bytes={start}-{stop - 1}", "User-Agent": "torch2grid"})
        answer = connection.getresponse()
        body, goal = answer.read(stop - start + 1), urljoin(url, answer.getheader("Location", ""))
    except (OSError, ValueError, http.client.HTTPException) as error:
        if kept and isinstance(error, ConnectionError):
            return get(url, shown, start, stop, hops)  # the server had closed it meanwhile
        reason = f"is silent for {TIMEOUT:g} s" if isinstance(error, TimeoutError) else f"cannot be asked: {error}"
        raise LoadError(shown, f"the server {reason}", "check the address, and try again") from error
    if not answer.isclosed():  # there is more of it
        connection.close()  # the next request opens it again
    connections[key] = connection
    span, _, total = answer.getheader("Content-Range", "").partition("/")
    if answer.status in (301, 302, 303, 307, 308):
        if not hops or urlsplit(goal).scheme not in ("https", place.scheme):  # https stays https; no credentials are sent
            raise LoadError(shown, f"is redirected to {text.without_secrets(goal)}", "give that address, if you trust it")
        return get(goal, shown, start, stop, hops - 1)
    if answer.status not in (206, 416) or not total.isdigit():
        reason = "sends no ranges" if answer.status in (200, 206, 416) else f"answers {answer.status} {answer.reason}"
        raise LoadError(shown, f"the server {reason}", "check the address, or download the file first")
    stop, body = min(stop, int(total)), body if answer.status == 206 else b""
    if answer.status == 206 and (span != f"bytes {start}-{stop - 1}" or len(body) != stop - start):
        raise LoadError(shown, f"the server sends other bytes than {start}-{stop - 1}", "try again, or download it first")
    return body, int(total), answer.getheader("ETag") or answer.getheader("Last-Modified")


class HttpSource(SourceBase):
    def __init__(self, url, is_folder=False):
        self.url, self.is_folder, self.size, self.identity = url, is_folder, 0, (url,)
        self.shown = urlsplit(url)._replace(query="", fragment="").geturl()  # a query may hold a key
        self.name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
        if not is_folder:  # one request says whether it is there, its length and version, and how it begins
            block, *version = get(url, self.shown, 0, AHEAD)
            self.head, self.size, self.identity = block[:4096], version[0], (url, *version)
            here.blocks = [(self.identity, 0, block)]

    @property
    def folder(self):  # HTTP cannot list it: it has no entries, and children whose names are known
        return None if self.is_folder else HttpSource(urljoin(self.shown, "."), is_folder=True)

    def child(self, name):
        inside = self.is_folder and ".." not in name.split("/")
        return HttpSource(self.url + quote(name)) if inside else super().child(name)

    def read(self, offset, length):
        self.inside(offset, length)
        if not length:
            return b""
        for identity, start, block in getattr(here, "blocks", ()):
            if identity == self.identity and start <= offset and offset + length <= start + len(block):
                return block[offset - start : offset - start + length]
        block, *version = get(self.url, self.shown, offset, min(offset + max(length, AHEAD), self.size))
        if (self.url, *version) != self.identity:
            raise LoadError(self.shown, "changed while it was being read", "run again when it is complete")
        here.blocks = [(self.identity, offset, block), *getattr(here, "blocks", ())[:3]]
        return block[:length]


class HttpOpener(SourceOpener):
    """https://… and http://…: the ranges that are needed, never the whole file"""

    name, schemes = "http", ("https", "http")

    def open(self, location):
        place = urlsplit(location)  # a password in it is left out
        return HttpSource(place._replace(netloc=place.netloc.rpartition("@")[2]).geturl())
