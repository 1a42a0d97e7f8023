"""The tensors of one checkpoint, by name, and what else its loader found out."""

from __future__ import annotations

from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch2grid_core.data.action import Action
from torch2grid_core.data.order import in_depth
from torch2grid_core.data.parts import ALL, Part, find_parts
from torch2grid_core.data.tensor import LazyTensor
from torch2grid_core.display import as_html
from torch2grid_core.errors import UsageError
from torch2grid_core.text import did_you_mean


@dataclass(frozen=True)
class Skip:
    """An entry that is not drawn: its name, why, and who left it out (a loader, a filter, a view)."""

    name: str
    reason: str
    by: str


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file whose tensors can be read all the same: an index that names what no shard holds.

    message: one line, about *tensor* without naming it; *tensor* is empty where it is about the whole file, and need not be one
    that is there.
    """

    message: str
    tensor: str = ""
    severity: Literal["error", "warning"] = "error"


class Checkpoint(Mapping[str, LazyTensor]):
    """A mapping of tensor name to ``LazyTensor``, in the order of the file, or, where it was ``ordered``, of the model.

    source: the path, or what it came from. format: the name of the file format. metadata: plain text values.
    skipped: entries that were not taken, with reasons. aliases: second name → first name of tied tensors (both names
    stay in the mapping); ``None``: found by the storages that they share. parts: the model and what is recognised as something
    else, none where all is the model; ``None``: found by the names of the tensors. *default_part* is the model. part_of: name →
    part, for the tensors that are here. not_run: what the file wants done, the most dangerous first. notes: one-line remarks of
    the loader for the person who reads the output. problems: what is wrong with the file itself, for ``check``.
    unverified: what else of the file is under a checksum, read by ``verify`` of each.
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
        parts: Sequence[Part] | None = None,
        default_part: str | None = None,
        not_run: Iterable[Action] = (),
        notes: Iterable[str] = (),
        problems: Iterable[Problem] = (),
        unverified: Iterable[Any] = (),
    ) -> None:
        values = tensors.values() if isinstance(tensors, Mapping) else tensors
        self._tensors = {tensor.name: tensor for tensor in values}
        self.source = source
        self.format = format
        self.metadata = dict(metadata or {})
        self.skipped = tuple(skipped)
        self.aliases = dict(aliases) if aliases is not None else _shared_storages(self._tensors.values())
        self._aliases_given = aliases is not None
        if parts is None:
            parts, default_part = find_parts(self._tensors)
        self.parts = tuple(parts)
        self.default_part = default_part
        self.not_run = tuple(not_run)
        self.notes = tuple(notes)
        self.problems = tuple(problems)
        self.unverified = tuple(unverified)
        self._whole: Checkpoint | None = None
        self.part_of: Mapping[str, Part] = {name: part for part in self.parts for name in part.names}
        self._places: dict[str, int] = {}  # in the file, where the order is another

    def __getitem__(self, name: str) -> LazyTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def keys(self) -> KeysView[str]:
        return self._tensors.keys()  # those of Mapping ask for one tensor after the other

    def items(self) -> ItemsView[str, LazyTensor]:
        return self._tensors.items()

    def values(self) -> ValuesView[LazyTensor]:
        return self._tensors.values()

    _repr_html_ = as_html

    def __repr__(self) -> str:
        return f"<Checkpoint {self.source!r}: {self.format}, {len(self)} tensors, {self.parameters:,} parameters>"

    @property
    def parameters(self) -> int:
        """Number of weights, a tied tensor counted once."""
        return sum([tensor.size for name, tensor in self.items() if name not in self.aliases])

    @property
    def dtypes(self) -> dict[str, int]:
        """Number of tensors of each dtype, most frequent first."""
        counts = Counter[str]()
        for dtype, count in Counter(tensor.dtype for tensor in self.values()).items():
            counts[dtype.name] += count  # which numpy makes up anew each time
        return dict(counts.most_common())

    def select(self, names: Iterable[str], *, skipped: Iterable[Skip] = ()) -> Checkpoint:
        """The same checkpoint with only *names*, in its own order, and *skipped* added to what it left out."""
        kept = set(names)
        return self._derive({name: tensor for name, tensor in self.items() if name in kept}, skipped=skipped)

    def part(self, name: str) -> Checkpoint:
        """The tensors of one part, their names without its prefix; of ``all``, every tensor of the file under its full name.

        Raises ``UsageError`` for an unknown part.
        """
        if name == ALL:
            return self
        for part in self.parts:
            if part.name == name:
                tensors = [replace(self[full], name=part.shown(full)) for full in part.names]
                derived = self._derive({tensor.name: tensor for tensor in tensors}, prefix=part.prefix)
                derived._whole = self.whole
                derived.part_of = dict.fromkeys(derived, part)
                return derived
        if not self.parts:
            raise UsageError(f"{self.source} has no parts to choose from: all of it is the model")
        valid = [*(part.name for part in self.parts), ALL]
        raise UsageError(f"{self.source} has no part {name!r}{did_you_mean(name, valid)}")

    @property
    def whole(self) -> Checkpoint:
        """The checkpoint of all parts that this one is a part of; itself where it is all."""
        return self._whole or self

    def _within(self, other: Checkpoint) -> Checkpoint:
        """The same checkpoint as a choice from *other*, whose ``whole`` it has then, however it was made."""
        if self is other or self._whole is not None or not other.whole.parts:
            return self
        chosen = copy(self)
        chosen._whole = other.whole
        chosen.part_of = {name: other.part_of[name] for name in self if name in other.part_of}
        return chosen

    def ordered(self) -> Checkpoint:
        """The same checkpoint in the order of everything that is shown: that of the file, numbered siblings by number."""
        names = in_depth(self)
        if names == list(self):
            return self
        derived = copy(self)
        derived._tensors = {name: self[name] for name in names}
        derived._places = self._places or {name: place for place, name in enumerate(self)}
        if not self._aliases_given:
            derived.aliases = _shared_storages(derived.values())
        return derived

    def in_file_order(self) -> list[str]:
        """The names in the order of the file; those of tensors that are not in it come last."""
        return sorted(self, key=lambda name: self._places.get(name, len(self._places))) if self._places else list(self)

    def with_tensors(
        self, tensors: Mapping[str, LazyTensor] | Iterable[LazyTensor], *, skipped: Iterable[Skip] = ()
    ) -> Checkpoint:
        """The same checkpoint with other tensors: for a filter that changes more than which ones there are."""
        values = tensors.values() if isinstance(tensors, Mapping) else tensors
        return self._derive({tensor.name: tensor for tensor in values}, skipped=skipped)

    def with_notes(self, notes: Iterable[str], share: str = "") -> Checkpoint:
        """The same checkpoint with *notes* in front of its own, and *share* (``shard 1 of 2``) behind its format."""
        noted = copy(self)
        noted.notes = (*notes, *self.notes)
        noted.format = ", ".join(filter(None, (self.format, share)))
        return noted

    def _derive(self, tensors: Mapping[str, LazyTensor], skipped: Iterable[Skip] = (), prefix: str = "") -> Checkpoint:
        derived = Checkpoint(
            tensors,
            source=self.source,
            format=self.format,
            metadata=self.metadata,
            skipped=(*self.skipped, *skipped),
            aliases=self._aliases_left(tensors, prefix) if self._aliases_given else None,
            parts=(),
            not_run=self.not_run,
            notes=self.notes,
            problems=self.problems,
            unverified=self.unverified,
        )
        derived._whole = self._whole or (self if self.parts else None)
        derived.part_of = {name: self.part_of[name] for name in derived if name in self.part_of} if self.part_of else {}
        derived._places = {name: self._places[prefix + name] for name in tensors if prefix + name in self._places}
        return derived

    def _aliases_left(self, tensors: Mapping[str, LazyTensor], prefix: str) -> dict[str, str]:
        """Those aliases whose both tensors are among *tensors*, whose names may have lost *prefix*, over the same storage."""
        now: dict[str, str] = {}
        for name, tensor in tensors.items() if self.aliases else ():
            before = next((full for full in (prefix + name, name) if full in self), None)
            if before is not None and self[before].storage is tensor.storage:
                now[before] = name
        return {now[second]: now[first] for second, first in self.aliases.items() if second in now and first in now}


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
