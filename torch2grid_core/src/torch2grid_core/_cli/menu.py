"""Interactive mode: a numbered list of tensors, a prompt, and drawings of what is chosen."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._errors import Torch2GridError, UsageError
from torch2grid_core._selection import chosen, matching
from torch2grid_core._settings import DEFAULT_VIEW
from torch2grid_core._text import LIMIT, display_width, visible

_OWN = ("help", "list", "views", "all", "overview", "unified", "open", "quit")
_ALIKE = 0.75  # of a word and the one that was probably meant
PROMPT = "Your choice: "
_OVERVIEW = "layers:each=false"  # all tensors on one sheet
CONFIRM = "Visualize these layers? (y/n): "
_HELP = """\
  1,3,5   1-10   1,3-5,7     tensors by number
  fc*   *weight*   *.bias    tensors by pattern
  all                        every tensor
  overview                   all tensors on one sheet
  unified                    one grid of all weights
  open NAME[INDEX]           scroll through a tensor's numbers, from INDEX on
  show [CHOICE]              draw in the terminal, write no file
{commands}  VIEW [CHOICE]              that view of the choice, or of all, at once:
{views}
  list                       the tensors again, a screen at a time
  views [NAME ...]           what is drawn for a choice; names change it
  /text                      list the tensors whose names hold the text
  help                       this
  quit                       leave"""
_EXTRA = "pip install 'torch2grid[menu]'"
_FEW = 4  # tensors whose pictures are shown in the terminal, where more are one sheet
_PAGES: dict[bool, dict[str, str]] = {
    True: {"layers": "layers:overview=false", "histogram": "histogram:overview=false"},
    False: {"layers": _OVERVIEW, "histogram": "histogram:each=false"},
}

_WORDS = ("all", "overview", "unified", "open", "show", "list", "views", "help", "quit")

DrawChosen = Callable[[Sequence[str], Sequence[str]], None]


class Menu:
    """The dialogue of ``torch2grid MODEL -i``.

    Args:
        checkpoint: what the menu lists.
        draw: called with tensor names and view specs; draws, and says what it wrote.
        views: what a choice is drawn with.
        available: names that the command ``views`` accepts.
        show: as *draw*, into the terminal.
        both: as *draw*, into files and the terminal, for users who cannot look at a picture in another way.
        commands: what else can be asked for by a word, called with the names of tensors, or ``None`` for the whole file.
        threshold: a weight below it is near zero.

    Attributes:
        waited: the seconds that the menu has waited for the user so far, which are not the run's.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        draw: DrawChosen,
        views: Sequence[str],
        available: Sequence[str],
        *,
        show: DrawChosen | None = None,
        both: DrawChosen | None = None,
        commands: Mapping[str, Callable[[Sequence[str] | None], None]] | None = None,
        threshold: float = 1e-6,
    ) -> None:
        self.checkpoint, self.draw = checkpoint, draw
        self.names = list(checkpoint)
        self.views, self.available = list(views), list(available)
        self.show, self.both, self.commands, self.threshold = show, both, dict(commands or {}), threshold
        self.waited = 0.0
        self._advised = False

    def run(self) -> None:
        """Ask and answer until ``quit`` or the end of the input. Ctrl-C raises ``KeyboardInterrupt``."""
        _prepare_line_editing([*self.names, *_WORDS, *self.commands, *self.available])
        self._list("Available layers:", whole=False)
        print("Type numbers, a pattern, or 'help'.")
        while True:
            answer = self._ask(PROMPT, remember=True)
            if answer is None or answer.lower() in ("quit", "q", "exit"):
                return
            try:
                self._answer(answer)
            except Torch2GridError as error:
                print(f"{error}")

    def _answer(self, answer: str) -> None:
        word, _, rest = answer.partition(" ")
        command, rest = word.lower(), rest.strip()
        if not answer:
            print("Nothing chosen: type numbers, a pattern, 'list', 'help' or 'quit'.")
        elif answer in self.names:  # a tensor's own name is always that tensor
            self._draw_after_asking([answer])
        elif command == "help" or answer == "?":
            print(self._help())
        elif command == "list":
            self._list("Available layers:")
        elif answer.startswith("/"):
            self._search(answer[1:].strip())
        elif command == "views":
            self._choose_views(rest.replace(",", " ").split())
        elif command == "all":
            self._draw_after_asking(self.names)
        elif command == "overview":
            self._draw(self.names, [_OVERVIEW])
        elif command == "unified":
            self._draw(self.names, [DEFAULT_VIEW])
        elif command == "open":
            self._open(rest)
        elif command == "show" and self.show is not None:
            names = self._chosen(rest) or self.names
            self.show(names, [_PAGES[len(names) <= _FEW].get(view, view) for view in self.views])
        elif command in self.commands:
            self.commands[command](self._chosen(rest))
        elif word in self.available:
            self._draw(self._chosen(rest) or self.names, [word])
        else:
            self._draw_after_asking(self._meant(answer, command))

    def _meant(self, answer: str, command: str) -> list[str]:
        """The tensors that *answer* means. Raises ``UsageError`` with the word that is nearest to *command*, else the names."""
        try:
            return self._listed(answer)
        except UsageError:
            import difflib  # only mistakes need it

            words = [*_OWN, *(["show"] if self.show is not None else []), *self.commands, *self.available]
            if not set(command) & set("*?[") and (close := difflib.get_close_matches(command, words, 1, _ALIKE)):
                raise UsageError(f"no tensor and no command {visible(command)!r}; did you mean {close[0]!r}?") from None
            raise

    def _chosen(self, text: str) -> list[str] | None:
        """The tensors behind a word; ``None`` where there is nothing behind it."""
        return None if text.lower() in ("", "all") and text not in self.names else self._listed(text)

    def _listed(self, text: str) -> list[str]:
        """The tensors that *text* means. Raises ``UsageError`` where it means none, with the reason if it is one not listed."""
        try:
            return chosen(self.names, text)
        except UsageError:
            for each in self.checkpoint.skipped:
                if each.name == text:
                    raise UsageError(f"{visible(text, 80)} is not listed: {each.reason}") from None
            raise

    def _draw(self, names: Sequence[str], views: Sequence[str]) -> None:
        one_picture = len(names) <= _FEW or list(views) in ([_OVERVIEW], [DEFAULT_VIEW])
        (self.both if self.both is not None and one_picture else self.draw)(names, views)

    def _help(self) -> str:
        views = textwrap.fill(", ".join(self.available), 79, initial_indent=" " * 29, subsequent_indent=" " * 29)
        commands = [f"  {f'{name} [CHOICE]':<27}'torch2grid {name}' of the choice, or of the file\n" for name in self.commands]
        lines = _HELP.format(views=views, commands="".join(commands)).split("\n")
        return "\n".join(line for line in lines if self.show is not None or not line.startswith("  show "))

    def _open(self, text: str) -> None:
        """Scroll through a tensor where there is a terminal and textual is installed, else print the window that fits."""
        name, index = self._one(text)
        tensor = self.checkpoint[name]
        from torch2grid_core._cli.window import Sheet, plain_lines

        try:
            first = Sheet(tensor).flat(index)
        except IndexError as error:
            if index or tensor.size:
                raise UsageError(f"{name}: {error}") from None
            first = 0
        screen = importlib.util.find_spec("textual") is not None
        if screen and _watched() and os.environ.get("TERM") != "dumb":
            from torch2grid_core._cli.screen import open_screen

            started = time.perf_counter()
            try:
                open_screen(name, tensor, first, self.threshold)
            finally:
                self.waited += time.perf_counter() - started
            return
        size = shutil.get_terminal_size((100, 24))
        print(visible(name))
        for line in plain_lines(tensor, first, size.columns, min(size.lines - 8, 16), self.threshold):
            print(line)
        if not self._advised:
            print("In a terminal, open scrolls through it" + ("." if screen else f", with the extra: {_EXTRA}"))
        self._advised = True

    def _one(self, text: str) -> tuple[str, list[int]]:
        """The tensor that *text* names, by its name, number or pattern, and the index behind it."""
        if not text:
            raise UsageError("open what? Type 'open' and the name or number of a tensor")
        match = re.fullmatch(r"(.*?)\s*\[\s*(-?\d{1,18}(?:\s*,\s*-?\d{1,18})*)\s*,?\s*\]", text)
        index: list[int] = []
        if match and match[1] and text not in self.names and not matching(self.names, text):
            text, index = match[1], [*map(int, match[2].split(","))]
        names = self._listed(text)
        if len(names) > 1:
            some = ", ".join(visible(name, 60) for name in names[:3]) + (", …" if len(names) > 3 else "")
            raise UsageError(f"{len(names)} tensors match {text!r} ({some}); open takes one")
        return names[0], index

    def _draw_after_asking(self, names: Sequence[str]) -> None:
        print(f"Matched {len(names)} layer(s):")
        most = max(_screen_lines() - 6, 5)
        shown = names if len(names) <= most else names[: most - 1]
        for name in shown:
            print(f"  - {visible(name)}")
        if len(shown) < len(names):
            print(f"  … and {len(names) - len(shown)} more")
        while True:
            answer = self._ask(CONFIRM)
            if answer is None or answer.lower() in ("n", "no"):
                return
            if answer.lower() in ("y", "yes"):
                self._draw(names, self.views)
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
            raise UsageError(f"no tensor name contains {text!r}")
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
        """Numbered rows in columns, a screen at a time where a person reads them."""
        print(title)
        width = len(str(len(self.names)))
        shapes = [f"torch.Size({list(self.checkpoint[name].shape)})" for _, name in rows]
        columns = shutil.get_terminal_size((80, 24)).columns
        room = max(columns - width - 5 - min(max(map(len, shapes), default=0), columns // 2), 20)
        shown = [_cut(name, min(room, LIMIT)) for _, name in rows]
        room = min(max([38, *map(display_width, shown)]), room)
        screen = _screen_lines() - 2 if _watched() else len(rows) + 1
        printed = 1
        for index, ((number, _), name, shape) in enumerate(zip(rows, shown, shapes, strict=True)):
            if printed >= screen:
                answer = self._ask(f"-- {index} of {len(rows)}; Enter for more, q to stop: ")
                if answer is None or answer:
                    return
                printed = 0
            print(f"  {number:>{width}}. {name}{' ' * (room - display_width(name))} {shape}")
            printed += 1

    def _ask(self, prompt: str, remember: bool = False) -> str | None:
        """A line of input without surrounding blanks; ``None`` at its end. remember: keep it in the history of the prompt."""
        started = time.perf_counter()
        try:
            answer = input(prompt).strip()
        except EOFError:
            print()
            return None
        finally:
            self.waited += time.perf_counter() - started
        readline = sys.modules.get("readline")
        if readline is not None and answer and not remember and readline.get_current_history_length():
            readline.remove_history_item(readline.get_current_history_length() - 1)
        return answer


def _cut(name: str, room: int) -> str:
    """*name* made visible, in at most *room* columns; wide characters take two."""
    shown = visible(name, room)
    while display_width(shown) > room:
        shown = visible(name, len(shown) - 1)
    return shown


def _watched() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _prepare_line_editing(words: Sequence[str]) -> None:
    """History and completion of *words* at the prompt, where a terminal and the library are there."""
    if not _watched() or os.environ.get("TERM") == "dumb":
        return
    try:
        import readline
    except ImportError:  # Windows
        return

    def complete(text: str, state: int) -> str | None:
        found = [word for word in words if word.startswith(text)]
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ,")
    readline.parse_and_bind("tab: complete")


def _screen_lines() -> int:
    return shutil.get_terminal_size((80, 24)).lines
