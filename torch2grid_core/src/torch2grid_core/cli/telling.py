"""What a run says of itself: lines on stderr, and a small picture where a person looks."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator

from torch2grid_core.cli.progress import clear_line
from torch2grid_core.data.checkpoint import Checkpoint
from torch2grid_core.pictures.page import Heatmap, Page
from torch2grid_core.run import Run
from torch2grid_core.text import human_count, visible

_MOST_CALLS = 10


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

    Classes of other packages that it only makes and fills are one line.
    """
    yield from (f"note: {note}" for note in checkpoint.notes)
    risky = [action for action in checkpoint.not_run if action.severity == "error"]
    yield from (f"not run: {action}" for action in risky[:_MOST_CALLS])
    if len(risky) > _MOST_CALLS:
        yield f"not run: {len(risky) - _MOST_CALLS} more"
    others = [action for action in checkpoint.not_run if action.severity == "warning"]
    if others:
        more = f", and so {len(others) - 1:,} more of other packages" if len(others) > 1 else ""
        yield f"not run: {others[0]}{more}"


def skips(checkpoint: Checkpoint) -> Iterator[str]:
    """A line for each entry that is not drawn."""
    yield from (f"skipped {skip.name}: {skip.reason} ({skip.by})" for skip in checkpoint.skipped)


def summary_line(checkpoint: Checkpoint, part: str, seconds: float) -> str:
    """``model.pth: PyTorch zip, 8 tensors, 9,258 parameters, float32, part model (also optimizer), 2 tied, 0.3 s``."""
    names = checkpoint.dtypes
    dtypes = ", ".join(f"{name} ({count})" if len(names) > 1 else name for name, count in names.items())
    pieces = [
        checkpoint.format,
        f"{len(checkpoint)} tensor{'s' if len(checkpoint) != 1 else ''}",
        f"{human_count(checkpoint.parameters)} parameters",
        dtypes,
    ]
    if part:
        pieces.append(f"part {visible(part)}{_other_parts(checkpoint, part)}")
    if checkpoint.skipped:
        reasons = Counter(skip.reason for skip in checkpoint.skipped)
        told = ", ".join(f"{count} {visible(reason, 60)}" for reason, count in reasons.most_common(3))
        pieces.append(f"{len(checkpoint.skipped)} skipped ({told})")
    if checkpoint.aliases:
        pieces.append(f"{len(checkpoint.aliases)} tied")
    pieces.append(f"{seconds:.1f} s")
    return f"{visible(checkpoint.source)}: " + ", ".join(pieces)


def _other_parts(checkpoint: Checkpoint, part: str) -> str:
    """What ``--part`` could show instead."""
    others = [visible(each.name, 40) for each in checkpoint.whole.parts if each.name != part]
    more = ["…"] if len(others) > 4 else []
    return f" (also {', '.join(others[:4] + more)})" if others else ""


class Preview:
    """Keeps the first overview's heatmap, for a small picture under the summary line."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.heatmap: Heatmap | None = None

    def look(self, page: Page) -> None:
        """Take the page's heatmap, if it is the first that is not of one tensor."""
        heatmaps = [panel for panel in page.panels if isinstance(panel, Heatmap)]
        if self.heatmap is None and heatmaps and not page.folder:
            self.heatmap = heatmaps[0]

    def show(self) -> None:
        """Print it on stderr, if there is one."""
        if self.heatmap is None:
            return
        from torch2grid_core.pictures.halfblocks import half_blocks

        size = shutil.get_terminal_size((80, 24))
        color = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        width, rows = min(size.columns - 1, 64), min(size.lines - 4, 16)
        lines = half_blocks(self.heatmap.grid, self.heatmap.scale, width, rows, color, self.run.colormap)
        print("\n".join(lines), file=sys.stderr)
