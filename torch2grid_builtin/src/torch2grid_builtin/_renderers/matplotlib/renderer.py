"""Figures by matplotlib: pixels, and svg and pdf in which everything but the cells is vector and text is text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from torch2grid_builtin._renderers.matplotlib.look import Look
from torch2grid_core import Page, Renderer, Style, UsageError
from torch2grid_core.text import visible

if TYPE_CHECKING:
    from torch2grid_builtin._renderers.matplotlib.canvas import Canvas

_QUALITY = 92  # of jpg, from which the colours of cells can hardly be told from their own
_WEBP_SIDE = 16_383  # pixels


@dataclass(frozen=True)
class Matplotlib(Look, Renderer):
    """Png, jpg, webp, svg and pdf figures."""

    name: ClassVar[str] = "matplotlib"
    formats: ClassVar[tuple[str, ...]] = ("png", "svg", "pdf", "jpg", "jpeg", "webp")
    combines: ClassVar[tuple[str, ...]] = ("pdf",)
    tables: ClassVar[tuple[str, ...]] = ()  # pictures of tables help nobody while the screen shows them as text

    transparent: bool = field(default=False, metadata={"help": "no ground; not in jpg"})
    quality: int | None = field(
        default=None,
        metadata={"help": f"of jpg ({_QUALITY} if not given) and webp (which keeps every pixel if not given), 1 to 100"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError("quality must be between 1 and 100")

    def render(self, page: Page, target: BinaryIO, style: Style, format: str) -> None:
        """Write *page* to *target*.

        Raises ``ValueError`` for another format, ``UsageError`` for an unknown colour map or font, and for a picture that the
        format cannot hold.
        """
        canvas = draw(page, style, self)
        if format in ("jpg", "jpeg", "webp"):
            self._compress(canvas, target, format)
        else:
            canvas.save(target, format, _title(page), self, self.transparent)

    def warm_up(self) -> None:
        """Import matplotlib."""
        from torch2grid_builtin._renderers.matplotlib import page  # noqa: F401

    def render_all(self, pages: Iterable[Page], target: BinaryIO, style: Style, format: str) -> None:
        """Write all *pages* as one pdf, overviews first. Raises ``UsageError`` for an unknown colour map or font."""
        from torch2grid_builtin._renderers.matplotlib.canvas import save_book

        title = next((_title(page) for page in pages if not page.folder), "torch2grid")
        ordered = (page for folder in (False, True) for page in pages if bool(page.folder) is folder)
        save_book((draw(page, style, self) for page in ordered), target, title, self, self.transparent)

    def _compress(self, canvas: Canvas, target: BinaryIO, format: str) -> None:
        from PIL import Image

        if self.transparent and format != "webp":
            raise UsageError("a jpg cannot be transparent; ask for png or webp")
        side = max(canvas.size(self))
        if format == "webp" and side > _WEBP_SIDE:
            raise UsageError(f"a webp has at most {_WEBP_SIDE:,} pixels a side, not {side:,}; ask for png")
        picture = Image.fromarray(canvas.pixels(self, self.transparent))
        how: dict[str, Any]
        if format == "webp":
            how = {"format": "WEBP", "lossless": self.quality is None, "quality": self.quality or 80, "exact": True}
        else:
            how = {"format": "JPEG", "quality": self.quality or _QUALITY, "subsampling": 0, "dpi": (self.dpi, self.dpi)}
        picture.save(target, **how)


def draw(page: Page, style: Style, look: Look) -> Canvas:
    """*page*, laid out in the font of *look*, with cells for its ground."""
    from torch2grid_builtin._renderers.matplotlib.page import draw_page
    from torch2grid_builtin._renderers.matplotlib.text import font_in_use

    with font_in_use(look.font):
        return draw_page(page, replace(style, dark=look.theme == "dark"))


def _title(page: Page) -> str:
    return visible(page.title or page.name)
