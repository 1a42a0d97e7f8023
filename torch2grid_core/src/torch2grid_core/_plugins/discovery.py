"""Where plugins come from: entry points of installed distributions, and files that the user names."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path

from torch2grid_core._errors import PluginError, UsageError
from torch2grid_core._guard import FILE_MODULE, Origin, describe, guarded
from torch2grid_core._hookspecs import BASE_GROUP, ENTRY_POINT_GROUP
from torch2grid_core._kinds import KINDS
from torch2grid_core._plugins.importing import first_run, wrong_core_of, wrong_core_of_file
from torch2grid_core._plugins.record import PluginRecord, Precedence, failure

SLOW_SECONDS = 2.0  # an import that takes longer is worth a line: every command pays for it
DISABLE_VARIABLE = "TORCH2GRID_DISABLE_PLUGINS"


def normalized(distribution: str) -> str:
    """A distribution's name as packaging tools compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def installed(third_party: bool = True, disabled: Collection[str] = ()) -> Iterator[PluginRecord]:
    """A record for each installed plugin, sorted by distribution and name; disabled ones are never imported."""
    off = {normalized(name) for name in disabled}
    found: dict[tuple[str, str], tuple[EntryPoint, _Identity]] = {}
    entries, unreadable = _entries()
    for each in entries:
        identity = _identity(each.dist)
        found.setdefault((normalized(identity.name), each.name), (each, identity))  # the first on the path: it is imported
    for (owner, name), (entry, identity) in sorted(found.items(), key=lambda item: item[0]):
        precedence = Precedence.BASE if entry.group == BASE_GROUP else Precedence.INSTALLED
        record = PluginRecord(name, owner, identity.version, entry.value, precedence)
        if not _is_off(record, third_party, off):
            if identity.wrong:
                record.fail(identity.wrong)
            elif not EntryPoint.pattern.match(entry.value):
                record.fail(f"its entry point is {entry.value[:60]!r}, which is neither MODULE nor MODULE:OBJECT")
            elif precedence is not Precedence.BASE and (wrong := wrong_core_of(entry.dist, record.remark)):
                record.fail(wrong)  # nothing of it is imported
            else:
                _import(record, entry)
        yield record
    for name, wrong in sorted(unreadable.items()):
        record = PluginRecord(name, name, "", "entry_points.txt")
        if not _is_off(record, third_party, off):
            record.fail(wrong)
        yield record


def _is_off(record: PluginRecord, third_party: bool, off: Collection[str]) -> bool:
    """Mark *record* where it is disabled, and say whether it is."""
    if record.precedence is not Precedence.BASE and not third_party:
        record.disable("--no-plugins")
    elif record.owner in off or normalized(record.name) in off:
        record.disable("disabled by name")
    return record.status == "disabled"


def _entries() -> tuple[list[EntryPoint], dict[str, str]]:
    """The entry points of plugins, and what is wrong with each distribution whose own cannot be read, by its name."""
    groups = (BASE_GROUP, ENTRY_POINT_GROUP)
    try:
        every = entry_points()  # once: it reads the metadata of all that is installed
    except Exception:  # those of one distribution are broken, and it does not say whose
        pass
    else:
        return [each for group in groups for each in every.select(group=group)], {}
    entries: list[EntryPoint] = []
    wrong: dict[str, str] = {}
    seen: set[str] = set()
    for each in distributions():
        name = normalized(_identity(each).name)
        if name in seen:  # shadowed by the first of that name on the path
            continue
        seen.add(name)
        try:
            entries += each.entry_points
        except Exception as error:
            if _may_be_a_plugin(each):
                why = f" ({describe(error)})" if isinstance(error, (OSError, UnicodeError)) else ": a line lacks its '='"
                wrong[name] = f"{_folder(each)}/entry_points.txt cannot be read{why}; {_AGAIN}"
    return [each for group in groups for each in entries if each.group == group], wrong


def _may_be_a_plugin(distribution: Distribution) -> bool:
    try:
        return f"[{ENTRY_POINT_GROUP}" in (distribution.read_text("entry_points.txt") or "")
    except Exception:  # it is no text
        return True


_AGAIN = "install it again, or delete that folder"


@dataclass(frozen=True)
class _Identity:
    """Name and version of a distribution. wrong: why they cannot be told; the name is that of its folder then."""

    name: str = ""
    version: str = ""
    wrong: str = ""


def _identity(distribution: Distribution | None) -> _Identity:
    if distribution is None:
        return _Identity()
    folder = _folder(distribution)
    own = folder.partition("-")[0]
    try:
        metadata = distribution.metadata
        found = {key: metadata.get_all(key) for key in ("Name", "Version")}
    except Exception as error:
        return _Identity(own, wrong=f"the metadata in {folder} cannot be read ({describe(error)}); {_AGAIN}")
    lacking = [key for key, values in found.items() if not values or not values[0].strip()]
    if lacking:
        what = "are missing" if len(lacking) == len(found) else f"have no {lacking[0]}"
        return _Identity(own, wrong=f"the metadata in {folder} {what}; {_AGAIN}")
    return _Identity(*(values[0].strip() for values in found.values() if values))


def _folder(distribution: Distribution) -> str:
    """The name of the folder of its metadata, as ``left-1.0.dist-info``."""
    return Path(str(getattr(distribution, "_path", "?"))).name  # finders of other kinds have no such folder


def _import(record: PluginRecord, entry: EntryPoint) -> None:
    try:
        with _timed(record), first_run(record.remark, "while it is imported"):
            plugin = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too, and what pytest.importorskip raises
        record.fail(failure(error), error)
    else:
        record.register(plugin)


@contextlib.contextmanager
def _timed(record: PluginRecord) -> Iterator[None]:
    """The seconds inside are the record's cost at every start; a remark where that is much, but of a file that was named."""
    started = time.perf_counter()
    try:
        yield
    finally:
        record.seconds = time.perf_counter() - started
        if record.seconds > SLOW_SECONDS and record.precedence is not Precedence.GIVEN:
            record.remark(f"takes {record.seconds:.1f} s to import, at every start; --disable-plugin leaves it out")


def from_file(path: str) -> PluginRecord:
    """The plugin in a Python file. Raises ``UsageError`` where there is no such file, ``PluginError`` where it fails.

    A file is asked for by name, so unlike an installed plugin its failure ends the run.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"--load-plugin {path}: no such file")
    import hashlib  # 5 ms that a run without files does not pay

    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    module_name = f"{FILE_MODULE}{re.sub(r'[^0-9a-zA-Z_]', '_', file.stem)}_{digest}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"--load-plugin {path}: not a Python file (its name must end in .py)")
    if wrong := wrong_core_of_file(file):  # before it is run: it may import what this core does not have
        raise PluginError("plugin", file.stem, str(file), "", wrong)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look a class's module up there
    record = PluginRecord(file.stem, "", "", str(file), Precedence.GIVEN)
    origin = Origin("plugin", file.stem, str(file))
    with guarded(origin, "import"), _timed(record), first_run(record.remark, "while it is imported"):
        spec.loader.exec_module(module)
    record.register(module)
    brings = record.status == "ok" and (record.listens() or any(record.provides(kind) for kind in KINDS))
    if not brings and record.error:  # nothing of it can be used: no other picture is drawn in its place
        raise PluginError("plugin", file.stem, str(file), "", record.error)
    return record
