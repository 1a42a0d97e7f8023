"""Checks a built site: ``python docs/_tools/check_site.py site``. No page may fetch anything from another place."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

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


def problems(site: Path) -> Iterator[str]:
    """A line for each thing that a file below *site* would load from another host."""
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        for address in foreign(path.read_text(encoding="utf-8"), path.suffix[1:]):
            yield f"{path}: fetches {address}"


def main(words: list[str]) -> int:
    """Exit code 1 where there is a problem, or no page."""
    site = Path(words[0])
    pages = len(list(site.rglob("*.html")))
    found = list(problems(site))
    for line in found:
        print(line, file=sys.stderr)
    print(f"{site}: {pages} pages, {len(found)} fetches from other hosts")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
