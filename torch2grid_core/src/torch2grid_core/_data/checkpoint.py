"""The tensors of one checkpoint, by name, and what else its loader found out: what the file asks Python to do, above all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Generic, Literal, TypeVar

from torch2grid_core._data.order import in_depth
from torch2grid_core._data.parts import ALL, Part, find_parts
from torch2grid_core._data.source import Source, has_file
from torch2grid_core._data.storage import DerivedNumbers
from torch2grid_core._data.tensor import LazyTensor, wrong_tensor
from torch2grid_core._display import as_html
from torch2grid_core._errors import LoadError, UsageError
from torch2grid_core._guard import Origin, describe_value, guarded, not_run, returned
from torch2grid_core._text import counted, did_you_mean, visible, without_secrets

Told = TypeVar("Told")
Severity = Literal["error", "warning", "note"]  # the gravest first
ActionKind = Literal["call", "make", "state", "items", "import", "run", "hold"]

_LINES = {
    "make": "making ",
    "state": "setting the state of ",
    "items": "adding items to ",
    "import": "importing ",
    "run": "running ",
}
_VERBS = {
    "call": "calls ",
    "make": "makes ",
    "state": "sets the state of ",
    "items": "adds items to ",
    "import": "imports ",
    "run": "runs ",
    "hold": "holds ",
}
_BESIDE_BYTES = 4 << 20  # of a neighbour: a configuration has a few kilobytes
_NOTED = 3  # names of stored tensors in a note


@dataclass(frozen=True)
class Action:
    """One name that a file wants imported, and the most that it does with it.

    Args:
        kind: ``call`` it; ``make`` an instance of a class without calling anything else; set the ``state`` of an object; add
            ``items`` to one; ``import`` alone; ``run`` source code that the file brings along; ``hold`` what may do any of
            these and could not be read.
        what: the callee with its first arguments, or the name, as short text.
        name: the dotted name, as the file states it; empty where *what* stands for several.
        severity: ``error`` where it may run any code, ``note`` for a class of another package that is only made and filled.
        count: how often.
    """

    kind: ActionKind
    what: str
    name: str = ""
    severity: Severity = "error"
    count: int = 1

    def __str__(self) -> str:
        """As ``not run: …`` names it: ``posix.system('x')``, ``importing os.system``."""
        return f"{_LINES.get(self.kind, '')}{self.what}{self._times}"

    @property
    def sentence(self) -> str:
        """What the file does, in the words of a finding: ``calls posix.system('x')``."""
        return f"{_VERBS[self.kind]}{self.what}{self._times}"

    @property
    def _times(self) -> str:
        return f" (and {self.count - 1:,} more like it)" if self.count > 1 and self.name else ""


@dataclass(frozen=True)
class Skip:
    """An entry that is not drawn: its name, why, and who left it out (a loader, a filter, a view)."""

    name: str
    reason: str
    by: str


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file whose tensors can be read all the same: an index that names what no shard holds.

    Args:
        message: one line, about *tensor* without naming it.
        tensor: name of the tensor, which need not be in the file; empty where the message is about the whole file.
        severity: of the finding that ``check`` makes of it.
    """

    message: str
    tensor: str = ""
    severity: Severity = "error"


@dataclass(frozen=True)
class Composed:
    """Says of a composed tensor which stored tensors it was composed of, and which decoder did it."""

    of: tuple[str, ...]
    by: str


class _Answer(Generic[Told]):
    """Values that are there, or a question whose answer costs reading: it is asked once, when somebody wants to know.

    known: of the answer to such a question, what needs no more reading. glance: gives what needs little.
    """

    def __init__(
        self,
        given: Iterable[Told] | Callable[[], Iterable[Told]],
        known: Iterable[Told] = (),
        glance: Callable[[], Iterable[Told]] | None = None,
    ) -> None:
        self._glance = glance
        if isinstance(given, str):
            raise TypeError(f"a tuple of texts is needed, not the text {given[:40]!r}")
        if callable(given):
            self._ask, self.known, self.costs = given, tuple(known), True
        else:
            self.known, self.costs = tuple(given), False
            self._ask = self.known.__iter__

    @cached_property
    def found(self) -> tuple[Told, ...]:
        return tuple(self._ask())

    @property
    def at_hand(self) -> tuple[Told, ...]:
        """All of it where it was asked for before, else what is known."""
        found: tuple[Told, ...] = vars(self).get("found", self.known)
        return found

    @property
    def at_a_glance(self) -> tuple[Told, ...]:
        """All of it where it was asked for before, else what needs little reading."""
        return self.at_hand if self._glance is None or "found" in vars(self) else tuple(self._glance())

    def guard(self, origin: Origin, name: str, kind: type[Told], what: str) -> None:
        """Raise ``PluginError`` of *origin* for anything but several of *kind*: now, or when it is asked."""

        def checked(given: Callable[[], Iterable[Told]]) -> tuple[Told, ...]:
            with guarded(origin, f"load: {name}"):
                answer: Any = given()
                if wrong := not_run(name, answer, yields=True):
                    raise origin.error(f"load: {wrong}")
                if isinstance(answer, (str, bytes)) or not hasattr(answer, "__iter__"):
                    raise origin.error(f"load: {returned(name, answer, what)}")
                found = tuple(answer)
            for each in found:
                if not isinstance(each, kind):
                    raise origin.error(f"load: {name} hold {describe_value(each)}, not {what}")
            return found

        if self.costs:
            self._ask = partial(checked, self._ask)
        checked(lambda: self.known)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Answer, (self.found,)


class _Unknown(str):
    """The name that was looked for, shown with the nearest that there are; these are looked for when it is shown."""

    __slots__ = ("_names",)
    _names: Iterable[str]

    def __new__(cls, name: str, names: Iterable[str]) -> _Unknown:
        found = super().__new__(cls, name)
        found._names = names
        return found

    def __repr__(self) -> str:
        name = visible(str(self))
        return f"no tensor {name!r}{did_you_mean(name, map(visible, self._names))}"

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


class Checkpoint(Mapping[str, LazyTensor]):
    """A mapping of tensor name to ``LazyTensor``, in the order of the file, or, where it was ``ordered``, of the model.

    Args:
        tensors: the tensors, in the order of the file.
        source: the path, or what it came from.
        format: name of the file format.
        metadata: plain text values.
        skipped: entries that were not taken, with reasons.
        aliases: second name → first name of tied tensors (both names stay in the mapping); ``None``: found by the storages that
            they share.
        parts: the model and what is recognised as something else, none where all is the model; ``None``: found by the names of
            the tensors.
        default_part: name of the part that is the model.
        not_run: what the file wants done, the most dangerous first.
        notes: one-line remarks of the loader for the person who reads the output.
        problems: what is wrong with the file itself, for ``check``.
        unverified: what else of the file is under a checksum, read by ``verify`` of each.
        described: the plain values (numbers, texts and sizes) that stand beside codes, by the name of what holds both, for
            decoders.

    Attributes:
        part_of: name → part, for the tensors that are here.
        composed: name → what a decoder made it of, for the tensors that are here.
        opened_from: the source that it was opened from, ``None`` where there was none.

    *not_run* and *notes* may be functions. Each is called once, when it is asked for, because a single row of a file can be
    read without knowing what readers of other formats would do with it. ``measure``, ``draw`` and ``check`` ask. A function
    that finds that the file must be refused raises ``LoadError``.
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
        not_run: Iterable[Action] | Callable[[], Iterable[Action]] = (),
        notes: Iterable[str] | Callable[[], Iterable[str]] = (),
        problems: Iterable[Problem] = (),
        unverified: Iterable[Any] = (),
        described: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        values = tensors.values() if isinstance(tensors, Mapping) else tensors
        try:
            self._tensors = {tensor.name: tensor for tensor in values}
        except AttributeError:
            other = next(each for each in values if not isinstance(each, LazyTensor))
            raise TypeError(f"a tensor is {describe_value(other)}, not a LazyTensor") from None
        self.source = without_secrets(source)
        self.format = format
        self.metadata = dict(metadata or {})
        self.skipped = tuple(skipped)
        self.aliases = dict(aliases) if aliases is not None else _shared_storages(self._tensors.values())
        self._aliases_given = aliases is not None
        if parts is None:
            parts, default_part = find_parts(self._tensors)
        self.parts = tuple(parts)
        self.default_part = default_part
        self._not_run, self._notes = _Answer(not_run), _Answer(notes)
        self.problems = tuple(problems)
        self.unverified = tuple(unverified)
        self.described = dict(described or {})
        self.composed: dict[str, Composed] = {}
        self.opened_from: Source | None = None
        self._whole: Checkpoint | None = None
        self._sliced = False  # its tensors are parts of what is stored
        self._stored: Checkpoint | None = None  # all of the file, before decoders
        self.part_of: Mapping[str, Part] = {name: part for part in self.parts for name in part.names}
        self._places: dict[str, int] = {}  # in the file, where the order is another

    def __getitem__(self, name: str) -> LazyTensor:
        try:
            return self._tensors[name]
        except KeyError:
            raise KeyError(_Unknown(name, self._tensors)) from None

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
        size = f"{counted(len(self), 'tensor')}, {counted(self.parameters, 'parameter')}"
        return f"<Checkpoint {self.source!r}: {self.format}, {size}>"

    @property
    def not_run(self) -> tuple[Action, ...]:
        """What the file wants done. Raises ``LoadError`` where other readers would take the file for another one."""
        return self._not_run.found

    @not_run.setter
    def not_run(self, actions: Iterable[Action] | Callable[[], Iterable[Action]]) -> None:
        self._not_run = _Answer(actions, self._not_run.known)

    @property
    def not_run_at_hand(self) -> tuple[Action, ...]:
        """The part of ``not_run`` that is known without reading more of the file; all of it once ``not_run`` was asked for."""
        return self._not_run.at_hand

    def check_readers(self) -> None:
        """Raise ``LoadError`` where other readers would take the file for another one.

        Slices are not checked: reading a row costs a row.
        """
        if not self._sliced:
            _ = self.not_run

    @property
    def notes(self) -> tuple[str, ...]:
        """The remarks about the file."""
        return self._notes.found

    @notes.setter
    def notes(self, notes: Iterable[str] | Callable[[], Iterable[str]]) -> None:
        self._notes = _Answer(notes, self._notes.known)

    @property
    def notes_at_a_glance(self) -> tuple[str, ...]:
        """The part of ``notes`` for which little of the file is read; all of it once ``notes`` was asked for."""
        return self._notes.at_a_glance

    def _ask_notes(self, notes: Callable[[], Iterable[str]], glance: Callable[[], Iterable[str]]) -> None:
        """Let *notes* give the remarks, and *glance* those of them for which little is read."""
        self._notes = _Answer(notes, self._notes.known, glance)

    def _remarkable(self) -> tuple[tuple[str, ...], tuple[Action, ...]]:
        """``notes`` and ``not_run``; of slices, what of them is known without reading more of the file."""
        return (self._notes.at_hand, self.not_run_at_hand) if self._sliced else (self.notes, self.not_run)

    @property
    def _asks_later(self) -> bool:
        """True where what other readers would do with the file has not been looked for yet."""
        return self._not_run.costs and "found" not in vars(self._not_run)

    @property
    def parameters(self) -> int:
        """Number of weights that are stored. A tied tensor counts once, and so does a number that a tensor repeats."""
        return sum([tensor.distinct().size for name, tensor in self.items() if name not in self.aliases])

    @property
    def dtypes(self) -> dict[str, int]:
        """Number of tensors of each dtype, most frequent first."""
        counts = Counter[str]()
        for dtype, count in Counter(tensor.dtype for tensor in self.values()).items():
            counts[dtype.name] += count  # which numpy makes up anew each time
        return dict(counts.most_common())

    def select(self, names: Iterable[str], *, skipped: Iterable[Skip] = ()) -> Checkpoint:
        """Return the same checkpoint with only *names*, in its own order.

        Args:
            names: the tensors to keep.
            skipped: entries to add to those that it left out.
        """
        kept = set(names)
        return self._derive({name: tensor for name, tensor in self.items() if name in kept}, skipped=skipped)

    def part(self, name: str) -> Checkpoint:
        """Return the tensors of one part, their names without its prefix.

        Args:
            name: of the part; ``all`` is every tensor of the file under its full name.

        Raises:
            UsageError: there is no such part.
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
        """The checkpoint of all parts that this one is a part of; itself where it is the whole."""
        return self._whole or self

    @property
    def stored(self) -> Checkpoint:
        """The tensors as the file stores them, under full names; itself where no decoder composed any of them."""
        if self._stored is None or not self.composed:
            return self
        kept: set[str] = set()
        for name in self:
            full = name if name in self._stored or name not in self.part_of else self.part_of[name].prefix + name
            kept.update(self.composed[name].of if name in self.composed else (full,))
        return self._stored.select(kept)

    def compose(self, tensors: Iterable[LazyTensor], claims: Mapping[str, Sequence[str]], by: str) -> Checkpoint:
        """Return the same checkpoint with *tensors* in place of the stored ones that they are composed of, as a decoder does.

        Each stands where the first of its stored tensors stood, and in the same part. Two that are composed of the same numbers
        are aliases.

        Args:
            tensors: the composed tensors. The note of each says how it was composed (``"int8 × scale"``); the names of its
                stored tensors are added to the note.
            claims: name of each tensor → the stored names that it is composed of, which are removed.
            by: the name of the decoder.

        Raises:
            ValueError: a tensor without a claim, a stored name that is not there, or a name that another tensor has; shapes
                that leave out some of the numbers that a ``DerivedNumbers`` computes, or another dtype than it has.
            LoadError: a tensor reaches beyond its storage.
        """
        made: dict[str, LazyTensor] = {}
        at: dict[str, list[str]] = {}  # stored name → what stands in its place
        for tensor in tensors:
            of = tuple(claims.get(tensor.name, ()))
            missing = [name for name in of if name not in self]
            if not of or missing or tensor.name in made:
                wrong = f"{missing[0]!r} is not there" if missing else "composed twice" if of else "of no stored tensor"
                raise ValueError(f"{tensor.name!r}: {wrong}")
            told = f"of {', '.join(of[:_NOTED])}" + (f" and {len(of) - _NOTED} more" if len(of) > _NOTED else "")
            held = tensor.module_class or next((self[name].module_class for name in of if self[name].module_class), "")
            note = f"{tensor.note}, {told}" if tensor.note else f"composed {told}"
            made[tensor.name] = replace(tensor, note=note, module_class=held)
            at.setdefault(of[0], []).append(tensor.name)
        check_computed(made.values())
        for tensor in made.values():
            try:
                tensor.check()
            except LoadError as error:
                raise LoadError(tensor.name, f"as decoder {by!r} composes it, {error.reason}", error.advice) from error
        gone = {name for new in made for name in claims[new]}
        taken = [name for name in made if name in self and name not in gone]
        if taken:
            raise ValueError(f"{taken[0]!r}: the file stores another tensor of that name")

        def now(names: Iterable[str]) -> tuple[str, ...]:
            return tuple(each for name in names for each in (*at.get(name, ()), *(() if name in gone else (name,))))

        derived = copy(self)
        derived._tensors = {name: made.get(name) or self[name] for name in now(self)}
        same: dict[Any, str] = {}
        derived.aliases = {second: first for second, first in self.aliases.items() if not gone & {second, first}}
        for name in (name for name in derived if name in made):
            stored = [self[each] for each in claims[name]]
            key = made[name].shape, *((_identity(each.storage), each.offset, each.shape, each.strides) for each in stored)
            if same.setdefault(key, name) != name:
                derived.aliases[name] = same[key]
        derived._aliases_given = True
        derived.parts = tuple(replace(part, names=names) for part in self.parts if (names := now(part.names)))
        derived.part_of = {name: part for part in derived.parts for name in part.names}
        of_stored = {name: self.composed[name].of if name in self.composed else (name,) for name in gone}
        derived.composed = {name: each for name, each in self.composed.items() if name not in gone}
        for name in made:
            derived.composed[name] = Composed(tuple(each for used in claims[name] for each in of_stored[used]), by)
        derived._places = {name: place for place, name in enumerate(now(self.in_file_order()))} if self._places else {}
        derived._stored = self._stored or self
        return derived

    def beside(self, name: str, most: int = _BESIDE_BYTES) -> bytes | None:
        """Return the content of a small file that lies beside the checkpoint, or in its folder; ``None`` where there is none.

        It is read from where the checkpoint was opened, local or remote.

        Args:
            name: of the file.
            most: bytes that it may have (4 MiB).

        Raises:
            LoadError: the name leads elsewhere, the file is larger than *most*, or it cannot be read.
        """
        if not name or name in (".", "..") or any(char in name for char in "/\\:\0"):
            raise LoadError(self.source, f"{name!r} is not the name of a file beside it")
        folder = self.opened_from if self.opened_from is None or self.opened_from.is_folder else self.opened_from.folder
        if folder is None or not has_file(folder, name):
            return None
        found = folder.child(name)
        if found.size > most:
            raise LoadError(found.shown, f"has {found.size:,} bytes; at most {most:,} are read of a neighbour")
        return found.read(0, found.size)

    def _within(self, other: Checkpoint) -> Checkpoint:
        """The same checkpoint as a choice from *other*, whose ``whole`` it has then, however it was made."""
        if self is other or self._whole is not None or not other.whole.parts:
            return self
        chosen = copy(self)
        chosen._whole = other.whole
        chosen.part_of = {name: other.part_of[name] for name in self if name in other.part_of}
        return chosen

    def _taking(self, views: Mapping[str, LazyTensor], view: Callable[[LazyTensor], LazyTensor]) -> Checkpoint:
        """The same checkpoint with *views* of its tensors in place of these. view: makes those of the other parts."""
        derived = self._derive(views)
        derived._sliced = True
        if self._aliases_given:  # of tensors that lie one within another, the views may not
            derived.aliases = _shared_storages(views.values())
            for second, first in self.aliases.items():
                one, other = self[second], self[first]
                same = (one.offset, one.shape, one.strides) == (other.offset, other.shape, other.strides)
                if second in views and first in views and same and first not in derived.aliases:
                    derived.aliases.setdefault(second, first)
        if derived._whole is not None:
            derived._whole = copy(derived._whole)
            derived._whole._tensors = {name: view(tensor) for name, tensor in derived._whole.items()}
        return derived

    def ordered(self) -> Checkpoint:
        """Return the same checkpoint in the order of all output: that of the file, numbered siblings by number."""
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
        """Return the names in the order of the file; those of tensors that are not in the file come last."""
        return sorted(self, key=lambda name: self._places.get(name, len(self._places))) if self._places else list(self)

    def with_tensors(
        self, tensors: Mapping[str, LazyTensor] | Iterable[LazyTensor], *, skipped: Iterable[Skip] = ()
    ) -> Checkpoint:
        """Return the same checkpoint with other tensors, for a filter that changes tensors and does not only choose them."""
        values = tensors.values() if isinstance(tensors, Mapping) else tensors
        return self._derive({tensor.name: tensor for tensor in values}, skipped=skipped)

    def distinct(self) -> Checkpoint:
        """Return the same checkpoint with each expanded view as what it stores. That is what is counted, measured and drawn."""
        distinct = {name: tensor.distinct() for name, tensor in self.items()}
        return self if all(distinct[name] is tensor for name, tensor in self.items()) else self.with_tensors(distinct)

    def with_notes(self, notes: Iterable[str], share: str = "") -> Checkpoint:
        """Return the same checkpoint with *notes* in front of its own, and *share* (``shard 1 of 2``) behind its format."""
        noted, more, own = copy(self), tuple(notes), self._notes
        if own.costs:
            known = (*more, *own.known)
            noted._notes = _Answer(lambda: (*more, *own.found), known, lambda: (*more, *own.at_a_glance))
        else:
            noted._notes = _Answer((*more, *own.found))
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
            problems=self.problems,
            unverified=self.unverified,
            described=self.described,
        )
        derived._not_run, derived._notes, derived._sliced = self._not_run, self._notes, self._sliced
        derived._whole = self._whole or (self if self.parts else None)
        derived.part_of = {name: self.part_of[name] for name in derived if name in self.part_of} if self.part_of else {}
        derived._places = {name: self._places[prefix + name] for name in tensors if prefix + name in self._places}
        derived.composed = {name: self.composed[prefix + name] for name in tensors if prefix + name in self.composed}
        derived.opened_from, derived._stored = self.opened_from, self._stored
        return derived

    def _aliases_left(self, tensors: Mapping[str, LazyTensor], prefix: str) -> dict[str, str]:
        """Those aliases whose both tensors are among *tensors*, whose names may have lost *prefix*, over the same storage."""
        now: dict[str, str] = {}
        for name, tensor in tensors.items() if self.aliases else ():
            before = next((full for full in (prefix + name, name) if full in self), None)
            if before is not None and self[before].storage is tensor.storage:
                now[before] = name
        return {now[second]: now[first] for second, first in self.aliases.items() if second in now and first in now}


def guard_answers(checkpoint: Checkpoint, origin: Origin) -> None:
    """What ``not_run`` and ``notes`` were given is from now on an error of *origin* where it is of another type.

    So is whatever the functions raise. Raises ``PluginError`` for what is there already.
    """
    checkpoint._not_run.guard(origin, "not_run", Action, "several of Action")
    checkpoint._notes.guard(origin, "notes", str, "several texts")


def check_computed(tensors: Iterable[LazyTensor]) -> None:
    """Raise ``ValueError`` where *tensors*, which a plugin made, are none: a shape of another type, say, or a storage that says
    nothing of what it is computed from; and where they are not what their ``DerivedNumbers`` compute: another dtype, or not
    all of it.
    """
    reached: dict[int, tuple[int, LazyTensor]] = {}  # storage → elements up to where some tensor reaches, and which one
    for tensor in tensors:
        if wrong := wrong_tensor(tensor):
            raise ValueError(wrong)
        storage = tensor.storage
        if not isinstance(storage, DerivedNumbers):
            continue
        if tensor.dtype != storage.dtype:
            kinds = f"{tensor.dtype.name}, and {type(storage).__name__} computes {storage.dtype.name}"
            raise ValueError(f"{tensor.name!r} is of {kinds}")
        end = tensor.offset + tensor.span
        if end >= reached.get(id(storage), (0, tensor))[0]:
            reached[id(storage)] = end, tensor
    for end, tensor in reached.values():
        storage = tensor.storage
        assert isinstance(storage, DerivedNumbers)
        if end > storage.count or (end < storage.count and not storage.partly):
            computed = f"{type(storage).__name__} computes {storage.count:,}; its shape and count must agree"
            raise ValueError(f"{tensor.name!r} of shape {tensor.shape} reaches to number {end:,}, and {computed}")


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
