"""From the tensors that a file stores to those that a person means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch2grid_core._data.checkpoint import Checkpoint


class Decoder(ABC):
    """Composes tensors of stored ones: weights of packed integers and their scales, parameters of the shards of ranks.

    It is asked of every checkpoint that is opened, before parts and filters, unless ``--raw`` is given. Nothing is read but
    what ``checkpoint.beside`` gives: a composed tensor's storage computes its numbers when they are asked for.
    """

    name: ClassVar[str]

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
