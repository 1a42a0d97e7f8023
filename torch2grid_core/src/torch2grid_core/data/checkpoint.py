"""The tensors of one checkpoint, by name, and what else its loader found out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.errors import UsageError
from torch2grid_core.text import did_you_mean


@dataclass(frozen=True)
class Skip:
    """An entry that is not drawn: its name, why, and who left it out (a loader, a filter, a view)."""

    name: str
    reason: str
    by: str


@dataclass(frozen=True)
class Part:
    """A named share of a training checkpoint (``model``, ``optimizer`` …): tensors whose names start with *prefix*."""

    name: str
    prefix: str
    names: tuple[str, ...]


class Checkpoint(Mapping[str, LazyTensor]):
    """A mapping of tensor name to ``LazyTensor``, in the order of the file.

    source: the path, or what it came from. format: the name of the file format. metadata: plain text values.
    skipped: entries that were not taken, with reasons. aliases: second name → first name of tied tensors (both names
    stay in the mapping); ``None``: found by the storages that they share. parts: of a training checkpoint, by name;
    *default_part* is the model. not_run: what the file would have called, as text. notes: one-line remarks of the loader
    for the person who reads the output. unread: what else of the file is under a checksum, read by ``verify`` of each.
    """

    def __init__(
        self,
        tensors: Mapping[str, LazyTensor] | Iterable[LazyTensor],
        *,
        source: str = "",
        format: str = "",
        metadata: Mapping[str, Any] | None = None,
        skipped: Iterable[Skip] = (),
        aliases: Mapping[str, str] | None = None,
        parts: Sequence[Part] = (),
        default_part: str | None = None,
        not_run: Iterable[str] = (),
        notes: Iterable[str] = (),
        unread: Iterable[Any] = (),
    ) -> None:
        values = tensors.values() if isinstance(tensors, Mapping) else tensors
        self._tensors = {tensor.name: tensor for tensor in values}
        self.source = source
        self.format = format
        self.metadata = dict(metadata or {})
        self.skipped = tuple(skipped)
        self.aliases = dict(aliases) if aliases is not None else _shared_storages(self._tensors.values())
        self._aliases_given = aliases is not None
        self.parts = tuple(parts)
        self.default_part = default_part
        self.not_run = tuple(not_run)
        self.notes = tuple(notes)
        self.unread = tuple(unread)
        self._whole: Checkpoint | None = None

    def __getitem__(self, name: str) -> LazyTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"<Checkpoint {self.source!r}: {self.format}, {len(self)} tensors, {self.parameters:,} parameters>"

    def _repr_html_(self) -> str:
        from torch2grid_core.pictures.notebook import checkpoint_html

        return checkpoint_html(self)

    @property
    def parameters(self) -> int:
        """Number of weights, a tied tensor counted once."""
        return sum(tensor.size for name, tensor in self.items() if name not in self.aliases)

    @property
    def dtypes(self) -> dict[str, int]:
        """Number of tensors of each dtype, most frequent first."""
        return dict(Counter(tensor.dtype.name for tensor in self.values()).most_common())

    def select(self, names: Iterable[str], *, skipped: Iterable[Skip] = ()) -> Checkpoint:
        """The same checkpoint with only *names*, in its own order, and *skipped* added to what it left out."""
        kept = set(names)
        return self._derive({name: tensor for name, tensor in self.items() if name in kept}, skipped=skipped)

    def part(self, name: str) -> Checkpoint:
        """The tensors of one part, their names without its prefix. Raises ``UsageError`` for an unknown part."""
        for part in self.parts:
            if part.name == name:
                tensors = [replace(self[full], name=full[len(part.prefix) :]) for full in part.names]
                derived = self._derive({tensor.name: tensor for tensor in tensors}, prefix=part.prefix)
                derived._whole = self.whole
                return derived
        if not self.parts:
            raise UsageError(f"{self.source} has no parts to choose from: it is not a training checkpoint")
        valid = [part.name for part in self.parts]
        raise UsageError(f"{self.source} has no part {name!r}{did_you_mean(name, valid)}")

    @property
    def whole(self) -> Checkpoint:
        """The checkpoint of all parts that this one is a part of; itself where it is all."""
        return self._whole or self

    def with_tensors(
        self, tensors: Mapping[str, LazyTensor] | Iterable[LazyTensor], *, skipped: Iterable[Skip] = ()
    ) -> Checkpoint:
        """The same checkpoint with other tensors: for a filter that changes more than which ones there are."""
        values = tensors.values() if isinstance(tensors, Mapping) else tensors
        return self._derive({tensor.name: tensor for tensor in values}, skipped=skipped)

    def _derive(self, tensors: Mapping[str, LazyTensor], skipped: Iterable[Skip] = (), prefix: str = "") -> Checkpoint:
        derived = Checkpoint(
            tensors,
            source=self.source,
            format=self.format,
            metadata=self.metadata,
            skipped=(*self.skipped, *skipped),
            aliases=self._aliases_left(tensors, prefix) if self._aliases_given else None,
            not_run=self.not_run,
            notes=self.notes,
            unread=self.unread,
        )
        derived._whole = self._whole
        return derived

    def _aliases_left(self, tensors: Mapping[str, LazyTensor], prefix: str) -> dict[str, str]:
        """Those aliases whose both tensors are among *tensors*, whose names have lost *prefix*, over the same storage."""
        same = {
            prefix + name
            for name, tensor in tensors.items()
            if prefix + name in self and self[prefix + name].storage is tensor.storage
        }
        return {
            second[len(prefix) :]: first[len(prefix) :] for second, first in self.aliases.items() if {second, first} <= same
        }


def _shared_storages(tensors: Iterable[LazyTensor]) -> dict[str, str]:
    """Name → name of the tensor that holds the same numbers, for tied weights and for views of a larger tensor."""
    by_storage: dict[Any, list[LazyTensor]] = {}
    for tensor in tensors:
        if tensor.size:
            by_storage.setdefault((_identity(tensor.storage), tensor.dtype), []).append(tensor)
    aliases = {}
    for sharing in by_storage.values():
        if len(sharing) == 1:
            continue
        owner: LazyTensor | None = None  # of the tensors without gaps so far, the one that reaches farthest
        exact: dict[Any, LazyTensor] = {}
        # From left to right, the longer one first, so that what covers a view has been seen; equal ones stay in order.
        for tensor in sorted(sharing, key=lambda each: (each.offset, -each.span)):
            place = (tensor.offset, tensor.shape, tensor.strides)
            if owner is not None and tensor.offset + tensor.span <= owner.offset + owner.span:
                aliases[tensor.name] = owner.name
            elif place in exact:
                aliases[tensor.name] = exact[place].name
            elif tensor.size >= tensor.span:
                owner = tensor
            else:
                exact[place] = tensor
    return aliases


def _identity(storage: Any) -> Any:
    """A key that is equal for storages that are the same bytes: by value where the class says so, else the object."""
    try:
        hash(storage)
    except TypeError:
        return id(storage)
    return storage
