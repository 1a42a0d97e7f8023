"""What a tensor's name and shape say about its matrices: stacks of experts, and projections that hold Q, K and V together.

Of a part of a tensor (``--slice``) the kind follows from the shape of the whole, and what is said of a place from what was
taken: its shape is a ``PartShape``, which has both. Every function here takes either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from torch2grid_core.sources import PartShape, Taken, kept_places, taken_of, whole_shape

_LONGEST_KERNEL = 32  # the last dimensions of a convolution's weights are no longer
_EXPERTS = re.compile(r"expert", re.IGNORECASE)
_MIXTURE = re.compile(r"expert|moe", re.IGNORECASE)
_KERNELS = re.compile(r"conv|kernel|filter|stft|basis", re.IGNORECASE)
_FUSED = re.compile(r"(^|[._])(in_proj_(weight|bias)|(c_attn|qkv|wqkv|qkv_proj|to_qkv)\.(weight|bias))$", re.IGNORECASE)


@dataclass(frozen=True)
class Stack:
    """Matrices of *rows* × *columns*, one after the other in a tensor. leading: the shape of what counts them.

    counted: for each leading dimension of the whole tensor, the indices that were taken. matrix: the shape of one of them.
    """

    leading: tuple[int, ...]
    rows: int
    columns: int
    counted: tuple[range, ...] = ()
    matrix: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many matrices there are."""
        return math.prod(self.leading)

    @property
    def indices(self) -> list[tuple[int, ...]]:
        """The index of each matrix in the whole tensor, in order."""
        return list(product(*self.counted))


def stacked(name: str, shape: tuple[int, ...]) -> Stack | None:
    """The matrices that a tensor of three or more dimensions stacks, as those of experts; ``None`` where it is something else.

    The last two dimensions of a stack are longer than any kernel's, and no shorter than there are matrices; or the name speaks
    of experts. A part of a stack that has taken one matrix, or not all dimensions of them, is none.
    """
    if len(shape) < 3 or 0 in shape or not _stacks(name, whole_shape(shape)):
        return None
    taken = taken_of(shape)
    if taken is not None and not all(isinstance(place, range) for place in taken.places[-2:]):
        return None
    *leading, rows, columns = shape
    return Stack(tuple(leading), rows, columns, kept_places(shape)[:-2], one_of(shape))


def _stacks(name: str, whole: tuple[int, ...]) -> bool:
    """True for a tensor that is a stack of matrices."""
    if len(whole) < 3 or 0 in whole or (_KERNELS.search(name) and not _EXPERTS.search(name)):
        return False
    *leading, rows, columns = whole
    large = min(rows, columns) > _LONGEST_KERNEL and math.prod(leading) <= min(rows, columns)
    named = bool(_EXPERTS.search(name)) and min(rows, columns) > 1 and len(whole) == 3
    return large or named


def one_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one matrix of a stack, which knows its part of that matrix."""
    taken = taken_of(shape)
    lengths = tuple(shape[-2:])
    if taken is None or all(each == range(length) for each, length in zip(taken.places[-2:], taken.shape[-2:], strict=True)):
        return lengths
    return PartShape(lengths, Taken(taken.shape[-2:], taken.places[-2:]))


def matrix_name(name: str, index: Sequence[int]) -> str:
    """What the matrix at *index* of the stack *name* is called: ``expert 3``, or ``matrix 3`` where nothing says experts."""
    return f"{'expert' if _MIXTURE.search(name) else 'matrix'} {', '.join(map(str, index))}"


def by_itself(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """*shape* with all dimensions of the whole tensor, of one taken at one index a length of 1; of one matrix of a stack, its
    own."""
    taken = taken_of(shape)
    if taken is None or len(shape) == len(taken.shape):
        return shape
    if _stacks(name, taken.shape) and len(shape) == 2 and all(isinstance(place, range) for place in taken.places[-2:]):
        return one_of(shape)
    return PartShape(map(len, taken.kept), Taken(taken.shape, taken.kept))


def has_all_units(name: str, shape: tuple[int, ...]) -> bool:
    """True unless *shape* is a part that lost a dimension that counts units: what is left counts something else there."""
    return len(by_itself(name, shape)) == len(shape)


def place_along(shape: tuple[int, ...], first: int, stop: int, place: int) -> int:
    """The index in the whole tensor, dimensions *first* to *stop* in one, of *place* along these dimensions of *shape*.

    *shape* has all dimensions of the whole (see ``by_itself``).
    """
    found, scale = 0, 1
    for taken, length in zip(reversed(kept_places(shape)[first:stop]), reversed(whole_shape(shape)[first:stop]), strict=True):
        place, own = divmod(place, max(len(taken), 1))
        found += taken[own] * scale
        scale *= length
    return found


def flattened(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, of a stack of matrices that of all of them one below the other."""
    stack = stacked(name, shape)
    return shape if stack is None else (stack.count * stack.rows, stack.columns)


def fused_parts(name: str, shape: tuple[int, ...]) -> tuple[int, tuple[tuple[str, int, int], ...]]:
    """(axis, (letter, first, stop)) of a projection that holds Q, K and V one after the other; no parts of any other tensor.

    The axis is that of output units: 0, or 1 where the matrix is stored the other way round, as GPT-2's is. Where there are
    fewer keys than queries, there are as many queries as inputs. What interleaves Q, K and V head by head has no such parts.
    Of a part of a tensor, where each begins and ends in what was taken; what it has nothing of is left out.
    """
    axis, begins = _fused(name, whole_shape(shape))
    if not begins:
        return 0, ()
    taken, found = kept_places(shape)[axis], []
    ends = [first for _, first in begins[1:]] + [whole_shape(shape)[axis]]
    for (letter, first), end in zip(begins, ends, strict=True):
        start, stop = (max(-(-(edge - taken.start) // taken.step), 0) for edge in (first, end))
        if (stop := min(stop, len(taken))) > start:
            found.append((letter, start, stop))
    return axis, tuple(found)


def _fused(name: str, shape: tuple[int, ...]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """(axis, where each part begins) of a whole tensor."""
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
    shape = whole_shape(shape)
    if len(shape) != 2:
        return False
    if _FUSED.search(name):
        return _fused(name, shape)[0] == 1
    if found := re.search(r"(^|[._])(c_fc|c_proj)\.weight$", name, re.IGNORECASE):
        rows, columns = shape
        if rows == columns:
            return None
        return rows < columns if found[2].lower() == "c_fc" else rows > columns
    return False
