"""Tables and plain text."""

from __future__ import annotations

from torch2grid_builtin._renderers.matplotlib.canvas import INK, LINE, MUTED, RULE, Canvas
from torch2grid_builtin._renderers.matplotlib.panel import Drawing, Sizes, draw_title, title_height, title_lines
from torch2grid_builtin._renderers.matplotlib.text import fit, literal, text_width, wrap
from torch2grid_core import Style
from torch2grid_core.pages import Table, Text

_MOST_ROWS, _MOST_COLUMNS, _WIDEST = 400, 24, 420
_GAP = 22


class TableDrawing(Drawing):
    """Rows under bold names; numbers at the right of their column. What does not fit a picture is counted below."""

    def __init__(self, panel: Table, style: Style, sizes: Sizes) -> None:
        self.sizes = sizes
        size = sizes.text
        names = panel.columns[:_MOST_COLUMNS]
        first = Table(names, tuple(row[:_MOST_COLUMNS] for row in panel.rows[:_MOST_ROWS]), formats=panel.formats)
        self.names = [fit(name, _WIDEST, size, bold=True) for name in names]
        self.rows = [[fit(text, _WIDEST, size) for text in row] for row in first.texts()]
        self.right = [
            any(isinstance(row[index], (int, float)) for row in first.rows)
            and all(row[index] is None or isinstance(row[index], (int, float)) for row in first.rows)
            for index in range(len(names))
        ]
        self.wide = [
            max([text_width(name, size, True), *(text_width(row[index], size) for row in self.rows)])
            for index, name in enumerate(self.names)
        ]
        left_out = []
        if len(panel.rows) > _MOST_ROWS:
            left_out.append(f"{len(panel.rows) - _MOST_ROWS:,} more rows")
        if len(panel.columns) > _MOST_COLUMNS:
            left_out.append(f"{len(panel.columns) - _MOST_COLUMNS:,} more columns")
        self.left_out = "… and " + ", ".join(left_out) if left_out else "" if self.rows else "no rows"
        self.width = max(sum(self.wide) + _GAP * max(len(self.wide) - 1, 0), text_width(self.left_out, size), 120)
        self.title = title_lines(panel.title, max(self.width, 320), sizes)
        self.width = max(self.width, max((text_width(line, sizes.title) for line in self.title), default=0))
        self.line = round(size * 1.6)
        self.height = title_height(self.title, sizes) + self.line * (len(self.rows) + 1 + bool(self.left_out)) + 8

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        size = self.sizes.text
        draw_title(canvas, self.title, left, top, self.sizes)
        y = top + title_height(self.title, self.sizes)
        self._row(canvas, left, y, self.names, bold=True)
        canvas.rule(left, y + self.line, left + sum(self.wide) + _GAP * max(len(self.wide) - 1, 0), y + self.line, RULE)
        y += self.line + 4
        for row in self.rows:
            self._row(canvas, left, y, row)
            y += self.line
        if self.left_out:
            canvas.text(left, y, self.left_out, size, MUTED, va="top")

    def _row(self, canvas: Canvas, left: float, top: float, texts: list[str], bold: bool = False) -> None:
        for text, wide, right in zip(texts, self.wide, self.right, strict=True):
            at, ha = (left + wide, "right") if right else (left, "left")
            canvas.text(at, top, text, self.sizes.text, INK, ha=ha, va="top", bold=bold)  # type: ignore[arg-type]
            left += wide + _GAP


class TextDrawing(Drawing):
    """Lines of text, wrapped at the width of a diagram."""

    def __init__(self, panel: Text, style: Style, sizes: Sizes) -> None:
        self.sizes = sizes
        room, size = sizes.plot[0], sizes.text
        self.title = title_lines(panel.title, room, sizes)
        lines: list[str] = []
        source = panel.text.splitlines()
        for text in source[:_MOST_ROWS]:
            lines += wrap(text, room, size, lines=20) or [""]
        if len(source) > _MOST_ROWS:
            lines.append(f"… and {len(source) - _MOST_ROWS:,} more lines")
        self.lines = [literal(line, limit=4000) for line in lines]
        every = [text_width(line, size) for line in self.lines] + [text_width(line, sizes.title) for line in self.title]
        self.width = max([*every, 60])
        self.height = title_height(self.title, sizes) + round(len(self.lines) * size * LINE) + 4

    def draw(self, canvas: Canvas, left: int, top: int, width: int) -> None:
        draw_title(canvas, self.title, left, top, self.sizes)
        y = top + title_height(self.title, self.sizes)
        for index, line in enumerate(self.lines):
            canvas.text(left, y + index * self.sizes.text * LINE, line, self.sizes.text, INK, va="top")
