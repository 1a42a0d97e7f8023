"""Functions that make untrusted text from files safe to show, and numbers readable."""

from __future__ import annotations

from torch2grid_core._data.indexing import shape_text
from torch2grid_core._output.strict_json import json_text
from torch2grid_core._text import (
    counted,
    did_you_mean,
    display_width,
    human_count,
    percentage,
    safe_filename,
    visible,
    without_secrets,
)

__all__ = [
    "counted",
    "did_you_mean",
    "display_width",
    "human_count",
    "json_text",
    "percentage",
    "safe_filename",
    "shape_text",
    "visible",
    "without_secrets",
]
