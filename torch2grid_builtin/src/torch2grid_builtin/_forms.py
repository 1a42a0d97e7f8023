"""What a tensor's name and shape say about its matrices: stacks of experts, and projections that hold Q, K and V together."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_LONGEST_KERNEL = 32  # the last dimensions of a convolution's weights are no longer
_EXPERTS = re.compile(r"expert", re.IGNORECASE)
_KERNELS = re.compile(r"conv|kernel|filter|stft|basis", re.IGNORECASE)
_FUSED = re.compile(r"(^|[._])(in_proj_(weight|bias)|(c_attn|qkv|wqkv|qkv_proj|to_qkv)\.(weight|bias))$", re.IGNORECASE)


@dataclass(frozen=True)
class Stack:
    """Matrices of *rows* × *columns*, one after the other in a tensor. leading: the shape of what counts them."""

    leading: tuple[int, ...]
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """How many matrices there are."""
        return math.prod(self.leading)


def stacked(name: str, shape: tuple[int, ...]) -> Stack | None:
    """The matrices that a tensor of three or more dimensions stacks, as those of experts; ``None`` where it is something else.

    The last two dimensions of a stack are longer than any kernel's, and no shorter than there are matrices; or the name speaks
    of experts.
    """
    if len(shape) < 3 or 0 in shape:
        return None
    *leading, rows, columns = shape
    count = math.prod(leading)
    if _KERNELS.search(name) and not _EXPERTS.search(name):
        return None
    large = min(rows, columns) > _LONGEST_KERNEL and count <= min(rows, columns)
    named = bool(_EXPERTS.search(name)) and min(rows, columns) > 1 and len(shape) == 3
    return Stack(tuple(leading), rows, columns) if large or named else None


def flattened(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, of a stack of matrices that of all of them one below the other."""
    stack = stacked(name, shape)
    return shape if stack is None else (stack.count * stack.rows, stack.columns)


def fused_parts(name: str, shape: tuple[int, ...]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """(axis, where Q, K and V begin) of a projection that holds them one after the other; no parts of any other tensor.

    The axis is that of output units: 0, or 1 where the matrix is stored the other way round, as GPT-2's is. Where there are
    fewer keys than queries, there are as many queries as inputs. What interleaves Q, K and V head by head has no such parts.
    """
    if not _FUSED.search(name) or not 1 <= len(shape) <= 2:
        return 0, ()
    if len(shape) == 1:
        third = shape[0] // 3
        return 0, (("Q", 0), ("K", third), ("V", 2 * third)) if third and shape[0] % 3 == 0 else ()
    rows, columns = shape
    if columns == 3 * rows:
        return 1, (("Q", 0), ("K", rows), ("V", 2 * rows))
    if columns < rows < 3 * columns and (rows - columns) % 2 == 0:
        keys = (rows - columns) // 2
        return 0, (("Q", 0), ("K", columns), ("V", columns + keys))
    if rows % 3 == 0 and rows >= 3:
        return 0, (("Q", 0), ("K", rows // 3), ("V", 2 * rows // 3))
    return 0, ()


def stored_transposed(name: str, shape: tuple[int, ...]) -> bool | None:
    """True for a matrix stored with its inputs as rows, as GPT-2's are; ``None`` where it is square and may be; else False.

    These names are used for both ways round, and the shapes tell them apart: a fused projection is three times as long on the
    side of its outputs, and a feed-forward layer is wider inside.
    """
    if len(shape) != 2:
        return False
    if _FUSED.search(name):
        return fused_parts(name, shape)[0] == 1
    if found := re.search(r"(^|[._])(c_fc|c_proj)\.weight$", name, re.IGNORECASE):
        rows, columns = shape
        if rows == columns:
            return None
        return rows < columns if found[2].lower() == "c_fc" else rows > columns
    return False
