"""A view: pages from what it asks for. torch2grid reads each tensor once for all views together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch2grid_core import Checkpoint, Need, Page, Settings, View
from torch2grid_core.measures import Summary
from torch2grid_core.pages import Bar


class Spread(View):
    """the standard deviation of each tensor, as bars"""

    name = "spread"

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"summaries": Summary(brief=True)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterable[Page]:
        spread = {name: summary.std for name, summary in results["summaries"].items() if summary.finite}
        if spread:
            bars = Bar(tuple(spread), np.array(list(spread.values())), ylabel="standard deviation")
            yield Page("spread", run.title or "Standard deviation of each tensor", (bars,))
