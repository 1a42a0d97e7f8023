"""``index.json``: what each picture of an output folder shows, so that a later run can repeat its scale."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch2grid_core.output.files import whole_file
from torch2grid_core.pictures.page import Heatmap, Page

INDEX = "index.json"
_FORMAT = "torch2grid index 1"


def entry_of(page: Page) -> dict[str, Any]:
    """What the index says of a page: its tensor, and for each heatmap the reduction, the scale and the largest weight."""
    heatmaps = []
    for panel in page.panels:
        if isinstance(panel, Heatmap):
            grid, scale = panel.grid, panel.scale
            entry: dict[str, Any] = {
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
                entry["largest"] = {"tensor": name, "index": index, "value": value, "cell": grid.largest_cell}
            heatmaps.append(entry)
    return {"title": page.title, **({"about": dict(page.about)} if page.about else {}), "heatmaps": heatmaps}


def merge_index(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Add *entries* (path below *folder* → ``entry_of`` its page) to the folder's index; those of files that are gone go.

    Raises ``Torch2GridError`` where it cannot be written.
    """
    path = folder / INDEX
    kept: dict[str, Mapping[str, Any]] = {name: entry for name, entry in _read(path).items() if (folder / name).is_file()}
    document = {"format": _FORMAT, "files": dict(sorted({**kept, **entries}.items()))}
    with whole_file(path) as stream:
        stream.write(json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    files = document.get("files") if isinstance(document, dict) else None
    return files if isinstance(files, dict) else {}
