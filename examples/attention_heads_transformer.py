"""The attention matrices of a model and nothing else, head by head, streamed.

torch2grid model.safetensors --load-plugin examples/attention_heads_transformer.py --plugin attention_heads:heads=12
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch2grid_core import Layout, LayoutTransformer, NotDrawable
from torch2grid_core.grids import Block, Dim, Region, label_rows

Shapes = Mapping[str, tuple[int, ...]]

MODULES = {
    "q": ("q_proj", "q_lin", "query", "to_q", "wq", "q"),
    "k": ("k_proj", "k_lin", "key", "to_k", "wk", "k"),
    "v": ("v_proj", "v_lin", "value", "to_v", "wv", "v"),
    "o": ("o_proj", "out_proj", "out_lin", "to_out", "c_proj", "dense", "proj", "wo", "o"),
    "qkv": ("qkv_proj", "qkv", "query_key_value", "in_proj", "c_attn", "Wqkv"),
}
ROLES = {module: role for role, modules in MODULES.items() for module in modules}
PANELS = "qkvo"  # from left to right
USUAL = (64, 128, 80, 96, 32, 16, 8)  # sizes of a head, where nobody says how many heads there are


@dataclass(frozen=True)
class Matrix:
    """An attention matrix. sides: its long side, all heads together, once or three times, and that of the model.

    turned: the model's side comes first, as in ``o``, and in all matrices of GPT-2 but ``o``.
    """

    name: str
    role: str
    long: int
    model: int
    turned: bool


def matrices_of(shapes: Shapes) -> dict[str, list[Matrix]]:
    """The attention matrices of each module, in the order of *shapes*."""
    found: dict[str, list[Matrix]] = {}
    for name, shape in shapes.items():
        words = name.replace("in_proj_weight", "in_proj.weight").split(".")
        if len(shape) != 2 or 0 in shape or words[-1] != "weight":
            continue
        inside = next((place for place, word in enumerate(words) if re.search("attn|attention", word, re.IGNORECASE)), None)
        role = next((ROLES[word] for word in words[-2:-4:-1] if word in ROLES), "")
        if inside is None or not role:
            continue
        gpt2 = words[-2] in ("c_attn", "c_proj")
        turned = (role == "o") != gpt2
        long, model = shape[::-1] if turned else shape
        if role != "qkv" or long == 3 * model:
            found.setdefault(".".join(words[: inside + 1]), []).append(Matrix(name, role, long, model, turned))
    return found


@dataclass(frozen=True)
class AttentionHeads(LayoutTransformer):
    """query, key, value and output of each attention head side by side, heads below each other, layer after layer"""

    name = "attention_heads"

    heads: int = field(default=0, metadata={"help": "heads of a layer; 0: as many as give heads of a usual size"})

    def __post_init__(self) -> None:
        if self.heads < 0:
            raise ValueError("heads must be 1 or more, or 0")

    def choose(self, shapes: Shapes) -> Iterable[str]:
        return [matrix.name for matrices in matrices_of(shapes).values() for matrix in matrices]

    def layout(self, shapes: Shapes, max_cells: int | None) -> Layout:
        layers = [self._layer(module, matrices) for module, matrices in matrices_of(shapes).items()]
        side, most = 1, max_cells or math.inf
        while max((found := self._packed(layers, side, max_cells)).shape) > most:
            if side > max(max(layer.head, layer.model) for layer in layers):
                raise NotDrawable(f"{len(layers):,} layers of attention heads do not fit {max_cells} cells a side")
            side = max(side + 1, side * 21 // 20)
        return found

    def _layer(self, module: str, matrices: list[Matrix]) -> Layer:
        lengths = [each.long // (3 if each.role == "qkv" else 1) for each in matrices]
        whole, shared = max(lengths), math.gcd(*lengths)  # several heads may share keys and values
        head = next((each for each in USUAL if shared % each == 0 and whole > each), shared)
        if self.heads:
            head = whole // self.heads
            if whole % self.heads or shared % head:
                raise NotDrawable(f"{module}: {self.heads} heads do not divide {whole} rows; say heads=… of this model")
        return Layer(module, tuple(matrices), head, whole // head, max(each.model for each in matrices))

    def _packed(self, layers: list[Layer], side: int, max_cells: int | None) -> Layout:
        """All layers in cells of side×side weights, in as many columns as make the picture about square."""
        heights = [layer.height(side) for layer in layers]
        width = max(layer.width(side) for layer in layers)
        columns = min(range(1, len(layers) + 1), key=lambda count: max(_tallest(heights, count), count * width))
        title = label_rows(min(max(_tallest(heights, columns), columns * width), max_cells or 1 << 14))
        heights = [title + height for height in heights]
        blocks: list[Block] = []
        regions: list[Region] = []
        labels: list[Region] = []
        each = -(-len(layers) // columns)
        for place, layer in enumerate(layers):
            column, above = place // each, heights[place - place % each : place]
            top, left = sum(above) + title, column * (width + title)
            labels.append(Region(layer.module, ((top - title, left, title, layer.width(side)),)))
            blocks += layer.blocks(top, left, side)
            regions += layer.regions()
        rows, across = _tallest(heights, columns) * side, (columns * (width + title) - title) * side
        return Layout(rows, across, (side, side), tuple(blocks), tuple(regions), tuple(labels))


def _tallest(heights: list[int], columns: int) -> int:
    each = -(-len(heights) // columns)
    return max(sum(heights[start : start + each]) for start in range(0, len(heights), each))


@dataclass(frozen=True)
class Layer:
    """The attention of one layer: *heads* of *head* rows, each matrix a panel as wide as the *model*."""

    module: str
    matrices: tuple[Matrix, ...]
    head: int
    heads: int
    model: int

    def pitch(self, side: int) -> int:
        """Cells from one head to the next: an empty row of cells between them where heads are large enough."""
        cells = -(-self.head // side)
        return cells + (cells >= 4)

    def height(self, side: int) -> int:
        return (self.heads - 1) * self.pitch(side) + -(-self.head // side)

    def width(self, side: int) -> int:
        return len(PANELS) * (-(-self.model // side) + 1) - 1

    def blocks(self, top: int, left: int, side: int) -> Iterator[Block]:
        """One block a matrix: the dimensions of its flat run are (three matrices,) heads, rows of a head, columns."""
        panel = (-(-self.model // side) + 1) * side
        for matrix in self.matrices:
            three = 3 if matrix.role == "qkv" else 1
            heads = max(matrix.long // three // self.head, 1)  # fewer of k and v, where several heads share one
            apart = self.heads // heads * self.pitch(side) * side
            rows: tuple[Dim, ...] = ((three, 0, panel), (heads, apart, 0), (self.head, 1, 0))
            columns: Dim = (matrix.model, 0, 1)
            dims = (columns, *rows) if matrix.turned else (*rows, columns)
            place = left * side + PANELS.index(matrix.role[0]) * panel
            yield Block(matrix.name, 0, top * side, place, dims)

    def regions(self) -> Iterator[Region]:
        """Without rectangles: the outlines follow from the blocks."""
        return (Region(matrix.name) for matrix in self.matrices)
