"""How pictures look by the options of their renderer: as large, dark and transparent as asked for, with the same cells."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from matplotlib.colors import to_rgb
from PIL import Image
from tests.support.renderers.pixels import pixels

from torch2grid_builtin._renderers.gif import Gif
from torch2grid_builtin._renderers.matplotlib import canvas
from torch2grid_builtin._renderers.matplotlib.look import Look
from torch2grid_builtin._renderers.matplotlib.renderer import Matplotlib, draw
from torch2grid_core import Grid, Page, Settings, Style, UsageError
from torch2grid_core.pages import Line

GRID = Grid(np.random.default_rng(0).standard_normal((24, 30)))
PAGE = Page("p", "weights of a layer", (Settings().heatmap(GRID, rows="output", columns="input"),))


def made(look: Matplotlib, page: Page = PAGE, format: str = "png") -> bytes:
    target = io.BytesIO()
    look.render(page, target, Style(), format)
    return target.getvalue()


def middles(png: bytes, zoom: float) -> np.ndarray:
    """The colour in the middle of each cell of the heatmap, which a page of 100 dpi has at places that are known."""
    shapes = draw(PAGE, Style(), Look()).shapes
    (cells,) = (shape for shape in shapes if hasattr(shape, "rgb"))
    rows = ((cells.top + (np.arange(24) + 0.5) * cells.factor[0]) * zoom).astype(int)
    columns = ((cells.left + (np.arange(30) + 0.5) * cells.factor[1]) * zoom).astype(int)
    return pixels(png)[rows][:, columns]


def test_dots_per_inch_make_everything_larger() -> None:
    plain, large = made(Matplotlib()), made(Matplotlib(dpi=300))
    assert [3 * side for side in pixels(plain).shape[:2]] == list(pixels(large).shape[:2])
    np.testing.assert_array_equal(middles(plain, 1), middles(large, 3))
    chunk = large.index(b"pHYs") + 4
    assert struct.unpack(">II", large[chunk : chunk + 8]) == (round(300 / 0.0254),) * 2


@settings(max_examples=settings().max_examples // 5)
@given(st.integers(300, 2400))
def test_a_picture_is_as_wide_as_asked_for(width: int) -> None:
    plain = made(Matplotlib())
    png = made(Matplotlib(width=width))
    high, wide = pixels(plain).shape[:2]
    assert pixels(png).shape[:2] == (round(high * width / wide), width)
    np.testing.assert_array_equal(middles(plain, 1), middles(png, width / wide))


def test_no_ground_lets_every_other_ground_through() -> None:
    with Image.open(io.BytesIO(made(Matplotlib(transparent=True)))) as image:
        assert image.mode == "RGBA"
        white = Image.new("RGBA", image.size, "white")
        seen = np.asarray(Image.alpha_composite(white, image).convert("RGB")).astype(int)
        assert np.asarray(image)[0, 0, 3] == 0
    assert np.abs(seen - pixels(made(Matplotlib()))).max() <= 2


def luminance(color: tuple[float, float, float]) -> float:
    """Of WCAG 2."""
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("name", ["INK", "MUTED", "MARK", "LOST"])
def test_text_is_readable_on_dark(name: str) -> None:
    look = Look(theme="dark")
    ground = luminance(tuple(part / 255 for part in look.ground))  # type: ignore[arg-type]
    ink = luminance(to_rgb(look.ink(getattr(canvas, name))))
    assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5


def test_cells_keep_their_colours_on_dark() -> None:
    plain, dark = made(Matplotlib()), made(Matplotlib(theme="dark"))
    np.testing.assert_array_equal(middles(plain, 1), middles(dark, 1))
    assert pixels(plain)[0, 0].min() == 255
    assert pixels(dark)[0, 0].max() < 40


def test_webp_keeps_every_pixel_and_jpg_nearly() -> None:
    png = pixels(made(Matplotlib()))
    np.testing.assert_array_equal(pixels(made(Matplotlib(), format="webp")), png)
    jpg = made(Matplotlib(dpi=200), format="jpg")
    with Image.open(io.BytesIO(jpg)) as image:
        assert (image.format, image.info["dpi"]) == ("JPEG", (200, 200))
    assert np.abs(middles(jpg, 2).astype(int) - middles(made(Matplotlib()), 1)).mean() < 3
    assert len(made(Matplotlib(quality=20), format="jpg")) < len(made(Matplotlib(), format="jpg"))


def test_another_font_is_measured_and_drawn() -> None:
    plain, serif = made(Matplotlib()), made(Matplotlib(font="DejaVu Serif"))
    assert plain != serif
    np.testing.assert_array_equal(pixels(plain)[-1], pixels(serif)[-1])
    assert b"DejaVu Serif" in made(Matplotlib(font="DejaVu Serif"), format="svg")
    assert made(Matplotlib()) == plain, "the font of one picture is not that of the next"


@pytest.mark.parametrize(
    ("look", "format", "words"),
    [
        (Matplotlib(font="No Such Font"), "png", "no font 'No Such Font' is installed"),
        (Matplotlib(transparent=True), "jpg", "cannot be transparent"),
        (Matplotlib(width=16_400), "webp", "16,383 pixels a side"),
        (Matplotlib(width=65_000), "png", "is too large; ask for a smaller dpi or width"),
    ],
)
def test_what_cannot_be_made_is_said(look: Matplotlib, format: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made(look, format=format)


@pytest.mark.parametrize("options", [{"dpi": 5}, {"width": 8}, {"quality": 0}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"between"):
        Matplotlib(**options)  # type: ignore[arg-type]


def test_frames_of_an_animation_look_alike() -> None:
    target = io.BytesIO()
    line = Page("q", "q", (Line(np.arange(3.0), {"a": np.arange(3.0)}),))
    Gif(width=640, theme="dark").render_all([PAGE, line], target, Style(), "gif")
    with Image.open(target) as image:
        assert image.width == 640
        assert max(image.convert("RGB").getpixel((0, 0))) < 40  # type: ignore[type-var, arg-type]
