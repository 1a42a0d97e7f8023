"""What PyTorch would run of a zip archive, whichever loader opens the file: one that PyTorch finds in it, or a part of it."""

from __future__ import annotations

from collections.abc import Collection

from torch2grid_builtin._inert import limits
from torch2grid_builtin._inert.actions import Actions
from torch2grid_builtin._inert.hidden import read_pickles, read_strings
from torch2grid_builtin._inert.malformed import Malformed
from torch2grid_builtin._inert.script_code import note_instructions, note_operators
from torch2grid_builtin._loaders.foreign_zip import is_exported, program_in_archive
from torch2grid_builtin._loaders.loose_zip import archive_at_end
from torch2grid_builtin._loaders.records import Records, package_folder
from torch2grid_builtin._loaders.refused_zip import PICKLES, read_refused_zip
from torch2grid_builtin._loaders.zip_archive import LOCAL, ZipArchive, open_zip
from torch2grid_core import LoadError
from torch2grid_core.sources import Source, verify
from torch2grid_core.text import visible

_END = b"PK\x05\x06"  # the end record of an archive, with which an empty one begins
_HOSTILE = "it is damaged or hostile"
_BYTECODE = "bytecode.pkl"  # TorchScript's code once more, for the interpreter of mobile devices, which runs no other


def folded(name: str) -> str:
    """*name* with its letters from A to Z as small ones: PyTorch's reader finds a record whatever its capitals."""
    if name.isascii():
        return name.lower()
    return name.encode("utf-8", "surrogateescape").lower().decode("utf-8", "surrogateescape")


def note_archive(
    records: Records, actions: Actions, work: limits.Work, seen: Collection[str] = (), script: bool = False
) -> None:
    """Add to *actions* what the pickles and the TorchScript in the archive would do, but for the records that were *seen*.

    script: its pickles are of TorchScript. Raises ``Malformed`` where the work is used up, ``LoadError`` where a record lies.
    """
    for key, entry in records.entries.items():
        name = folded(entry.name)
        if name.rpartition("/")[2] == _BYTECODE:
            note_instructions(_code_in(records, key, work), actions, work)
        if name.endswith(".py"):
            if name.startswith("code/") or "/code/" in name:
                note_operators(_code_in(records, key, work).decode("latin-1"), actions, work)
        elif name.endswith(PICKLES) and key not in seen:
            record = records.storage(key)
            if entry.method:
                work.text(entry.size)
            if entry.method or entry.size <= limits.CHECKED_BESIDE:
                verify(record)  # what is damaged is no pickle that another reader would take
            read_pickles(record, 0, actions, work, script=script)


def _code_in(records: Records, key: str, work: limits.Work) -> bytes:
    """TorchScript's code: ``__setstate__`` runs as it is loaded. Raises ``LoadError`` where there is more than in any model."""
    entry = records.entries[key]
    if entry.size > limits.CODE_BYTES:
        raise records.fail(f"holds {entry.size} bytes of code in {visible(entry.name, 80)!r}", _HOSTILE)
    work.text(entry.size)
    record = records.storage(key)
    raw = bytearray(record.size)
    if raw:
        record.read_into(0, memoryview(raw))
    return bytes(raw)


def note_found(source: Source, actions: Actions, work: limits.Work) -> None:
    """Add to *actions* what PyTorch would run of the archive that it finds in *source*, which a loader of another format opens.

    An archive that is not read, or not to its end, is in the record as one that may hold anything.
    """
    try:
        records: Records | None = _found(source, actions, work)
        if records is None:
            return
        names = [entry.name for entry in records.entries.values()]
        if source.head.startswith(LOCAL) and isinstance(records, ZipArchive) and is_exported(names):
            return  # its own loader says what that would run
        program = program_in_archive(names)
        if program is not None:
            actions.holds(f"a zip archive that {program}")
        if package_folder({entry.name: entry for entry in records.entries.values()}) is not None:
            if not source.head.startswith(LOCAL):
                _note_package(records, actions, work)
            return
        script = any(folded(entry.name).rpartition("/")[2] == "constants.pkl" for entry in records.entries.values())
        note_archive(records, actions, work, script=script)
        read_strings(actions, work)
    except (Malformed, LoadError) as error:
        _note_refused(source, actions)
        actions.holds(f"a zip archive that could not be examined ({error.reason})")


def _note_refused(source: Source, actions: Actions) -> None:
    """Add what the pickles of an archive that is not read want done: other readers take it all the same."""
    if source.head.startswith(LOCAL):
        found = Actions()
        read_refused_zip(source, found)
        actions.merge(found)


def _found(source: Source, actions: Actions, work: limits.Work) -> Records | None:
    if source.head.startswith(LOCAL):
        try:
            return open_zip(source)
        except LoadError:
            # PyTorch's own reader may open it all the same, and numpy and others take it for an archive.
            _note_refused(source, actions)
            actions.holds("the beginning of a zip archive that is not read")
    elif source.head.startswith(_END):  # to numpy, too
        actions.holds("the beginning of a zip archive that is not read")
    return archive_at_end(source, work)


def note_sources(records: Records, actions: Actions) -> None:
    """Add to *actions* each source of a ``torch.package``, whatever its pickles name.

    The package that a pickle or a text lies in is imported as that is loaded, and what a source imports runs with it. A source
    of the archive comes before any module of that name elsewhere, one of Python's or PyTorch's, too. Raises ``Malformed``.
    """
    for entry in records.entries.values():
        name = folded(entry.name)
        if name.endswith(".py") and not name.startswith(("code/", ".data/")) and "/code/" not in name and "/.data/" not in name:
            actions.runs(visible(entry.name.partition("/")[2] or entry.name, 200))


def _note_package(records: Records, actions: Actions, work: limits.Work) -> None:
    """A ``torch.package`` behind another format."""
    note_sources(records, actions)
    for key, entry in records.entries.items():
        work.spend(limits.INNER)
        name = folded(entry.name)
        if name.endswith(".py") and "/code/" in name:
            note_operators(_code_in(records, key, work).decode("latin-1"), actions, work)
        elif not name.endswith((".py", ".storage", ".debug_pkl")):
            read_pickles(records.storage(key), 0, actions, work)
