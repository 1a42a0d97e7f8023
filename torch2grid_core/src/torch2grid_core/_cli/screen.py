"""The screen that scrolls through a tensor, by textual: only this module imports it, and only the menu this, to open one."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Footer, Input, Static
from textual.worker import Worker, WorkerState

from torch2grid_core._cli.window import (
    AT_ONCE,
    Measured,
    Sheet,
    Stopped,
    Watch,
    about,
    figures,
    fitting_vector,
    measured,
    next_not_finite,
    own_place,
    position,
)
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._errors import Torch2GridError
from torch2grid_core._text import display_width, human_count, visible

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # signals
_EVERY = 0.2  # seconds between two figures of progress
_PANEL = 24  # columns of the figures beside the numbers
_BLUE, _FAINT, _LOST, _CURSOR = "#82aaff", "#7d8590", "bold #ffffff on #b4308c", "bold #10141a on #f2cc60"
_KEYS = """\
arrows    one weight
PgUp PgDn one screen
ctrl+← →  one screen
Home End  of the row
ctrl+Home first
ctrl+End  last
g         to an index
n         NaN or Inf
l         largest
s         measure all
h         keys
Esc       stop, close
q         close"""


class Numbers(Widget, can_focus=True):
    """The window of numbers, its cursor, and the indices beside and above. It reads what it shows and no more."""

    class Moved(Message):
        """The cursor stands elsewhere, or the window has another size."""

    def __init__(self, tensor: LazyTensor, first: int) -> None:
        super().__init__(id="numbers")
        self.tensor, self.sheet = tensor, Sheet(tensor)
        self.row, self.column = self.sheet.where(first)
        self.top = self.left = 0
        self.marked: frozenset[int] = frozenset()  # flat indices of the largest
        self.error = ""
        self._shown: tuple[Any, list[list[str]]] = (None, [])

    @property
    def flat(self) -> int:
        """The flat index of the weight under the cursor."""
        return self.row * self.sheet.columns + self.column

    @property
    def across(self) -> int:
        """How many columns are shown."""
        return min(self.sheet.across(self.size.width), self.sheet.columns)

    @property
    def down(self) -> int:
        """How many rows are shown."""
        return max(min(self.size.height - 1, self.sheet.rows), 1)

    def on_resize(self) -> None:
        if self.sheet.wrapped:
            flat = self.flat
            self.sheet = Sheet(self.tensor, fitting_vector(self.sheet.across(self.size.width)))
            self.row, self.column = self.sheet.where(flat)
        self.go(self.row, self.column)

    def go_to(self, flat: int) -> None:
        """Put the cursor on a weight, away from the edges where it was not in sight."""
        row, column = self.sheet.where(flat)
        if not self.top <= row < self.top + self.down:
            self.top = row - self.down // 2
        if not self.left <= column < self.left + self.across:
            self.left = column - self.across // 2
        self.go(row, column)

    def go(self, row: int, column: int) -> None:
        """Put the cursor on a row and a column, or the nearest that there are, and scroll so that it is in sight."""
        sheet = self.sheet
        self.row = max(min(row, sheet.rows - 1), 0)
        self.column = max(min(column, sheet.columns - 1), 0)
        if sheet.rows and sheet.place(self.row, self.column) is None:  # behind the last of a vector
            self.column = (self.tensor.size - 1) % sheet.columns
        self.top = max(min(self.top, self.row, sheet.rows - self.down), self.row - self.down + 1, 0)
        self.left = max(min(self.left, self.column, sheet.columns - self.across), self.column - self.across + 1, 0)
        self.refresh()
        self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        if place is not None and place.y > 0:
            column = (place.x - self.sheet.label_width - 1) // (self.sheet.width + 1)
            if 0 <= column < self.across:
                self.go(self.top + place.y - 1, self.left + column)

    def on_mouse_scroll_down(self) -> None:
        self.go(self.row + 3, self.column)

    def on_mouse_scroll_up(self) -> None:
        self.go(self.row - 3, self.column)

    def _texts(self) -> list[list[str]]:
        window = (self.top, self.top + self.down, self.left, self.left + self.across)
        if self._shown[0] != (self.sheet.columns, window):
            try:
                texts, self.error = self.sheet.texts(*window), ""
            except Torch2GridError as error:
                texts, self.error = [], str(error)
            self._shown = (self.sheet.columns, window), texts
        return self._shown[1]

    def render_line(self, y: int) -> Strip:
        """A line: the indices of the columns, or those of a row and its numbers."""
        sheet, base = self.sheet, self.rich_style
        faint, width = base + Style(color=_FAINT), self.size.width
        if not self.tensor.size:
            return Strip([Segment("no numbers" if not y else "", faint)]).adjust_cell_length(width, base)
        texts = self._texts()
        columns = range(self.left, self.left + self.across)
        if y == 0:
            parts = [Segment(" " * sheet.label_width, faint)]
            for column in columns:
                parts.append(Segment(f" {sheet.head(column):>{sheet.width}}", self._head_style(faint, column == self.column)))
            return Strip(parts).adjust_cell_length(width, base)
        row = self.top + y - 1
        if y > self.down or row >= sheet.rows:
            return Strip.blank(width, base)
        parts = [Segment(f"{sheet.label(row):>{sheet.label_width}}", self._head_style(faint, row == self.row))]
        numbers = texts[y - 1] if y <= len(texts) else ["?" for column in columns if sheet.place(row, column) is not None]
        for column, text in zip(columns, numbers, strict=False):
            parts += [Segment(" ", base), Segment(f"{text:>{sheet.width}}", self._style(base, row, column, text))]
        return Strip(parts).adjust_cell_length(width, base)

    def _head_style(self, faint: Style, here: bool) -> Style:
        return faint + Style(bold=True, color="#e6edf3") if here else faint

    def _style(self, base: Style, row: int, column: int, text: str) -> Style:
        if (row, column) == (self.row, self.column):
            return base + Style.parse(_CURSOR)
        if "nan" in text or "inf" in text:
            return base + Style.parse(_LOST)
        if row * self.sheet.columns + column in self.marked:
            return base + Style(bold=True, color="#f2cc60")
        if text in ("0", "-0", "False"):
            return base + Style(color=_FAINT)
        return base + Style(color=_BLUE) if text.startswith("-") else base


class TensorScreen(App[None]):
    """A tensor to scroll through: its numbers, figures beside them, the weight under the cursor below.

    name is untrusted. first: the flat index that the cursor begins at. threshold: below it a weight is near zero.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = f"""
    #title {{ height: 1; background: $primary-background; color: $text; text-style: bold; padding: 0 1; }}
    #numbers {{ width: 1fr; height: 1fr; padding: 0 1; }}
    #figures {{ width: {_PANEL}; height: 1fr; border-left: solid $primary-background; padding: 0 1; }}
    #weight, #place {{ height: 1; padding: 0 1; background: $primary-background; }}
    #index {{ height: 1; border: none; padding: 0 1; display: none; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c,ctrl+q", "quit", show=False, priority=True),
        Binding("escape", "leave", "Back", show=False, priority=True),
        Binding("n", "not_finite", "NaN"),
        Binding("l", "largest", "Largest"),
        Binding("g,colon,slash", "go_to", "Go to", key_display="g"),
        Binding("s", "measure", "Measure"),
        Binding("h,question_mark,f1", "keys", "Keys", key_display="h"),
        *(Binding(key, f"step({row}, {column})", show=False) for key, row, column in (
            ("up", -1, 0), ("down", 1, 0), ("left", 0, -1), ("right", 0, 1))),
        Binding("pageup", "page(-1, 0)", show=False),
        Binding("pagedown,space", "page(1, 0)", show=False),
        Binding("ctrl+left,shift+left,ctrl+pageup", "page(0, -1)", show=False),
        Binding("ctrl+right,shift+right,ctrl+pagedown", "page(0, 1)", show=False),
        Binding("home", "edge('row', 0)", show=False),
        Binding("end", "edge('row', 1)", show=False),
        Binding("ctrl+home", "edge('all', 0)", show=False),
        Binding("ctrl+end", "edge('all', 1)", show=False),
    ]  # fmt: skip

    def __init__(self, name: str, tensor: LazyTensor, first: int = 0, threshold: float = 1e-6) -> None:
        super().__init__()
        self.tensor_name, self.tensor, self.threshold = name, tensor, threshold
        self.numbers = Numbers(tensor, first)
        self.found: Measured | None = None
        self._places: dict[int, float] = {}  # of the largest weights, in the order of their size
        self._next = 0
        self._help = False
        self._said = ""
        self._first = first
        self.ended_by: int | None = None  # a signal
        self._loop_of_signals: asyncio.AbstractEventLoop | None = None
        self._stop = Event()
        self._busy = ""  # what a pass is for, while it runs
        self._done, self._told = 0.0, 0.0  # how much of it is read, and when that was shown

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        with Horizontal():
            yield self.numbers
            yield Static(id="figures", markup=False)
        yield Static(id="place", markup=False)
        yield Static(id="weight", markup=False)
        yield Input(id="index", placeholder="index, such as 1234, 5", compact=True)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._loop_of_signals = asyncio.get_running_loop()
        if self.ended_by is not None:
            self.exit()
        self.numbers.focus()
        self._show()
        if 0 < self.tensor.size <= AT_ONCE:
            self.action_measure()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def on_numbers_moved(self) -> None:
        self._show()

    # What is asked for.

    def action_step(self, row: int, column: int) -> None:
        """Move the cursor by a weight; beside the last of a row of a vector comes the first of the next."""
        self._said = ""
        numbers = self.numbers
        if numbers.sheet.wrapped and column:
            numbers.go(*numbers.sheet.where(max(min(numbers.flat + column, self.tensor.size - 1), 0)))
        else:
            numbers.go(numbers.row + row, numbers.column + column)

    def action_page(self, rows: int, columns: int) -> None:
        """Move the window and the cursor by a screen."""
        self._said = ""
        numbers = self.numbers
        rows, columns = rows * numbers.down, columns * numbers.across
        numbers.top, numbers.left = numbers.top + rows, numbers.left + columns
        numbers.go(numbers.row + rows, numbers.column + columns)

    def action_edge(self, of: str, last: int) -> None:
        """Go to the first or last weight of the row, or of all."""
        self._said = ""
        numbers = self.numbers
        row = numbers.row if of == "row" else last * numbers.sheet.rows
        numbers.go(row, last * numbers.sheet.columns)

    def action_go_to(self) -> None:
        """Ask for an index."""
        line = self.query_one("#index", Input)
        line.display, line.value = True, ""
        line.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip().strip("[]()")
        self._close_line()
        if not text:
            return
        pieces = [piece.strip() for piece in re.split(r"[,\s]+", text.strip(" ,"))]
        if not all(re.fullmatch(r"-?\d{1,18}", piece) for piece in pieces):
            self._say(f"{visible(text, 30)!r} is not an index; write numbers such as 1234, 5")
            return
        try:
            flat = self.numbers.sheet.flat([*map(int, pieces)])
        except IndexError as error:
            self._say(str(error))
        else:
            self._said = ""
            self.numbers.go_to(flat)

    def action_leave(self) -> None:
        """Close the line of input, else stop the pass that runs, else close the screen."""
        if self.query_one("#index", Input).display:
            self._close_line()
        elif self._busy:
            self._stop.set()
        else:
            self.exit()

    async def action_quit(self) -> None:
        self.exit()

    def end(self, number: int, frame: object = None) -> None:
        """Leave, for a signal. An exception in the midst of it would leave the terminal as the screen needs it."""
        self.ended_by = number
        if self._loop_of_signals is not None:
            self._loop_of_signals.call_soon_threadsafe(self.exit)

    def action_keys(self) -> None:
        """Show the keys, or the figures again."""
        self._help = not self._help
        self._show()

    def action_measure(self) -> None:
        """Measure the whole tensor."""
        if self.found is not None:
            self._say("all of it is measured")
        elif self.tensor.size:
            self._pass("measuring", partial(measured, self.tensor, self.threshold))

    def action_largest(self) -> None:
        """Go to the largest weight, then to the next largest; it is measured first where that was not done."""
        if not self.tensor.size:
            return
        if self.found is None:
            self._pass("looking for the largest", partial(measured, self.tensor, self.threshold))
        elif not self._places:
            self._say("no weight but 0, NaN and Inf")
        else:
            rank = self._next % len(self._places)
            self._next = rank + 1
            self.numbers.go_to([*self._places][rank])
            self._say(f"largest |w|: {rank + 1} of the first {len(self._places)}")

    def action_not_finite(self) -> None:
        """Go to the next NaN or Inf behind the cursor."""
        if not self.tensor.size:
            return
        if self.found is not None and not self.found.distribution.not_finite:
            self._say("no NaN and no Inf")
        else:
            self._pass("looking for NaN and Inf", partial(next_not_finite, self.tensor, self.numbers.flat))

    # Passes over the weights: in a thread, one at a time.

    def _pass(self, what: str, work: Callable[[Watch], Any]) -> None:
        if self._busy:
            self._say(f"{self._busy}; Esc stops it")
            return
        self._busy, self._done = what, 0.0
        self._stop.clear()
        self.run_worker(partial(work, self._watch), name=what, thread=True, exit_on_error=False)
        self._show()

    def _watch(self, share: float) -> bool:
        """Called in the thread that reads."""
        now = time.monotonic()
        self._done = share
        if now - self._told >= _EVERY:
            self._told = now
            self.call_later(self._show)
        return not self._stop.is_set()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        worker = event.worker
        if event.state not in (WorkerState.SUCCESS, WorkerState.ERROR, WorkerState.CANCELLED):
            return
        self._busy = ""
        if event.state is WorkerState.SUCCESS and isinstance(worker.result, Measured):
            self._take(worker.result)
            if worker.name == "looking for the largest":
                self.action_largest()
        elif event.state is WorkerState.SUCCESS and isinstance(worker.result, int):
            self._said = ""
            self.numbers.go_to(worker.result)
        elif event.state is WorkerState.SUCCESS:
            self._say("no NaN and no Inf")
        elif isinstance(worker.error, Stopped):
            self._say(f"{worker.name}: stopped")
        elif worker.error is not None:
            self._say(str(worker.error) if isinstance(worker.error, Torch2GridError) else repr(worker.error))
        self._show()

    def _take(self, found: Measured) -> None:
        self.found = found
        largest = zip(found.largest.indices.tolist(), found.largest.values.tolist(), strict=True)
        places = {own_place(found, self.tensor, flat): value for flat, value in largest if value}
        self._places = {place: value for place, value in places.items() if place is not None}
        self.numbers.marked = frozenset(self._places)
        self.numbers.refresh()

    # What is shown.

    def on_unmount(self) -> None:
        self._stop.set()

    def _close_line(self) -> None:
        line = self.query_one("#index", Input)
        line.display = False
        self.numbers.focus()

    def _say(self, line: str) -> None:
        self._said = visible(line, 300)
        self._show()

    def _show(self) -> None:
        if not self.is_running or not self.query("#title"):
            return
        numbers, sheet, width = self.numbers, self.numbers.sheet, max(self.size.width - 2, 10)
        self.query_one("#title", Static).update(Text(_fit(self.tensor_name, width)), layout=False)
        self.query_one("#figures", Static).update(Text(_KEYS if self._help else "\n".join(self._figures())), layout=False)
        below, weight = "", ""
        if self.tensor.size:
            below = position(sheet, numbers.top, min(numbers.top + numbers.down, sheet.rows), numbers.left,
                             numbers.left + numbers.across)  # fmt: skip
            index = ", ".join(map(str, sheet.index(numbers.flat)))
            weight = f"[{index}] = {self._exact()}"
        told = self._said or numbers.error
        if self._busy:
            told = f"{self._busy} {self._done:.0%}"
        self.query_one("#place", Static).update(Text(_fit(told or below, width)), layout=False)
        self.query_one("#weight", Static).update(Text(_fit(weight, width)), layout=False)

    def _exact(self) -> str:
        try:
            return self.numbers.sheet.exact(self.numbers.flat)
        except Torch2GridError as error:
            return visible(str(error), 200)

    def _figures(self) -> list[str]:
        room = _PANEL - 3
        lines = [piece for line in about(self.tensor) for piece in _broken(line, room)]
        lines.append("")
        if self.found is None and self.tensor.size > AT_ONCE and not self._busy:
            size = f"{human_count(self.tensor.size)} weights"
            return [*lines, *_broken(f"Not measured. Press s to measure all {size}.", room)]
        if self.found is None:
            return [*lines, "measuring …"] if self._busy else lines
        lines += [f"{name:<6}{text:>{room - 6}}" for name, text in figures(self.found, self.threshold)]
        lines += ["", "largest |w|"] if self._places else []
        for flat, number in self._places.items():
            value = f"{number:.4g}"
            index = f"[{', '.join(map(str, self.numbers.sheet.index(flat)))}]"
            gap = room - len(value) - len(index)
            lines += [value + " " * gap + index] if gap > 0 else [value, f"{_fit(index, room):>{room}}"]
        return lines


def _fit(text: str, width: int) -> str:
    """*text* made visible, in at most *width* columns."""
    shown = visible(text, max(width, 3))
    while display_width(shown) > width and len(shown) > 3:
        shown = visible(text, max(len(shown) - 1, 3))
    return shown


def _broken(line: str, room: int) -> list[str]:
    """*line* in pieces of at most *room* characters, broken at blanks where there are any."""
    lines = [""]
    for word in line.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [line[start : start + room] for line in lines for start in range(0, max(len(line), 1), room)]


def open_screen(name: str, tensor: LazyTensor, first: int, threshold: float) -> None:
    """Show *tensor* until the person leaves it. Ctrl-C closes the screen, as q does; so does a signal that ends the program,
    which does what it would do as soon as the terminal is as it was.
    """
    app = TensorScreen(name, tensor, first, threshold)
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, app.end)
    try:
        app.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stdout.flush()
    if app.ended_by is not None:
        signal.raise_signal(app.ended_by)
    if app.return_code:
        raise RuntimeError("the screen failed")  # textual has printed why
