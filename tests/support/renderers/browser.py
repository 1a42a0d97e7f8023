"""A headless Chromium that reports everything a page tries to do; for tests of the html renderer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test says that it skips where there is none (``TORCH2GRID_CHROMIUM`` or one on the path)."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = os.environ.get("TORCH2GRID_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not executable:
        pytest.skip("no chromium on the path, and TORCH2GRID_CHROMIUM is not set")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=list(_FLAGS))
        yield browser
        browser.close()


class Visit:
    """One page in the browser. problems: console errors and exceptions; requests: every address asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, **options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = path.as_uri()
        self.page.goto(self.address)
        self.page.wait_for_selector("body[data-shown]", timeout=20_000)
        self.page.wait_for_timeout(100)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.problems == []
            assert self.requests == [self.address]

    def choose(self, name: str) -> None:
        """Click an entry of the index and wait for its page."""
        before = self.page.evaluate("document.body.dataset.shown")
        item = self.page.locator(".item", has=self.page.get_by_text(name, exact=True)).first
        item.click()
        if item.get_attribute("aria-current") != "true" or before is None:
            self.page.wait_for_timeout(50)
        self.page.wait_for_function("document.querySelector('.item[aria-current=true] .name').textContent !== ''")
        self.page.wait_for_timeout(150)

    def canvas(self, number: int = 0) -> Any:
        """The number-th heatmap or image in view."""
        return self.page.locator(".view canvas").nth(number)

    def place(self, row: int, column: int, number: int = 0) -> tuple[float, float]:
        """Where the middle of a cell is in the window, in CSS pixels."""
        canvas = self.canvas(number)
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        data = canvas.evaluate("each => ({...each.dataset})")
        x = box["x"] + float(data["left"]) + (column + 0.5) * float(data["cellWidth"])
        y = box["y"] + float(data["top"]) + (row + 0.5) * float(data["cellHeight"])
        return x, y

    def hover(self, row: int, column: int, number: int = 0) -> list[str]:
        """The lines of the tooltip over a cell; the pointer moves a little until there are any, as scrolling hides them."""
        tip = self.page.locator(".tip")
        for attempt in range(10):
            x, y = self.place(row, column, number)
            self.page.mouse.move(x + 0.2 * (attempt % 2), y)
            if tip.get_attribute("hidden") is None:
                lines: list[str] = tip.locator("div").all_inner_texts()
                if lines:
                    return lines
            self.page.wait_for_timeout(50)
        raise AssertionError(f"no tooltip over cell ({row}, {column})")
