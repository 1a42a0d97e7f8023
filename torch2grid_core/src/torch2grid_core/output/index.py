"""``index.json``: what each picture of an output folder shows, so that a later run can repeat its scale."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch2grid_core.data.regular import read_regular
from torch2grid_core.errors import Torch2GridError
from torch2grid_core.output.files import whole_file
from torch2grid_core.output.strict_json import json_text, plain
from torch2grid_core.pictures.page import Heatmap, Page

INDEX = "index.json"
_FORMAT = "torch2grid index 1"
_LARGEST = 1 << 30


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


def merge_index(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Add *entries* (path below *folder* → ``entry_of`` its page) to the folder's index; those of files that are gone go.

    Raises ``Torch2GridError`` where it cannot be written, or what is there cannot be an index.
    """
    path = folder / INDEX
    kept: dict[str, Mapping[str, Any]] = {name: entry for name, entry in _read(path).items() if os.path.isfile(folder / name)}
    document = {"format": _FORMAT, "files": dict(sorted({**kept, **entries}.items()))}
    with whole_file(path) as stream:
        stream.write(json_text(document, indent=1).encode() + b"\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_regular(path, _LARGEST).decode("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    except (OSError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is nested too deeply"
        raise Torch2GridError(f"{path}: {reason}; remove it, or choose another place with --output") from error
    files = document.get("files") if isinstance(document, dict) else None
    return files if isinstance(files, dict) else {}
