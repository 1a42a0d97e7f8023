"""From a location to the tensors that are drawn: sources, loaders, decoders and filters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch2grid_core._data.checkpoint import Action, Checkpoint, Skip
from torch2grid_core._data.source import Source
from torch2grid_core._data.target import Target
from torch2grid_core._data.tensor import LazyTensor
from torch2grid_core._errors import LoadError
from torch2grid_core._guard import guarded, not_run, origin_of, returned


class SourceOpener(ABC):
    """Opens locations of its *schemes*, ``("s3",)`` for ``s3://bucket/key``.

    A scheme is a lower-case letter, and letters, digits, ``+``, ``-`` and ``.`` behind it.

    Credentials come from the environment or from the location, and stand in no message and in no pickled source.
    """

    name: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def open(self, location: str) -> Source:
        """What is at *location*, with nothing read but what says whether it is there. Raises ``LoadError``."""

    def target(self, location: str) -> Target:
        """The folder at *location*, to write to. Nothing is asked of a server yet. Raises ``LoadError``, as it does here."""
        raise LoadError(location, "cannot be written to", "give a folder on this machine, or another location")


class Loader(ABC):
    """Opens one family of checkpoint files, or of live objects.

    ``sniff`` looks at content (``source.head``, ``source.read``, ``source.entries``), never at the name alone, and must not
    raise for a file of another format. ``load`` reads headers only and returns lazy tensors; it raises ``LoadError``.

    accepts: ``"bytes"``: it is shown files and folders; ``"objects"``: what Python callers hold, as ``source.object``.
    """

    name: ClassVar[str]
    accepts: ClassVar[Literal["bytes", "objects"]] = "bytes"

    @abstractmethod
    def sniff(self, source: Source) -> int:
        """0: not this format; 1: the right container (any zip, say); 2: exactly this format."""

    @abstractmethod
    def load(self, source: Source) -> Checkpoint:
        """The checkpoint, with nothing read but what describes it."""

    def runs(self, source: Source) -> Sequence[Action]:
        """What a reader of this format would do with *source*, which another loader opens: none but for formats that are code.

        Every loader is asked, whichever opens the file: one may be of two formats. It must not raise, and end at the first
        bytes of a file that is none of its own.
        """
        return ()

    def inside(self, source: Source) -> Source | None:
        """What an archive holds, as a folder, which is opened in place of *source* by whichever loader knows what is in it.

        ``None`` for every other format: ``load`` opens it. Raises ``LoadError``.
        """
        return None


class Decoder(ABC):
    """Composes tensors of stored ones: weights of packed integers and their scales, parameters of the shards of ranks.

    It is asked of every checkpoint that is opened, before parts and filters, unless ``--raw`` is given. Nothing is read but
    what ``checkpoint.beside`` gives: a composed tensor's storage computes its numbers when they are asked for.

    ends, within: it is asked only where the last component of some name ends so, such as ``("qweight",)``, or some name has one
    of *within* in it; of every checkpoint where both are empty.
    """

    name: ClassVar[str]
    ends: ClassVar[tuple[str, ...]] = ()
    within: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def claims(self, checkpoint: Checkpoint) -> Mapping[str, Sequence[str]]:
        """Name of each tensor that it composes → the stored names that it uses; empty where there is nothing for it.

        A stored tensor that two decoders claim is an error.
        """

    @abstractmethod
    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with what it claims composed, by ``checkpoint.compose``; as it is where it claims nothing.

        Where something is missing that it would need, the stored tensors stay, and a note says so (``with_notes``).
        """


_TRUTHS = ("bool", "bool_")  # numpy's own, in each of its versions


class TensorFilter:
    """Keeps some tensors. Override ``keep`` for a choice tensor by tensor, or ``apply`` to see all of them at once.

    flag: a filter that sets it gets an option of its own, ``--NAME VALUE``, which sets its first dataclass field; the text
    is what ``--help`` shows for the value. Given twice, a field of several texts, ``tuple[str, ...]``, gets each as it was
    typed; for any other, the values are joined by a comma. ``True`` makes ``--NAME``, which takes no value and uses the filter
    as it is. flag_field: the field that the option sets, where it is not the first; of ``--NAME`` alone, the one that becomes
    true.
    """

    name: ClassVar[str]
    flag: ClassVar[str | bool] = ""
    flag_field: ClassVar[str] = ""

    def keep(self, tensor: LazyTensor) -> bool:
        """True for a tensor that stays."""
        return True

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with what stays; what goes is recorded in ``skipped`` with this filter's name."""
        with guarded(origin_of(self), "keep"):
            answers = {name: self.keep(tensor) for name, tensor in checkpoint.items()}
        for answer in answers.values():
            if not isinstance(answer, bool) and type(answer).__name__ not in _TRUTHS:
                raise origin_of(self).error(not_run("keep", answer) or returned("keep", answer, "True or False"))
        dropped = [name for name, stays in answers.items() if not stays]
        reasons = [Skip(name, f"filter {self.name}", self.name) for name in dropped]
        gone = set(dropped)
        return checkpoint.select((name for name in checkpoint if name not in gone), skipped=reasons)
