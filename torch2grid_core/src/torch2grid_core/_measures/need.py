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
    """A run of a tensor's weights, as a pass sees them.

    It is read-only, because all needs share it, and valid until the next chunk.

    Args:
        tensor: its name.
        start: the flat index of the first weight, in C order (0 if no need of the pass asks for an order).
        members: for a ``JointTensor``, the stored numbers of each member at these places; empty for any other tensor.
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
        """The numbers as they are stored, 1-D; for a joint tensor, those that it computes."""
        if self._stored is None:
            assert self.joint is not None
            self._stored = _read_only(self.joint.compute(self.members))
        return self._stored

    @property
    def values(self) -> Array:
        """The same as float32 or float64 (see ``as_float``), converted once for all needs."""
        if self._values is None:
            self._values = _read_only(as_float(self.stored))
        return self._values

    @property
    def sizes(self) -> Array:
        """|w| of floating numbers of 2, 4 or 8 bytes as unsigned integers, in the same order: their bits without the sign.

        Computed once for all needs. Integers of so few bytes are compared and counted several times as fast. Inf is beyond
        every finite number, NaN beyond Inf.
        """
        if self._sizes is None:
            self._sizes = _read_only(sizes_of(self.stored))
        return self._sizes

    def of(self, member: str) -> Chunk:
        """Return the same run of one member of a joint tensor."""
        found = self._of.get(member)
        if found is None:
            found = self._of[member] = Chunk(self.tensor, self.start, self.members[member])
        return found


class Collector:
    """Sees the weights that its need is about, chunk by chunk, and keeps what the result needs. It is small and picklable."""

    def update(self, chunk: Chunk) -> None:
        """Take the weights of *chunk*."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def merge(self, other: Any) -> None:
        """Take in what a collector of the same need saw of other weights. That one stays as it is."""
        raise NotImplementedError(f"{type(self).__name__} has no merge, and its need says that it merges")

    def result(self) -> Any:
        """Return what was measured, picklable. It is the result of the need unless the need overrides ``finish``."""
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

    A need says what it is about (``groups``), and does its work in one of two ways:

    - ``collector`` gives an object that sees every weight once, in the pass that all needs share;
    - ``compute`` gets the tensors and reads them itself, for what cannot stream.

    A need whose collectors ``merge`` is spread over several workers.

    Attributes:
        ordered: the collector needs chunks in C order. If no need of a tensor does, they come as they lie in the file.
        aligned: a part of a tensor begins at a multiple of this many bytes.
        of_whole: the need is about many tensors together, so a view cannot ask for it with the pages of one tensor.
        counts_not_finite: ``counted`` reports every NaN and Inf in what was read.
        member: for a ``JointTensor``, the member that the need is about; empty for the tensor itself.
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
        """Return the need that gathers what each group is about: itself, unless it chooses tensors for another need.

        See ``about``.
        """
        return self

    def about(self, names: Iterable[str]) -> About[R]:
        """Return the same need for *names* alone: no other tensor is read for it.

        Use it for the overview of a view, for a rule, and with ``measure``. A name that is not there is an error of the caller.
        """
        return About(self, names)  # type: ignore[arg-type]

    def bind(self, checkpoint: Checkpoint) -> Need[Any]:
        """Return the need for *checkpoint*: itself, or another if all shapes have to be known first."""
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
        """Return the need for *names*, some of a group, or a tensor that is a group. That is what travels to a worker."""
        return self

    def unite(self, other: Need[Any]) -> Need[Any] | None:
        """Return a need whose collector serves this and *other*, ``None`` if there is none.

        ``finish`` takes its own share of it.
        """
        return None

    def merges(self, tensor: LazyTensor) -> bool:
        """Return True if collectors of parts of *tensor*, and of the tensors of a group, can be merged."""
        return False

    def collector(self, tensors: Mapping[str, LazyTensor]) -> Collector:
        """Return what will see every weight of *tensors*: of one, or of all of a group one after the other.

        If the need ``merges``, it may be only some of a group, or a part of one tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither collector nor compute")

    def collectors(self, tensors: Sequence[LazyTensor], stored: Array) -> Sequence[Collector]:
        """Return a collector for each of many small tensors, which has seen all of it.

        Each holds what a collector of that tensor alone would gather. Override it in needs of one tensor each whose collectors
        are slow for a few weights; other needs leave it as it is.

        Args:
            tensors: of one weight or more each, all of one dtype.
            stored: the weights of all, 1-D, one after the other.
        """
        raise NotImplementedError(f"{type(self).__name__} has no collectors of many tensors")

    def compute(self, tensors: Mapping[str, LazyTensor]) -> Any:
        """Return what is gathered from *tensors*, a whole group, which this method reads itself."""
        raise NotImplementedError(f"{type(self).__name__} has neither collector nor compute")

    def finish(self, gathered: Any) -> R:
        """Return the result, from the collector that saw everything, or from what ``compute`` returned."""
        return gathered.result() if isinstance(gathered, Collector) else gathered  # type: ignore[no-any-return]

    def counted(self, gathered: Any) -> Mapping[str, NotFiniteCount]:
        """Return how many NaN and Inf were seen on the way, by tensor; only for needs with ``counts_not_finite``."""
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
