"""What a user may choose for a picture, by name. Without numpy: the command line lists these."""

from __future__ import annotations

from typing import Literal

Reduction = Literal["mean", "absmax", "rms", "min", "max"]
ScaleKind = Literal["auto", "symmetric", "minmax", "asinh"]
FORMER = {"symlog": "asinh"}  # what scales were called before 0.2
DEFAULT_CLIP = 0.995  # the quantile of the cells that colour limits keep
