"""``index.json``: what each picture of an output folder shows, so that a later run can repeat its scale.

Where that name is somebody else's file, ours is ``torch2grid.index.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch2grid_core._data.local import read_regular
from torch2grid_core._errors import Torch2GridError
from torch2grid_core._output.files import whole_file
from torch2grid_core._output.strict_json import json_text, plain
from torch2grid_core._pictures.page import Heatmap, Page

NAMES = ("index.json", "torch2grid.index.json")  # the first that is not somebody else's
_FORMAT = "torch2grid index 1"
LARGEST = 1 << 30


def entry_of(page: Page) -> dict[str, Any]:
    """What the index says of a page: its tensor, and for each heatmap the reduction, the scale and the largest weight.

    Plain data that strict JSON can hold. Raises what the text of an object in ``page.about`` does.
    """
    heatmaps = []
    for panel in page.panels:
        if isinstance(panel, Heatmap):
            grid, scale = panel.grid, panel.scale
            drawn: dict[str, Any] = {
                "cells": list(grid.shape),
                "cell": list(grid.cell),
                "reduce": grid.reduce,
                "quantity": grid.quantity,
                "weights": grid.weights,
                "limits": [scale.low, scale.high],
                "scale": scale.kind,
                "over": scale.over,
                "under": scale.under,
            }
            if grid.largest is not None:
                name, index, value = grid.largest
                drawn["largest"] = {"tensor": name, "index": index, "value": value, "cell": grid.largest_cell}
            heatmaps.append(drawn)
    entry = {"title": page.title, **({"about": page.about} if page.about else {}), "heatmaps": heatmaps}
    return {name: plain(value) for name, value in entry.items()}


def merge_index(folder: Path, entries: Mapping[str, Mapping[str, Any]], is_there: Callable[[str], bool] | None = None) -> Path:
    """Add *entries* (path below *folder* → ``entry_of`` its page) to the folder's index; those of files that are gone go.

    is_there: True for a file that is not gone, where these are not in *folder*.

    Runs that end at the same moment wait for each other. Returns the index's path. Raises ``Torch2GridError`` where it cannot
    be written, or all of its names are taken.
    """
    there = is_there or (lambda file: os.path.isfile(folder / file))
    with _locked(folder):
        for name in NAMES:
            path = folder / name
            found = _read(path)
            if found is not None:
                kept = {file: entry for file, entry in found.items() if there(file)}
                document = {"format": _FORMAT, "files": dict(sorted({**kept, **entries}.items()))}
                with whole_file(path) as stream:
                    stream.write(json_text(document, indent=1).encode() + b"\n")
                return path
    taken = " and ".join(NAMES)
    raise Torch2GridError(f"{folder}: torch2grid did not write {taken}; move one, or choose another place with --output")


def _read(path: Path) -> dict[str, Any] | None:
    """The entries in *path*, none where nothing is there, ``None`` where it is not an index of ours."""
    try:
        document = json.loads(read_regular(path, LARGEST).decode("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        raise Torch2GridError(f"{path}: {error.strerror}; remove it, or choose another place with --output") from error
    ours = isinstance(document, dict) and document.get("format") == _FORMAT and isinstance(document.get("files"), dict)
    return document["files"] if ours else None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else changes the index of *folder* inside, where its file system has locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":  # no folder can be locked there; a file that is open cannot be removed
                import msvcrt

                lock = folder / ".index.lock"
                stack.callback(_remove, lock)
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
                stack.callback(os.close, descriptor)
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            else:
                import fcntl

                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)  # which lets go of the lock
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
