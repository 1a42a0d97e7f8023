"""What the circuits of attention heads are like, from thin factors: no matrix as wide as the model on both sides is made.

Of a head with q, k, v (rows of a head × width) and o (width × rows), the QK circuit is QᵀK and the OV circuit OV, as Elhage
et al. 2021 have them (A Mathematical Framework for Transformer Circuits): biases, normalisation, the scale 1/√rows and rotary
embeddings are not in them. With Qᵀ = U·R and Kᵀ = U'·R', QᵀK has the singular values of R·R'ᵀ, which is as small as a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch2grid_builtin._heads.attention import Attention, HeadRows
from torch2grid_core import LazyTensor, Need
from torch2grid_core.measures import count_not_finite

Array = np.ndarray[Any, Any]
LETTERS = ("q", "k", "v", "o")


@dataclass(frozen=True, eq=False)
class HeadFigures:
    """What is known of the heads of one layer, by head, float64; NaN where a head holds NaN or Inf, or there is no figure.

    norms: (heads, 4), of Frobenius, of the rows of q, k, v and o. qk, ov: (heads, rows), singular values of QᵀK and OV, largest
    first. kernel: (heads, heads), ‖UᵀU'‖²_F/rows of the spaces that two heads write to (``similarity``). tiles_qk, tiles_ov:
    (heads, cells, cells), root mean squares of the blocks of QᵀK and OV. lost: what is NaN or Inf, by head; empty for none.
    """

    norms: Array
    qk: Array
    ov: Array
    kernel: Array
    tiles_qk: Array
    tiles_ov: Array
    lost: tuple[str, ...]


class _Factor:
    """The rows of one head, divided by the largest: *scale* times *rows*. lost: what is NaN or Inf among them."""

    def __init__(self, found: Array, letter: str) -> None:
        told = count_not_finite(found.reshape(-1)).text
        self.lost = f"{told} in {letter}" if told else ""
        self.scale = 1.0 if told else float(np.abs(found).max(initial=0.0)) or 1.0
        self.rows = np.zeros_like(found) if told else found / self.scale
        self.norm = math.nan if told else float(np.linalg.norm(self.rows)) * self.scale

    def triangle(self) -> Array:
        """R of rowsᵀ = U·R."""
        found: Any = np.linalg.qr(self.rows.T, mode="r")  # its types forget what this mode gives
        return np.asarray(found)

    def both(self) -> tuple[Array, Array]:
        """U and R."""
        basis, triangle = np.linalg.qr(self.rows.T)
        return basis, triangle


class _Read:
    """The heads of one projection, whose stored numbers are read once; those that heads share are taken once."""

    def __init__(self, tensors: Mapping[str, LazyTensor], where: HeadRows, letter: str, arrays: dict[str, Array]) -> None:
        for name in where.names:
            if name not in arrays:
                arrays[name] = tensors[name].numpy()
        self.arrays, self.where, self.letter = arrays, where, letter
        self.first = -1
        self.factor: _Factor | None = None

    def __getitem__(self, head: int) -> _Factor:
        first = self.where.first(head)
        if self.factor is None or first != self.first:
            self.first, self.factor = first, _Factor(self.where.of(self.arrays, head), self.letter)
        return self.factor


def _pair(tensors: Mapping[str, LazyTensor], attention: Attention, letters: str) -> list[_Read]:
    arrays: dict[str, Array] = {}
    return [_Read(tensors, getattr(attention, letter), letter, arrays) for letter in letters]


@dataclass(frozen=True)
class Circuits(Need[HeadFigures]):
    """Module of each attention layer → its ``HeadFigures``. side: of a tile, in cells."""

    attentions: tuple[Attention, ...]
    side: int = 32

    def groups(self, checkpoint: Any) -> Mapping[Any, tuple[str, ...]]:
        return {each.module: each.names for each in self.attentions}

    def only(self, names: tuple[str, ...]) -> Circuits:
        return Circuits(tuple(each for each in self.attentions if {*each.names} <= {*names}), self.side)

    def compute(self, tensors: Mapping[str, LazyTensor]) -> HeadFigures:
        attention = next(each for each in self.attentions if {*each.names} == {*tensors})
        heads = attention.heads
        norms = np.full((heads, 4), np.nan)
        lost = [""] * heads
        qk = self._circuits(_pair(tensors, attention, "qk"), norms[:, :2], lost)
        ov = self._circuits(_pair(tensors, attention, "ov"), norms[:, ::-1][:, :2], lost, attention.width)
        return HeadFigures(norms, qk.values, ov.values, ov.kernel, qk.tiles, ov.tiles, tuple(lost))

    def _circuits(self, pair: Sequence[_Read], norms: Array, lost: list[str], width: int = 0) -> _Circuits:
        """Of the product of the transposed rows of the one with the rows of the other. width: of the spaces to compare."""
        heads = len(lost)
        values = tiles = np.zeros((0, 0))
        spaces: list[Array] = []
        for head in range(heads):
            one, two = pair[0][head], pair[1][head]
            ill = ", ".join(filter(None, (one.lost, two.lost)))
            norms[head] = one.norm, two.norm
            lost[head] = ", ".join(filter(None, (lost[head], ill)))
            basis, left = one.both() if width else (None, one.triangle())
            core = left @ two.triangle().T
            size, cells = one.scale * two.scale, _tile(one.rows, two.rows, self.side)
            if not head:
                values = np.full((heads, min(core.shape)), np.nan)
                tiles = np.full((heads, *cells.shape), np.nan)
            if ill:
                spaces.append(np.zeros((width, 0), np.float32))
                continue
            tiles[head] = size * cells
            if basis is None:
                values[head] = size * np.linalg.svd(core, compute_uv=False)
                continue
            turned, found, _ = np.linalg.svd(core)
            values[head] = size * found
            kept = found > found[0] * max(width, two.rows.shape[1]) * np.finfo(np.float64).eps
            spaces.append((basis @ turned[:, : len(found)][:, kept]).astype(np.float32))
        kernel = similarity(spaces, pair[0].where.size) if width else np.zeros((0, 0))
        return _Circuits(values, tiles, kernel)


@dataclass(frozen=True, eq=False)
class _Circuits:
    values: Array
    tiles: Array
    kernel: Array


def similarity(spaces: Sequence[Array], rows: int) -> Array:
    """The projection kernel ‖UᵀU'‖²_F/rows of each two spaces: 1 for one space, 0 for two at right angles.

    spaces: orthonormal columns; none of what is zero, or not known, of which the figure is NaN.
    """
    ends = np.cumsum([0, *(space.shape[1] for space in spaces)])
    found = np.full((len(spaces), len(spaces)), np.nan)
    whole = np.concatenate(spaces, axis=1)
    for one, space in enumerate(spaces):
        squares = np.square(space.T @ whole).sum(axis=0, dtype=np.float64)
        for two in range(len(spaces)):
            if ends[one] < ends[one + 1] and ends[two] < ends[two + 1]:
                found[one, two] = squares[ends[two] : ends[two + 1]].sum() / rows
    return found


def _tile(one: Array, two: Array, side: int) -> Array:
    """Root mean squares of at most *side* × *side* blocks of oneᵀ·two, float64: Σ (aᵢ·bⱼ)² = ⟨Σ aᵢaᵢᵀ, Σ bⱼbⱼᵀ⟩."""
    squares = [_blocks(each, side) for each in (one, two)]
    flat = [found.reshape(len(found), -1) for found, _ in squares]
    sums = flat[0] @ flat[1].T
    found: Array = np.sqrt(np.clip(sums, 0, None) / np.outer(squares[0][1], squares[1][1]))
    return found


def _blocks(rows: Array, side: int) -> tuple[Array, Array]:
    """Of each block of columns Σ aaᵀ, and how many there are."""
    width = rows.shape[1]
    step = max(-(-width // side), 1)
    blocks = [rows[:, start : start + step] for start in range(0, width, step)]
    return np.stack([each @ each.T for each in blocks]), np.array([each.shape[1] for each in blocks])


@dataclass(frozen=True, eq=False)
class Composed:
    """How strongly each head of a stack of layers reads what each head of an earlier layer writes, by Q, K and V.

    scores: (3, heads, heads) of all layers one after the other, [kind, earlier, later], float64; NaN where there is none. lost:
    bool, the same shape, where there is none because of NaN or Inf.
    """

    scores: Array
    lost: Array


@dataclass(frozen=True)
class Composition(Need[Composed]):
    """Kind and width of each stack of layers → ``Composed``, by the measure of Elhage et al. 2021, no baseline subtracted.

    Of an earlier head 1 and a later 2: Q ‖W_QK2ᵀ W_OV1‖, K ‖W_QK2 W_OV1‖, V ‖W_OV2 W_OV1‖, each norm of Frobenius, over the
    product of both norms. stacks: layers, in order.
    """

    stacks: tuple[tuple[Attention, ...], ...]

    def groups(self, checkpoint: Any) -> Mapping[Any, tuple[str, ...]]:
        return {stack[0].stack: tuple(dict.fromkeys(name for each in stack for name in each.names)) for stack in self.stacks}

    def only(self, names: tuple[str, ...]) -> Composition:
        return Composition(tuple(stack for stack in self.stacks if all({*each.names} <= {*names} for each in stack)))

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Composed:
        stack = next(stack for stack in self.stacks if {n for each in stack for n in each.names} == {*tensors})
        ends = np.cumsum([0, *(each.heads for each in stack)])
        scores = np.full((3, ends[-1], ends[-1]), np.nan)
        lost = np.zeros(scores.shape, bool)
        of_values = [self._triangles(tensors, each) for each in stack]
        gone = np.zeros((2, ends[-1]), bool)  # of W_QK and W_OV
        for later, reader in enumerate(stack):
            own = slice(ends[later], ends[later + 1])
            reads, gone[:, own] = _readers(tensors, reader)
            for earlier in range(later):
                other = slice(ends[earlier], ends[earlier + 1])
                writes = _writers(tensors, stack[earlier], of_values[earlier])
                for kind, each in enumerate(reads):
                    scores[kind, other, own] = _norms(each, writes).T
                    lost[kind, other, own] = gone[1, other][:, None] | gone[kind // 2, own]
        scores[lost] = np.nan
        return Composed(scores, lost)

    @staticmethod
    def _triangles(tensors: Mapping[str, LazyTensor], attention: Attention) -> list[Array]:
        """R of the values of each head."""
        (values,) = _pair(tensors, attention, "v")
        return [values[head].triangle() for head in range(attention.heads)]


def work_of(stack: Sequence[Attention]) -> float:
    """Multiplications that ``Composition`` of these layers takes."""
    rows = [each.heads * each.o.size for each in stack]
    return float(
        sum(3 * rows[later] * rows[earlier] * stack[later].width for later in range(len(rows)) for earlier in range(later))
    )


def _readers(tensors: Mapping[str, LazyTensor], attention: Attention) -> tuple[list[Array], Array]:
    """Of each head R_K·Q, R_Q·K and R_O·V, of norm 1: (heads, rows, width), which read as W_QKᵀ, W_QK and W_OV do.

    Then which heads' W_QK and W_OV are not known.
    """
    lost = np.zeros((2, attention.heads), bool)
    found: list[list[Array]] = [[], [], []]
    for circuit, letters in enumerate(("qk", "ov")):
        one, two = _pair(tensors, attention, letters)
        for head in range(attention.heads):
            left, right = one[head], two[head]
            lost[circuit, head] = bool(left.lost or right.lost)
            if not circuit:
                found[0].append(_unit(right.triangle() @ left.rows))
            found[circuit + 1].append(_unit(left.triangle() @ right.rows))
    return [np.stack(each) for each in found], lost


def _writers(tensors: Mapping[str, LazyTensor], attention: Attention, of_values: Sequence[Array]) -> Array:
    """Of each head R_V·Oᵀ, of norm 1: (heads, rows, width), which writes as W_OV does."""
    (out,) = _pair(tensors, attention, "o")
    return np.stack([_unit(triangle @ out[head].rows) for head, triangle in enumerate(of_values)])


def _unit(found: Array) -> Array:
    norm = float(np.linalg.norm(found))
    return (found / norm if norm else np.full_like(found, np.nan)).astype(np.float32)


def _norms(readers: Array, writers: Array) -> Array:
    """‖A·Bᵀ‖_F of each reader and each writer: (readers, writers)."""
    many, rows, width = readers.shape
    others, other_rows, _ = writers.shape
    products = readers.reshape(-1, width) @ writers.reshape(-1, width).T
    squares = np.square(products, out=products).reshape(many, rows, others, other_rows)
    found: Array = np.sqrt(squares.sum(axis=(1, 3), dtype=np.float64))
    return found
