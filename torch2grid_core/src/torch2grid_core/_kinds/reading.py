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
    """Opens locations of its *schemes*, such as ``("s3",)`` for ``s3://bucket/key``.

    A scheme is a lower-case letter, followed by letters, digits, ``+``, ``-`` and ``.``.

    Credentials come from the environment or from the location. They must not appear in any message or pickled source.
    """

    name: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def open(self, location: str) -> Source:
        """Return what is at *location*. Read nothing but what says whether it is there. Raises ``LoadError``."""

    def target(self, location: str) -> Target:
        """Return the folder at *location*, to write to. Ask no server yet. Raises ``LoadError``, as it does here."""
        raise LoadError(location, "cannot be written to", "give a folder on this machine, or another location")


class Loader(ABC):
    """Opens one family of checkpoint files, or of live objects.

    ``sniff`` looks at content (``source.head``, ``source.read``, ``source.entries``), never at the name alone. It must not
    raise for a file of another format. ``load`` reads headers only and returns lazy tensors; it raises ``LoadError``.

    Attributes:
        accepts: what ``sniff`` gets: ``"bytes"``, files and folders; ``"objects"``, what Python callers hold, as
            ``source.object``.
    """

    name: ClassVar[str]
    accepts: ClassVar[Literal["bytes", "objects"]] = "bytes"

    @abstractmethod
    def sniff(self, source: Source) -> int:
        """Return 2 for exactly this format, 1 for the right container (any zip, say), 0 for anything else."""

    @abstractmethod
    def load(self, source: Source) -> Checkpoint:
        """Return the checkpoint. Read nothing but what describes it."""

    def runs(self, source: Source) -> Sequence[Action]:
        """Return what a reader of this format would run of *source*, which another loader opens.

        It returns nothing unless the format is code. Every loader is asked, whichever opens the file, because one file may be
        of two formats. It must not raise, and must stop at the first bytes of a file of another format.
        """
        return ()

    def inside(self, source: Source) -> Source | None:
        """Return what an archive holds, as a folder; ``None`` for every other format, which ``load`` opens.

        The folder is opened in place of *source*, by whichever loader knows what is in it. Raises ``LoadError``.
        """
        return None


class Decoder(ABC):
    """Composes tensors from stored ones: weights from packed integers and their scales, parameters from the shards of ranks.

    It is asked about every checkpoint that is opened, before parts and filters, unless ``--raw`` is given. It reads nothing but
    what ``checkpoint.beside`` gives: a composed tensor's storage computes its numbers when they are asked for.

    Attributes:
        ends: ask the decoder only if the last component of some name ends in one of these, such as ``("qweight",)``.
        within: ask it, too, if some name has one of these in it. If both are empty, it is asked about every checkpoint.
    """

    name: ClassVar[str]
    ends: ClassVar[tuple[str, ...]] = ()
    within: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def claims(self, checkpoint: Checkpoint) -> Mapping[str, Sequence[str]]:
        """Return the name of each tensor that it composes → the stored names that it uses; empty if there is nothing for it.

        A stored tensor that two decoders claim is an error.
        """

    @abstractmethod
    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with the claimed tensors composed, by ``checkpoint.compose``; unchanged if it claims nothing.

        If something that it needs is missing, the stored tensors stay, and a note says so (``with_notes``).
        """


_TRUTHS = ("bool", "bool_")  # numpy's own, in each of its versions


class TensorFilter:
    """Keeps some tensors. Override ``keep`` to choose tensor by tensor, or ``apply`` to see all of them at once.

    Attributes:
        flag: gives the filter an option of its own. A text makes ``--NAME VALUE``, which sets the first dataclass field; the
            text is what ``--help`` shows for the value. If the option is given twice, a field of type ``tuple[str, ...]`` gets
            each value as it was typed; for any other field, the values are joined by a comma. ``True`` makes ``--NAME``, which
            takes no value and uses the filter as it is.
        flag_field: the field that the option sets, if it is not the first. For ``--NAME`` without a value, the field that
            becomes true.
        listed_only: the filter gets only the tensors that are listed: no counters, index buffers and empty tensors unless
            ``--include-buffers`` is given, and none that ``--slice`` takes nothing of. Set it for a filter that counts tensors.
    """

    name: ClassVar[str]
    flag: ClassVar[str | bool] = ""
    flag_field: ClassVar[str] = ""
    listed_only: ClassVar[bool] = False

    def keep(self, tensor: LazyTensor) -> bool:
        """Return True for a tensor that stays."""
        return True

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with the tensors that stay. The others are recorded in ``skipped`` with this filter's name."""
        with guarded(origin_of(self), "keep"):
            answers = {name: self.keep(tensor) for name, tensor in checkpoint.items()}
        for answer in answers.values():
            if not isinstance(answer, bool) and type(answer).__name__ not in _TRUTHS:
                raise origin_of(self).error(not_run("keep", answer) or returned("keep", answer, "True or False"))
        dropped = [name for name, stays in answers.items() if not stays]
        reasons = [Skip(name, f"filter {self.name}", self.name) for name in dropped]
        gone = set(dropped)
        return checkpoint.select((name for name in checkpoint if name not in gone), skipped=reasons)
