"""Interactive mode: a numbered list of tensors, a prompt, and drawings of what is chosen."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._errors import Torch2GridError, UsageError
from torch2grid_core._selection import chosen
from torch2grid_core._settings import DEFAULT_VIEW
from torch2grid_core._text import display_width, visible

PROMPT = "Your choice: "
_OVERVIEW = "layers:each=false"  # all tensors on one sheet
CONFIRM = "Visualize these layers? (y/n): "
_HELP = """\
  1,3,5   1-10   1,3-5,7     tensors by number
  fc*   *weight*   *.bias    tensors by pattern
  all                        every tensor
  overview                   all tensors on one sheet
  unified                    one grid of all weights
  list                       the tensors again, a screen at a time
  views [NAME ...]           what is drawn for a choice; names change it
  /text                      list the tensors whose names hold the text
  help                       this
  quit                       leave"""

DrawChosen = Callable[[Sequence[str], Sequence[str]], None]


class Menu:
    """The conversation. draw: called with tensor names and view specs, draws and says what it wrote.

    views: what a choice is drawn with; available: names that the command ``views`` accepts.
    """

    def __init__(self, checkpoint: Checkpoint, draw: DrawChosen, views: Sequence[str], available: Sequence[str]) -> None:
        self.checkpoint, self.draw = checkpoint, draw
        self.names = list(checkpoint)
        self.views, self.available = list(views), list(available)

    def run(self) -> None:
        """Talk until ``quit`` or the end of the input. Ctrl-C raises ``KeyboardInterrupt``."""
        _prepare_line_editing(self.names)
        self._list("Available layers:", whole=False)
        print("Type numbers, a pattern, or 'help'.")
        while True:
            answer = _ask(PROMPT, remember=True)
            if answer is None or answer.lower() in ("quit", "q", "exit"):
                return
            try:
                self._answer(answer)
            except Torch2GridError as error:
                print(f"{error}")

    def _answer(self, answer: str) -> None:
        word, _, rest = answer.partition(" ")
        command = word.lower()
        if not answer:
            print("Nothing chosen: type numbers, a pattern, 'list', 'help' or 'quit'.")
        elif answer in self.names:  # a tensor's own name is always that tensor
            self._draw_after_asking([answer])
        elif command == "help" or answer == "?":
            print(_HELP)
        elif command == "list":
            self._list("Available layers:")
        elif answer.startswith("/"):
            self._search(answer[1:].strip())
        elif command == "views":
            self._choose_views(rest.replace(",", " ").split())
        elif command == "all":
            self._draw_after_asking(self.names)
        elif command == "overview":
            self.draw(self.names, [_OVERVIEW])
        elif command == "unified":
            self.draw(self.names, [DEFAULT_VIEW])
        else:
            self._draw_after_asking(chosen(self.names, answer))

    def _draw_after_asking(self, names: Sequence[str]) -> None:
        print(f"Matched {len(names)} layer(s):")
        most = max(_screen_lines() - 6, 5)
        shown = names if len(names) <= most else names[: most - 1]
        for name in shown:
            print(f"  - {visible(name)}")
        if len(shown) < len(names):
            print(f"  … and {len(names) - len(shown)} more")
        while True:
            answer = _ask(CONFIRM)
            if answer is None or answer.lower() in ("n", "no"):
                return
            if answer.lower() in ("y", "yes"):
                self.draw(names, self.views)
                return
            print("Please answer y or n.")

    def _choose_views(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.available:
                raise UsageError(f"unknown view {name!r}; there are {', '.join(self.available)}")
        self.views = list(names) or self.views
        for name in self.available:
            print(f"  [{'x' if name in self.views else ' '}] {name}")
        if not names:
            print("Type 'views NAME ...' to change them.")

    def _search(self, text: str) -> None:
        found = [(number, name) for number, name in enumerate(self.names, 1) if text.lower() in name.lower()]
        if not found:
            raise UsageError(f"no tensor's name holds {text!r}")
        self._rows(f"{len(found)} of {len(self.names)} tensors:", found)

    def _list(self, title: str, whole: bool = True) -> None:
        """The numbered tensors; not *whole*: the first screen of them, so that the prompt is there at once."""
        rows = list(enumerate(self.names, 1))
        room = _screen_lines() - 5
        if whole or len(rows) <= room or not _watched():
            self._rows(title, rows)
        else:
            self._rows(title, rows[: room - 1])
            print(f"  … and {len(rows) - room + 1} more: 'list' shows all, '/text' those whose names hold a text")

    def _rows(self, title: str, rows: Sequence[tuple[int, str]]) -> None:
        """Numbered rows, a screen at a time where a person reads them."""
        print(title)
        width = len(str(len(self.names)))
        screen = _screen_lines() - 2 if _watched() else len(rows) + 1
        printed = 1
        for index, (number, name) in enumerate(rows):
            if printed >= screen:
                answer = _ask(f"-- {index} of {len(rows)}; Enter for more, q to stop: ")
                if answer is None or answer:
                    return
                printed = 0
            print(self._row(number, name, width))
            printed += 1

    def _row(self, number: int, name: str, width: int) -> str:
        shape = f"torch.Size({list(self.checkpoint[name].shape)})"
        room = max(shutil.get_terminal_size((80, 24)).columns - width - 6 - len(shape), 20)
        shown = visible(name, min(room, 200))
        while display_width(shown) > room:  # wide characters take two columns
            shown = visible(name, len(shown) - 1)
        return f"  {number:>{width}}. {shown}{' ' * (38 - display_width(shown))} {shape}"


def _watched() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _prepare_line_editing(names: Sequence[str]) -> None:
    """History and completion of names at the prompt, where a terminal and the library are there."""
    if not _watched() or os.environ.get("TERM") == "dumb":
        return
    try:
        import readline
    except ImportError:  # Windows
        return
    words = [*names, "all", "overview", "unified", "list", "views", "help", "quit"]

    def complete(text: str, state: int) -> str | None:
        found = [word for word in words if word.startswith(text)]
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ,")
    readline.parse_and_bind("tab: complete")


def _screen_lines() -> int:
    return shutil.get_terminal_size((80, 24)).lines


def _ask(prompt: str, remember: bool = False) -> str | None:
    """A line of input without surrounding blanks; ``None`` at its end. remember: keep it in the history of the prompt."""
    try:
        answer = input(prompt).strip()
    except EOFError:
        print()
        return None
    readline = sys.modules.get("readline")
    if readline is not None and answer and not remember and readline.get_current_history_length():
        readline.remove_history_item(readline.get_current_history_length() - 1)
    return answer
