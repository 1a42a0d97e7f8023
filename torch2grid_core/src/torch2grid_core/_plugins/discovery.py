"""Where plugins come from: entry points of installed distributions, and files that the user names."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import time
from collections.abc import Collection, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from torch2grid_core._errors import PluginError, UsageError
from torch2grid_core._guard import Origin, guarded
from torch2grid_core._hookspecs import BASE_GROUP, ENTRY_POINT_GROUP
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
    found: dict[tuple[str, str], EntryPoint] = {}
    every = entry_points()  # once: it reads the metadata of all that is installed
    for each in (*every.select(group=BASE_GROUP), *every.select(group=ENTRY_POINT_GROUP)):
        owner = normalized(each.dist.name) if each.dist else ""
        found.setdefault((owner, each.name), each)  # the first on the path is the one that would be imported
    for (owner, name), entry in sorted(found.items()):
        precedence = Precedence.BASE if entry.group == BASE_GROUP else Precedence.INSTALLED
        record = PluginRecord(name, owner, entry.dist.version if entry.dist else "", entry.value, precedence)
        if precedence is not Precedence.BASE and not third_party:
            record.status, record.error = "disabled", "--no-plugins"
        elif owner in off or normalized(name) in off:
            record.status, record.error = "disabled", "disabled by name"
        elif precedence is not Precedence.BASE and (wrong := wrong_core_of(entry.dist, record.remark)):
            record.fail(wrong)  # nothing of it is imported
        else:
            _import(record, entry)
        yield record


def _import(record: PluginRecord, entry: EntryPoint) -> None:
    try:
        with _timed(record), first_run(record.remark, "while it is imported"):
            plugin = entry.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit too, and what pytest.importorskip raises
        record.fail(failure(error), error)
    else:
        record.register(plugin)


@contextlib.contextmanager
def _timed(record: PluginRecord) -> Iterator[None]:
    """The seconds inside are the record's cost at every start; a remark where that is much."""
    started = time.perf_counter()
    try:
        yield
    finally:
        record.seconds = time.perf_counter() - started
        if record.seconds > SLOW_SECONDS:
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
    module_name = f"torch2grid_file_{re.sub(r'[^0-9a-zA-Z_]', '_', file.stem)}_{digest}"
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
    if record.status == "failed":
        raise PluginError("plugin", file.stem, str(file), "", record.error)
    return record
