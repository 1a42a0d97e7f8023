"""What can be measured of a checkpoint's weights: one contract for what this package brings and for what plugins bring."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from torch2grid_core._data.dtypes import as_float, sizes_of
from torch2grid_core._text import did_you_mean

if TYPE_CHECKING:
    from torch2grid_core._array import Array
    from torch2grid_core._data.checkpoint import Checkpoint
    from torch2grid_core._data.combined import JointTensor
    from torch2grid_core._data.tensor import LazyTensor
    from torch2grid_core._guard import Origin
    from torch2grid_core._summary.not_finite import NotFiniteCount

R = TypeVar("R")


def _read_only(array: Array) -> Array:
    """The same numbers, which nobody can change through what is returned."""
    seen = array.view()
    seen.flags.writeable = False
    return seen


class Chunk:
    """A run of a tensor's weights, as a pass sees them: read-only, for all needs share it. Valid until the next chunk.

    tensor: its name. start: the flat index of the first, in C order (0 where no need of the pass asks for an order).
    members: of a ``JointTensor``, the stored numbers of each member at these places; empty for any other tensor.
    """

    __slots__ = ("_of", "_sizes", "_stored", "_values", "joint", "members", "start", "tensor")

    def __init__(
        self,
        tensor: str,
        start: int,
        stored: Array | None = None,
        members: Mapping[str, Array] | None = None,
        joint: JointTensor | None = None,
    ) -> None:
        self.tensor, self.start, self.joint = tensor, start, joint
        self.members = {name: _read_only(array) for name, array in (members or {}).items()}
        self._stored = None if stored is None else _read_only(stored)
        self._values: Array | None = None
        self._sizes: Array | None = None
        self._of: dict[str, Chunk] = {}

    @property
    def stored(self) -> Array:
        """The numbers as they are stored, 1-D; of a joint tensor, those that it computes."""
        if self._stored is None:
            assert self.joint is not None
            self._stored = _read_only(self.joint.compute(self.members))
        return self._stored

    @property
    def values(self) -> Array:
        """The same as float32 or float64 (see ``as_float``), converted once for all who look."""
        if self._values is None:
            self._values = _read_only(as_float(self.stored))
        return self._values

    @property
    def sizes(self) -> Array:
        """|w| of floating numbers of 2, 4 or 8 bytes as unsigned integers, in the same order: their bits without the sign.

        Computed once for all who look. Whole numbers of so few bytes are compared and counted several times as fast; Inf
        is beyond every finite number, NaN beyond Inf.
        """
        if self._sizes is None:
            self._sizes = _read_only(sizes_of(self.stored))
        return self._sizes

    def of(self, member: str) -> Chunk:
        """The same run of one member of a joint tensor."""
        found = self._of.get(member)
        if found is None:
            found = self._of[member] = Chunk(self.tensor, self.start, self.members[member])
        return found


class Collector:
    """Sees the weights that its need is about, chunk by chunk, and keeps what the result needs. Small and picklable."""

    def update(self, chunk: Chunk) -> None:
        """Take the weights of *chunk*."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def merge(self, other: Any) -> None:
        """Take in what a collector of the same need saw of other weights, and leave that one as it is."""
        raise NotImplementedError(f"{type(self).__name__} has no merge, and its need says that it merges")

    def result(self) -> Any:
        """What was measured: picklable. What a need's ``finish`` gives unless it is overridden."""
        raise NotImplementedError(f"{type(self).__name__} has no result, and its need no finish")


@dataclass(frozen=True)
class First:
    """What has to be measured, in a pass of its own, before a need can be bound: *needs* of the tensors *names*.

    origin: of whoever asks, which their errors name; it has not been checked what it answered for *needs*.
    """

    names: tuple[str, ...]
    needs: Any
    origin: Origin


class Need(Generic[R]):
    """Something to measure: a frozen dataclass, picklable, equal to another that asks for the same.

    A need says what it is about (``groups``), and does its work in one of two ways: ``collector`` gives what sees every
    weight once, in the pass that all needs share; ``compute`` gets the tensors and reads them itself, for what cannot
    stream. A need whose collectors ``merge`` is spread over several workers.

    ordered: the collector needs chunks in C order; where no need of a tensor does, they come as they lie in the file.
    aligned: a part of a tensor begins at a multiple of so many bytes of it.
    of_whole: it is about many tensors together, so a view cannot ask for it with the pages of one tensor.
    counts_not_finite: ``counted`` tells of every NaN and Inf in what was read. member: of a ``JointTensor``, which of its
    members this is about; empty for the tensor itself.
    """

    ordered: ClassVar[bool] = True
    aligned: ClassVar[int] = 1
    of_whole: bool = False
    counts_not_finite: bool = False
    member: str = ""

    @property
    def reads_itself(self) -> bool:
        """True where ``compute`` does the work."""
        return type(self).compute is not Need.compute

    @property
    def together(self) -> bool:
        """True where ``collectors`` does the work for small tensors."""
        return type(self).collectors is not Need.collectors

    @property
    def gathered_by(self) -> Need[Any]:
        """The need that gathers what each group is about: itself, unless it chooses tensors for another (see ``about``)."""
        return self

    def about(self, names: Iterable[str]) -> About[R]:
        """The same need of *names* alone: no other tensor is read for it.

        For the overview of a view, a rule, and ``measure``. A name that is not there is an error of who asks.
        """
        return About(self, names)  # type: ignore[arg-type]

    def bind(self, checkpoint: Checkpoint) -> Need[Any]:
        """The need as it is for *checkpoint*: itself, or another where all shapes have to be known first."""
        return self

    def _first(self, checkpoint: Checkpoint) -> First | None:
        """What has to be measured of *checkpoint* before the need is bound, by ``_after`` then; ``None`` for nothing."""
        return None

    def _after(self, checkpoint: Checkpoint, results: Mapping[str, Any]) -> Need[Any]:
        """As ``bind``, with the *results* of what ``_first`` asked for."""
        return self.bind(checkpoint)

    @property
    def _chosen_by(self) -> str:
        """Who chose which tensors this is about, where it is not about all; for the summary line."""
        return ""

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        """Which tensors each result is about, by its key: each tensor alone unless a need says otherwise.

        The key ``None`` stands for a result about the model as a whole.
        """
        return {name: (name,) for name in checkpoint}

    def only(self, names: tuple[str, ...]) -> Need[Any]:
        """The need as far as it is about *names*, some of a group: what travels to a worker."""
        return self

    def unite(self, other: Need[Any]) -> Need[Any] | None:
        """A need whose collector serves this and *other*; ``None`` where there is none. ``finish`` narrows what it gathered."""
        return None

    def merges(self, tensor: LazyTensor) -> bool:
        """True where collectors of parts of *tensor*, and of the tensors of a group, can be merged."""
        return False

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        """What will see every weight of *tensors*: of one, or of all of a group one after the other.

        Only some of a group, or a part of one tensor, where the need ``merges``.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither collector nor compute")

    def collectors(self, tensors: Sequence[LazyTensor], stored: Array) -> Sequence[Collector]:
        """A collector for each of many small tensors, which has seen all of it: what those of one tensor alone would gather.

        For needs of one tensor each, whose collectors make much ado of a few weights; the others leave it as it is.

        Args:
            tensors: of one weight or more each, all of one dtype.
            stored: the weights of all, 1-D, one after the other.
        """
        raise NotImplementedError(f"{type(self).__name__} has no collectors of many tensors")

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        """What is gathered from *tensors*, a whole group, which this reads itself."""
        raise NotImplementedError(f"{type(self).__name__} has neither collector nor compute")

    def finish(self, gathered: Any) -> R:
        """The result, from the collector that saw everything, or from what ``compute`` returned."""
        return gathered.result() if isinstance(gathered, Collector) else gathered  # type: ignore[no-any-return]

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        """How many NaN and Inf were seen on the way, by tensor; only of needs with ``counts_not_finite``."""
        return {}


@dataclass(frozen=True)
class About(Need[R]):
    """*need* as far as it is about the tensors *names*: what ``need.about(names)`` makes.

    Raises ``TypeError`` for anything but a need, and for names that are one text.
    """

    need: Need[R]
    names: tuple[str, ...]

    of_whole = True  # the pages of one tensor are about that one anyway

    def __post_init__(self) -> None:
        if not isinstance(self.need, Need):
            raise TypeError(f"About(…) is of {type(self.need).__name__}, not of a need")
        if isinstance(self.names, str):
            raise TypeError(f"about({self.names!r}) takes several names, as in about([{self.names!r}])")
        object.__setattr__(self, "names", tuple(dict.fromkeys(self.names)))

    @property
    def gathered_by(self) -> Need[Any]:
        return self.need.gathered_by

    def bind(self, checkpoint: Checkpoint) -> Need[Any]:
        bound = self.need.bind(self._chosen(checkpoint))
        return self if bound is self.need else About(bound, self.names)

    def _first(self, checkpoint: Checkpoint) -> First | None:
        return self.need._first(self._chosen(checkpoint))

    def _after(self, checkpoint: Checkpoint, results: Mapping[str, Any]) -> Need[Any]:
        return About(self.need._after(self._chosen(checkpoint), results), self.names)

    @property
    def _chosen_by(self) -> str:
        return self.need._chosen_by

    def groups(self, checkpoint: Checkpoint) -> Mapping[Hashable, tuple[str, ...]]:
        return self.need.groups(self._chosen(checkpoint))

    def _chosen(self, checkpoint: Checkpoint) -> Checkpoint:
        """The tensors that this is about. Raises ``ValueError`` for a name that is not there."""
        missing = next((name for name in self.names if name not in checkpoint), None)
        if missing is not None:
            raise ValueError(f"about(…) names {missing!r}, and there is no such tensor{did_you_mean(str(missing), checkpoint)}")
        return checkpoint.select(self.names)
