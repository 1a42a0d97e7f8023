"""Programs that ``torch.export.save`` wrote (``.pt2``): their weights and constants.

Format: ``torch/export/pt2_archive`` since PyTorch 2.8; before, a zip archive of ``serialized_…`` records.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_strings
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.read import load_error
from torch2grid_builtin._inert.report import not_run, refusal
from torch2grid_builtin._inert.torch_dtypes import DTYPES
from torch2grid_builtin._inert.walk import collect
from torch2grid_builtin._loaders.foreign_zip import is_exported
from torch2grid_builtin._loaders.inside import RecordSource
from torch2grid_builtin._loaders.naming import NAMELESS, tensor_name
from torch2grid_builtin._loaders.other_readers import note_all
from torch2grid_builtin._loaders.program_code import JSON_BYTES, note_program
from torch2grid_builtin._loaders.torch_archive import note_archive
from torch2grid_builtin._loaders.torch_zip import Names, byte_order, check_rest, read_archive
from torch2grid_builtin._loaders.zip_archive import LOCAL, ZipArchive, open_zip
from torch2grid_core import Checkpoint, LazyTensor, Loader, LoadError
from torch2grid_core.sources import ByteSwapped, Skip, Source, verify
from torch2grid_core.text import visible

_WHAT = "is a program that torch.export saved (.pt2)"
_HOSTILE = "it is damaged or hostile"
_MODELS = 1000  # programs of one archive
_STRUCTURE = 4_000_000  # commas, colons and brackets of a configuration, each of which costs memory when parsed
_STRIDED = 7
# Numbers of torch._export.serde.schema.ScalarType.
_KINDS = {
    **dict(enumerate(("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"), 1)),
    **dict(zip((10, 11, 12, 13), ("complex64", "complex128", "bool", "bfloat16"), strict=True)),
    **dict(zip((28, 34, 35), ("uint16", "uint32", "uint64"), strict=True)),
    **dict(enumerate(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"), 29)),
}
_CONFIGS = ("{}_{}_config.json", "{}_model_{}_config.json")  # since 2.9; of a version in between
_PARAMS = {"weights": ("weights", "param"), "constants": ("constants", "constants")}
_BEFORE = ("serialized_state_dict", "serialized_constants", "serialized_example_inputs")


class Exported(Loader):
    """What torch.export.save writes (.pt2): weights and constants of programs, which are not run."""

    name: ClassVar[str] = "torch-export"

    def sniff(self, source: Source) -> int:
        if source.is_folder or not source.head.startswith(LOCAL):
            return 0
        try:
            return 2 if is_exported(open_zip(source).entries) else 0
        except LoadError:
            return 0

    def runs(self, source: Source) -> Sequence[Any]:
        if not self.sniff(source):
            return ()
        actions = Actions()
        try:
            self._read(source, actions)
        except LoadError as error:
            if not actions:
                actions.holds(f"a program of torch.export that could not be examined ({error.reason})")
        return not_run(actions)

    def load(self, source: Source) -> Checkpoint:
        actions = Actions()
        archive, found = self._read(source, actions)
        if not found.tensors:
            reason = f": {found.skipped[0].reason}" if found.skipped else ""
            raise LoadError(source.shown, refusal(f"{_WHAT} without weights{reason}", actions), "give one with weights")
        notes = [f"{found.constants} of its tensors are constants of the program"] if found.constants else []
        return Checkpoint(
            found.tensors,
            source=source.shown,
            format="torch.export program",
            skipped=found.skipped,
            notes=[*notes, *found.notes],
            not_run=not_run(actions),
            unverified=[archive],
        )

    def _read(self, source: Source, actions: Actions) -> tuple[ZipArchive, _Found]:
        """The tensors of every program. actions: gets what PyTorch would run. Raises ``LoadError``, which names that, too."""
        try:
            archive = open_zip(source)
            if not is_exported(archive.entries):
                raise archive.fail("is not a program that torch.export saved", "give the path of a .pt2 file")
            reader = _Reader(archive, source, actions, self.name)
            reader.read()
            reader.judge()
            check_rest(archive)
        except (Malformed, LoadError) as error:
            raise load_error(source, error, actions) from error
        return archive, reader.found


@dataclass
class _Found:
    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    constants: int = 0


class _Reader:
    """Reads the programs of an archive. numbers: the records that are plain numbers, and never a pickle to anybody."""

    def __init__(self, archive: ZipArchive, source: Source, actions: Actions, by: str) -> None:
        self.archive, self.source, self.actions, self.by = archive, source, actions, by
        self.names = Names(archive)
        self.work = limits.Work(source.size)
        self.found = _Found()
        self.numbers: set[str] = set()
        self.nested: set[str] = set()
        first = next(iter(archive.entries), "").partition("/")
        self.folder = f"{first[0]}/" if first[1] else ""
        self.swapped = byte_order(self.names, self.folder) != sys.byteorder

    def fail(self, reason: str, advice: str = _HOSTILE) -> LoadError:
        return LoadError(self.source.shown, f"{_WHAT} {reason}", advice)

    def read(self) -> None:
        """Find the tensors. Raises ``LoadError``, ``Malformed``."""
        programs = list(self._programs())
        if len(programs) > _MODELS:
            raise self.fail(f"of {len(programs)} programs")
        for program in programs:
            prefix = f"{program}." if len(programs) > 1 else ""
            for kind in _PARAMS:
                self._read_part(program, kind, prefix)
        for name in _BEFORE[:2]:
            record = next((found for end in ("pt", "json") if (found := self.names.find(f"{name}.{end}"))), None)
            if record is not None:
                self._read_state(record, "", name == _BEFORE[1])
        if not programs and not self.nested:
            raise self.fail("without a program or weights in it", "it is cut short, or not complete; save it again")

    def _programs(self) -> Iterator[str]:
        for name in self.archive.entries:
            inside = name[len(self.folder) :]
            if inside.lower().startswith("models/") and inside.lower().endswith(".json") and inside.count("/") == 1:
                yield inside[len("models/") : -len(".json")]

    def _read_part(self, program: str, kind: str, prefix: str) -> None:
        """The weights, or the constants, of one program."""
        folder = f"{self.folder}data/{kind}/"
        old = self.names.find(f"{folder}{program}.pt")
        if old is not None:  # as PyTorch does, which looks for it first
            self._read_state(old, prefix, kind == "constants")
            return
        spelled = (form.format(program, word) for form, word in zip(_CONFIGS, _PARAMS[kind], strict=True))
        config = next((found for name in spelled if (found := self.names.find(f"{folder}{name}"))), None)
        if config is None:
            if kind == "constants":
                return
            raise self.fail(f"without the list of its weights, {visible(f'data/weights/{program}', 80)}_weights_config.json")
        for key, entry in self._config(config).items():
            self._read_entry(folder, f"{prefix}{key}", entry, kind == "constants")

    def _config(self, record: str) -> dict[str, Any]:
        raw = self._bytes(record, JSON_BYTES)
        if sum(map(raw.count, (b",", b":", b"[", b"{"))) > _STRUCTURE:
            raise self.fail("with a list of weights of more parts than any has")
        self.work.text(len(raw))
        try:
            stated: Any = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self.fail(f"with a list of weights that is not JSON ({visible(record, 80)})") from error
        config = stated.get("config") if isinstance(stated, dict) else None
        if not isinstance(config, dict) or len(config) > limits.NAMES:
            raise self.fail(f"with a list of weights that is not one ({visible(record, 80)})")
        return config

    def _bytes(self, record: str, most: int) -> bytes:
        storage = self.archive.storage(record)
        if storage.size > most:
            raise self.fail(f"with {storage.size} bytes in {visible(record, 80)}, more than any has")
        raw = bytearray(storage.size)
        if raw:
            storage.read_into(0, memoryview(raw))
        verify(storage)
        return bytes(raw)

    def _read_entry(self, folder: str, name: str, entry: Any, constant: bool) -> None:
        """One tensor that a configuration describes."""
        label = repr(visible(name, 80))
        path = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(path, str) or "/" in path or "\\" in path:
            raise self.fail(f"that does not say where {label} is")
        record = self.names.find(f"{folder}{path}")
        if record is None:
            raise self.fail(f"without the record of {label}: {visible(path, 80)}", "it is damaged or incomplete")
        meta = entry.get("tensor_meta")
        if entry.get("use_pickle") or meta is None:
            if path.startswith(("custom_obj_", "opaque_obj_")):
                self._skip(name, "an object, not a tensor")
            else:
                self._read_state(record, name, constant, single=True)
            return
        made = self._tensor(name, label, record, meta)
        if isinstance(made, str):
            self._skip(name, made)
        else:
            self._take(made, constant)

    def _tensor(self, name: str, label: str, record: str, meta: Any) -> LazyTensor | str:
        """A tensor whose numbers lie in a record as they are, or the reason why it is left out."""
        if not isinstance(meta, dict):
            raise self.fail(f"that does not describe {label}")
        shape, strides = self._lengths(label, meta.get("sizes")), self._lengths(label, meta.get("strides"))
        (offset,) = self._lengths(label, [meta.get("storage_offset")])
        self.numbers.add(record)
        if meta.get("layout") != _STRIDED:
            return f"a tensor of layout {visible(str(meta.get('layout'))[:40])}, which has no plain numbers"
        kind = meta.get("dtype")
        dtype = DTYPES.get(_KINDS.get(kind, "")) if type(kind) is int else None
        if dtype is None:
            return f"a tensor of dtype {visible(str(kind)[:40])}, which is not known"
        storage = self.archive.storage(record)
        made = LazyTensor(name, shape, dtype, storage, offset, strides)
        if made.size and not storage.size:
            return "the file holds no numbers for it"
        try:
            made.check()
        except LoadError as error:
            raise self.fail(f"whose tensor {label} does not fit its record: {error.reason}") from error
        return replace(made, storage=ByteSwapped(storage, dtype.itemsize)) if self.swapped else made

    def _lengths(self, label: str, stated: Any) -> tuple[int, ...]:
        if isinstance(stated, list) and len(stated) <= limits.DIMENSIONS:
            found = [each.get("as_int") if isinstance(each, dict) else None for each in stated]
            if all(type(each) is int and 0 <= each < 2**62 for each in found):
                return tuple(each for each in found if each is not None)
        raise self.fail(f"whose tensor {label} has a shape that is not a list of numbers")

    def _read_state(self, record: str, prefix: str, constant: bool, single: bool = False) -> None:
        """The tensors that torch.save wrote to a record. single: it is one, whose name is *prefix*."""
        self.nested.add(record)
        inner = RecordSource(self.source, record, self.archive.storage(record))
        if not inner.size:
            return
        mine = Actions()
        try:
            read = read_archive(inner, self.work, mine)
            read_strings(mine, self.work)
            found = collect(read.root, self.by, self.work)
        except (Malformed, LoadError) as error:
            raise self.fail(f"whose record {visible(record, 80)} does not open: {error.reason}", error.advice) from error
        finally:
            self.actions.merge(mine)
        self.found.notes += found.notes
        for skip in found.skipped:
            self._skip(_named(prefix, skip.name, single), skip.reason)
        for name, tensor in found.tensors.items():
            self._take(replace(tensor, name=_named(prefix, name, single)), constant)

    def _skip(self, name: str, reason: str) -> None:
        self.work.spend(limits.SKIPPED)
        self.found.skipped.append(Skip(name, reason, self.by))

    def _take(self, tensor: LazyTensor, constant: bool) -> None:
        self.work.spend(limits.KEPT)
        self.work.text(len(tensor.name))
        tensors = self.found.tensors
        if len(tensors) >= limits.NAMES:
            raise self.fail(f"with more than {limits.NAMES:,} tensors")
        base = tensor_name(tensor.name, tensors)
        name, number = base, 2
        while name in tensors:
            name, number = f"{base}#{number}", number + 1
            self.work.spend(1)
        tensors[name] = replace(tensor, name=name)
        self.found.constants += constant

    def judge(self) -> None:
        """Note what PyTorch would evaluate, unpickle and call of the archive. Raises ``Malformed``, ``LoadError``."""
        for name, entry in self.archive.entries.items():
            folded = name.lower()
            if name in self.numbers or name in self.nested or not entry.size:
                continue
            if folded.startswith(f"{self.folder.lower()}extra/"):
                continue  # texts to PyTorch
            if folded.endswith(".json"):
                if self._is_program(folded):
                    self._judge_program(name)
                continue
            self.work.spend(limits.INNER)
            record = self.archive.storage(name)
            if entry.method or entry.size <= limits.CHECKED_BESIDE:
                verify(record)  # damage is damage, and no program
            if entry.method:
                self.work.text(entry.size)
            note_all(RecordSource(self.source, name, record), self.actions, self.work)
        seen: Iterable[str] = [*self.numbers, *self.nested]
        note_archive(self.archive, self.actions, self.work, set(seen))
        read_strings(self.actions, self.work)

    def _judge_program(self, name: str) -> None:
        if self.archive.storage(name).size > JSON_BYTES:
            self.actions.holds(f"a program of more than {JSON_BYTES >> 20} MiB, which is not examined")
        else:
            note_program(self._bytes(name, JSON_BYTES), self.actions, self.work)

    def _is_program(self, folded: str) -> bool:
        return "models/" in folded or folded.rpartition("/")[2].startswith("serialized_exported_program")


def _named(prefix: str, name: str, single: bool) -> str:
    """The name of a tensor that stands as *name* in the state dict or the single tensor *prefix*."""
    if not single:
        return f"{prefix}{name}"
    return prefix if name == NAMELESS else f"{prefix}.{name}"
