"""The colour bar: limits, what lies beyond them, and the colours that no map holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torch2grid_builtin._renderers.matplotlib.canvas import INK, LINE, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.text import fit, text_width
from torch2grid_builtin._renderers.numbers import numbers, percent
from torch2grid_core import Grid
from torch2grid_core.grids import EMPTY, NOT_FINITE, OVER, UNDER, ColorScale, colormap, default_map

BAR, TIP, SWATCH = 16, 12, 12  # thickness of the bar, length of a tip, side of a swatch
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def rgb(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """A colour of 0…255 as matplotlib takes it."""
    return color[0] / 255, color[1] / 255, color[2] / 255


@dataclass(frozen=True)
class Legend:
    """What a colour bar has to say about one grid."""

    scale: ColorScale
    label: str
    map: str
    above: str
    below: str
    swatches: tuple[tuple[tuple[int, int, int], str], ...]

    @classmethod
    def of(cls, grid: Grid, scale: ColorScale, label: str, name: str | None) -> Legend:
        """The legend of *grid*. name: of the colour map; ``None``: the one that suits the scale."""
        drawn = grid.counts > 0
        finite = np.isfinite(grid.values)
        above = int(np.count_nonzero(drawn & finite & (grid.values > scale.high)))
        below = int(np.count_nonzero(drawn & finite & (grid.values < scale.low)))
        bad = int(np.count_nonzero(drawn & ~finite))
        whole = max(int(np.count_nonzero(drawn & finite)), 1)
        swatches = []
        if bad:
            swatches.append((NOT_FINITE, f"NaN or Inf: {bad:,} cell{'s' if bad > 1 else ''}"))
        if not drawn.all():
            swatches.append((EMPTY, "no weight"))
        return cls(
            scale,
            label,
            name or default_map(scale),
            f"{percent(above / whole)} above" if above else "",
            f"{percent(below / whole)} below" if below else "",
            tuple(swatches),
        )

    def ticks(self) -> list[str]:
        """The values at the quarters of the bar."""
        values = self.scale.value(np.array(_SHARES))
        values[np.abs(values) < 1e-9 * np.abs(values).max()] = 0.0  # what rounding leaves of 0
        return numbers(values.tolist())

    @property
    def title(self) -> str:
        """What a cell is, and how the scale is bent."""
        return self.label + (", asinh scale" if self.scale.kind == "symlog" else "")


class UprightBar:
    """A colour bar beside a heatmap that is at least ``LEAST`` pixels high."""

    LEAST, MOST = 200, 440

    def __init__(self, legend: Legend, height: int, text: float) -> None:
        self.legend, self.text = legend, text
        self.height = min(height, round(self.MOST * text / 12))
        self.beside = BAR + 18 + max(text_width(each, text) for each in legend.ticks())
        widths = [BAR + 8 + text_width(each, text) for each in (legend.above, legend.below)]
        widths += [SWATCH + 6 + text_width(each, text) for _, each in legend.swatches]
        self.width = max(self.beside + round(text * LINE), *widths)

    def draw(self, canvas: Canvas, left: int, top: int) -> None:
        legend, line = self.legend, round(self.text * LINE) + 2
        start = top + (line + 3 if legend.above else 0)
        stop = (
            top + self.height - len(legend.swatches) * line - (8 if legend.swatches else 0) - (line + 2 if legend.below else 0)
        )
        canvas.ramp(left, start, BAR, stop - start, colormap(legend.map) / 255.0, upright=True)
        if legend.above:
            canvas.polygon([left, left + BAR, left + BAR / 2], [start - 2, start - 2, start - 2 - TIP], rgb(OVER))
            canvas.text(left + BAR + 8, start - 6 - TIP / 2, legend.above, self.text, INK, va="middle")
        if legend.below:
            canvas.polygon([left, left + BAR, left + BAR / 2], [stop + 2, stop + 2, stop + 2 + TIP], rgb(UNDER))
            canvas.text(left + BAR + 8, stop + 6 + TIP / 2, legend.below, self.text, INK, va="middle")
        for share, text in zip(_SHARES, legend.ticks(), strict=True):
            at = stop - share * (stop - start)
            canvas.rule(left + BAR, min(at, stop - 1), left + BAR + 4, min(at, stop - 1), RULE)
            nudge = {0.0: -self.text * 0.4, 1.0: self.text * 0.4}.get(share, 0.0)
            canvas.text(left + BAR + 8, at + nudge, text, self.text, MUTED, va="middle")
        label = fit(legend.title, stop - start, self.text)
        canvas.text(left + self.beside, (start + stop) / 2, label, self.text, INK, ha="center", va="top", upright=True)
        _swatches(canvas, legend, left, top + self.height - len(legend.swatches) * line, self.text, stacked=True)


class LevelBar:
    """A colour bar below a heatmap too low for an upright one."""

    def __init__(self, legend: Legend, width: int, text: float) -> None:
        self.legend, self.text = legend, text
        widest = max(text_width(each, text) for each in legend.ticks())
        self.bar = max(min(width - 2 * TIP, round(420 * text / 12)), 5 * (widest + 14), 200)
        self.line = round(text * LINE) + 2
        beyond = " · ".join(filter(None, (legend.below, legend.above)))
        shown = [SWATCH + 6 + text_width(each, text) for _, each in legend.swatches]
        self.beyond = beyond
        self.extra = bool(beyond or shown)
        parts = [*shown, text_width(beyond, text)] if beyond else shown
        self.width = max(
            self.bar + 2 * TIP + widest, text_width(fit(legend.title, 600, text), text), sum(parts) + 18 * len(parts)
        )
        self.height = self.line + BAR - 2 + 6 + self.line + (self.line + 4 if self.extra else 0)

    def draw(self, canvas: Canvas, left: int, top: int) -> None:
        legend, line = self.legend, self.line
        canvas.text(left + TIP, top, fit(legend.title, self.width - TIP, self.text), self.text, INK, va="top")
        high, start, y = BAR - 2, left + TIP, top + line
        canvas.ramp(start, y, self.bar, high, colormap(legend.map) / 255.0, upright=False)
        middle, stop = y + high / 2, start + self.bar
        if legend.below:
            canvas.polygon([start - 2, start - 2, start - 2 - TIP + 2], [y, y + high, middle], rgb(UNDER))
        if legend.above:
            canvas.polygon([stop + 2, stop + 2, stop + TIP], [y, y + high, middle], rgb(OVER))
        for share, text in zip(_SHARES, legend.ticks(), strict=True):
            at = start + share * self.bar
            canvas.rule(min(at, stop - 1), y + high, min(at, stop - 1), y + high + 4, RULE)
            ha = {0.0: "left", 1.0: "right"}.get(share, "center")
            canvas.text(at, y + high + 6, text, self.text, MUTED, ha=ha, va="top")  # type: ignore[arg-type]
        if self.extra:
            below = y + high + 8 + line
            if self.beyond:
                canvas.text(start, below, self.beyond, self.text, INK, va="top")
                start += text_width(self.beyond, self.text) + 18
            _swatches(canvas, legend, start, below, self.text, stacked=False)


def _swatches(canvas: Canvas, legend: Legend, left: float, top: float, text: float, *, stacked: bool) -> None:
    line = round(text * LINE) + 2
    for color, label in legend.swatches:
        canvas.rects([(round(left), round(top) + 1, SWATCH, SWATCH)], rgb(color))
        canvas.text(left + SWATCH + 6, top + 1 + SWATCH / 2, label, text, INK, va="middle")
        if stacked:
            top += line
        else:
            left += SWATCH + 6 + text_width(label, text) + 18
