"""QᵀK of every attention head: a need about groups of tensors, and a view of what it gives.

``torch2grid model.safetensors --load-plugin examples/head_circuits.py --view head_circuits:size=64``
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torch2grid_core import Checkpoint, Grid, LazyTensor, Need, NotDrawable, Page, Settings, View
from torch2grid_core.pages import Line
from torch2grid_core.sources import as_float

KEYS = {"q_proj": "k_proj", "query": "key", "to_q": "to_k", "wq": "wk", "q_lin": "k_lin", "q": "k"}  # of a query's name
QUERY = re.compile(rf"(?P<layer>.+)\.(?P<query>{'|'.join(KEYS)})\.weight")


def attention(checkpoint: Checkpoint, size: int) -> dict[str, tuple[str, str]]:
    """Layer → names of its query and key weights, of layers whose heads have *size* rows."""
    found = {}
    for name, query in checkpoint.items():
        match = QUERY.fullmatch(name)
        key = checkpoint.get(f"{match['layer']}.{KEYS[match['query']]}.weight") if match else None
        if match and key is not None and query.ndim == key.ndim == 2 and query.shape[1] == key.shape[1]:
            heads, of_keys = query.shape[0] / size, key.shape[0] / size  # several heads may share a key
            if min(heads, of_keys) >= 1 and not heads % 1 and not of_keys % 1 and not heads % of_keys:
                found[match["layer"]] = name, key.name
    return found


@dataclass(frozen=True)
class HeadCircuits(Need[Any]):
    """Layer → the singular values of QᵀK / √size of each of its heads, largest first, as (heads, size). NaN stays NaN."""

    size: int

    def groups(self, checkpoint: Checkpoint) -> Mapping[Any, tuple[str, ...]]:
        return attention(checkpoint, self.size)

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        queries, keys = (
            as_float(tensor.numpy()).astype(np.float64).reshape(-1, self.size, tensor.shape[1]) for tensor in tensors.values()
        )
        found = np.full(queries.shape[:2], np.nan)
        for head, query in enumerate(queries):
            key = keys[head * len(keys) // len(queries)]
            if np.isfinite(query).all() and np.isfinite(key).all():
                # QᵀK is as large as the model is wide, and has a rank of *size* at most: two small triangles have its values.
                left, right = np.linalg.qr(query.T, mode="r"), np.linalg.qr(key.T, mode="r")
                values = np.linalg.svd(left @ right.T, compute_uv=False) / np.sqrt(self.size)
                found[head] = 0
                found[head, : len(values)] = values
        return found


@dataclass(frozen=True)
class HeadCircuitsView(View):
    """how strongly each attention head compares: singular values of QᵀK, by head and layer"""

    name = "head_circuits"

    size: int = field(default=64, metadata={"help": "rows of a head"})

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a head has at least 1 row, not {self.size}")

    def subject(self, checkpoint: Checkpoint, run: Settings) -> Checkpoint:
        if not attention(checkpoint, self.size):
            raise NotDrawable(f"no query and key weights of heads of {self.size} rows; head_circuits:size=… says how many")
        return checkpoint  # the same tensors as of other views, so that one pass serves all; the need reads no others

    def needs(self, checkpoint: Checkpoint, run: Settings) -> Mapping[str, Need[Any]]:
        return {"circuits": HeadCircuits(self.size)}

    def pages(self, checkpoint: Checkpoint, results: Mapping[str, Any], run: Settings) -> Iterator[Page]:
        circuits = results["circuits"]
        norms = np.zeros((len(circuits), max(map(len, circuits.values()))), np.float32)
        count = np.zeros(norms.shape, np.int64)
        for row, values in enumerate(circuits.values()):
            norms[row, : len(values)], count[row, : len(values)] = np.linalg.norm(values, axis=1), 1
        grid = Grid(norms, count, quantity="‖QᵀK‖")
        names = tuple((row + 0.5, layer) for row, layer in enumerate(circuits))
        heatmap = run.heatmap(grid, title="‖QᵀK‖ of each head", rows="layer", columns="head", row_names=names)
        shown = [name for pair in attention(checkpoint, self.size).values() for name in pair]
        yield Page("head_circuits", run.title or "Attention heads", (heatmap,), about={"tensors": shown})
        for layer, values in circuits.items():
            heads = {f"head {head}": each for head, each in enumerate(values)}
            line = Line(np.arange(values.shape[1]), heads, layer, "singular value, by size", "singular value of QᵀK")
            yield Page(layer, run.title or layer, (line,), folder="head_circuits")
