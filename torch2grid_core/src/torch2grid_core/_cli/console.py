"""What a run says of itself: lines on stderr, a progress bar, and a small picture where a person looks."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch2grid_core._data.checkpoint import Checkpoint
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._selection import Selection
from torch2grid_core._settings import Settings
from torch2grid_core._text import human_count, visible

if TYPE_CHECKING:
    from torch2grid_core._engine.drawing import Seen, Shown
    from torch2grid_core._pictures.page import Heatmap, Page
    from torch2grid_core._summary.not_finite import NotFiniteCount


_PATIENCE = 0.5  # seconds without a bar: most runs end before, and a bar that flashes helps nobody
_MOST_CALLS = 10


def watched(quiet: bool) -> bool:
    """True where a person watches: stderr is a terminal that can move its cursor, and nobody asked for silence."""
    return not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextlib.contextmanager
def progress_bar(checkpoint: Checkpoint, show: bool) -> Iterator[Callable[[LazyTensor, int], None] | None]:
    """What the engine tells of each tensor that is done, shown as a bar of bytes with rate and time left."""
    if not show:
        yield None
        return
    bar = _Bar(checkpoint.source)
    try:
        yield bar.advance
    finally:
        bar.stop()


def clear_line() -> None:
    """Make room on a terminal for a line of output where a bar is shown; the bar comes back below it."""
    if _Bar.shown:
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


class _Bar:
    shown = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.done, self.started = 0, time.perf_counter()
        self._progress: Any = None
        self._task: Any = None

    def advance(self, tensor: LazyTensor, total: int) -> None:
        """Count one tensor of *total* bytes in all; the bar appears once the run has taken a while."""
        self.done += tensor.nbytes
        if self._progress is None:
            if time.perf_counter() - self.started < _PATIENCE or self.done >= total:
                return
            self._start(total)
        self._progress.update(self._task, completed=self.done, refresh=True)

    def _start(self, total: int) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        text = TextColumn("{task.description}")
        columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        # Drawn only when a tensor is done, never by a thread of its own, so that `clear_line` and paths cannot meet it.
        self._progress = Progress(
            *columns,
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.start()
        _Bar.shown = True
        self._task = self._progress.add_task(escape(visible(os.path.basename(self.name), 30)), total=total)

    def stop(self) -> None:
        """Take the bar away; what follows is written as if it had not been there."""
        if self._progress is not None:
            self._progress.stop()
            _Bar.shown = False


def say(line: str) -> None:
    """One line for the person, on stderr."""
    clear_line()
    print(visible(line, limit=2000), file=sys.stderr)


def tell(line: str) -> None:
    """A line of output, on stdout: the path of a file, or a table."""
    if sys.stdout.isatty():
        clear_line()
    print(line, flush=True)


def remarks(checkpoint: Checkpoint) -> Iterator[str]:
    """What the loader noticed, and what the file would have called.

    Classes of other packages that it only makes and fills are one line. Of slices it is what is known without reading more:
    a row costs a row.
    """
    notes, actions = checkpoint._remarkable()
    yield from (f"note: {note}" for note in notes)
    risky = [action for action in actions if action.severity == "error"]
    yield from (f"not run: {action}" for action in risky[:_MOST_CALLS])
    if len(risky) > _MOST_CALLS:
        yield f"not run: {len(risky) - _MOST_CALLS} more"
    others = [action for action in actions if action.severity != "error"]
    if others:
        more = f", and so {len(others) - 1:,} more of other packages" if len(others) > 1 else ""
        yield f"not run: {others[0]}{more}"


def skips(checkpoint: Checkpoint) -> Iterator[str]:
    """A line for each entry that is not drawn."""
    yield from (f"skipped {skip.name}: {skip.reason} ({skip.by})" for skip in checkpoint.skipped)


def summary_line(selection: Selection, seconds: float, remarks: Sequence[str] = ()) -> str:
    """Return ``model.pth: PyTorch zip, 8 of 24 tensors shown; not shown: optimizer (16); 9,258 parameters, float32, 0.3 s``.

    Args:
        selection: what was drawn.
        seconds: that the run took.
        remarks: what else there is to say of the run, before the seconds.
    """
    checkpoint = selection.checkpoint
    names = checkpoint.dtypes
    dtypes = ", ".join(f"{name} ({count})" if len(names) > 1 else name for name, count in names.items())
    pieces = [f"{human_count(checkpoint.parameters)} parameter{'s' if checkpoint.parameters != 1 else ''}", dtypes]
    if selection.part:
        pieces.append(f"part {visible(selection.part)}")
    if selection.slice:
        pieces.append(f"slice [{visible(selection.slice)}]")
    networks = _networks(checkpoint)
    if networks:
        pieces.append(f"networks {networks}")
    if selection.skipped:
        reasons = Counter(skip.reason for skip in selection.skipped)
        told = ", ".join(f"{count} {visible(reason, 60)}" for reason, count in reasons.most_common(3))
        pieces.append(f"{len(selection.skipped)} skipped ({told})")
    for decoder, count in Counter(each.by for each in checkpoint.composed.values()).items():
        pieces.append(f"{count} tensor{'s' if count != 1 else ''} decoded by {visible(decoder)}")
    if checkpoint.aliases:
        pieces.append(f"{len(checkpoint.aliases)} tied")
    pieces += [*remarks, f"{seconds:.1f} s"]
    return f"{visible(checkpoint.source)}: {checkpoint.format}, {_shown(selection)}{', '.join(pieces)}"


def _shown(selection: Selection) -> str:
    """How many tensors there are, and what is not shown of the file; nothing that is not shown stays unsaid."""
    count = len(selection.checkpoint)
    if not selection.hidden:
        return f"{count} tensor{'s' if count != 1 else ''}, "
    total = count + sum(selection.hidden.values())
    apart = ", ".join(f"{visible(what, 60)} ({number})" for what, number in selection.hidden.items())
    return f"{count} of {total} tensor{'s' if total != 1 else ''} shown; not shown: {apart}; "


def _networks(checkpoint: Checkpoint) -> str:
    """The keys of the networks that stand side by side in what is shown."""
    found = next((part.networks for part in checkpoint.whole.parts if part.networks), ())
    shown = [key for key in found if any(name.startswith(f"{key}.") for name in checkpoint)]
    if len(shown) < 2:
        return ""
    keys = [visible(key, 40) for key in shown]
    if len(keys) > 6:
        keys = [*keys[:5], f"{len(keys) - 5} more"]
    return f"{', '.join(keys[:-1])} and {keys[-1]}"


class Preview:
    """Keeps the first overview's heatmap, for a small picture under the summary line."""

    def __init__(self, run: Settings) -> None:
        self.run = run
        self.heatmap: Heatmap | None = None

    def look(self, page: Page) -> None:
        """Take the page's heatmap, if it is the first that is not of one tensor."""
        from torch2grid_core._pictures.page import Heatmap

        heatmaps = [panel for panel in page.panels if isinstance(panel, Heatmap)]
        if self.heatmap is None and heatmaps and not page.folder:
            self.heatmap = heatmaps[0]

    def show(self) -> None:
        """Print it on stderr, if there is one."""
        if self.heatmap is None:
            return
        from torch2grid_core._pictures.pixels import half_blocks

        size = shutil.get_terminal_size((80, 24))
        color = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        width, rows = min(size.columns - 1, 64), min(size.lines - 4, 16)
        lines = half_blocks(self.heatmap.grid, self.heatmap.scale, width, rows, color, self.run.colormap)
        print("\n".join(lines), file=sys.stderr)


def clauses(seen: Seen, checkpoint: Checkpoint) -> list[str]:
    """``NaN in 3 tensors (12 weights)``, ``Inf in 1 tensor (2 weights)``, ``conv: 3 of 8 tensors``; nothing where all is well.

    NaN and Inf are counted in the tensors that the views read, those tied to others once.
    """
    counts = {name: count for name, count in seen.not_finite.items() if name not in checkpoint.aliases}
    return [*_not_finite(counts), *filter(None, (_passed_over(each, checkpoint) for each in seen.shown))]


def _not_finite(counts: Mapping[str, NotFiniteCount]) -> Iterator[str]:
    for what, found in (
        ("NaN", [count.nan for count in counts.values() if count.nan]),
        ("Inf", [count.inf for count in counts.values() if count.inf]),
    ):
        if found:
            yield f"{what} in {_counted(len(found), 'tensor')} ({_counted(sum(found), 'weight')})"


def _passed_over(shown: Shown, checkpoint: Checkpoint) -> str:
    """How many of the tensors a view showed; empty where it showed all that hold weights, or does not tell.

    A view of other tensors than those of the checkpoint, as one of gradients, shows those that have the same names.
    """
    if shown.tensors is None:
        return ""
    ours = [name for name in checkpoint if name in shown.of]
    if not ours:  # names of its own: all that it is about is all there is to count
        number, total = len(shown.tensors & shown.of), len(shown.of)
        return f"{shown.view}: {number:,} of {_counted(total, 'tensor')}" if number < total else ""
    passed = {name for name in checkpoint if not {name, checkpoint.aliases.get(name, name)} & shown.tensors}
    if not any(checkpoint[name].size for name in passed):
        return ""
    by = f", chosen by {visible(shown.chosen_by, 60)}" if shown.chosen_by else ""
    return f"{shown.view}: {len(checkpoint) - len(passed):,} of {_counted(len(checkpoint), 'tensor')}{by}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
