"""Checks a built site: ``python docs/_tools/check_site.py site``.

No page may fetch anything from another place. Every link within the site leads to a file, and to a place in it, that is there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FETCHING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data", "use": "href"}
_HARMLESS_LINKS = {"canonical", "next", "prev", "alternate"}  # addresses that a browser does not load
_IN_STYLES = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


class _Fetches(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and given.get("rel", "") in _HARMLESS_LINKS:
            return
        address = given.get(_FETCHING.get(tag, ""), "")
        if address.startswith(("http://", "https://", "//")):
            self.found.append(f"<{tag}> {address}")


def foreign(text: str, kind: str) -> list[str]:
    """What a page (``html``) or a style sheet (``css``) would load from another host."""
    found = _IN_STYLES.findall(text)
    if kind == "html":
        parser = _Fetches()
        parser.feed(text)
        found += parser.found
    return found


class _Links(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self) -> None:
        super().__init__()
        self.to: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        self.to += [given[name] for name in ("href", "src") if given.get(name)]


def fetches(site: Path) -> Iterator[str]:
    """A line for each thing that a file below *site* would load from another host."""
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for address in foreign(path.read_text(encoding="utf-8"), path.suffix[1:]):
            yield f"{path}: fetches {address}"


def broken(site: Path) -> Iterator[str]:
    """A line for each link from a page below *site* to a file or a place that is not there."""
    pages = {path.resolve(): _Links() for path in site.rglob("*.html")}
    for path, links in pages.items():
        links.feed(path.read_text(encoding="utf-8"))
    for path, links in sorted(pages.items()):
        for address in links.to if path.name != "404.html" else ():  # its addresses begin at the host
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            if not target.exists() or not target.is_relative_to(site.resolve()):
                yield f"{path}: links to {address}, which is not there"
            elif place and target in pages and place not in pages[target].places:
                yield f"{path}: links to {address}, and that page has no such place"


def main(words: list[str]) -> int:
    """Exit code 1 where there is a problem, or no page."""
    site = Path(words[0])
    pages = len(list(site.rglob("*.html")))
    fetched, lost = list(fetches(site)), list(broken(site))
    for line in [*fetched, *lost]:
        print(line, file=sys.stderr)
    print(f"{site}: {pages} pages, {len(fetched)} fetches from other hosts, {len(lost)} broken links")
    return 1 if fetched or lost or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
